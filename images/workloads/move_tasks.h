/* SPDX-License-Identifier: GPL-2.0-or-later */
/* move_pages(2) by one task, or by several at once that share the folios. */
#ifndef LAB_MOVE_TASKS_H
#define LAB_MOVE_TASKS_H

#include <stddef.h>
#include <stdint.h>

#define MOVE_TASKS_MAX 64

/* What is moved: an array entry for each folio. */
struct move {
	size_t folios;
	void **heads;
	const int *nodes;	/* destination */
	int *status;		/* out, as move_pages() leaves it */
};

/* What one task did; times are nanoseconds. */
struct move_task {
	unsigned long cpu;	/* in: where it runs */
	size_t folios;
	uint64_t start_ns;	/* CLOCK_MONOTONIC */
	uint64_t end_ns;
	uint64_t cpu_ns;	/* CPU time of the task within the system call */
	long not_moved;		/* what move_pages() returned */
};

/*
 * Moves everything in `count` tasks, each an equal share of the folios one
 * after the other. One task is the calling one, which stays where it runs;
 * more are threads, which start together. Fails the program if a call fails.
 */
void move_tasks_run(const struct move *move, struct move_task *tasks, size_t count);

#endif
