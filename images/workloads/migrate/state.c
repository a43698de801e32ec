// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cell.h"
#include "kernel_state.h"
#include "region.h"
#include "state.h"

#define VM_FLAGS_BYTES 128
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct page_state {
	uint64_t entry;		/* of /proc/self/pagemap, without the frame */
	uint64_t flags, mappings;
};

/* Sums that a migration must not change: what is young, and what is mapped how. */
static const char *const fields[] = {
	"Rss", "Referenced", "Anonymous", "KSM", "AnonHugePages", "ShmemPmdMapped",
	"FilePmdMapped", "Private_Hugetlb", "Shared_Hugetlb", "Swap", "Locked",
};

struct state {
	unsigned long kib[COUNT(fields)];
	char vm_flags[VM_FLAGS_BYTES];	/* of the first mapping */
	struct page_state pages[];
};

struct bit {
	uint64_t mask;
	const char *name;
};

/* Documentation/admin-guide/mm/pagemap.rst */
static const struct bit entry_bits[] = {
	{ 1ull << 62, "swapped" },
	{ 1ull << 61, "file mapping" },
	{ 1ull << 57, "write protection by userfaultfd" },
	{ 1ull << 56, "exclusive mapping" },
};

#define ENTRY_PRESENT (1ull << 63)
#define FRAME_MASK ((1ull << 55) - 1)

/* Frames whose flags are read at once. */
#define RUN_MAX 64

/* Apart from the others: to call it dirty once too often is less than to forget it. */
#define ENTRY_SOFT_DIRTY (1ull << 55)

static const struct bit flag_bits[] = {
	{ FLAG(REFERENCED), "referenced" },
	{ FLAG(UPTODATE), "uptodate" },
	{ FLAG(DIRTY), "dirty" },
	{ FLAG(ACTIVE), "active" },
	{ FLAG(MMAP), "mmap" },
	{ FLAG(ANON), "anon" },
	{ FLAG(SWAPCACHE), "swapcache" },
	{ FLAG(SWAPBACKED), "swapbacked" },
	{ FLAG(COMPOUND_HEAD), "head" },
	{ FLAG(COMPOUND_TAIL), "tail" },
	{ FLAG(HUGE), "hugetlb" },
	{ FLAG(KSM), "ksm" },
	{ FLAG(THP), "thp" },
	{ FLAG(MLOCKED), "mlocked" },
	{ FLAG(PRIVATE), "private" },
};

/* Whole 64-bit words of a file. */
static void read_words(const char *path, int *fd, uint64_t index, uint64_t *words, size_t count)
{
	size_t size = count * sizeof(*words);

	if (*fd < 0)
		*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0)
		fail(EXIT_FAILED, errno, "%s can't be opened", path);
	if (pread(*fd, words, size, (off_t)(index * sizeof(*words))) != (ssize_t)size)
		fail(EXIT_FAILED, errno, "%s can't be read", path);
}

/* How many entries from the first on name frames that follow one another. */
static size_t frames_in_turn(const uint64_t *entries, size_t count)
{
	size_t run = 1;

	while ((entries[0] & ENTRY_PRESENT) && run < count && run < RUN_MAX &&
	       (entries[run] & ENTRY_PRESENT) &&
	       (entries[run] & FRAME_MASK) == (entries[0] & FRAME_MASK) + run)
		run++;
	return run;
}

static void read_pages(const struct cell *cell, struct page_state *pages)
{
	static int pagemap = -1, kpagecount = -1;
	uint64_t *entries = calloc(cell->pages, sizeof(*entries));
	size_t first, run, i;

	if (!entries)
		fail(EXIT_FAILED, ENOMEM, "no memory for %zu entries", cell->pages);
	read_words("/proc/self/pagemap", &pagemap, (uintptr_t)cell->start / PAGE_BYTES, entries,
		   cell->pages);
	for (first = 0; first < cell->pages; first += run) {
		uint64_t flags[RUN_MAX] = { 0 }, mappings[RUN_MAX] = { 0 };
		uint64_t frame = entries[first] & FRAME_MASK;

		run = frames_in_turn(entries + first, cell->pages - first);
		if (entries[first] & ENTRY_PRESENT) {
			page_flags_read(frame, run, flags);
			read_words("/proc/kpagecount", &kpagecount, frame, mappings, run);
		}
		for (i = 0; i < run; i++)
			pages[first + i] = (struct page_state){
				.entry = entries[first + i] & ~FRAME_MASK,
				.flags = flags[i], .mappings = mappings[i],
			};
	}
	free(entries);
}

