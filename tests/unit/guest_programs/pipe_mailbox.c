// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The agent's transport and boot for a native test: lines go to stdout,
 * messages come from stdin, each after its length on a line of its own. The
 * agent adopts orphans here as it does in the guest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "boot.h"
#include "mailbox.h"

const char *boot_mount(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1) ? "no subreaper" : NULL;
}

_Noreturn void boot_power_off(void)
{
	mailbox_sendf("{\"type\":\"bye\"}\n");
	fflush(stdout);
	_Exit(0);
}

_Noreturn void boot_give_up(const char *problem)
{
	fprintf(stderr, "%s\n", problem);
	_Exit(1);
}

const char *mailbox_open(void)
{
	return NULL;
}

void mailbox_send(const char *bytes, size_t length)
{
	fwrite(bytes, 1, length, stdout);
}

char *mailbox_receive(size_t *length)
{
	char *message;

	fflush(stdout);
	if (scanf("%zu", length) != 1 || getchar() != '\n')
		_Exit(2);
	message = malloc(*length + 1);
	if (!message || fread(message, 1, *length, stdin) != *length)
		_Exit(2);
	message[*length] = '\0';
	return message;
}
