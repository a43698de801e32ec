// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Page frames that are about to fail are taken out of use: reason memory_failure.
 * A large folio is split first. The frames are given back in the end.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#include "cell.h"
#include "kernel_state.h"
#include "region.h"
#include "setting.h"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define UNPOISON "/sys/kernel/debug/hwpoison/unpoison-pfn"

/* A line in the kernel log for each page, at some cost: not the whole region. */
#define PAGES_MAX 64

static const struct cell *poisoned;
static size_t poisoned_count;

static bool unpoison(void)
{
	char frame[32];

	while (poisoned_count) {
		snprintf(frame, sizeof(frame), "%" PRIu64,
			 poisoned->frames_before[--poisoned_count]);
		if (!file_write(UNPOISON, frame))
			return false;
	}
	return true;
}

static int pull(struct cell *cell)
{
	size_t i;

	poisoned = cell;
	setting_undo("a poisoned frame", unpoison);
	for (i = 0; i < PAGES_MAX && i < cell->pages; i++) {
		if (madvise(cell->start + i * PAGE_BYTES, PAGE_BYTES, MADV_SOFT_OFFLINE))
			return errno;
		poisoned_count = i + 1;
	}
	return 0;
}

const struct trigger soft_offline_triggers[] = {
	{ .name = "soft_offline", .purpose = "madvise(2) with MADV_SOFT_OFFLINE, page by page",
	  .pull = pull, .needs = UNPOISON },
	{ 0 },
};
