// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Folios of a block device's own page cache (buffer_migrate_folio_norefs): what is
 * written to the device, and what a file system keeps there and uses.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cell.h"
#include "disk.h"
#include "file.h"
#include "region.h"
#include "state.h"
#include "ways.h"

/* The superblock and the first group descriptors, in the first two blocks of 4 KiB. */
#define METADATA_PAGES 2

static const struct disk raw = { .name = "labraw", .mib = 64 };
static const struct disk used = {
	.name = "labext4", .mib = 64, .file_system = "ext4", .image = "/lib/disks/ext4",
};

static char metadata[METADATA_PAGES * PAGE_BYTES];

static void make_raw(struct cell *cell)
{
	cell_set_size(cell, 4);
	file_make(cell, disk_device(&raw), 0, PAGE_BYTES);
	file_touch(cell);
	state_mark(cell);
}

static void prove_raw(struct cell *cell)
{
	state_assert(cell, FLAG(PRIVATE) | FLAG(DIRTY), FLAG(ANON) | FLAG(SWAPBACKED));
	cell_assert_folios(cell);
}

static void make_metadata(struct cell *cell)
{
	char device[DISK_PATH_BYTES];
	int fd;

	disk_mount(&used, cell->from);
	/* What earlier cells have left to be done with it. */
	sync();
	cell->pages = METADATA_PAGES;
	cell->folio_pages = 1;
	cell->size_bytes = sizeof(metadata);
	snprintf(device, sizeof(device), "/dev/%s", used.name);
	fd = open(device, O_RDONLY | O_CLOEXEC);
	cell->start = mmap(NULL, cell->size_bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (fd < 0 || cell->start == MAP_FAILED)
		fail(EXIT_PREMISE, errno, "%s can't be mapped", device);
	close(fd);
	memcpy(metadata, cell->start, sizeof(metadata));
}

/* The file system's magic number, 0xef53 at 56 bytes from the superblock's start. */
static void prove_metadata(struct cell *cell)
{
	const unsigned char *magic = (const unsigned char *)metadata + 1024 + 56;

	if (magic[0] != 0x53 || magic[1] != 0xef)
		fail(EXIT_PREMISE, 0, "the device's first block is no superblock of ext4");
	state_assert(cell, FLAG(PRIVATE) | FLAG(UPTODATE), FLAG(ANON) | FLAG(SWAPBACKED));
	cell_assert_folios(cell);
}

static void verify_metadata(struct cell *cell, struct verification *verification)
{
	size_t i;

	for (i = 0; i < cell->pages; i++) {
		verification->pages_verified++;
		if (memcmp(cell->start + i * PAGE_BYTES, metadata + i * PAGE_BYTES, PAGE_BYTES)) {
			verification->pages_wrong++;
			cell_lose(cell, "block %zu of the file system has changed", i);
		}
	}
	/* And it has to be of use still. */
	if (access("/run/labext4/lost+found", F_OK))
		cell_lose(cell, "the file system has lost its directory");
}

const struct folio_kind block_kinds[] = {
	{ .name = "bdev", .purpose = "of a block device, buffer heads, dirty",
	  .make = make_raw, .prove = prove_raw, .verify = file_verify, .release = file_close },
	{ .name = "bdev-metadata", .purpose = "of a block device, in use by ext4",
	  .make = make_metadata, .prove = prove_metadata, .verify = verify_metadata },
	{ .name = NULL },
};
