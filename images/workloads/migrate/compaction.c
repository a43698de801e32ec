// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Compaction in its four forms: reason compaction. The movable zone is filled but for
 * its lower end, where the region then lies, and holes at its upper end, so that
 * compaction, which moves from the low frames of a zone to the high ones, has a place
 * for all of the region.
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
 * A hole is three quarters of a pageblock, free blocks of 1 MiB and 512 KiB: room for
 * every folio that compaction takes, and none for a huge page. Smaller ones would have
 * large folios split, and what can't be split ends the compaction of its zone (-ENOMEM
 * in compact_zone(), mm/compaction.c).
 */
#define BLOCK_PAGES REGION_PAGES
#define HOLE_PAGES (BLOCK_PAGES / 4 * 3)

/*
 * Room for the region at the zone's lower end, and the area with the holes at its upper
 * end, in sizes of the region. Some kinds need memory for themselves before the region
 * is made; the holes have room for all of that once more.
 */
#define LOW_PER_REGION 3
#define AREA_PER_REGION 5

#define HUGE_ORDER 9
#define PROACTIVENESS "/proc/sys/vm/compaction_proactiveness"

/* The background daemon looks every 500 ms; a direct read in flight takes 4 s. */
#define DAEMON_TIMEOUT_MS 2000

/*
 * Attempts in vain, one after the other. After each, compaction puts off twice as many
 * as before, up to 64, and starts anew with all pageblocks after these only
 * (compaction_restarting() of mm/compaction.c): 127 for each of the node's zones.
 */
#define VAIN_MAX 512

static int device = -1;

static char *area;
static size_t area_pages;
static uint64_t *area_frames;	/* one a page */
static uint64_t low_start, low_end;	/* the frames that the region is to have */

static bool is_hole(uint64_t frame)
{
	return frame % BLOCK_PAGES < HOLE_PAGES;
}

static void map_area(const struct cell *cell, size_t size_bytes)
{
	int error;

	area_pages = size_bytes / PAGE_BYTES;
	area_frames = calloc(area_pages, sizeof(*area_frames));
	if (!area_frames)
		fail(EXIT_FAILED, ENOMEM, "no memory for %zu frames", area_pages);
	area = region_map(size_bytes, cell->from);
	/* What a child has mapped, too, is not free when it is given back here. */
	if (madvise(area, size_bytes, MADV_DONTFORK))
		fail(EXIT_FAILED, errno, "the area can't be kept from children");
	error = region_populate(area, size_bytes);
	if (error)
		fail(EXIT_PREMISE, error, "%zu bytes on node %lu can't be fragmented", size_bytes,
		     cell->from);
	region_frames(area, area_pages, area_frames);
}

/*
 * Region and holes are at opposite ends: when compaction starts anew, it looks for folios
 * in the zone's lower half and for free pages in the upper one alone
 * (__reset_isolation_suitable() of mm/compaction.c).
 */
static void fragment(struct cell *cell)
{
	size_t low = LOW_PER_REGION * cell->mib / 2, high = AREA_PER_REGION * cell->mib / 2;
	struct clean_piece *pieces;
	size_t count, i;

	/* Otherwise the lists of each CPU would keep what is freed. */
	setting_set("/proc/sys/vm/percpu_pagelist_high_fraction", "256");
	clean_blocks_only(cell);
	/* The region is to find no other place. */
	count = clean_blocks_fill(cell, &pieces);
	if (count < low + high)
		fail(EXIT_PREMISE, 0, "node %lu has %zu movable huge pages, less than %zu",
		     cell->from, count, low + high);
	for (i = count - high; i < count; i++)
		region_unmap(pieces[i].start, REGION_BYTES);
	map_area(cell, high * REGION_BYTES);
	for (i = low; i-- > 0;)
		region_unmap(pieces[i].start, REGION_BYTES);
	low_start = pieces[0].frame;
	low_end = pieces[low - 1].frame + REGION_PAGES;
	free(pieces);
}

/* Compaction moves from low frames to high ones: all that is there has a place above it. */
static void make_holes(struct cell *cell)
{
	size_t first, next, i;

	for (first = 0; first < area_pages; first = next) {
		bool hole = is_hole(area_frames[first]);

		for (next = first + 1; next < area_pages && is_hole(area_frames[next]) == hole;)
			next++;
		if (hole && madvise(area + first * PAGE_BYTES, (next - first) * PAGE_BYTES,
				    MADV_DONTNEED))
			fail(EXIT_FAILED, errno, "a hole can't be made");
	}
	/* Without that many free pages beyond them the kernel wouldn't try. */
	watermarks_lower();
	cell->asked = calloc(cell->pages, sizeof(*cell->asked));
	if (!cell->asked)
		fail(EXIT_FAILED, ENOMEM, "no memory for %zu pages", cell->pages);
	for (i = 0; i < cell->pages; i++)
		cell->asked[i] = cell->frames_before[i] >= low_start &&
				 cell->frames_before[i] < low_end;
}

static int pull_node(struct cell *cell)
{
	char path[64];

	make_holes(cell);
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%lu/compact", cell->from);
	return file_write(path, "1") ? 0 : errno;
}

static int pull_all(struct cell *cell)
{
	make_holes(cell);
	return file_write("/proc/sys/vm/compact_memory", "1") ? 0 : errno;
}

static void open_device(void)
{
	device = open(COMPACT_TRIGGER_DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0)
		fail(EXIT_PREMISE, errno, COMPACT_TRIGGER_DEVICE " can't be opened");
}

/* Takes what free huge pages there are, or tries to have one more. Returns how many. */
static uint32_t allocate(const struct cell *cell, bool more)
{
	struct compact_trigger_run run = {
		.node = (uint32_t)cell->from, .order = HUGE_ORDER, .count = more,
		.flags = more ? COMPACT_TRIGGER_MORE : 0,
	};

	if (ioctl(device, COMPACT_TRIGGER_RUN, &run))
		fail(EXIT_PREMISE, errno, "huge pages can't be asked for");
	return run.allocated;
}

static void prepare_device(struct cell *cell)
{
	open_device();
	fragment(cell);
}

static void prepare_direct(struct cell *cell)
{
	/*
	 * So few and so large free blocks would be taken for a lack of memory instead
	 * of fragmentation (fragmentation_index() of mm/vmstat.c).
	 */
	setting_set("/proc/sys/vm/extfrag_threshold", "0");
	prepare_device(cell);
}

static int pull_direct(struct cell *cell)
{
	unsigned int vain;

	make_holes(cell);
	allocate(cell, false);
	do {
		for (vain = 0; vain < VAIN_MAX && frames_still(cell, false);)
			vain = allocate(cell, true) ? 0 : vain + 1;
		/* Direct compaction passes over what is being written. */
	} while (frames_still(cell, false) && frames_await_written(cell));
	return 0;
}

static int pull_proactive(struct cell *cell)
{
	make_holes(cell);
	allocate(cell, false);
	/* Writing it has the daemons look at once. */
	setting_set(PROACTIVENESS, "100");
	frames_await(cell, DAEMON_TIMEOUT_MS);
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
	  .prepare = prepare_direct, .pull = pull_direct, .restore = restore_device },
	{ .name = "compact_proactive", .purpose = "kcompactd, before anybody needs huge pages",
	  .prepare = prepare_device, .pull = pull_proactive, .restore = restore_device },
	{ 0 },
};
