/* SPDX-License-Identifier: GPL-2.0-or-later WITH Linux-syscall-note */
/*
 * /dev/compact_trigger: has the kernel allocate high-order pages in a loop, in
 * the calling task, and measures that loop. Shared by the module and the
 * programs that use it.
 */
#ifndef COMPACT_TRIGGER_H
#define COMPACT_TRIGGER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#include "cpu_account.h"

#define COMPACT_TRIGGER_DEVICE "/dev/compact_trigger"

/**
 * struct compact_trigger_run - one measured loop of allocations
 * @node: NUMA node to allocate from, and from no other
 * @order: order of each page
 * @count: pages to allocate
 * @allocated: (out) pages that were allocated; they are held until
 *	COMPACT_TRIGGER_FREE or until the file is closed
 * @taken_free: (out) pages of that order that could be had without compaction
 *	before the loop; they are taken out of its way and held with the rest
 * @retries: (out) attempts that failed and were followed by another one
 * @cpu: (out) CPU that the loop ran on
 * @flags: 0, or COMPACT_TRIGGER_MORE
 * @counter_address: address of a naturally aligned __u64 in the caller's
 *	resident memory, sampled at both ends of the loop; 0 for none
 * @start: (out) just before the first allocation
 * @end: (out) just after the last one
 */
struct compact_trigger_run {
	__u32 node;
	__u32 order;
	__u32 count;
	__u32 allocated;
	__u32 taken_free;
	__u32 retries;
	__u32 cpu;
	__u32 flags;
	__u64 counter_address;
	struct cpu_account_sample start;
	struct cpu_account_sample end;
};

/*
 * Adds to what earlier runs hold instead of starting anew: nothing is taken out
 * of the way first, and the first attempt that fails ends the loop.
 */
#define COMPACT_TRIGGER_MORE (1U << 0)

#define COMPACT_TRIGGER_MAGIC 0xdc

/*
 * Errors: EINVAL (unknown node or order; the caller is not pinned to one CPU),
 * EBUSY (pages of an earlier run are still held), EINTR (a fatal signal; what
 * was allocated is freed), EFAULT. A page that can't be had ends the loop and
 * is no error: compare @allocated with @count.
 */
#define COMPACT_TRIGGER_RUN _IOWR(COMPACT_TRIGGER_MAGIC, 1, struct compact_trigger_run)

/* Frees the held pages. Never fails. */
#define COMPACT_TRIGGER_FREE _IO(COMPACT_TRIGGER_MAGIC, 2)

#endif
