// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Measures compaction: has the kernel allocate huge pages in this task through
 * the compact_trigger module, on one CPU, on request with a counting loop as
 * its rival there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compact_trigger.h"
#include "cpu_time.h"
#include "kernel_state.h"
#include "options.h"
#include "report.h"

static const char usage[] =
	"usage: compact --cpu C --node N --count K [--order O] [--hog]\n"
	"\n"
	"Pins itself to CPU C, has the kernel allocate K pages of order O (default 9)\n"
	"from node N, prints a \"compacted\" event and frees them. --hog: a counting\n"
	"loop competes for the CPU, and its iterations in the interval are counted.\n";

/* Iterations between two looks at the shared page: a few microseconds. */
#define HOG_BATCH 1024

struct hog {
	volatile uint64_t iterations;
};

_Noreturn static void count_forever(struct hog *hog, unsigned long cpu)
{
	uint64_t counter = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin_to_cpu(cpu);
	for (;;) {
		int i;

		/*
		 * The counter stays in a register, and every iteration has its
		 * own test and jump, as in the published loop.
		 */
#pragma GCC unroll 1
		for (i = 0; i < HOG_BATCH; i++) {
			counter++;
			__asm__ volatile("" : "+r"(counter));
		}
		hog->iterations = counter;
	}
}

/* Starts the hog and returns its pid once it counts. */
static pid_t start_hog(struct hog *hog, unsigned long cpu)
{
	pid_t pid = fork();

	if (pid < 0)
		fail(EXIT_FAILED, errno, "the hog can't be started");
	if (!pid)
		count_forever(hog, cpu);
	while (!hog->iterations) {
		if (waitpid(pid, NULL, WNOHANG))
			fail(EXIT_FAILED, 0, "the hog ended");
		sched_yield();
	}
	return pid;
}

static void stop_hog(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static struct hog *map_hog(void)
{
	struct hog *hog = mmap(NULL, sizeof(*hog), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (hog == MAP_FAILED)
		fail(EXIT_FAILED, errno, "no memory for the hog's counter");
	return hog;
}

int main(int argc, char **argv)
{
	unsigned long node = 0, cpu = 0, count = 0, order = 9;
	bool with_hog = false;
	const struct option_number numbers[] = {
		{ "cpu", &cpu, 0, 1023, false },
		{ "node", &node, 0, 63, false },
		{ "count", &count, 1, UINT32_MAX, false },
		{ "order", &order, 0, 10, true },
		{ NULL, NULL, 0, 0, false },
	};
	const struct option_flag flags[] = { { "hog", &with_hog }, { NULL, NULL } };
	static struct vmstat vmstat_before, vmstat_after;
	struct proc_stat stat_before, stat_after;
	struct compact_trigger_run run = { 0 };
	struct cpu_account_sample after;
	struct hog *hog = NULL;
	pid_t hog_pid = 0;
	int device, account, error;

	options_read(argc, argv, usage, numbers, flags);
	pin_to_cpu(cpu);
	device = open(COMPACT_TRIGGER_DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0)
		fail(EXIT_PREMISE, errno, COMPACT_TRIGGER_DEVICE " can't be opened");
	account = cpu_account_open();
	run.node = (uint32_t)node;
	run.order = (uint32_t)order;
	run.count = (uint32_t)count;
	if (with_hog) {
		hog = map_hog();
		hog_pid = start_hog(hog, cpu);
		run.counter_address = (uintptr_t)&hog->iterations;
	}
	vmstat_read(&vmstat_before);
	proc_stat_read(&stat_before, cpu);
	error = ioctl(device, COMPACT_TRIGGER_RUN, &run) ? errno : 0;
	/* Not run.end: the account is right only on the way out of the kernel. */
	if (!error)
		cpu_account_read(account, &after);
	proc_stat_read(&stat_after, cpu);
	vmstat_read(&vmstat_after);
	if (with_hog)
		stop_hog(hog_pid);
	if (error)
		fail(EXIT_FAILED, error, "the kernel refused to allocate");
	report("{\"event\":\"compacted\",\"requested\":%lu,\"allocated\":%" PRIu32
	       ",\"retries\":%" PRIu32 ",\"taken_free\":%" PRIu32 ",\"wall_ns\":%" PRIu64 ",",
	       count, run.allocated, run.retries, run.taken_free,
	       (uint64_t)(run.end.clock_ns - run.start.clock_ns));
	if (with_hog)
		report("\"hog_iterations\":%" PRIu64 ",",
		       (uint64_t)(run.end.counter - run.start.counter));
	report("\"cpustat_wall_ns\":%" PRIu64 ",",
	       (uint64_t)(after.clock_ns - run.start.clock_ns));
	report_cpu_account(&run.start.time, &after.time);
	report(",");
	report_proc_stat(&stat_before, &stat_after);
	report(",");
	report_vmstat(&vmstat_before, &vmstat_after);
	report("}");
	report_end();
	if (ioctl(device, COMPACT_TRIGGER_FREE))
		fail(EXIT_FAILED, errno, "the pages can't be freed");
	return 0;
}
