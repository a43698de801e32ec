/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A cell of the matrix: one region of one kind of folio, migrated for one reason.
 *
 * Kinds and triggers know nothing of each other. A kind makes the region on its
 * node, proves that its folios are of that kind, and can tell afterwards whether
 * everything that a user of such memory could look at is as it was. A trigger has
 * the kernel migrate the region for its reason.
 */
#ifndef LAB_CELL_H
#define LAB_CELL_H

#include <stddef.h>
#include <stdint.h>

#include "report.h"

struct cell {
	unsigned long from, to, cpu, mib;
	char *start;			/* of the region, aligned to 2 MiB */
	size_t size_bytes, pages, folio_pages;
	uint32_t generation;		/* of the pattern in it */
	uint64_t *frames_before, *frames_after;	/* one a page */
	const char *lost;		/* "", or what did not survive beside the contents */
};

struct folio_kind {
	const char *name;
	const char *purpose;
	/*
	 * Maps the region on node `from`, fills it with the pattern and makes its
	 * folios what they are to be. Sets start, size_bytes, pages, folio_pages and
	 * generation. Ends the program with EXIT_PREMISE if the kernel can't.
	 */
	void (*make)(struct cell *cell);
	/* Ends the program with EXIT_PREMISE if a folio isn't of this kind. */
	void (*prove)(struct cell *cell);
	/*
	 * Looks at the region in every way that its users have beside the mapping,
	 * and at what a migration has to carry over: verifies pages, and sets
	 * `lost` to what is missing. NULL: the mapping alone.
	 */
	void (*verify)(struct cell *cell, struct verification *verification);
	/* Gives everything back; also what is not the process's own. NULL: nothing. */
	void (*release)(struct cell *cell);
};

struct trigger {
	const char *name;
	const char *purpose;
	/*
	 * Before the region is made: settings, memory set apart. Ends the program
	 * with EXIT_PREMISE if the kernel can't do it at all. NULL: nothing.
	 */
	void (*prepare)(struct cell *cell);
	/*
	 * Has the region migrated. Returns 0, or the errno with which the kernel
	 * refused. What moved is found out by the caller.
	 */
	int (*pull)(struct cell *cell);
	/* Puts settings back. NULL: nothing. */
	void (*restore)(struct cell *cell);
};

/* Each ends with an entry without a name. */
extern const struct folio_kind anon_kinds[];
extern const struct trigger syscall_triggers[];

/* Sets size_bytes and pages from `mib`, and folio_pages from a size of folio. */
void cell_set_size(struct cell *cell, unsigned long folio_kib);

/* Fills the region with the pattern of a new generation. */
void cell_fill(struct cell *cell);

/* Ends the program with EXIT_PREMISE if a page of the region isn't on `node`. */
void cell_assert_node(const struct cell *cell, unsigned long node);

/* The node of each page of the region, negative errno where it has none. */
void cell_nodes(const struct cell *cell, int *nodes);

#endif
