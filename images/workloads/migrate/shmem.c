// SPDX-License-Identifier: GPL-2.0-or-later
/* Folios of shared memory: anonymous, of a memfd, and huge ones of a tmpfs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cell.h"
#include "region.h"
#include "state.h"
#include "ways.h"

#define MOUNT_POINT "/tmp/huge"

static int file = -1;
static char *second;		/* another mapping that is there all the time */

/* Shared mappings have no policy of their own: the task's decides. */
static void populate(struct cell *cell)
{
	int error;

	cell_bind(cell->from);
	error = region_populate(cell->start, cell->size_bytes);
	cell_free_choice();
	if (error)
		fail(EXIT_PREMISE, error, "the region can't be faulted in on node %lu",
		     cell->from);
	cell_fill(cell);
}

static void make_anonymous(struct cell *cell)
{
	cell_set_size(cell, 4);
	cell->start = region_map(cell->size_bytes, cell->from);
	if (mmap(cell->start, cell->size_bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		fail(EXIT_FAILED, errno, "shared memory can't be mapped");
	populate(cell);
	state_mark(cell);
}

static void map_file(struct cell *cell, unsigned long folio_kib)
{
	cell_set_size(cell, folio_kib);
	if (file < 0 || ftruncate(file, (off_t)cell->size_bytes))
		fail(EXIT_FAILED, errno, "there is no file in memory");
	cell_map(cell, file);
	populate(cell);
}

static void make_memfd(struct cell *cell)
{
	file = memfd_create("region", MFD_CLOEXEC);
	map_file(cell, 4);
	second = mmap(NULL, cell->size_bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
	if (second == MAP_FAILED)
		fail(EXIT_FAILED, errno, "the file can't be mapped twice");
	state_mark(cell);
}

static void make_huge(struct cell *cell)
{
	if (mkdir(MOUNT_POINT, 0700) && errno != EEXIST)
		fail(EXIT_FAILED, errno, MOUNT_POINT " can't be made");
	if (mount("tmpfs", MOUNT_POINT, "tmpfs", 0, "huge=always"))
		fail(EXIT_PREMISE, errno, "no tmpfs with huge pages can be mounted");
	file = open(MOUNT_POINT "/region", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	map_file(cell, 2048);
	/* A write to a write-protected huge page of a file splits its mapping. */
	state_mark_young(cell);
}

static void prove(struct cell *cell)
{
	state_assert(cell, FLAG(SWAPBACKED), FLAG(ANON) | FLAG(SWAPCACHE));
	cell_assert_folios(cell);
}

static void prove_memfd(struct cell *cell)
{
	prove(cell);
	state_assert_mappings(cell, 2);
}

static void prove_huge(struct cell *cell)
{
	prove(cell);
	state_assert_smaps(cell, "ShmemPmdMapped");
}

static void verify_file(struct cell *cell, struct verification *verification)
{
	way_child(cell, verification);
	way_mapping(cell, verification, file);
	way_read(cell, verification, file);
}

static void verify_memfd(struct cell *cell, struct verification *verification)
{
	way_copy(cell, verification, second, "the second mapping");
	verify_file(cell, verification);
}

static void release_huge(struct cell *cell)
{
	region_unmap(cell->start, cell->size_bytes);
	close(file);
	if (umount(MOUNT_POINT))
		fail(EXIT_FAILED, errno, MOUNT_POINT " can't be unmounted");
}

const struct folio_kind shmem_kinds[] = {
	{ .name = "shmem", .purpose = "shared anonymous memory, single pages",
	  .make = make_anonymous, .prove = prove, .verify = way_child },
	{ .name = "memfd", .purpose = "of a memfd, mapped twice", .make = make_memfd,
	  .prove = prove_memfd, .verify = verify_memfd },
	{ .name = "tmpfs-2m", .purpose = "of a huge tmpfs file, mapped by a huge entry",
	  .make = make_huge, .prove = prove_huge, .verify = verify_file,
	  .release = release_huge },
	{ .name = NULL },
};
