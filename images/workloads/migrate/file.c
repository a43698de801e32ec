// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Folios of the page cache of file systems. With ext4 they have buffer heads
 * (buffer_migrate_folio), with XFS they are large and have none (filemap_migrate_folio).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cell.h"
#include "disk.h"
#include "file.h"
#include "region.h"
#include "state.h"
#include "ways.h"

#define FAST 0ul
#define SLOW 300000000ul	/* nanoseconds, far longer than a migration takes */
#define PATH_BYTES (DISK_PATH_BYTES + 16)

static const struct disk ext4 = {
	.name = "labext4", .mib = 64, .completion_ns = FAST,
	.file_system = "ext4", .image = "/lib/disks/ext4",
};

static const struct disk ext4_1k = {
	.name = "labext4-1k", .mib = 64, .completion_ns = FAST,
	.file_system = "ext4", .image = "/lib/disks/ext4-1k",
};

static const struct disk ext4_slow = {
	.name = "labext4-slow", .mib = 64, .completion_ns = SLOW,
	.file_system = "ext4", .image = "/lib/disks/ext4",
};

static const struct disk xfs = {
	.name = "labxfs", .mib = 320, .completion_ns = FAST,
	.file_system = "xfs", .image = "/lib/disks/xfs",
};

/* Without nouuid XFS refuses a second file system that was made from the same image. */
static const struct disk xfs_slow = {
	.name = "labxfs-slow", .mib = 320, .completion_ns = SLOW,
	.file_system = "xfs", .image = "/lib/disks/xfs", .options = "nouuid",
};

static int file = -1;
static char file_path[PATH_BYTES];

void file_make(struct cell *cell, const char *path, int flags, size_t chunk_bytes)
{
	size_t at;

	snprintf(file_path, sizeof(file_path), "%s", path);
	/* A cell that ended early has left its file behind. */
	if ((flags & O_EXCL) && unlink(file_path) && errno != ENOENT)
		fail(EXIT_PREMISE, errno, "%s can't be removed", file_path);
	file = open(file_path, O_RDWR | O_CLOEXEC | flags, 0600);
	if (file < 0)
		fail(EXIT_PREMISE, errno, "%s can't be opened", file_path);
	/* What is written there is a function of where it will be mapped. */
	cell->start = region_map(cell->size_bytes, cell->from);
	cell_fill(cell);
	cell_bind(cell->from);
	for (at = 0; at < cell->size_bytes; at += chunk_bytes)
		if (pwrite(file, cell->start + at, chunk_bytes, (off_t)at) !=
		    (ssize_t)chunk_bytes)
			fail(EXIT_PREMISE, errno, "%s can't be written", file_path);
	cell_free_choice();
	if (mmap(cell->start, cell->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 file, 0) == MAP_FAILED)
		fail(EXIT_FAILED, errno, "%s can't be mapped", file_path);
}

void file_clean(struct cell *cell)
{
	(void)cell;
	if (fsync(file))
		fail(EXIT_PREMISE, errno, "%s can't be written to its disk", file_path);
}

void file_touch(struct cell *cell)
{
	size_t i;

	for (i = 0; i < cell->pages; i++)
		(void)*(volatile char *)(cell->start + i * PAGE_BYTES);
}

static void open_on(struct cell *cell, const struct disk *disk, unsigned long folio_kib)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s/region", disk_mount(disk, cell->from));
	cell_set_size(cell, folio_kib);
	/* As many pages as one call writes make a folio, where the file system can. */
	file_make(cell, path, O_CREAT | O_EXCL, folio_kib * 1024);
}

static void make_clean(struct cell *cell, const struct disk *disk, unsigned long folio_kib)
{
	open_on(cell, disk, folio_kib);
	file_clean(cell);
	file_touch(cell);
	state_mark_young(cell);
}

static void make_dirty(struct cell *cell, const struct disk *disk, unsigned long folio_kib)
{
	open_on(cell, disk, folio_kib);
	file_touch(cell);
	state_mark(cell);
}

static void make_writeback(struct cell *cell, const struct disk *disk, unsigned long folio_kib)
{
	open_on(cell, disk, folio_kib);
	file_touch(cell);
	if (sync_file_range(file, 0, (off_t)cell->size_bytes, SYNC_FILE_RANGE_WRITE))
		fail(EXIT_PREMISE, errno, "writeback can't be started");
}

static void make_ext4_clean(struct cell *cell)
{
	make_clean(cell, &ext4, 4);
}

static void make_ext4_dirty(struct cell *cell)
{
	make_dirty(cell, &ext4, 4);
}

static void make_ext4_1k_dirty(struct cell *cell)
{
	make_dirty(cell, &ext4_1k, 4);
}

