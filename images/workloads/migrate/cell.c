// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cell.h"
#include "folio_size.h"
#include "kernel_state.h"
#include "pattern.h"
#include "region.h"

void cell_lose(struct cell *cell, const char *what, ...)
{
	static char lost[2048];
	size_t used = strlen(lost);
	va_list arguments;

	if (used && used + 2 < sizeof(lost)) {
		strcpy(lost + used, "; ");
		used += 2;
	}
	va_start(arguments, what);
	vsnprintf(lost + used, sizeof(lost) - used, what, arguments);
	va_end(arguments);
	cell->lost = lost;
}

void cell_set_size(struct cell *cell, unsigned long folio_kib)
{
	cell->size_bytes = cell->mib << 20;
	cell->pages = cell->size_bytes / PAGE_BYTES;
	cell->folio_pages = folio_kib * 1024 / PAGE_BYTES;
}

void cell_fill(struct cell *cell)
{
	/* Of the option's range. */
	cell->generation = cell->generation ? cell->generation + 1 :
					      (uint32_t)cell->first_generation;
	pattern_fill(cell->start, cell->size_bytes, cell->generation);
}

void cell_map(struct cell *cell, int fd)
{
	/* Anonymous memory in its place first, only to find an aligned one. */
	cell->start = region_map(cell->size_bytes, cell->from);
	if (mmap(cell->start, cell->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 fd, 0) == MAP_FAILED)
		fail(EXIT_FAILED, errno, "the file can't be mapped");
}

static void choose_node(int policy, const unsigned long *mask)
{
	if (syscall(SYS_set_mempolicy, policy, mask, mask ? sizeof(*mask) * 8 : 0))
		fail(EXIT_FAILED, errno, "the task's memory can't be bound to a node");
}

void cell_bind(unsigned long node)
{
	unsigned long mask = 1ul << node;

	choose_node(MPOL_BIND, &mask);
}

void cell_free_choice(void)
{
	choose_node(MPOL_DEFAULT, NULL);
}

/*
 * What mbind(2) does first, whatever it then finds: lru_cache_disable() in do_mbind()
 * of mm/mempolicy.c. Nothing is mapped in this page, so that nothing moves.
 */
void cell_drain_lru(void)
{
	void *page = mmap(NULL, PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		fail(EXIT_FAILED, errno, "a page can't be mapped");
	if (syscall(SYS_mbind, page, PAGE_BYTES, MPOL_DEFAULT, NULL, 0, MPOL_MF_MOVE))
		fail(EXIT_FAILED, errno, "the CPUs' batches can't be drained");
	munmap(page, PAGE_BYTES);
}

void cell_drop_cache(void)
{
	sync();
	if (!file_write("/proc/sys/vm/drop_caches", "1"))
		fail(EXIT_PREMISE, errno, "the page cache can't be dropped");
}

void cell_assert_folios(const struct cell *cell)
{
	size_t folios = cell->pages / cell->folio_pages;
	unsigned long kib = cell->folio_pages * PAGE_BYTES / 1024;
	uint64_t wrong = folio_size_count_wrong(cell->start, folios, kib);

	if (wrong)
		fail(EXIT_PREMISE, 0, "%lu of %zu folios have not %lu KiB", (unsigned long)wrong,
		     folios, kib);
}

void cell_nodes(const struct cell *cell, int *nodes)
{
	void **addresses = calloc(cell->pages, sizeof(*addresses));
	size_t i;

	if (!addresses)
		fail(EXIT_FAILED, ENOMEM, "no memory for addresses");
	for (i = 0; i < cell->pages; i++)
		addresses[i] = cell->start + i * PAGE_BYTES;
	/* Without nodes nothing moves: the status is where each page is. */
	if (syscall(SYS_move_pages, 0, cell->pages, addresses, NULL, nodes, 0))
		fail(EXIT_FAILED, errno, "the pages' nodes can't be asked for");
	free(addresses);
}

void cell_assert_node(const struct cell *cell, unsigned long node)
{
	int *nodes = calloc(cell->pages, sizeof(*nodes));
	size_t elsewhere = 0, i;

	if (!nodes)
		fail(EXIT_FAILED, ENOMEM, "no memory for nodes");
	cell_nodes(cell, nodes);
	for (i = 0; i < cell->pages; i++)
		elsewhere += nodes[i] != (int)node;
	free(nodes);
	if (elsewhere)
		fail(EXIT_PREMISE, 0, "%zu of %zu pages are not on node %lu", elsewhere,
		     cell->pages, node);
}
