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

static int device = -1;

static void prepare(struct cell *cell)
{
	device = open(CONTIG_TRIGGER_DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0)
		fail(EXIT_PREMISE, errno, CONTIG_TRIGGER_DEVICE " can't be opened");
	/* A pageblock with something that can't move is refused as a whole. */
	clean_blocks_only(cell);
}

static int pull(struct cell *cell)
{
	struct frame_run *runs;
	size_t count = frames_before(cell, &runs), i;
	int error = 0;

	for (i = 0; i < count && !error; i++) {
		struct contig_trigger_range range = { runs[i].first, runs[i].count };

		if (ioctl(device, CONTIG_TRIGGER_ALLOCATE, &range))
			error = errno;
	}
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