/*
 * Walks /proc/self/smaps over the mappings that overlap the region and adds up some
 * fields. `vm_flags`, if given, gets those of the first mapping.
 */
static void read_smaps(const struct cell *cell, const char *const *names, size_t count,
		       unsigned long *sums, char *vm_flags)
{
	uintptr_t start = (uintptr_t)cell->start, end = start + cell->pages * PAGE_BYTES;
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long from, to, kib;
	bool inside = false;
	size_t seen = 0, i;
	char line[512], name[32];

	if (!file)
		fail(EXIT_FAILED, errno, "/proc/self/smaps can't be opened");
	memset(sums, 0, count * sizeof(*sums));
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			inside = from < end && to > start;
		} else if (inside && vm_flags && !*vm_flags && !strncmp(line, "VmFlags:", 8)) {
			line[strcspn(line, "\n")] = '\0';
			snprintf(vm_flags, VM_FLAGS_BYTES, "%.*s", VM_FLAGS_BYTES - 1, line + 9);
		} else if (inside && sscanf(line, "%31[^:]: %lu kB", name, &kib) == 2) {
			for (i = 0; i < count; i++)
				if (!strcmp(name, names[i])) {
					sums[i] += kib;
					seen++;
				}
		}
	}
	fclose(file);
	if (!seen || seen % count)
		fail(EXIT_FAILED, 0, "/proc/self/smaps hasn't all of %s and so on", names[0]);
}

unsigned long state_smaps_kib(const struct cell *cell, const char *field)
{
	unsigned long kib;

	read_smaps(cell, &field, 1, &kib, NULL);
	return kib;
}

struct state *state_read(const struct cell *cell)
{
	struct state *state = calloc(1, sizeof(*state) + cell->pages * sizeof(state->pages[0]));

	if (!state)
		fail(EXIT_FAILED, ENOMEM, "no memory for the state of %zu pages", cell->pages);
	read_pages(cell, state->pages);
	read_smaps(cell, fields, COUNT(fields), state->kib, state->vm_flags);
	return state;
}

static bool present(const struct page_state *page)
{
	return page->entry & ENTRY_PRESENT;
}

static void check_pages(struct cell *cell, struct state *after, uint64_t may_lose)
{
	const struct page_state *before = cell->state->pages;
	size_t bit, i, count;

	for (i = count = 0; i < cell->pages; i++)
		count += !present(&after->pages[i]);
	if (count)
		cell_lose(cell, "presence of %zu pages changed", count);
	/* Of a page that isn't there nothing more can be said here; its contents tell. */
	for (i = 0; i < cell->pages; i++)
		if (!present(&after->pages[i]))
			after->pages[i] = before[i];
	for (bit = 0; bit < COUNT(entry_bits); bit++) {
		for (i = count = 0; i < cell->pages; i++)
			count += !!((before[i].entry ^ after->pages[i].entry) &
				    entry_bits[bit].mask);
		if (count)
			cell_lose(cell, "%s of %zu pages changed", entry_bits[bit].name, count);
	}
	for (i = count = 0; i < cell->pages; i++)
		count += !!(before[i].entry & ~after->pages[i].entry & ENTRY_SOFT_DIRTY);
	if (count)
		cell_lose(cell, "soft-dirty of %zu pages", count);
	for (i = count = 0; i < cell->pages; i++)
		count += !!(after->pages[i].entry & ~before[i].entry & ENTRY_SOFT_DIRTY);
	if (count)
		cell_lose(cell, "%zu pages became soft-dirty", count);
	for (bit = 0; bit < COUNT(flag_bits); bit++) {
		for (i = count = 0; i < cell->pages; i++)
			count += !!(before[i].flags & ~after->pages[i].flags & ~may_lose &
				    flag_bits[bit].mask);
		if (count)
			cell_lose(cell, "flag %s of %zu pages", flag_bits[bit].name, count);
	}
	for (i = count = 0; i < cell->pages; i++)
		count += before[i].mappings != after->pages[i].mappings;
	if (count)
		cell_lose(cell, "number of mappings of %zu pages changed", count);
}

