// SPDX-License-Identifier: GPL-2.0-or-later
/* Anonymous folios of each size, of one process alone. */
#include <errno.h>
#include <sys/mman.h>

#include "anon.h"
#include "cell.h"
#include "folio_size.h"
#include "region.h"
#include "state.h"
#include "ways.h"

void anon_map(struct cell *cell, unsigned long folio_kib)
{
	int error;

	cell_set_size(cell, folio_kib);
	cell->start = region_map(cell->size_bytes, cell->from);
	error = folio_size_populate(cell->start, cell->size_bytes, folio_kib);
	if (error)
		fail(EXIT_PREMISE, error, "the region can't be faulted in on node %lu",
		     cell->from);
	cell_fill(cell);
}

static void make(struct cell *cell, unsigned long folio_kib)
{
	anon_map(cell, folio_kib);
	state_mark(cell);
}

static void make_small(struct cell *cell)
{
	make(cell, 4);
}

static void make_16k(struct cell *cell)
{
	make(cell, 16);
}

static void make_64k(struct cell *cell)
{
	make(cell, 64);
}

static void make_1m(struct cell *cell)
{
	make(cell, 1024);
}

static void make_pmd(struct cell *cell)
{
	make(cell, 2048);
}

/*
 * A change of protection of half of it, and back, leaves the folio as it is and its
 * mapping in single entries (Documentation/mm/transhuge.rst, "Partial unmap").
 */
static void make_pmd_by_ptes(struct cell *cell)
{
	size_t at;

	anon_map(cell, 2048);
	for (at = 0; at < cell->size_bytes; at += REGION_BYTES) {
		char *half = cell->start + at;

		if (mprotect(half, REGION_BYTES / 2, PROT_READ) ||
		    mprotect(half, REGION_BYTES / 2, PROT_READ | PROT_WRITE))
			fail(EXIT_FAILED, errno, "the protection can't be changed");
	}
	state_mark(cell);
}

static void make_locked(struct cell *cell)
{
	anon_map(cell, 4);
	if (mlock(cell->start, cell->size_bytes))
		fail(EXIT_PREMISE, errno, "the region can't be locked");
	state_mark(cell);
}

void anon_prove(struct cell *cell)
{
	state_assert(cell, FLAG(ANON) | FLAG(SWAPBACKED), FLAG(KSM) | FLAG(HUGE));
	cell_assert_folios(cell);
}

static void prove_one_owner(struct cell *cell)
{
	anon_prove(cell);
	state_assert(cell, 0, FLAG(SWAPCACHE) | FLAG(MLOCKED));
	state_assert_mappings(cell, 1);
}

static void prove_pmd(struct cell *cell)
{
	prove_one_owner(cell);
	state_assert_smaps(cell, "AnonHugePages");
}

static void prove_pmd_by_ptes(struct cell *cell)
{
	prove_one_owner(cell);
	if (state_smaps_kib(cell, "AnonHugePages"))
		fail(EXIT_PREMISE, 0, "the region is mapped by huge entries");
}

static void prove_locked(struct cell *cell)
{
	anon_prove(cell);
	state_assert(cell, FLAG(MLOCKED), 0);
	state_assert_smaps(cell, "Locked");
}

const struct folio_kind anon_kinds[] = {
	{ .name = "anon", .purpose = "anonymous, single pages", .make = make_small,
	  .prove = prove_one_owner, .verify = way_child },
	{ .name = "anon-16k", .purpose = "anonymous, folios of 16 KiB", .make = make_16k,
	  .prove = prove_one_owner, .verify = way_child },
	{ .name = "anon-64k", .purpose = "anonymous, folios of 64 KiB", .make = make_64k,
	  .prove = prove_one_owner, .verify = way_child },
	{ .name = "anon-1m", .purpose = "anonymous, folios of 1 MiB", .make = make_1m,
	  .prove = prove_one_owner, .verify = way_child },
	{ .name = "anon-2m", .purpose = "anonymous, mapped by a huge entry", .make = make_pmd,
	  .prove = prove_pmd, .verify = way_child },
	{ .name = "anon-2m-ptes", .purpose = "anonymous, 2 MiB mapped by single entries",
	  .make = make_pmd_by_ptes, .prove = prove_pmd_by_ptes, .verify = way_child },
	{ .name = "anon-mlocked", .purpose = "anonymous, locked by mlock(2)",
	  .make = make_locked, .prove = prove_locked, .verify = way_child },
	{ .name = NULL },
};
