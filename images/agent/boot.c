// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot.h"
#include "mailbox.h"

struct file_system {
	const char *type;
	const char *target;
	int required;
};

static const struct file_system file_systems[] = {
	{ "proc", "/proc", 1 },
	{ "sysfs", "/sys", 1 },
	{ "devtmpfs", "/dev", 1 },
	{ "tmpfs", "/tmp", 1 },
	{ "debugfs", "/sys/kernel/debug", 0 },
};

const char *boot_mount(void)
{
	static char problem[160];
	size_t i;
	int console;

	umask(022);
	for (i = 0; i < sizeof(file_systems) / sizeof(file_systems[0]); i++) {
		const struct file_system *wanted = &file_systems[i];

		mkdir(wanted->target, 0755);
		if (mount(wanted->type, wanted->target, wanted->type, 0, NULL) &&
		    wanted->required && errno != EBUSY) {
			snprintf(problem, sizeof(problem), "%s can't be mounted: %s",
				 wanted->target, strerror(errno));
			return problem;
		}
	}
	/* The kernel opened /dev/console for us only if the image has that node. */
	console = open("/dev/console", O_RDWR | O_NOCTTY);
	while (console >= 0 && console < 2)
		console = dup(console);
	if (console > 2)
		close(console);
	setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/", 1);
	return NULL;
}

static _Noreturn void switch_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	/* No way to switch off: the end of the first process panics, which is seen. */
	_exit(1);
}

_Noreturn void boot_power_off(void)
{
	static const char bye[] = "{\"type\":\"bye\"}\n";

	mailbox_send(bye, sizeof(bye) - 1);
	switch_off();
}

_Noreturn void boot_give_up(const char *problem)
{
	char text[256];
	int length = snprintf(text, sizeof(text), "agent: %s\n", problem);
	int kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	/* The kernel log reaches the console even if descriptor 2 leads nowhere. */
	if (write(kmsg >= 0 ? kmsg : 2, text, (size_t)length) < 0)
		_exit(1);
	switch_off();
}
