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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "report.h"

struct cell {
	unsigned long from, to, cpu, mib;
	char *start;			/* of the region, aligned to 2 MiB */
	size_t size_bytes, pages, folio_pages;
	uint32_t generation;		/* of the pattern in it; 0: it holds something else */
	unsigned long first_generation;	/* a frame may hold the page of an earlier region still */
	uint64_t *frames_before, *frames_after;	/* one a page */
	bool *asked;			/* one a page: is it to move? NULL: every page */
	unsigned long retries;		/* of a trigger that the kernel refused for now */
	const char *lost;		/* "", or what did not survive beside the contents */
	struct state *state;		/* before: see state.h */
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
	 * Right before the migration, and quickly: ends the program with EXIT_PREMISE if a
	 * folio has stopped being of this kind since it was proved. NULL: none can have.
	 */
	void (*yet)(struct cell *cell);
	/*
	 * Right after the migration: ends the program with EXIT_PREMISE if a folio
	 * can have stopped being of this kind meanwhile. NULL: none can.
	 */
	void (*still)(struct cell *cell);
	/*
	 * Looks at the region in every way that its users have beside the mapping,
	 * and at what a migration has to carry over: verifies pages, and sets
	 * `lost` to what is missing. NULL: the mapping alone.
	 */
	void (*verify)(struct cell *cell, struct verification *verification);
	/* Gives everything back; also what is not the process's own. NULL: nothing. */
	void (*release)(struct cell *cell);
	/* Flags of /proc/kpageflags that its folios may lose, see state.h. */
	uint64_t may_lose;
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
	 * refused. What moved is found out by the caller. Sets `asked` if it can't
	 * promise to move every page, and `retries` if it was refused for the moment.
	 * When it returns, nothing of it goes on.
	 */
	int (*pull)(struct cell *cell);
	/* Gives back what settings_restore() (setting.h) doesn't know. NULL: nothing. */
	void (*restore)(struct cell *cell);
	/* A file without which the kernel has no such trigger. NULL: every kernel has it. */
	const char *needs;
};

/* Each ends with an entry without a name. */
extern const struct folio_kind anon_kinds[];
extern const struct folio_kind shared_kinds[];
extern const struct folio_kind shmem_kinds[];
extern const struct folio_kind hugetlb_kinds[];
extern const struct folio_kind swap_kinds[];
extern const struct folio_kind uffd_kinds[];
extern const struct folio_kind pinned_kinds[];
extern const struct folio_kind file_kinds[];
extern const struct folio_kind block_kinds[];
extern const struct trigger syscall_triggers[];
extern const struct trigger cpuset_triggers[];
extern const struct trigger policy_triggers[];
extern const struct trigger compaction_triggers[];
extern const struct trigger numa_triggers[];
extern const struct trigger memory_block_triggers[];
extern const struct trigger soft_offline_triggers[];
extern const struct trigger contig_triggers[];
extern const struct trigger pin_triggers[];
extern const struct trigger demotion_triggers[];
extern const struct trigger damon_triggers[];

/*
 * Adds a line to `lost`, in the manner of printf. `what` must need no escaping. Only
 * the first few are kept.
 */
void cell_lose(struct cell *cell, const char *what, ...) __attribute__((format(printf, 2, 3)));

/* Sets size_bytes and pages from `mib`, and folio_pages from a size of folio. */
void cell_set_size(struct cell *cell, unsigned long folio_kib);

/* Fills the region with the pattern of a new generation. */
void cell_fill(struct cell *cell);

/*
 * Ends the program with EXIT_PREMISE if the region isn't made of folios of exactly
 * `folio_pages` pages.
 */
void cell_assert_folios(const struct cell *cell);

/* Maps the beginning of a file, shared and aligned to 2 MiB, as the region. */
void cell_map(struct cell *cell, int fd);

/* Where the calling task's memory comes from until cell_free_choice(). */
void cell_bind(unsigned long node);
void cell_free_choice(void);

/*
 * Has every CPU put what it has gathered on the lists of reclaim (LRU). A folio that
 * still waits in a CPU's batch can't be isolated there, and the batch holds a
 * reference to it (mm/folio.c).
 */
void cell_drain_lru(void);

/* Writes back what is dirty in the page cache, and drops all that nobody uses. */
void cell_drop_cache(void);

/* Ends the program with EXIT_PREMISE if a page of the region isn't on `node`. */
void cell_assert_node(const struct cell *cell, unsigned long node);

/* The node of each page of the region, negative errno where it has none. */
void cell_nodes(const struct cell *cell, int *nodes);

#endif
