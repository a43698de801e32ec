// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kernel-page-flags.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clean_block.h"
#include "folio_size.h"
#include "memory_block.h"
#include "region.h"

#ifndef KPF_RESERVED
#define KPF_RESERVED 32		/* include/linux/kernel-page-flags.h, for debugging */
#endif

#define BLOCKS_MAX 512
#define PIECES_MAX 4096

static bool has_reserved(uint64_t block)
{
	uint64_t frames = memory_block_frames(), i;
	uint64_t *flags = calloc(frames, sizeof(*flags));
	int file = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	bool found = false;
	ssize_t got;

	if (!flags || file < 0)
		fail(EXIT_FAILED, errno, "/proc/kpageflags can't be opened");
	got = pread(file, flags, frames * sizeof(*flags),
		    (off_t)(block * frames * sizeof(*flags)));
	close(file);
	if (got < 0)
		fail(EXIT_FAILED, errno, "/proc/kpageflags can't be read");
	for (i = 0; i < (uint64_t)got / sizeof(*flags); i++)
		found |= (flags[i] >> KPF_RESERVED) & 1;
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

/* Takes 2 MiB, and tells whether all of it is in clean blocks: then it is given back. */
static bool take_piece(const struct cell *cell, bool huge)
{
	char *piece = region_map(REGION_BYTES, cell->from);
	uint64_t frames[REGION_PAGES];
	bool clean = true;
	size_t i;
	int error;

	madvise(piece, REGION_BYTES, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	error = region_populate(piece, REGION_BYTES);
	if (error)
		fail(EXIT_PREMISE, error, "node %lu has no block that can go off line",
		     cell->from);
	region_frames(piece, REGION_PAGES, frames);
	for (i = 0; i < REGION_PAGES; i++)
		clean &= is_clean(frames[i]);
	if (clean)
		region_unmap(piece, REGION_BYTES);
	return clean;
}

void clean_blocks_only(struct cell *cell)
{
	size_t pieces = 0;

	/* In large pieces first, and then the remains between them. */
	folio_size_allow(REGION_BYTES / 1024);
	while (!take_piece(cell, true))
		if (++pieces == PIECES_MAX)
			fail(EXIT_PREMISE, 0, "node %lu has too much to fill", cell->from);
	folio_size_restore();
	while (!take_piece(cell, false))
		if (++pieces == PIECES_MAX)
			fail(EXIT_PREMISE, 0, "node %lu has too much to fill", cell->from);
}
