// SPDX-License-Identifier: GPL-2.0-or-later
/* Tasks of their own that move the pages of another process. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel_state.h"
#include "region.h"
#include "stress.h"

static void count_status(const struct stress *stress, size_t count, const int *nodes,
			 const int *status)
{
	struct tally *tally = stress->tally;
	size_t i;

	for (i = 0; i < count; i++) {
		if (status[i] == nodes[i])
			tally->pages_arrived++;
		else if (status[i] >= 0 || status[i] == -EBUSY || status[i] == -EAGAIN)
			tally->pages_busy++;
		else if (status[i] == -ENOENT || status[i] == -EFAULT)
			tally->pages_absent++;
		else
			tally_surprise(tally, "move_pages() says %d of a page", status[i]);
	}
}

bool move_pages_of(const struct stress *stress, pid_t pid, char *start, size_t count,
		   const int *nodes, int *status)
{
	void *addresses[CHUNK_PAGES_MAX];
	size_t i;
	long rc;

	for (i = 0; i < count; i++) {
		addresses[i] = start + i * PAGE_BYTES;
		/* What the kernel says nothing of was not reached: no error of its own. */
		status[i] = -EBUSY;
	}
	rc = syscall(SYS_move_pages, pid, count, addresses, nodes, status, MPOL_MF_MOVE_ALL);
	if (rc < 0 && errno == ESRCH)
		return false;
	stress->tally->move_calls++;
	if (rc < 0 && errno != ENOENT && errno != EBUSY)
		tally_surprise(stress->tally, "move_pages() fails: %s", strerror(errno));
	count_status(stress, count, nodes, status);
	return true;
}

static void move_to(const struct stress *stress, char *start, size_t count, unsigned long node)
{
	int nodes[CHUNK_PAGES_MAX], status[CHUNK_PAGES_MAX];
	size_t done, chunk, i;

	for (i = 0; i < CHUNK_PAGES_MAX; i++)
		nodes[i] = (int)node;
	for (done = 0; done < count && !over(stress); done += chunk) {
		chunk = count - done < CHUNK_PAGES_MAX ? count - done : CHUNK_PAGES_MAX;
		if (!move_pages_of(stress, getppid(), start + done * PAGE_BYTES, chunk, nodes,
				   status))
			return;
	}
}

/* A run of random length, to a random node. */
static void move_some(const struct stress *stress, struct chance *chance)
{
	const struct pages *pages = &stress->pages;
	size_t first = chance_below(chance, pages->count);
	size_t count = 1 + chance_below(chance, CHUNK_PAGES_MAX);

	if (count > pages->count - first)
		count = pages->count - first;
	move_to(stress, pages->start + first * PAGE_BYTES, count,
		chance_below(chance, 2) ? stress->to : stress->from);
}

void mover_random(struct stress *stress, uint64_t task)
{
	struct chance chance = chance_of(stress, task);

	while (!over(stress))
		move_some(stress, &chance);
}

/* For scenarios in which others keep the pages from their writers, too. */
void mover_with_rests(struct stress *stress, uint64_t task)
{
	struct chance chance = chance_of(stress, task);

	while (!over(stress)) {
		uint64_t before_ns = monotonic_ns();

		move_some(stress, &chance);
		task_rest_us(before_ns, 0);
	}
}

/* All pages, always in the same direction; the neighbour's is the other one. */
void mover_to_and_fro(struct stress *stress, uint64_t task)
{
	const struct pages *pages = &stress->pages;

	while (!over(stress))
		move_to(stress, pages->start, pages->count,
			task % 2 ? stress->to : stress->from);
}

/* Each its own slice, there and back. */
void mover_of_slice(struct stress *stress, uint64_t task)
{
	size_t count = stress->pages.count / stress->movers;
	char *start = stress->pages.start + (task % stress->movers) * count * PAGE_BYTES;
	bool there = true;

	for (; !over(stress); there = !there) {
		uint64_t before_ns = monotonic_ns();

		move_to(stress, start, count, there ? stress->to : stress->from);
		/*
		 * Without a break nobody would ever find the pages mapped, nor with
		 * one that is short beside the move of a kernel with instruments.
		 */
		task_rest_us(before_ns, 1000);
	}
}

/* Everything that the process has, its stacks and tables as well. */
void mover_of_process(struct stress *stress, uint64_t task)
{
	unsigned long nodes[2] = { 1ul << stress->from, 1ul << stress->to };
	struct chance chance = chance_of(stress, task);
	bool there = true;

	for (; !over(stress); there = !there) {
		if (syscall(SYS_migrate_pages, getppid(), 64, &nodes[!there], &nodes[there]) < 0) {
			if (errno == ESRCH)
				return;
			if (errno != EBUSY)
				tally_surprise(stress->tally, "migrate_pages() fails: %s",
					       strerror(errno));
		}
		stress->tally->migrations++;
		task_sleep_us(1000 + chance_below(&chance, 4000));
	}
}

void mover_by_compaction(struct stress *stress, uint64_t task)
{
	struct chance chance = chance_of(stress, task);
	int error;

	while (!over(stress)) {
		error = file_put("/proc/sys/vm/compact_memory", "1");
		if (error)
			tally_surprise(stress->tally, "compact_memory refuses: %s",
				       strerror(error));
		stress->tally->compactions++;
		task_sleep_us(1000 + chance_below(&chance, 8000));
	}
}
