// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Forks and unmappings while pages move. A child has the contents of the moment of its
 * birth, whatever its parent writes later; both write, so that pages are copied for
 * them in the middle of a migration. Parts of the region are unmapped and come back.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "region.h"
#include "stress.h"

#define CHILD_PAGES 96
#define HOLE_PAGES 64
/* Children that live at the same time. */
#define CHILDREN 4

static void check_as_child(struct stress *stress, size_t page, uint32_t sequence,
			   const char *who)
{
	struct pattern_mismatch mismatch;

	stress->tally->pages_verified++;
	if (pattern_check_page(stress->pages.start + page * PAGE_BYTES, sequence, &mismatch))
		tally_wrong(stress->tally, who, page, &mismatch);
}

/*
 * A child verifies what it was born with, writes every third page, and verifies all.
 * No page of the parent ever has the number that it writes.
 */
static void live_as_child(struct stress *stress, size_t first, const uint32_t *born)
{
	size_t i;

	for (i = 0; i < CHILD_PAGES; i++) {
		check_as_child(stress, first + i, born[i], "a child");
		if (i % 3 == 0)
			pattern_fill(stress->pages.start + (first + i) * PAGE_BYTES, PAGE_BYTES,
				     PATTERN_MAX_GENERATION);
	}
	for (i = 0; i < CHILD_PAGES; i++)
		check_as_child(stress, first + i, i % 3 ? born[i] : PATTERN_MAX_GENERATION,
			       "a child that has written");
}

struct living {
	pid_t pids[CHILDREN];	/* 0: none */
	size_t oldest;
};

/* Waits for the oldest child, if it lives: its place is free then. */
static void reap(struct living *living)
{
	int status;

	if (!living->pids[living->oldest])
		return;
	if (waitpid(living->pids[living->oldest], &status, 0) < 0)
		fail(EXIT_FAILED, errno, "a child can't be waited for");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail(EXIT_FAILED, 0, "a child ended with status %d", status);
	living->pids[living->oldest] = 0;
}

static void bear_child(struct stress *stress, struct chance *chance, struct living *living)
{
	struct pages *pages = &stress->pages;
	size_t first = chance_below(chance, pages->count - CHILD_PAGES), i;
	uint32_t born[CHILD_PAGES];
	pid_t pid;

	for (i = 0; i < CHILD_PAGES; i++)
		born[i] = pages->sequence[first + i];
	reap(living);
	pid = fork();
	if (pid < 0)
		fail(EXIT_FAILED, errno, "no child can be born");
	if (!pid) {
		live_as_child(stress, first, born);
		_exit(0);
	}
	living->pids[living->oldest] = pid;
	living->oldest = (living->oldest + 1) % CHILDREN;
	stress->tally->forks++;
	/* The same pages, at the same time as the child: each has its own from now on. */
	for (i = 0; i < CHILD_PAGES; i += 2) {
		pages_check(stress, pages, first + i, "a parent");
		pages_write(stress, pages, first + i);
	}
}

/* What was unmapped is gone: 0 in every byte, not what somebody has moved there. */
static void refill_hole(struct stress *stress, size_t first, size_t count)
{
	static const char zeroes[PAGE_BYTES];
	struct pattern_mismatch mismatch = { 0 };
	size_t i;

	for (i = 0; i < count; i++) {
		char *page = stress->pages.start + (first + i) * PAGE_BYTES;

		stress->tally->pages_verified++;
		if (memcmp(page, zeroes, PAGE_BYTES)) {
			mismatch.address = (uintptr_t)page;
			mismatch.seen = *(uint64_t *)page;
			tally_wrong(stress->tally, "a hole", first + i, &mismatch);
		}
		pages_write(stress, &stress->pages, first + i);
	}
}

static void make_hole(struct stress *stress, struct chance *chance)
{
	size_t count = 1 + chance_below(chance, HOLE_PAGES);
	size_t first = chance_below(chance, stress->pages.count - count);
	char *start = stress->pages.start + first * PAGE_BYTES;
	size_t size_bytes = count * PAGE_BYTES;

	if (chance_below(chance, 2)) {
		if (madvise(start, size_bytes, MADV_DONTNEED))
			fail(EXIT_FAILED, errno, "%zu pages can't be given up", count);
		stress->tally->zaps += count;
	} else {
		if (munmap(start, size_bytes))
			fail(EXIT_FAILED, errno, "%zu pages can't be unmapped", count);
		/* Whoever moves pages meets the hole. */
		task_sleep_us(chance_below(chance, 200));
		if (mmap(start, size_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != start)
			fail(EXIT_FAILED, errno, "%zu pages can't be mapped again", count);
		stress->tally->unmaps += count;
	}
	refill_hole(stress, first, count);
}

/* A process of its own, whose pages its children move. */
static void storm(struct stress *stress, uint64_t task)
{
	struct chance chance = chance_of(stress, 6000 + task);
	struct living living = { 0 };

	while (!over(stress)) {
		bear_child(stress, &chance, &living);
		make_hole(stress, &chance);
	}
	for (living.oldest = 0; living.oldest < CHILDREN; living.oldest++)
		reap(&living);
	pages_check_all(stress, &stress->pages, "the end of a storm");
}

static void start_storm(struct stress *stress, uint64_t task)
{
	uint64_t i;

	stress->nr_children = 0;
	pages_make(stress, &stress->pages);
	for (i = 0; i < stress->movers; i++)
		task_start(stress, task + 1 + i, mover_random);
	storm(stress, task);
	tasks_end(stress);
}

static void run_fork(struct stress *stress)
{
	uint64_t i;

	for (i = 0; i < stress->writers; i++)
		task_start(stress, i, start_storm);
	task_sleep_us(stress->run_ms * 1000);
}

const struct scenario scenario_fork = { "fork", NULL, run_fork, false };
