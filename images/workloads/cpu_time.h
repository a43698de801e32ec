/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU time: the kernel's account of a CPU, and that of the calling task. */
#ifndef LAB_CPU_TIME_H
#define LAB_CPU_TIME_H

#include <stdint.h>

#include "cpu_account.h"

/* Opens the module's device, or ends the program with EXIT_PREMISE. */
int cpu_account_open(void);

/* Samples the CPU that the caller is pinned to, or fails the program. */
void cpu_account_read(int device, struct cpu_account_sample *sample);

/* "cpustat_ns":{…}: the change from `start` to `end`. */
void report_cpu_account(const struct cpu_account_time *start,
			const struct cpu_account_time *end);

/* CPU time of the calling thread, interrupts not included, in nanoseconds. */
uint64_t thread_cpu_ns(void);

#endif
