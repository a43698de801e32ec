/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Anonymous memory bound to a node, and where its pages really are. */
#ifndef LAB_REGION_H
#define LAB_REGION_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096ul
#define REGION_BYTES (2ul << 20)
#define REGION_PAGES (REGION_BYTES / PAGE_BYTES)

/*
 * Maps `size_bytes` of private anonymous memory, aligned to 2 MiB and not yet
 * populated, whose pages may come from `node` only. Fails the program if that
 * can't be had.
 */
char *region_map(size_t size_bytes, unsigned long node);

/* Gives all of a mapping of region_map() back. */
void region_unmap(char *start, size_t size_bytes);

/* Populates [start, start + size_bytes). 0, or an errno. */
int region_populate(char *start, size_t size_bytes);

/*
 * Page frame numbers of `count` pages from `start`, 0 for one that is not
 * present. Fails the program if the kernel doesn't tell.
 */
void region_frames(const char *start, size_t count, uint64_t *frames);

#endif