static void make_ext4_writeback(struct cell *cell)
{
	make_writeback(cell, &ext4_slow, 4);
}

static void make_xfs_clean(struct cell *cell)
{
	make_clean(cell, &xfs, 64);
}

static void make_xfs_dirty(struct cell *cell)
{
	make_dirty(cell, &xfs, 64);
}

static void make_xfs_writeback(struct cell *cell)
{
	make_writeback(cell, &xfs_slow, 64);
}

static void prove(struct cell *cell, uint64_t set, uint64_t clear)
{
	state_assert(cell, FLAG(UPTODATE) | FLAG(MMAP) | set,
		     FLAG(ANON) | FLAG(SWAPBACKED) | FLAG(SWAPCACHE) | clear);
	state_assert_mappings(cell, 1);
	cell_assert_folios(cell);
}

/* Buffer heads hang at a folio's private. */
static void prove_ext4_clean(struct cell *cell)
{
	prove(cell, FLAG(PRIVATE), FLAG(DIRTY) | FLAG(WRITEBACK));
}

static void prove_ext4_dirty(struct cell *cell)
{
	prove(cell, FLAG(PRIVATE) | FLAG(DIRTY), FLAG(WRITEBACK));
}

static void prove_ext4_writeback(struct cell *cell)
{
	prove(cell, FLAG(PRIVATE) | FLAG(WRITEBACK), 0);
}

static void prove_xfs_clean(struct cell *cell)
{
	prove(cell, 0, FLAG(DIRTY) | FLAG(WRITEBACK));
}

static void prove_xfs_dirty(struct cell *cell)
{
	prove(cell, FLAG(DIRTY), FLAG(WRITEBACK));
}

static void prove_xfs_writeback(struct cell *cell)
{
	prove(cell, FLAG(WRITEBACK), 0);
}

/* A slow disk takes its time, and so does whoever reads the state of each page. */
static void yet_in_writeback(struct cell *cell)
{
	size_t count = state_count(cell, FLAG(WRITEBACK));

	if (count != cell->pages)
		fail(EXIT_PREMISE, 0, "%zu of %zu pages are under writeback still", count,
		     cell->pages);
}

void file_verify(struct cell *cell, struct verification *verification)
{
	way_child(cell, verification);
	way_mapping(cell, verification, file);
	way_read(cell, verification, file);
	way_direct(cell, verification, file, file_path);
}

/* A migration is no reason to write a file once more. */
static void verify_clean(struct cell *cell, struct verification *verification)
{
	size_t dirty = state_count(cell, FLAG(DIRTY));

	if (dirty)
		cell_lose(cell, "%zu pages are no longer clean", dirty);
	file_verify(cell, verification);
}

void file_close(struct cell *cell)
{
	region_unmap(cell->start, cell->size_bytes);
	close(file);
}

static void release(struct cell *cell)
{
	file_close(cell);
	if (unlink(file_path))
		fail(EXIT_FAILED, errno, "%s can't be removed", file_path);
}

const struct folio_kind file_kinds[] = {
	{ .name = "ext4-clean", .purpose = "of an ext4 file, buffer heads, written to its disk",
	  .make = make_ext4_clean, .prove = prove_ext4_clean, .verify = verify_clean,
	  .release = release },
	{ .name = "ext4-dirty", .purpose = "of an ext4 file, buffer heads, dirty",
	  .make = make_ext4_dirty, .prove = prove_ext4_dirty, .verify = file_verify,
	  .release = release },
	{ .name = "ext4-1k-dirty", .purpose = "of an ext4 file, four buffer heads a page, dirty",
	  .make = make_ext4_1k_dirty, .prove = prove_ext4_dirty, .verify = file_verify,
	  .release = release },
	{ .name = "ext4-writeback", .purpose = "of an ext4 file, while it is written",
	  .make = make_ext4_writeback, .prove = prove_ext4_writeback,
	  .yet = yet_in_writeback, .verify = file_verify, .release = release },
	{ .name = "xfs-clean", .purpose = "of an XFS file, 64 KiB, written to its disk",
	  .make = make_xfs_clean, .prove = prove_xfs_clean, .verify = verify_clean,
	  .release = release },
	{ .name = "xfs-dirty", .purpose = "of an XFS file, 64 KiB, dirty",
	  .make = make_xfs_dirty, .prove = prove_xfs_dirty, .verify = file_verify,
	  .release = release },
	{ .name = "xfs-writeback", .purpose = "of an XFS file, 64 KiB, while it is written",
	  .make = make_xfs_writeback, .prove = prove_xfs_writeback,
	  .yet = yet_in_writeback, .verify = file_verify, .release = release },
	{ .name = NULL },
};
