// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fragments a node: fills it with 4 KiB pages, then frees every second one of
 * each 2 MiB region, so that half of the memory is free and no huge page can
 * be had without migration. Stays alive, and verifies every kept page when it
 * gets SIGUSR1.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "held_signals.h"
#include "kernel_state.h"
#include "options.h"
#include "pattern.h"
#include "region.h"
#include "report.h"

static const char usage[] =
	"usage: fragment --node N --cpu C [--fill-percent P]\n"
	"\n"
	"Fills P percent (default 99) of node N's free memory with 4 KiB pages,\n"
	"frees every second page, prints a \"ready\" event and waits. SIGUSR1:\n"
	"verifies every kept page, prints a \"verified\" event and exits. SIGTERM: exits.\n";

/*
 * Never filled: what keeps kswapd asleep (it wakes below the low watermark),
 * and as much again as per-CPU lists and lazy counters may hide.
 */
#define RESERVE_PAGES 1024

/* Pages 0, 2, 4, … of each region are kept. */
#define KEPT_IN_REGION (REGION_PAGES / 2)

struct fragments {
	char *start;
	size_t regions;
	uint32_t *frames;	/* of the kept pages at the time of "ready" */
};

static char *kept_page(const struct fragments *fragments, size_t index)
{
	return fragments->start + 2 * index * PAGE_BYTES;
}

/*
 * Populates one 2 MiB region after the other, writes the pages that are kept,
 * and counts the regions.
 */
static size_t fill(char *start, size_t most_regions, unsigned long node)
{
	size_t regions;

	for (regions = 0; regions < most_regions; regions++) {
		char *region = start + regions * REGION_BYTES;
		struct node_memory memory;
		size_t page;
		int error;

		/* Page tables and others take from the node as well: look near the end. */
		if (regions + regions / 16 >= most_regions) {
			node_memory_read(&memory, node);
			if (memory.free_pages < memory.high_pages + RESERVE_PAGES + REGION_PAGES)
				break;
		}
		error = region_populate(region, REGION_BYTES);
		if (error)
			fail(EXIT_FAILED, error, "region %zu can't be filled", regions);
		for (page = 0; page < REGION_PAGES; page += 2)
			pattern_fill(region + page * PAGE_BYTES, PAGE_BYTES, 0);
	}
	return regions;
}

struct placed_region {
	size_t region;
	uint64_t frame;		/* of its first page */
};

static int by_falling_frame(const void *left, const void *right)
{
	uint64_t a = ((const struct placed_region *)left)->frame;
	uint64_t b = ((const struct placed_region *)right)->frame;

	return (a < b) - (a > b);
}

/*
 * The region with the highest frames first, so that in the end the low frames
 * head the free lists. The other way round, compaction's fast search for a
 * block to migrate from would find blocks near the end of the zone, where its
 * two scanners meet after a few blocks, and give up. In a large zone that is a
 * few percent of the attempts, in a small one most of them.
 */
static void free_every_second(const struct fragments *fragments)
{
	struct placed_region *order = calloc(fragments->regions, sizeof(*order));
	size_t i, page;

	if (!order)
		fail(EXIT_FAILED, ENOMEM, "no memory for the regions' order");
	for (i = 0; i < fragments->regions; i++) {
		order[i].region = i;
		region_frames(fragments->start + i * REGION_BYTES, 1, &order[i].frame);
	}
	qsort(order, fragments->regions, sizeof(*order), by_falling_frame);
	for (i = 0; i < fragments->regions; i++) {
		char *region = fragments->start + order[i].region * REGION_BYTES;

		for (page = 1; page < REGION_PAGES; page += 2)
			if (madvise(region + page * PAGE_BYTES, PAGE_BYTES, MADV_DONTNEED))
				fail(EXIT_FAILED, errno, "a page can't be freed");
	}
	free(order);
}

