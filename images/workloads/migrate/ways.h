/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ways to a region's contents beside its mapping. Each verifies all pages, and
 * adds a word to what was lost if one was wrong.
 */
#ifndef LAB_WAYS_H
#define LAB_WAYS_H

struct cell;
struct verification;

/* A child that is forked now: shares what is private until somebody writes. */
void way_child(struct cell *cell, struct verification *verification);

/* The same from `start`, where another mapping of the same memory lies. */
void way_copy(struct cell *cell, struct verification *verification, const char *start,
	      const char *name);

/* A new shared mapping of the file, of which the region is the beginning. */
void way_mapping(struct cell *cell, struct verification *verification, int fd);

/* read(2). */
void way_read(struct cell *cell, struct verification *verification, int fd);

/*
 * fsync(2), and then what really arrived on the disk: read from `path` with O_DIRECT,
 * past the page cache.
 */
void way_direct(struct cell *cell, struct verification *verification, int fd, const char *path);

#endif
