/* SPDX-License-Identifier: GPL-2.0-or-later WITH Linux-syscall-note */
/*
 * /dev/cpu_account: the kernel's own account of a CPU's time, in nanoseconds.
 * Shared by the module, the modules that use it, and the programs.
 */
#ifndef CPU_ACCOUNT_H
#define CPU_ACCOUNT_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define CPU_ACCOUNT_DEVICE "/dev/cpu_account"

/* What /proc/stat shows of a CPU, since boot and before it is rounded to ticks. */
struct cpu_account_time {
	__u64 user;
	__u64 nice;
	__u64 system;
	__u64 idle;
	__u64 iowait;
	__u64 irq;
	__u64 softirq;
	__u64 steal;
};

/* One end of an interval, everything read with preemption disabled. */
struct cpu_account_sample {
	__u64 clock_ns;		/* CLOCK_MONOTONIC */
	__u64 counter;		/* a word of the caller's, 0 without one */
	struct cpu_account_time time;
};

#define CPU_ACCOUNT_MAGIC 0xdd

/*
 * Samples the CPU that the caller is pinned to; the counter is left 0. EINVAL
 * if the caller may run on more than one, EFAULT.
 *
 * While a task stays in the kernel, its time there is not settled, and
 * interrupts that it suffered count twice: as theirs and as its own. The way
 * out of the kernel settles it. Two calls of this ioctl around another system
 * call are therefore right.
 */
#define CPU_ACCOUNT_SAMPLE _IOR(CPU_ACCOUNT_MAGIC, 1, struct cpu_account_sample)

#endif
