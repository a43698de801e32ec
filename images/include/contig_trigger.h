/* SPDX-License-Identifier: GPL-2.0-or-later WITH Linux-syscall-note */
/*
 * /dev/contig_trigger: has the kernel allocate a range of page frames that are
 * in use, so that whatever is in them has to go elsewhere. Shared by the module
 * and the programs that use it.
 */
#ifndef CONTIG_TRIGGER_H
#define CONTIG_TRIGGER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define CONTIG_TRIGGER_DEVICE "/dev/contig_trigger"

/**
 * struct contig_trigger_range - page frames that follow one another
 * @first: number of the first
 * @count: how many
 */
struct contig_trigger_range {
	__u64 first;
	__u64 count;
};

#define CONTIG_TRIGGER_MAGIC 0xdd

/*
 * Allocates the range and frees it at once. Errors: EINVAL (no frame, or one that
 * is no memory), EBUSY (something in it can't be moved), EINTR, ENOMEM, EFAULT.
 */
#define CONTIG_TRIGGER_ALLOCATE _IOW(CONTIG_TRIGGER_MAGIC, 1, struct contig_trigger_range)

#endif
