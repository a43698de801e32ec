// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "page_flags.h"
#include "region.h"
#include "report.h"
#include "zone.h"

uint64_t zone_movable_start(unsigned long of_node)
{
	FILE *file = fopen("/proc/zoneinfo", "re");
	char line[256], zone[32] = "";
	unsigned long node = 0;
	uint64_t start = 0;

	if (!file)
		fail(EXIT_FAILED, errno, "/proc/zoneinfo can't be opened");
	while (!start && fgets(line, sizeof(line), file))
		if (sscanf(line, "Node %lu, zone %31s", &node, zone) != 2 && node == of_node &&
		    !strcmp(zone, "Movable"))
			sscanf(line, " start_pfn: %" SCNu64, &start);
	fclose(file);
	if (!start)
		fail(EXIT_PREMISE, 0, "node %lu has no ZONE_MOVABLE", of_node);
	return start;
}

size_t zone_count_compactable(uint64_t first, uint64_t end)
{
	uint64_t flags[REGION_PAGES], block;
	size_t count = 0;

	for (block = first; block < end; block += REGION_PAGES) {
		size_t listed = 0, tails = 0, i;

		page_flags_read(block, REGION_PAGES, flags);
		for (i = 0; i < REGION_PAGES; i++) {
			listed += !!(flags[i] & FLAG(LRU));
			tails += !!(flags[i] & FLAG(COMPOUND_TAIL));
		}
		if (tails != REGION_PAGES - 1)
			count += listed;
	}
	return count;
}
