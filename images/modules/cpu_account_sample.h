/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the module cpu_account offers to other modules. */
#ifndef CPU_ACCOUNT_SAMPLE_H
#define CPU_ACCOUNT_SAMPLE_H

#include <linux/types.h>

struct cpu_account_sample;

/*
 * Samples the CPU that runs the caller, who must be pinned to it, and the
 * naturally aligned u64 at @counter_address in the caller's resident memory
 * (0: none). 0, or -EFAULT.
 */
int cpu_account_sample(struct cpu_account_sample *sample, u64 counter_address);

#endif
