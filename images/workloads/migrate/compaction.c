// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Compaction in its four forms: reason compaction. The region lies in the holes
 * of a larger area, the rest of which is in use, so that its node has
 * something to compact.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cell.h"
#include "clean_block.h"
#include "compact_trigger.h"
#include "frames.h"
#include "kernel_state.h"
#include "region.h"
#include "setting.h"

/*
 * A hole has room for an aligned folio of 64 KiB, wherever it starts. A period of
 * 32 pages would hide the holes from asynchronous compaction: where it finds
 * nothing, it looks at every 32nd page alone (mm/compaction.c, stride).
 */
#define HOLE_PAGES 31
#define KEPT_PAGES 17
#define PERIOD_BYTES ((HOLE_PAGES + KEPT_PAGES) * PAGE_BYTES)

/* The area, in sizes of the region. */
#define AREA_PER_REGION 8

#define HUGE_ORDER 9
#define PROACTIVENESS "/proc/sys/vm/compaction_proactiveness"

/* The background daemon looks every 500 ms. */
#define DAEMON_TIMEOUT_MS 3000

static int device = -1;

struct hole {
	char *start;
	uint64_t frame;		/* of its first page */
};

static int by_falling_frame(const void *left, const void *right)
{
	uint64_t a = ((const struct hole *)left)->frame;
	uint64_t b = ((const struct hole *)right)->frame;

	return (a < b) - (a > b);
}

/*
 * Compaction moves from the low frames of a zone to the high ones. Holes that
 * are made last are filled first: let these be the lowest.
 */
static void make_holes(char *area, size_t size_bytes)
{
	size_t count = size_bytes / PERIOD_BYTES, i;
	struct hole *holes = calloc(count, sizeof(*holes));

	if (!holes)
		fail(EXIT_FAILED, ENOMEM, "no memory for the order of %zu holes", count);
	for (i = 0; i < count; i++) {
		holes[i].start = area + i * PERIOD_BYTES;
		region_frames(holes[i].start, 1, &holes[i].frame);
	}
	qsort(holes, count, sizeof(*holes), by_falling_frame);
	for (i = 0; i < count; i++)
		if (madvise(holes[i].start, HOLE_PAGES * PAGE_BYTES, MADV_DONTNEED))
			fail(EXIT_FAILED, errno, "a hole can't be made");
	free(holes);
}

static void fragment(struct cell *cell)
{
	size_t size_bytes = AREA_PER_REGION * (cell->mib << 20);
	char *area;
	int error;

	/* The highest frames of the zone, where nothing else is free. */
	clean_blocks_only(cell);
	/* Otherwise the lists of each CPU would keep what is freed. */
	setting_set("/proc/sys/vm/percpu_pagelist_high_fraction", "256");
	area = region_map(size_bytes, cell->from);
	error = region_populate(area, size_bytes);
	if (error)
		fail(EXIT_PREMISE, error, "%zu bytes on node %lu can't be fragmented", size_bytes,
		     cell->from);
	make_holes(area, size_bytes);
}

static int pull_node(struct cell *cell)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%lu/compact", cell->from);
	return file_write(path, "1") ? 0 : errno;
}

static int pull_all(struct cell *cell)
{
	(void)cell;
	return file_write("/proc/sys/vm/compact_memory", "1") ? 0 : errno;
}

static void open_device(void)
{
	device = open(COMPACT_TRIGGER_DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0)
		fail(EXIT_PREMISE, errno, COMPACT_TRIGGER_DEVICE " can't be opened");
}

/* Takes what free huge pages there are, and then `count` that need compaction. */
static int allocate(const struct cell *cell, uint32_t count)
{
	struct compact_trigger_run run = {
		.node = (uint32_t)cell->from, .order = HUGE_ORDER, .count = count,
	};

	return ioctl(device, COMPACT_TRIGGER_RUN, &run) ? errno : 0;
}

static void prepare_device(struct cell *cell)
{
	open_device();
	fragment(cell);
}

static int pull_direct(struct cell *cell)
{
	/* As many as the holes that are left could give. */
	return allocate(cell, (uint32_t)((AREA_PER_REGION / 2 - 1) * cell->mib / 2));
}

static int pull_proactive(struct cell *cell)
{
	int error = allocate(cell, 0);

	if (error)
		return error;
	/* Writing it has the daemons look at once. */
	setting_set(PROACTIVENESS, "100");
	frames_await(cell, 50, DAEMON_TIMEOUT_MS);
	/* The daemon may be in the middle of it. */
	setting_set(PROACTIVENESS, "0");
	frames_settle(cell, DAEMON_TIMEOUT_MS);
	return 0;
}

static void restore_device(struct cell *cell)
{
	(void)cell;
	/* What is held is freed with it. */
	close(device);
}

const struct trigger compaction_triggers[] = {
	{ .name = "compact_node", .purpose = "compaction of the region's node, by sysfs",
	  .prepare = fragment, .pull = pull_node },
	{ .name = "compact_memory", .purpose = "compaction of all nodes, by sysctl",
	  .prepare = fragment, .pull = pull_all },
	{ .name = "compact_direct", .purpose = "huge pages allocated where there are none",
	  .prepare = prepare_device, .pull = pull_direct, .restore = restore_device },
	{ .name = "compact_proactive", .purpose = "kcompactd, before anybody needs huge pages",
	  .prepare = prepare_device, .pull = pull_proactive, .restore = restore_device },
	{ 0 },
};
