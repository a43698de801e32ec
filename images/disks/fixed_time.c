// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For LD_PRELOAD on the host: mkfs.xfs asks for the time of day and has no option for
 * it, and the same disk has to come out whenever it is made.
 */
#include <stddef.h>
#include <sys/time.h>

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	(void)zone;
	now->tv_sec = 1767225600;	/* 2026-01-01 */
	now->tv_usec = 0;
	return 0;
}
