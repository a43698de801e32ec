// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A long-term pin of memory that is movable by its zone, which has to leave the
 * zone first: reason longterm_pin. Pinned as buffers that io_uring may use.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cell.h"

static int ring = -1;

/* By /proc/zoneinfo: a memory block may lie across two nodes, and has no one zone then. */
static void assert_movable(const struct cell *cell)
{
	unsigned long node, spanned = 0, start = 0;
	FILE *file = fopen("/proc/zoneinfo", "re");
	char line[256], zone[16] = "";
	bool found = false;
	size_t i;

	if (!file)
		fail(EXIT_FAILED, errno, "/proc/zoneinfo can't be opened");
	while (!found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Node %lu, zone %15s", &node, zone) == 2)
			continue;
		if (node != cell->from || strcmp(zone, "Movable"))
			continue;
		sscanf(line, " spanned %lu", &spanned);
		found = sscanf(line, " start_pfn: %lu", &start) == 1;
	}
	fclose(file);
	for (i = 0; found && i < cell->pages; i++)
		found = cell->frames_before[i] >= start &&
			cell->frames_before[i] - start < spanned;
	if (!found)
		fail(EXIT_PREMISE, 0, "the region is not in ZONE_MOVABLE of node %lu", cell->from);
}

static void prepare(struct cell *cell)
{
	struct io_uring_params parameters;

	(void)cell;
	memset(&parameters, 0, sizeof(parameters));
	ring = (int)syscall(SYS_io_uring_setup, 1, &parameters);
	if (ring < 0)
		fail(EXIT_PREMISE, errno, "io_uring can't be set up");
}

static int pull(struct cell *cell)
{
	struct iovec buffer = { cell->start, cell->size_bytes };

	assert_movable(cell);
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1))
		return errno;
	if (syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0))
		fail(EXIT_FAILED, errno, "buffers can't be unregistered");
	return 0;
}

static void restore(struct cell *cell)
{
	(void)cell;
	close(ring);
}

const struct trigger pin_triggers[] = {
	{ .name = "longterm_pin", .purpose = "buffers registered with io_uring, in ZONE_MOVABLE",
	  .prepare = prepare, .pull = pull, .restore = restore },
	{ 0 },
};
