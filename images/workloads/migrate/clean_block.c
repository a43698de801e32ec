// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clean_block.h"
#include "folio_size.h"
#include "memory_block.h"
#include "options.h"
#include "page_flags.h"
#include "region.h"
#include "setting.h"

#define BLOCKS_MAX 512
#define PIECES_MAX 4096

static bool has_reserved(uint64_t block)
{
	uint64_t frames = memory_block_frames(), i;
	uint64_t *flags = calloc(frames, sizeof(*flags));
	bool found = false;

	if (!flags)
		fail(EXIT_FAILED, ENOMEM, "no memory for the flags of a memory block");
	page_flags_read(block * frames, frames, flags);
	for (i = 0; i < frames; i++)
		found |= !!(flags[i] & FLAG(RESERVED));
	free(flags);
	return found;
}

static bool is_clean(uint64_t frame)
{
	static enum { UNKNOWN, CLEAN, DIRTY } known[BLOCKS_MAX];
	uint64_t block = frame / memory_block_frames();

	if (block >= BLOCKS_MAX)
		return false;
	if (known[block] == UNKNOWN)
		known[block] = memory_block_movable(block) && !has_reserved(block) ? CLEAN : DIRTY;
	return known[block] == CLEAN;
}

/* 2 MiB of the node, and how many pages of it are in clean blocks. */
struct piece {
	char *start;
	bool clean[REGION_PAGES];
	size_t clean_count;
};

static struct piece map_piece(const struct cell *cell, bool huge)
{
	struct piece piece = { .start = region_map(REGION_BYTES, cell->from) };
	uint64_t frames[REGION_PAGES];
	size_t i;
	int error;

	madvise(piece.start, REGION_BYTES, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	error = region_populate(piece.start, REGION_BYTES);
	if (error)
		fail(EXIT_PREMISE, error, "node %lu has no block that can go off line",
		     cell->from);
	region_frames(piece.start, REGION_PAGES, frames);
	for (i = 0; i < REGION_PAGES; i++) {
		piece.clean[i] = is_clean(frames[i]);
		piece.clean_count += piece.clean[i];
	}
	return piece;
}

/* Takes 2 MiB, and tells whether all of it is in clean blocks: then it is given back. */
static bool take_piece(const struct cell *cell, bool huge)
{
	struct piece piece = map_piece(cell, huge);
	bool clean = piece.clean_count == REGION_PAGES;

	if (clean)
		region_unmap(piece.start, REGION_BYTES);
	return clean;
}

static void take_pieces(const struct cell *cell, bool huge)
{
	static size_t pieces;

	while (!take_piece(cell, huge))
		if (++pieces == PIECES_MAX)
			fail(EXIT_PREMISE, 0, "node %lu has too much to fill", cell->from);
}

void watermarks_lower(void)
{
	setting_set("/proc/sys/vm/min_free_kbytes", "4096");
}

void clean_blocks_fill(struct cell *cell)
{
	size_t pieces = 0, i;
	struct piece piece;

	folio_size_allow(REGION_BYTES / 1024);
	watermarks_lower();
	do {
		piece = map_piece(cell, true);
		if (++pieces == PIECES_MAX)
			fail(EXIT_PREMISE, 0, "node %lu has too much to fill", cell->from);
	} while (piece.clean_count == REGION_PAGES);
	folio_size_restore();
	/* Only what the movable zone had no room for comes from elsewhere. */
	for (i = 0; i < REGION_PAGES; i++)
		if (!piece.clean[i] &&
		    madvise(piece.start + i * PAGE_BYTES, PAGE_BYTES, MADV_DONTNEED))
			fail(EXIT_FAILED, errno, "a page can't be given back");
}

void clean_blocks_only(struct cell *cell)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN), cpu;

	/* In large pieces first, and then the remains between them. */
	folio_size_allow(REGION_BYTES / 1024);
	take_pieces(cell, true);
	folio_size_restore();
	/*
	 * What has been freed stays on the list of the CPU that freed it (pcplist,
	 * mm/page_alloc.c), where no other finds it until that one is too long: a
	 * later page of the region could come from there.
	 */
	for (cpu = 0; cpu < cpus; cpu++) {
		pin_to_cpu((unsigned long)cpu);
		take_pieces(cell, false);
	}
	pin_to_cpu(cell->cpu);
}
