/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel knows about a region beside its contents, and what of that a
 * migration has to carry over: folio_migrate_flags() and the migration entries do
 * (mm/migrate.c, Documentation/mm/page_migration.rst).
 *
 * From three files: /proc/self/pagemap (soft-dirty, exclusively mapped, write-protected
 * by userfaultfd, file or anonymous), /proc/kpageflags and /proc/kpagecount of each
 * page's frame, and /proc/self/smaps of the mappings.
 */
#ifndef LAB_STATE_H
#define LAB_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "page_flags.h"

struct cell;
struct state;

struct state *state_read(const struct cell *cell);

/*
 * Compares with `cell->state` and tells what is missing by cell_lose(): each bit of
 * pagemap, each count of mappings and each sum of smaps has to be as before; of the
 * flags none may be lost but those in `may_lose`. A flag may be gained: dirty bits of
 * page tables become the folio's.
 */
void state_check(struct cell *cell, uint64_t may_lose);

/*
 * Makes a difference to be carried over: from here every second page (of folios
 * mapped by huge entries, every second folio) is soft-dirty and young, the others
 * neither. The last thing that make() does, because any touch adds to it.
 */
void state_mark(struct cell *cell);

/* The same with young alone: without a write, which would split or dirty something. */
void state_mark_young(struct cell *cell);

/* How many pages of the region have a flag, by /proc/kpageflags. */
size_t state_count(const struct cell *cell, uint64_t flag);

/* The flags of one page of the region, by /proc/kpageflags; 0 if it isn't there. */
uint64_t state_flags(const struct cell *cell, size_t page);

/* Ends the program with EXIT_PREMISE if a page has not the flags `set`, or has `clear`. */
void state_assert(const struct cell *cell, uint64_t set, uint64_t clear);

/* Ends the program with EXIT_PREMISE if a page isn't mapped `count` times in all. */
void state_assert_mappings(const struct cell *cell, uint64_t count);

/* A field of /proc/self/smaps, in KiB, summed over the region's mappings. */
unsigned long state_smaps_kib(const struct cell *cell, const char *field);

/* Ends the program with EXIT_PREMISE if that field isn't the whole region. */
void state_assert_smaps(const struct cell *cell, const char *field);

#endif