void state_check(struct cell *cell, uint64_t may_lose)
{
	const struct state *before = cell->state;
	struct state *after = state_read(cell);
	size_t i;

	check_pages(cell, after, may_lose);
	for (i = 0; i < COUNT(fields); i++)
		if (before->kib[i] != after->kib[i])
			cell_lose(cell, "%s was %lu KiB and is %lu", fields[i], before->kib[i],
				  after->kib[i]);
	if (strcmp(before->vm_flags, after->vm_flags))
		cell_lose(cell, "VmFlags were %s and are %s", before->vm_flags,
			  after->vm_flags);
	free(after);
}

/* Documentation/admin-guide/mm/soft-dirty.rst, and clear_refs in filesystems/proc.rst */
static void clear_refs(const char *which)
{
	if (!file_write("/proc/self/clear_refs", which))
		fail(EXIT_FAILED, errno, "bits of page tables can't be cleared");
}

/* Between two pages that are to be touched. */
static size_t mark_step(const struct cell *cell)
{
	if (state_smaps_kib(cell, "AnonHugePages") || state_smaps_kib(cell, "ShmemPmdMapped") ||
	    state_smaps_kib(cell, "FilePmdMapped"))
		return 2 * REGION_BYTES;
	return 2 * PAGE_BYTES;
}

/* Every second page, or the difference is none. */
static void assert_young(const struct cell *cell)
{
	unsigned long kib = state_smaps_kib(cell, "Referenced");

	if (kib * 2 != cell->size_bytes / 1024)
		fail(EXIT_PREMISE, 0, "%lu KiB are young, not half of %zu", kib,
		     cell->size_bytes / 1024);
}

void state_mark(struct cell *cell)
{
	size_t step = mark_step(cell), at;

	clear_refs("4");
	clear_refs("1");
	for (at = 0; at < cell->pages * PAGE_BYTES; at += step) {
		volatile uint64_t *word = (volatile uint64_t *)(void *)(cell->start + at);

		*word = *word;
	}
	assert_young(cell);
}

void state_mark_young(struct cell *cell)
{
	size_t step = mark_step(cell), at;

	clear_refs("1");
	/*
	 * This one flushes the TLB, the other doesn't (clear_refs_write() of
	 * fs/proc/task_mmu.c): an access through an old entry of it marks nothing.
	 */
	clear_refs("4");
	for (at = 0; at < cell->pages * PAGE_BYTES; at += step)
		(void)*(volatile uint64_t *)(void *)(cell->start + at);
	assert_young(cell);
}

static struct page_state *pages_of(const struct cell *cell)
{
	struct page_state *pages = calloc(cell->pages, sizeof(*pages));

	if (!pages)
		fail(EXIT_FAILED, ENOMEM, "no memory for the state of %zu pages", cell->pages);
	read_pages(cell, pages);
	return pages;
}

size_t state_count(const struct cell *cell, uint64_t flag)
{
	struct page_state *pages = pages_of(cell);
	size_t i, count = 0;

	for (i = 0; i < cell->pages; i++)
		count += !!(pages[i].flags & flag);
	free(pages);
	return count;
}

uint64_t state_flags(const struct cell *cell, size_t page)
{
	struct page_state *pages = pages_of(cell);
	uint64_t flags = pages[page].flags;

	free(pages);
	return flags;
}

void state_assert(const struct cell *cell, uint64_t set, uint64_t clear)
{
	struct page_state *pages = pages_of(cell);
	size_t i, wrong = 0;
	uint64_t example = 0;

	for (i = 0; i < cell->pages; i++) {
		if ((pages[i].flags & set) == set && !(pages[i].flags & clear))
			continue;
		if (!wrong++)
			example = pages[i].flags;
	}
	free(pages);
	if (wrong)
		fail(EXIT_PREMISE, 0, "%zu of %zu pages are of another kind: flags %#" PRIx64
		     ", awaited %#" PRIx64 " and not %#" PRIx64, wrong, cell->pages, example,
		     set, clear);
}

void state_assert_mappings(const struct cell *cell, uint64_t count)
{
	struct page_state *pages = pages_of(cell);
	size_t i, wrong = 0;

	for (i = 0; i < cell->pages; i++)
		wrong += pages[i].mappings != count;
	free(pages);
	if (wrong)
		fail(EXIT_PREMISE, 0, "%zu of %zu pages are not mapped %" PRIu64 " times", wrong,
		     cell->pages, count);
}

void state_assert_smaps(const struct cell *cell, const char *field)
{
	unsigned long kib = state_smaps_kib(cell, field);

	if (kib != cell->size_bytes / 1024)
		fail(EXIT_PREMISE, 0, "%s is %lu KiB, not the whole region of %zu", field, kib,
		     cell->size_bytes / 1024);
}
