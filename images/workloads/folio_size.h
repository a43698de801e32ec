/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Anonymous folios of one size: asking for them, and proving that one has them. */
#ifndef LAB_FOLIO_SIZE_H
#define LAB_FOLIO_SIZE_H

#include <stddef.h>
#include <stdint.h>

/*
 * Lets anonymous memory with MADV_HUGEPAGE come in folios of exactly
 * `folio_kib` (4: of single pages), and of no other size, for every process.
 * folio_size_restore() puts the settings back as they were; so does any end
 * of the program through exit(). Ends the program with EXIT_PREMISE if the
 * kernel has no such size.
 */
void folio_size_allow(unsigned long folio_kib);
void folio_size_restore(void);

/*
 * Populates a mapping of region_map() with folios of exactly `folio_kib`, and lets
 * nothing collapse or enlarge one from then on. Large ones change the settings of every
 * process for the time; single pages leave them alone, so that several processes can
 * ask for them at once. Returns 0, or the errno with which the kernel refused memory.
 */
int folio_size_populate(char *start, size_t size_bytes, unsigned long folio_kib);

/*
 * Of the folios that should start at each `folio_kib` from `start`: how many
 * are not one folio of exactly that size, by /proc/kpageflags. Ends the
 * program if the kernel doesn't tell.
 */
uint64_t folio_size_count_wrong(const char *start, size_t folios, unsigned long folio_kib);

#endif
