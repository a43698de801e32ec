// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu_time.h"
#include "kernel_state.h"
#include "move_tasks.h"
#include "options.h"
#include "report.h"

struct share {
	pthread_t thread;
	struct move move;
	struct move_task *task;
};

static pthread_barrier_t start_line;

static void call(const struct move *move, struct move_task *task)
{
	uint64_t before_ns = thread_cpu_ns();
	int error;

	task->folios = move->folios;
	task->start_ns = monotonic_ns();
	task->not_moved = syscall(SYS_move_pages, 0, move->folios, move->heads, move->nodes,
				  move->status, MPOL_MF_MOVE);
	error = errno;
	task->end_ns = monotonic_ns();
	task->cpu_ns = thread_cpu_ns() - before_ns;
	if (task->not_moved < 0)
		fail(EXIT_FAILED, error, "move_pages failed");
}

static void *run_share(void *argument)
{
	struct share *share = argument;

	pin_to_cpu(share->task->cpu);
	pthread_barrier_wait(&start_line);
	call(&share->move, share->task);
	return NULL;
}

void move_tasks_run(const struct move *move, struct move_task *tasks, size_t count)
{
	struct share shares[MOVE_TASKS_MAX];
	size_t done = 0, i;
	int error;

	if (count == 1) {
		call(move, tasks);
		return;
	}
	if (pthread_barrier_init(&start_line, NULL, (unsigned int)count))
		fail(EXIT_FAILED, 0, "no barrier for the tasks");
	for (i = 0; i < count; i++) {
		size_t end = move->folios * (i + 1) / count;

		shares[i].task = &tasks[i];
		shares[i].move = (struct move) {
			.folios = end - done,
			.heads = move->heads + done,
			.nodes = move->nodes + done,
			.status = move->status + done,
		};
		done = end;
		error = pthread_create(&shares[i].thread, NULL, run_share, &shares[i]);
		if (error)
			fail(EXIT_FAILED, error, "a task can't be started");
	}
	for (i = 0; i < count; i++)
		pthread_join(shares[i].thread, NULL);
	pthread_barrier_destroy(&start_line);
}
