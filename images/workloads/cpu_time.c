// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/ioctl.h>
#include <time.h>

#include "cpu_time.h"
#include "report.h"

int cpu_account_open(void)
{
	int device = open(CPU_ACCOUNT_DEVICE, O_RDWR | O_CLOEXEC);

	if (device < 0)
		fail(EXIT_PREMISE, errno, CPU_ACCOUNT_DEVICE " can't be opened");
	return device;
}

void cpu_account_read(int device, struct cpu_account_sample *sample)
{
	if (ioctl(device, CPU_ACCOUNT_SAMPLE, sample))
		fail(EXIT_FAILED, errno, "the CPU's account can't be read");
}

void report_cpu_account(const struct cpu_account_time *start,
			const struct cpu_account_time *end)
{
	report("\"cpustat_ns\":{\"user\":%" PRIu64 ",\"nice\":%" PRIu64 ",\"system\":%" PRIu64
	       ",\"idle\":%" PRIu64 ",\"iowait\":%" PRIu64 ",\"irq\":%" PRIu64
	       ",\"softirq\":%" PRIu64 ",\"steal\":%" PRIu64 "}",
	       (uint64_t)(end->user - start->user), (uint64_t)(end->nice - start->nice),
	       (uint64_t)(end->system - start->system), (uint64_t)(end->idle - start->idle),
	       (uint64_t)(end->iowait - start->iowait), (uint64_t)(end->irq - start->irq),
	       (uint64_t)(end->softirq - start->softirq),
	       (uint64_t)(end->steal - start->steal));
}

uint64_t thread_cpu_ns(void)
{
	struct timespec used;

	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used))
		fail(EXIT_FAILED, errno, "the task's CPU time can't be read");
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}
