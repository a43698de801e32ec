// SPDX-License-Identifier: GPL-2.0-or-later
/* Anonymous folios that have been swapped out and in, and are still in the swap cache. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/swap.h>

#include "anon.h"
#include "cell.h"
#include "disk.h"
#include "region.h"
#include "state.h"
#include "ways.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/*
 * Not brd, whose pages once bypassed the swap cache; and so large that the kernel
 * has no reason to free what was swapped in again (vm_swap_full()).
 */
static const struct disk swap_disk = { .name = "labswap", .mib = 512 };
static const char *device;

static void swap_out(const struct cell *cell)
{
	if (madvise(cell->start, cell->size_bytes, MADV_PAGEOUT))
		fail(EXIT_PREMISE, errno, "the region can't be swapped out");
}

/* Reads a word of each page: a write would take the page out of the cache. */
static void swap_in(const struct cell *cell)
{
	size_t i;

	for (i = 0; i < cell->pages; i++)
		(void)*(volatile char *)(cell->start + i * PAGE_BYTES);
}

static void make(struct cell *cell)
{
	const char *mkswap[] = { "/bin/busybox", "mkswap", NULL, NULL };

	device = disk_device(&swap_disk);
	/* A cell that ended early has left it on. */
	if (swapoff(device) && errno != EINVAL)
		fail(EXIT_PREMISE, errno, "%s can't be switched off", device);
	mkswap[2] = device;
	run_program(mkswap);
	if (swapon(device, 0))
		fail(EXIT_PREMISE, errno, "%s can't be swapped to", device);
	anon_map(cell, 4);
	swap_out(cell);
	swap_in(cell);
}

static void prove(struct cell *cell)
{
	anon_prove(cell);
	state_assert(cell, FLAG(SWAPCACHE), 0);
}

static void verify(struct cell *cell, struct verification *verification)
{
	way_child(cell, verification);
	/* A page in a batch of the CPU that has migrated it is left alone by reclaim. */
	cell_drain_lru();
	/* Does the place in swap still belong to the page? */
	swap_out(cell);
	if (state_count(cell, FLAG(ANON)))
		cell_lose(cell, "pages can't be swapped out any more");
	way_copy(cell, verification, cell->start, "swap");
}

static void release(struct cell *cell)
{
	region_unmap(cell->start, cell->size_bytes);
	if (swapoff(device))
		fail(EXIT_FAILED, errno, "%s can't be switched off", device);
}

const struct folio_kind swap_kinds[] = {
	{ .name = "swapcache", .purpose = "anonymous, swapped in, still in the swap cache",
	  .make = make, .prove = prove, .verify = verify, .release = release },
	{ .name = NULL },
};
