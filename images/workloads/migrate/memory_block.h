/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory blocks: what the kernel puts on and off line (memory-hotplug.rst). */
#ifndef LAB_MEMORY_BLOCK_H
#define LAB_MEMORY_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cell.h"

/*
 * The numbers of the blocks that hold the region, from the lowest, in an array
 * that the caller frees. Returns how many there are.
 */
size_t memory_blocks_of(const struct cell *cell, uint64_t **blocks);

/* Page frames in a block. */
uint64_t memory_block_frames(void);

/* Whether all of a block is in ZONE_MOVABLE. */
bool memory_block_movable(uint64_t block);

/*
 * Asks only for those pages of the region that are in a movable block, and in a frame
 * below `end`.
 */
void memory_blocks_ask(struct cell *cell, uint64_t end);

#endif
