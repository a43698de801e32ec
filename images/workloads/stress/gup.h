/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the ways of direct transfer share. */
#ifndef LAB_GUP_H
#define LAB_GUP_H

#include "stress.h"

/* A disk in memory, at least as large as the region: page n of it is for page n. */
#define GUP_DISK "/dev/ram0"

/* Who has which quarter of the region; the first is the CPU's writers'. */
enum { GUP_REMOTE = 1, GUP_DIRECT, GUP_RING };

/* Pages of the process's own that nobody migrates on purpose. */
void *gup_buffer(size_t pages);
int gup_open_disk(void);

/* The first page of a run of `count` in a quarter. */
size_t gup_choose(const struct stress *stress, struct chance *chance, unsigned int quarter,
		  size_t count);
/* Fills a buffer with the next contents of pages. */
void gup_fill(const struct pages *pages, void *buffer, size_t first, size_t count);
/* The pages have that now. */
void gup_written(struct pages *pages, size_t first, size_t count);
/* Verifies a copy of pages, or the pages themselves. */
void gup_check_copy(const struct stress *stress, const void *copy, size_t first, size_t count,
		    const char *who);
void gup_check(const struct stress *stress, size_t first, size_t count, const char *who);

/* ring.c: body of a thread, with buffers registered with io_uring. */
void *gup_use_ring(void *stress);

#endif
