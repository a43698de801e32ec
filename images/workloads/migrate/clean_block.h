/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory blocks with nothing in them that can't move. */
#ifndef LAB_CLEAN_BLOCK_H
#define LAB_CLEAN_BLOCK_H

#include "cell.h"

/*
 * The kernel's own memory from early boot lies at the end of each node, in
 * ZONE_MOVABLE too, and that end is what is allocated first. Takes what is free
 * there, until the process ends, so that the region will be in blocks of
 * ZONE_MOVABLE without a reserved page. Ends the program with EXIT_PREMISE if
 * node `from` has no such block.
 */
void clean_blocks_only(struct cell *cell);

/*
 * What the kernel keeps free in each zone would be more than a region: 5 % of all
 * memory whenever huge pages are allowed (set_recommended_min_free_kbytes() of
 * mm/khugepaged.c). To be done anew after each time that they were.
 */
void watermarks_lower(void);

/* Takes all of it that is free. The program keeps that until it ends. */
void clean_blocks_fill(struct cell *cell);

#endif
