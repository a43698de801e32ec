// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Somebody needs just these page frames for memory in one piece, as CMA and
 * gigantic pages do: reason contig_range. By the module contig_trigger.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cell.h"
#include "clean_block.h"
#include "contig_trigger.h"
#include "frames.h"

/* Of one range, before it counts as one that can't be had. */
#define RETRIES_MAX 3

static int device = -1;

static void prepare(struct cell *cell)
{
	device = open(CONTIG_TRIGGER_DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0)
		fail(EXIT_PREMISE, errno, CONTIG_TRIGGER_DEVICE " can't be opened");
	/* A pageblock with something that can't move is refused as a whole. */
	clean_blocks_only(cell);
}

/*
 * A page that is not on a list of reclaim just now is not isolated, and then the range
 * is not free in the end: EBUSY (test_pages_isolated() in alloc_contig_frozen_range()
 * of mm/page_alloc.c).
 */
static int allocate(struct cell *cell, const struct frame_run *run)
{
	struct contig_trigger_range range = { run->first, run->count };
	unsigned int attempt;

	for (attempt = 0; ioctl(device, CONTIG_TRIGGER_ALLOCATE, &range); attempt++) {
		if (errno != EBUSY || attempt == RETRIES_MAX)
			return errno;
		cell->retries++;
		cell_drain_lru();
	}
	return 0;
}

static int pull(struct cell *cell)
{
	struct frame_run *runs;
	size_t count = frames_before(cell, &runs), i;
	int error = 0;

	for (i = 0; i < count && !error; i++)
		error = allocate(cell, &runs[i]);
	free(runs);
	return error;
}

static void restore(struct cell *cell)
{
	(void)cell;
	close(device);
}

const struct trigger contig_triggers[] = {
	{ .name = "contig_range", .purpose = "alloc_contig_range() of the region's own frames",
	  .prepare = prepare, .pull = pull, .restore = restore },
	{ 0 },
};
