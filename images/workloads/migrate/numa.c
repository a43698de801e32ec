// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A thread on one node uses memory of another, and NUMA balancing has it follow:
 * reason numa_misplaced, one folio a call.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cell.h"
#include "frames.h"
#include "region.h"
#include "setting.h"

#define BALANCING "/sys/kernel/debug/sched/numa_balancing"

/*
 * Processor time of the thread; a look at the whole region costs some of it. What
 * moves takes up to 30 ms on a plain kernel.
 */
#define TIMEOUT_NS 200000000ull
#define LOOK_NS 4000000ull

static void prepare(struct cell *cell)
{
	unsigned long from = 1ul << cell->from, to = 1ul << cell->to;

	/* What the program has on the region's node already would be taken along. */
	if (syscall(SYS_migrate_pages, 0, sizeof(from) * 8, &from, &to) < 0)
		fail(EXIT_PREMISE, errno, "the program's own pages can't be moved");
	/*
	 * A small size keeps the scanner's shortest period short, and is more than
	 * the process has. It looks at the tasks that start from now on.
	 */
	setting_set(BALANCING "/scan_size_mb", "64");
	setting_set(BALANCING "/scan_period_min_ms", "1");
	setting_set(BALANCING "/scan_delay_ms", "1");
}

static uint64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000ull + (uint64_t)used.tv_nsec;
}

static void *use(void *argument)
{
	struct cell *cell = argument;
	uint64_t start_ns = cpu_ns(), look_ns = start_ns;
	size_t i;

	while (cpu_ns() - start_ns < TIMEOUT_NS) {
		for (i = 0; i < cell->pages; i++)
			(void)*(volatile char *)(cell->start + i * PAGE_BYTES);
		if (cpu_ns() - look_ns < LOOK_NS)
			continue;
		look_ns = cpu_ns();
		if (pages_on(cell, cell->to) == cell->pages)
			break;
		/* Until then each fault tries in vain (MIGRATE_ASYNC). */
		frames_await_written(cell);
	}
	return NULL;
}

static int pull(struct cell *cell)
{
	pthread_t thread;
	int error;

	/* Memory that is bound stays; the default policy is to be near its user. */
	if (syscall(SYS_mbind, cell->start, cell->size_bytes, MPOL_DEFAULT, NULL, 0, 0))
		fail(EXIT_PREMISE, errno, "the region can't be released from its policy");
	/* From here on, so that nothing moves before it counts. */
	setting_set("/proc/sys/kernel/numa_balancing", "1");
	/* A task's first scan comes after the delay that was set when it started. */
	error = pthread_create(&thread, NULL, use, cell);
	if (error)
		fail(EXIT_FAILED, error, "a thread can't be started");
	pthread_join(thread, NULL);
	/* What is looked at afterwards is to stay where it is. */
	setting_set("/proc/sys/kernel/numa_balancing", "0");
	return 0;
}

const struct trigger numa_triggers[] = {
	{ .name = "numa_balancing", .purpose = "NUMA balancing, by a thread on the other node",
	  .prepare = prepare, .pull = pull, .needs = BALANCING "/scan_delay_ms" },
	{ 0 },
};
