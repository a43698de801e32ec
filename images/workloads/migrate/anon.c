// SPDX-License-Identifier: GPL-2.0-or-later
/* Anonymous folios of each size. */
#include <errno.h>
#include <sys/mman.h>

#include "cell.h"
#include "folio_size.h"
#include "region.h"

static void make(struct cell *cell, unsigned long folio_kib)
{
	int error;

	cell_set_size(cell, folio_kib);
	cell->start = region_map(cell->size_bytes, cell->from);
	folio_size_allow(folio_kib);
	if (cell->folio_pages > 1 && madvise(cell->start, cell->size_bytes, MADV_HUGEPAGE))
		fail(EXIT_PREMISE, errno, "large folios can't be asked for");
	error = region_populate(cell->start, cell->size_bytes);
	if (error)
		fail(EXIT_PREMISE, error, "the region can't be faulted in on node %lu",
		     cell->from);
	/* From here on nothing may collapse or enlarge a folio. */
	folio_size_restore();
	if (madvise(cell->start, cell->size_bytes, MADV_NOHUGEPAGE))
		fail(EXIT_FAILED, errno, "large folios can't be declined");
	cell_fill(cell);
}

static void make_small(struct cell *cell)
{
	make(cell, 4);
}

static void make_64k(struct cell *cell)
{
	make(cell, 64);
}

static void make_pmd(struct cell *cell)
{
	make(cell, 2048);
}

static void prove(struct cell *cell)
{
	size_t folios = cell->pages / cell->folio_pages;
	unsigned long kib = cell->folio_pages * PAGE_BYTES / 1024;
	uint64_t wrong = folio_size_count_wrong(cell->start, folios, kib);

	if (wrong)
		fail(EXIT_PREMISE, 0, "%lu of %zu folios have not %lu KiB", (unsigned long)wrong,
		     folios, kib);
}

const struct folio_kind anon_kinds[] = {
	{ "anon", "anonymous, single pages", make_small, prove, NULL, NULL },
	{ "anon-64k", "anonymous, folios of 64 KiB", make_64k, prove, NULL, NULL },
	{ "anon-2m", "anonymous, mapped by a huge entry", make_pmd, prove, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};