/*
 * Notes the frame of each kept page, and returns how many are not where they
 * were at the last call: migration as a process sees it, beside the kernel's
 * own count. 32 bits of frame number reach to 16 TiB.
 */
static uint64_t update_frames(struct fragments *fragments)
{
	uint64_t frames[REGION_PAGES], moved = 0;
	size_t region, i;

	for (region = 0; region < fragments->regions; region++) {
		uint32_t *known = fragments->frames + region * KEPT_IN_REGION;

		region_frames(fragments->start + region * REGION_BYTES, REGION_PAGES, frames);
		for (i = 0; i < KEPT_IN_REGION; i++) {
			moved += known[i] != (uint32_t)frames[2 * i];
			known[i] = (uint32_t)frames[2 * i];
		}
	}
	return moved;
}

static void verify(struct fragments *fragments)
{
	size_t index, kept = fragments->regions * KEPT_IN_REGION;
	struct verification verification = { 0 };
	uint64_t moved = update_frames(fragments);

	for (index = 0; index < kept; index++)
		verify_page(&verification, kept_page(fragments, index), 2 * index, 0);
	report("{\"event\":\"verified\",\"pages_moved\":%" PRIu64 ",", moved);
	report_verification(&verification);
	report("}");
	report_end();
}

/* Nothing may end or enlarge this process behind the experiment's back. */
static void protect(void)
{
	if (!file_write("/proc/self/oom_score_adj", "-1000"))
		fail(EXIT_FAILED, errno, "oom_score_adj can't be set");
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		fail(EXIT_FAILED, errno, "huge pages can't be switched off");
}

int main(int argc, char **argv)
{
	unsigned long node = 0, cpu = 0, percent = 99;
	const struct option_number numbers[] = {
		{ "node", &node, 0, 63, false },
		{ "cpu", &cpu, 0, 1023, false },
		{ "fill-percent", &percent, 1, 100, true },
		{ NULL, NULL, 0, 0, false },
	};
	const struct option_flag flags[] = { { NULL, NULL } };
	struct node_memory before, after;
	struct fragments fragments;
	uint64_t times_ns[3];
	size_t most;

	options_read(argc, argv, usage, numbers, flags);
	signal_hold(SIGUSR1);
	signal_hold(SIGTERM);
	pin_to_cpu(cpu);
	protect();
	node_memory_read(&before, node);
	most = before.free_pages * percent / 100 / REGION_PAGES;
	fragments.start = region_map(most * REGION_BYTES, node);
	fragments.frames = calloc(most * KEPT_IN_REGION, sizeof(*fragments.frames));
	if (!fragments.frames)
		fail(EXIT_FAILED, ENOMEM, "no memory for frame numbers");
	/* Have its memory now: later it would come from the holes. */
	memset(fragments.frames, 0xff, most * KEPT_IN_REGION * sizeof(*fragments.frames));
	times_ns[0] = monotonic_ns();
	fragments.regions = fill(fragments.start, most, node);
	times_ns[1] = monotonic_ns();
	free_every_second(&fragments);
	times_ns[2] = monotonic_ns();
	update_frames(&fragments);
	node_memory_read(&after, node);
	report("{\"event\":\"ready\",\"node\":%lu,\"regions\":%zu,\"pages_filled\":%zu,"
	       "\"pages_kept\":%zu,\"free_pages_before\":%" PRIu64 ",\"free_pages_after\":%" PRIu64
	       ",\"free_order9_before\":%" PRIu64 ",\"free_order9_after\":%" PRIu64
	       ",\"fill_ns\":%" PRIu64 ",\"release_ns\":%" PRIu64 "}",
	       node, fragments.regions, fragments.regions * REGION_PAGES,
	       fragments.regions * KEPT_IN_REGION, before.free_pages, after.free_pages,
	       before.order9_blocks, after.order9_blocks, times_ns[1] - times_ns[0],
	       times_ns[2] - times_ns[1]);
	report_end();
	if (signal_await() == SIGUSR1)
		verify(&fragments);
	return 0;
}
