// SPDX-License-Identifier: GPL-2.0-or-later
/* Pages of hugetlbfs: they migrate by a path of their own, and are never offloaded. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/mempolicy.h>
#include <unistd.h>

#include "cell.h"
#include "kernel_state.h"
#include "region.h"
#include "state.h"
#include "ways.h"

static unsigned long folios;

static void pool_path(char *path, size_t size, unsigned long node, const char *file)
{
	snprintf(path, size,
		 "/sys/devices/system/node/node%lu/hugepages/hugepages-2048kB/%s", node, file);
}

static unsigned long pool_read(unsigned long node, const char *file)
{
	char path[128], text[32];

	pool_path(path, sizeof(path), node, file);
	if (!file_read(path, text, sizeof(text)))
		fail(EXIT_FAILED, errno, "%s can't be read", path);
	return strtoul(text, NULL, 10);
}

/* Documentation/admin-guide/mm/hugetlbpage.rst */
static void pool_set(unsigned long node, unsigned long count)
{
	char path[128], text[32];

	pool_path(path, sizeof(path), node, "nr_hugepages");
	snprintf(text, sizeof(text), "%lu", count);
	if (!file_write(path, text) || pool_read(node, "nr_hugepages") != count)
		fail(EXIT_PREMISE, errno, "node %lu has no pool of %lu huge pages", node, count);
}

static void make(struct cell *cell)
{
	unsigned long mask = 1ul << cell->from;
	int error;

	cell_set_size(cell, 2048);
	folios = cell->pages / cell->folio_pages;
	pool_set(cell->from, folios);
	pool_set(cell->to, folios);
	cell->start = mmap(NULL, cell->size_bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (cell->start == MAP_FAILED)
		fail(EXIT_PREMISE, errno, "huge pages can't be mapped");
	if (syscall(SYS_mbind, cell->start, cell->size_bytes, MPOL_BIND, &mask,
		    sizeof(mask) * 8, 0))
		fail(EXIT_FAILED, errno, "memory can't be bound to node %lu", cell->from);
	error = region_populate(cell->start, cell->size_bytes);
	if (error)
		fail(EXIT_PREMISE, error, "the region can't be faulted in on node %lu",
		     cell->from);
	cell_fill(cell);
}

static void prove(struct cell *cell)
{
	state_assert(cell, FLAG(HUGE), FLAG(THP));
	cell_assert_folios(cell);
	if (pool_read(cell->from, "free_hugepages"))
		fail(EXIT_PREMISE, 0, "node %lu has huge pages that are not the region's",
		     cell->from);
}

static void verify(struct cell *cell, struct verification *verification)
{
	const unsigned long nodes[] = { cell->from, cell->to };
	unsigned long pool;
	size_t i;

	way_child(cell, verification);
	/* A page that moves changes places with one of the other pool, or its place. */
	pool = pool_read(cell->from, "nr_hugepages") + pool_read(cell->to, "nr_hugepages");
	if (pool != 2 * folios)
		cell_lose(cell, "the pools had %lu huge pages and have %lu", 2 * folios, pool);
	for (i = 0; i < 2; i++)
		if (pool_read(nodes[i], "surplus_hugepages"))
			cell_lose(cell, "node %lu has surplus huge pages", nodes[i]);
}

static void release(struct cell *cell)
{
	region_unmap(cell->start, cell->size_bytes);
	pool_set(cell->from, 0);
	pool_set(cell->to, 0);
}

const struct folio_kind hugetlb_kinds[] = {
	{ .name = "hugetlb", .purpose = "huge pages of 2 MiB of a pool", .make = make,
	  .prove = prove, .verify = verify, .release = release },
	{ .name = NULL },
};
