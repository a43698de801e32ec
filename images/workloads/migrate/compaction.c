// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Compaction in its four forms: reason compaction. An area of memory fills the
 * movable zone: the region lies in its lowest part, and holes are made in the rest,
 * so that compaction, which moves from the low frames of a zone to its high ones,
 * has a place for all of the region.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
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
#include "memory_block.h"
#include "region.h"
#include "setting.h"
#include "state.h"
#include "zone.h"

/*
 * A hole is three quarters of a pageblock, free blocks of 1 MiB and 512 KiB: room for
 * every folio that compaction takes, and none for a huge page. Smaller ones would have
 * large folios split, and what can't be split ends the compaction of its zone (-ENOMEM
 * in compact_zone(), mm/compaction.c).
 */
#define BLOCK_PAGES REGION_PAGES
#define HOLE_PAGES (BLOCK_PAGES / 4 * 3)

/*
 * The area, and its lowest part, in sizes of the region. Some kinds need memory for
 * themselves before the region is made; the holes above have room for it once more,
 * and for what others have below the area, however large the region is.
 */
#define AREA_PER_REGION 6
#define AREA_FOR_OTHERS (16ul << 20)
#define LOW_PER_REGION 3

/*
 * What the lists of the CPUs keep compaction doesn't find: of the one that frees, up to
 * a 256th of the zone shared by the node's CPUs (zone_highsize() of mm/page_alloc.c).
 */
#define ROOM_KEPT REGION_PAGES

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

/* Of the background daemon, beside the first, as long as it moves something. */
#define WAKES_MAX 4

static int device = -1;

static char *area;
static size_t area_pages;
static uint64_t *area_frames;	/* one a page */
static uint64_t low_start, low_end;	/* the frames of its lowest part */

static int by_frame(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

static void find_low_part(size_t region_pages)
{
	uint64_t *sorted = malloc(area_pages * sizeof(*sorted));

	if (!sorted)
		fail(EXIT_FAILED, ENOMEM, "no memory for %zu frames", area_pages);
	memcpy(sorted, area_frames, area_pages * sizeof(*sorted));
	qsort(sorted, area_pages, sizeof(*sorted), by_frame);
	low_start = sorted[0];
	low_end = sorted[LOW_PER_REGION * region_pages];
	low_end -= low_end % BLOCK_PAGES;
	free(sorted);
}

static bool is_low(uint64_t frame)
{
	return frame >= low_start && frame < low_end;
}

static bool is_hole(uint64_t frame)
{
	return frame >= low_end && frame % BLOCK_PAGES < HOLE_PAGES;
}

/* Those pages of the area that are in frames of a sort. */
static void give_back(bool (*wanted)(uint64_t frame))
{
	size_t first, next;

	for (first = 0; first < area_pages; first = next) {
		bool given = wanted(area_frames[first]);

		for (next = first + 1; next < area_pages && wanted(area_frames[next]) == given;)
			next++;
		if (given && madvise(area + first * PAGE_BYTES, (next - first) * PAGE_BYTES,
				     MADV_DONTNEED))
			fail(EXIT_FAILED, errno, "a hole can't be made");
	}
}

static void fragment(struct cell *cell)
{
	size_t size_bytes = AREA_PER_REGION * (cell->mib << 20) + AREA_FOR_OTHERS;
	int error;

	/* What others have cached lies in the area's way, and would take its holes. */
	cell_drop_cache();
	/* The highest frames of the zone, where nothing else is free. */
	clean_blocks_only(cell);
	/* Otherwise the lists of each CPU would keep what is freed. */
	setting_set("/proc/sys/vm/percpu_pagelist_high_fraction", "256");
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
	/* The region is to find no other place. */
	clean_blocks_fill(cell);
	find_low_part((cell->mib << 20) / PAGE_BYTES);
	give_back(is_low);
}

/* The free pages that compaction can come to while it moves what is below all holes. */
static size_t count_room(void)
{
	size_t room = 0, i;

	/* It takes none of the block after the one that it empties (isolate_freepages()). */
	for (i = 0; i < area_pages; i++)
		room += is_hole(area_frames[i]) && area_frames[i] >= low_end + BLOCK_PAGES;
	return room;
}

/*
 * What is below all holes in their zone is to move: the region, and what others have
 * there. Without a free page above for all of it compaction would end before.
 */
static void assert_room(const struct cell *cell)
{
	uint64_t first = zone_movable_start(cell->from);
	size_t below = zone_count_compactable(first, low_end), room = count_room();

	if (low_end <= first)
		fail(EXIT_PREMISE, 0, "ZONE_MOVABLE of node %lu is too small for the area",
		     cell->from);
	if (below + ROOM_KEPT > room)
		fail(EXIT_PREMISE, 0, "%zu pages are to move, and %zu above them are free", below,
		     room);
}

static void make_holes(struct cell *cell)
{
	give_back(is_hole);
	assert_room(cell);
	/* Without that many free pages above them the kernel wouldn't try. */
	watermarks_lower();
	memory_blocks_ask(cell, low_end);
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

static void wake_daemon(const struct cell *cell)
{
	/* Writing it has the daemons look at once. */
	setting_set(PROACTIVENESS, "100");
	frames_await(cell, DAEMON_TIMEOUT_MS);
	/* The daemon may be in the middle of it. */
	setting_set(PROACTIVENESS, "0");
	frames_settle(cell, DAEMON_TIMEOUT_MS);
}

static int pull_proactive(struct cell *cell)
{
	bool writing = state_count(cell, FLAG(WRITEBACK));
	size_t still, before;
	unsigned int wakes;

	make_holes(cell);
	allocate(cell, false);
	wake_daemon(cell);
	/*
	 * It passes over what is being written, and when that was of no use it puts the
	 * next pass off for 32 s (COMPACT_MAX_DEFER_SHIFT in kcompactd(), mm/compaction.c),
	 * unless it is asked.
	 */
	still = writing ? frames_still(cell, false) : 0;
	for (before = still + 1, wakes = 0; still && still < before && wakes < WAKES_MAX; wakes++) {
		if (!frames_await_written(cell))
			cell->retries++;
		wake_daemon(cell);
		before = still;
		still = frames_still(cell, false);
	}
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
