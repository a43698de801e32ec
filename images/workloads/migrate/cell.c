// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cell.h"
#include "pattern.h"
#include "region.h"

void cell_set_size(struct cell *cell, unsigned long folio_kib)
{
	cell->size_bytes = cell->mib << 20;
	cell->pages = cell->size_bytes / PAGE_BYTES;
	cell->folio_pages = folio_kib * 1024 / PAGE_BYTES;
}

void cell_fill(struct cell *cell)
{
	cell->generation++;
	pattern_fill(cell->start, cell->size_bytes, cell->generation);
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
