/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A region that is the beginning of a file or of a block device. */
#ifndef LAB_FILE_H
#define LAB_FILE_H

#include <stddef.h>

struct cell;
struct verification;

/*
 * Opens `path`, fills it by write(2) with `chunk_bytes` a call, with pages of node
 * `from`, and maps it as the region. The file's pages are dirty then.
 */
void file_make(struct cell *cell, const char *path, int flags, size_t chunk_bytes);

/* Writes it to its disk and waits for it. */
void file_clean(struct cell *cell);

/* Has each page of it mapped, without a write. */
void file_touch(struct cell *cell);

/* Every way to a file. */
void file_verify(struct cell *cell, struct verification *verification);

void file_close(struct cell *cell);

#endif
