// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <signal.h>

#include "held_signals.h"
#include "report.h"

static sigset_t held;	/* all zeroes: none */

void signal_hold(int number)
{
	sigaddset(&held, number);
	if (sigprocmask(SIG_BLOCK, &held, NULL))
		fail(EXIT_FAILED, errno, "a signal can't be held back");
}

int signal_await(void)
{
	int number;

	do
		number = sigwaitinfo(&held, NULL);
	while (number < 0 && errno == EINTR);
	if (number < 0)
		fail(EXIT_FAILED, errno, "waiting for a signal failed");
	return number;
}
