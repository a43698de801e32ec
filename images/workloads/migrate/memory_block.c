// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory blocks go off line, and what is in them elsewhere: reason memory_hotplug. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clean_block.h"
#include "frames.h"
#include "kernel_state.h"
#include "memory_block.h"
#include "region.h"
#include "setting.h"

#define MEMORY "/sys/devices/system/memory"

static uint64_t *offline;
static size_t offline_count;

uint64_t memory_block_frames(void)
{
	static uint64_t frames;
	char text[64];

	if (!frames) {
		setting_read(MEMORY "/block_size_bytes", text, sizeof(text));
		frames = strtoull(text, NULL, 16) / PAGE_BYTES;
	}
	if (!frames)
		fail(EXIT_FAILED, 0, "the size of a memory block can't be understood");
	return frames;
}

size_t memory_blocks_of(const struct cell *cell, uint64_t **blocks)
{
	struct frame_run *runs;
	size_t count = 0, run_count = frames_before(cell, &runs), i;
	uint64_t block_frames = memory_block_frames(), frame;

	*blocks = calloc(cell->pages, sizeof(**blocks));
	if (!*blocks)
		fail(EXIT_FAILED, ENOMEM, "no memory for blocks");
	for (i = 0; i < run_count; i++)
		for (frame = runs[i].first; frame < runs[i].first + runs[i].count; frame++)
			if (!count || (*blocks)[count - 1] != frame / block_frames)
				(*blocks)[count++] = frame / block_frames;
	free(runs);
	return count;
}

bool memory_block_movable(uint64_t block)
{
	static uint64_t asked = UINT64_MAX;
	static bool movable;
	char path[96], zones[64];

	/* Page after page of the same one. */
	if (block == asked)
		return movable;

	snprintf(path, sizeof(path), MEMORY "/memory%" PRIu64 "/valid_zones", block);
	/* Of a block that is on line: the one zone that all of it is in. */
	setting_read(path, zones, sizeof(zones));
	asked = block;
	movable = !strcmp(zones, "Movable");
	return movable;
}

void memory_blocks_ask(struct cell *cell, uint64_t end)
{
	uint64_t block_frames = memory_block_frames();
	size_t i;

	cell->asked = calloc(cell->pages, sizeof(*cell->asked));
	if (!cell->asked)
		fail(EXIT_FAILED, ENOMEM, "no memory for %zu pages", cell->pages);
	for (i = 0; i < cell->pages; i++) {
		uint64_t frame = cell->frames_before[i];

		cell->asked[i] = frame < end && memory_block_movable(frame / block_frames);
	}
}

static int set_state(uint64_t block, const char *state)
{
	char path[96];

	snprintf(path, sizeof(path), MEMORY "/memory%" PRIu64 "/state", block);
	return file_write(path, state) ? 0 : errno;
}

static bool online_again(void)
{
	while (offline_count)
		if (set_state(offline[--offline_count], "online_movable"))
			return false;
	return true;
}

/*
 * What was freed after the blocks that can't go off line had been filled may have gone
 * to the region: those pages are not to move. Returns how many blocks are in `offline`.
 */
static size_t ask_for_movable(struct cell *cell)
{
	size_t count = memory_blocks_of(cell, &offline), kept = 0, i;

	for (i = 0; i < count; i++)
		if (memory_block_movable(offline[i]))
			offline[kept++] = offline[i];
	if (!kept)
		fail(EXIT_PREMISE, 0, "no memory block of the region is in ZONE_MOVABLE");
	memory_blocks_ask(cell, UINT64_MAX);
	return kept;
}

static int pull(struct cell *cell)
{
	size_t count, i;
	int error = 0;

	count = ask_for_movable(cell);
	setting_undo("memory off line", online_again);
	for (i = 0; i < count && !error; i++) {
		error = set_state(offline[i], "offline");
		if (!error)
			offline_count = i + 1;
	}
	return error;
}

const struct trigger memory_block_triggers[] = {
	{ .name = "offline", .purpose = "memory blocks go off line",
	  .prepare = clean_blocks_only, .pull = pull,
	  .needs = MEMORY "/block_size_bytes" },
	{ 0 },
};
