/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private anonymous memory, from which other kinds are made. */
#ifndef LAB_ANON_H
#define LAB_ANON_H

struct cell;

/* Maps the region on node `from` in folios of one size, and fills it. */
void anon_map(struct cell *cell, unsigned long folio_kib);

/* Ends the program with EXIT_PREMISE if it isn't anonymous, or of other folios. */
void anon_prove(struct cell *cell);

#endif
