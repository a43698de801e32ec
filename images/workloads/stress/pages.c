// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "folio_size.h"
#include "kernel_state.h"
#include "region.h"
#include "stress.h"

static void bind_task(const unsigned long *mask)
{
	if (syscall(SYS_set_mempolicy, mask ? MPOL_BIND : MPOL_DEFAULT, mask,
		    mask ? sizeof(*mask) * 8 : 0))
		fail(EXIT_FAILED, errno, "the task's memory can't be bound to a node");
}

/*
 * A file in memory takes the region's place. A policy of the mapping would be the file's,
 * and hold for good; the task's is for now.
 */
static int populate_shared(const struct stress *stress, char *start, size_t size_bytes)
{
	unsigned long mask = 1ul << stress->from;
	int fd = memfd_create("stress", MFD_CLOEXEC), error;

	if (fd < 0 || ftruncate(fd, (off_t)size_bytes) ||
	    mmap(start, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
		    MAP_FAILED)
		fail(EXIT_FAILED, errno, "%zu bytes of a file can't be mapped", size_bytes);
	close(fd);
	bind_task(&mask);
	error = region_populate(start, size_bytes);
	bind_task(NULL);
	return error;
}

uint64_t pages_split(const struct stress *stress, const struct pages *pages)
{
	size_t folios = pages->count * PAGE_BYTES / 1024 / stress->folio_kib;

	return folio_size_count_wrong(pages->start, folios, stress->folio_kib);
}

/* Or a migration splits what it finds no place for, and nobody has done anything wrong. */
static void assert_room(const struct stress *stress)
{
	struct node_memory memory;

	node_memory_read(&memory, stress->to);
	if (memory.order9_blocks < stress->mib / 2)
		fail(EXIT_PREMISE, 0, "node %lu has %" PRIu64 " free blocks of 2 MiB, not %lu",
		     stress->to, memory.order9_blocks, stress->mib / 2);
}

void pages_make(struct stress *stress, struct pages *pages)
{
	size_t size_bytes = stress->mib << 20, i;
	int error;

	pages->count = size_bytes / PAGE_BYTES;
	pages->start = region_map(size_bytes, stress->from);
	pages->sequence = mmap(NULL, pages->count * sizeof(*pages->sequence),
			       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pages->sequence == MAP_FAILED)
		fail(EXIT_FAILED, errno, "no memory for sequence numbers");
	error = stress->shared ? populate_shared(stress, pages->start, size_bytes) :
				 folio_size_populate(pages->start, size_bytes, stress->folio_kib);
	if (error)
		fail(EXIT_PREMISE, error, "the region can't be faulted in on node %lu",
		     stress->from);
	if (pages_split(stress, pages))
		fail(EXIT_PREMISE, 0, "%" PRIu64 " folios are not of %lu KiB",
		     pages_split(stress, pages), stress->folio_kib);
	if (stress->folio_kib * 1024 == REGION_BYTES)
		assert_room(stress);
	for (i = 0; i < pages->count; i++) {
		pattern_fill(pages->start + i * PAGE_BYTES, PAGE_BYTES, 1);
		pages->sequence[i] = 1;
	}
}

uint32_t pages_next(const struct pages *pages, size_t page)
{
	uint32_t sequence = atomic_load_explicit(&pages->sequence[page], memory_order_relaxed);

	if (sequence == PATTERN_MAX_GENERATION)
		fail(EXIT_PREMISE, 0, "a page was written too often to tell the writes apart");
	return sequence + 1;
}

void pages_written(struct pages *pages, size_t page)
{
	atomic_store_explicit(&pages->sequence[page], pages_next(pages, page),
			      memory_order_release);
}

bool pages_check(const struct stress *stress, const struct pages *pages, size_t page,
		 const char *who)
{
	struct pattern_mismatch mismatch;

	stress->tally->pages_verified++;
	if (!pattern_check_page(pages->start + page * PAGE_BYTES, pages->sequence[page],
				&mismatch))
		return true;
	tally_wrong(stress->tally, who, page, &mismatch);
	return false;
}

void pages_rewrite(struct pages *pages, size_t page)
{
	pattern_fill(pages->start + page * PAGE_BYTES, PAGE_BYTES, pages_next(pages, page));
	pages_written(pages, page);
}

void pages_write(const struct stress *stress, struct pages *pages, size_t page)
{
	pages_rewrite(pages, page);
	stress->tally->writes++;
}

void pages_check_all(const struct stress *stress, const struct pages *pages, const char *who)
{
	size_t page;

	for (page = 0; page < pages->count; page++)
		pages_check(stress, pages, page, who);
}

void pages_look(const struct stress *stress, const struct pages *pages, size_t page, size_t word)
{
	const volatile uint64_t *words = (const void *)(pages->start + page * PAGE_BYTES);
	uint64_t address = (uintptr_t)&words[word];
	struct pattern_mismatch mismatch;
	uint32_t before, generation;
	uint64_t seen;

	before = atomic_load_explicit(&pages->sequence[page], memory_order_acquire);
	seen = words[word];
	stress->tally->looks++;
	if (!pattern_generation(address, seen, &generation) && generation >= before)
		return;
	mismatch.address = address;
	mismatch.offset = word * sizeof(*words);
	mismatch.expected = pattern_word(address, before);
	mismatch.seen = seen;
	mismatch.bytes_wrong = sizeof(*words);
	tally_wrong(stress->tally, "who looks on", page, &mismatch);
}
