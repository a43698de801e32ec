// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Page frames that are about to fail are taken out of use: reason memory_failure.
 * A large folio is split first. The frames are given back in the end.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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

/* Of one page, before it counts as one that can't be had. */
#define RETRIES_MAX 3

static uint64_t poisoned[PAGES_MAX];
static size_t poisoned_count;

static bool unpoison(void)
{
	char frame[32];

	while (poisoned_count) {
		snprintf(frame, sizeof(frame), "%" PRIu64, poisoned[--poisoned_count]);
		if (!file_write(UNPOISON, frame))
			return false;
	}
	return true;
}

/*
 * The page is got by its address first. That may put it into a batch of this CPU,
 * which then has a reference too many: EBUSY until the batch goes on (mm/folio.c).
 */
static bool offline(struct cell *cell, char *page)
{
	unsigned int attempt;

	for (attempt = 0; attempt <= RETRIES_MAX; attempt++) {
		if (!madvise(page, PAGE_BYTES, MADV_SOFT_OFFLINE))
			return true;
		if (errno != EBUSY)
			return false;
		cell->retries += attempt < RETRIES_MAX;
		cell_drain_lru();
	}
	errno = EBUSY;
	return false;
}

static int pull(struct cell *cell)
{
	uint64_t frame;
	size_t i;

	cell->asked = calloc(cell->pages, sizeof(*cell->asked));
	if (!cell->asked)
		fail(EXIT_FAILED, ENOMEM, "no memory for %zu pages", cell->pages);
	for (i = 0; i < PAGES_MAX && i < cell->pages; i++)
		cell->asked[i] = true;
	setting_undo("a poisoned frame", unpoison);
	for (i = 0; i < PAGES_MAX && i < cell->pages; i++) {
		char *page = cell->start + i * PAGE_BYTES;

		region_frames(page, 1, &frame);
		if (!frame) {
			/* A split folio of a file is unmapped, see unmap_folio(). */
			(void)*(volatile char *)page;
			region_frames(page, 1, &frame);
		}
		/* A huge page of hugetlbfs moves as a whole, at its first page. */
		if (frame != cell->frames_before[i])
			continue;
		if (!offline(cell, page))
			return errno;
		poisoned[poisoned_count++] = frame;
	}
	return 0;
}

const struct trigger soft_offline_triggers[] = {
	{ .name = "soft_offline", .purpose = "madvise(2) with MADV_SOFT_OFFLINE, page by page",
	  .pull = pull, .needs = UNPOISON },
	{ 0 },
};
