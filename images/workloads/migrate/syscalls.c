// SPDX-License-Identifier: GPL-2.0-or-later
/* System calls that move what they are told to: reason syscall_or_cpuset. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cell.h"
#include "region.h"

static int pull_move_pages(struct cell *cell)
{
	void **addresses = calloc(cell->pages, sizeof(*addresses));
	int *nodes = calloc(cell->pages, sizeof(*nodes));
	int *status = calloc(cell->pages, sizeof(*status));
	size_t i;
	long rc;

	if (!addresses || !nodes || !status)
		fail(EXIT_FAILED, ENOMEM, "no memory for %zu pages", cell->pages);
	for (i = 0; i < cell->pages; i++) {
		addresses[i] = cell->start + i * PAGE_BYTES;
		nodes[i] = (int)cell->to;
	}
	rc = syscall(SYS_move_pages, 0, cell->pages, addresses, nodes, status,
		     MPOL_MF_MOVE_ALL);
	free(addresses);
	free(nodes);
	free(status);
	/* A positive number counts pages that didn't move: the caller sees which. */
	return rc < 0 ? errno : 0;
}

static int pull_migrate_pages(struct cell *cell)
{
	unsigned long from = 1ul << cell->from, to = 1ul << cell->to;

	return syscall(SYS_migrate_pages, 0, sizeof(from) * 8, &from, &to) < 0 ? errno : 0;
}

const struct trigger syscall_triggers[] = {
	{ .name = "move_pages", .purpose = "move_pages(2), page by page",
	  .pull = pull_move_pages },
	{ .name = "migrate_pages", .purpose = "migrate_pages(2) of the whole process",
	  .pull = pull_migrate_pages },
	{ 0 },
};
