/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The movable zone of a node, whosever its pages are. */
#ifndef LAB_ZONE_H
#define LAB_ZONE_H

#include <stddef.h>
#include <stdint.h>

/*
 * The first page frame of a node's ZONE_MOVABLE, by /proc/zoneinfo. Ends the program
 * with EXIT_PREMISE if it has none.
 */
uint64_t zone_movable_start(unsigned long node);

/*
 * How many of the page frames from `first` to before `end`, whole pageblocks, compaction
 * takes: those on the lists of reclaim, but for huge pages (skip_isolation_on_order() of
 * mm/compaction.c). Pages with movable_ops, and those that a CPU has not put on a list
 * yet, are left out.
 */
size_t zone_count_compactable(uint64_t first, uint64_t end);

#endif
