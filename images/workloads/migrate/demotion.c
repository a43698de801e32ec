// SPDX-License-Identifier: GPL-2.0-or-later
/* Reclaim moves what is cold to a lower memory tier: reason demotion. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cell.h"
#include "frames.h"
#include "kernel_state.h"
#include "setting.h"
#include "state.h"

#define TIERS "/sys/devices/virtual/memory_tiering"
#define DEMOTION "/sys/kernel/mm/numa/demotion_enabled"
#define TIERS_MAX 512
#define ATTEMPTS 8
#define VAIN_MAX 2

/* "0-1,3" */
static bool listed(const char *list, unsigned long node)
{
	while (*list) {
		char *end;
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (end == list)
			return false;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (node >= first && node <= last)
			return true;
		list = *end == ',' ? end + 1 : end;
	}
	return false;
}

/* The number of a node's tier, which is higher the slower its memory is. */
static int tier_of(unsigned long node)
{
	char path[96], nodes[128];
	int tier;

	for (tier = 0; tier < TIERS_MAX; tier++) {
		snprintf(path, sizeof(path), TIERS "/memory_tier%d/nodelist", tier);
		if (file_read(path, nodes, sizeof(nodes)) && listed(nodes, node))
			return tier;
	}
	fail(EXIT_PREMISE, ENOENT, "node %lu is in no memory tier", node);
}

static void prepare(struct cell *cell)
{
	int from = tier_of(cell->from), to = tier_of(cell->to);

	if (to <= from)
		fail(EXIT_PREMISE, 0, "node %lu is in memory tier %d, node %lu in %d: not lower",
		     cell->to, to, cell->from, from);
	setting_set(DEMOTION, "true");
	/*
	 * Without much page cache the kernel takes a node for one with nothing to
	 * reclaim, unless its slab caches exceed this share of it.
	 */
	setting_set("/proc/sys/vm/min_slab_ratio", "0");
	/*
	 * The page cache of others is cold, too: up to 127 pages of it went along, and
	 * no provider is asked to copy that of most filesystems, or of block devices.
	 */
	cell_drop_cache();
}

static int pull(struct cell *cell)
{
	size_t before, on = pages_on(cell, cell->to);
	char path[64], amount[64];
	int attempt, vain = 0;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%lu/reclaim", cell->from);
	/* The first one in vain may have found what is colder. */
	for (attempt = 0; attempt < ATTEMPTS && vain < VAIN_MAX && on < cell->pages; attempt++) {
		/* Reclaim passes over what is being written, and finds it the next time. */
		if (attempt)
			frames_await_written(cell);
		/*
		 * To where reclaim looks first, as if it hadn't been used for long; the
		 * last ones only when this CPU's batch goes on. What is locked, and
		 * hugetlbfs, is refused (EINVAL), and has to stay.
		 */
		if (madvise(cell->start, cell->size_bytes, MADV_COLD) && errno != EINVAL)
			return errno;
		cell_drain_lru();
		/*
		 * As much as the region: what else is cold counts, too. Anonymous and
		 * shared memory alone, and then whatever there is.
		 */
		snprintf(amount, sizeof(amount), "%zuK%s", cell->size_bytes / 1024,
			 attempt % 2 ? "" : " swappiness=max");
		/* EAGAIN: less than asked for. The caller sees how much less. */
		if (!file_write(path, amount) && errno != EAGAIN)
			return errno;
		before = on;
		on = pages_on(cell, cell->to);
		vain = on == before && !state_count(cell, FLAG(WRITEBACK)) ? vain + 1 : 0;
	}
	return 0;
}

const struct trigger demotion_triggers[] = {
	{ .name = "demotion", .purpose = "proactive reclaim of a node with a lower tier",
	  .prepare = prepare, .pull = pull, .needs = "/sys/devices/system/node/node0/reclaim" },
	{ 0 },
};
