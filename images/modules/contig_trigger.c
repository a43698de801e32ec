// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Allocates ranges of page frames that the caller names, as CMA, gigantic pages
 * and virtio-mem do, so that what is in them is migrated away.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "contig_trigger.h"

/* Kernels before 6.16 are told the type of the pageblocks instead of flags. */
#ifdef ACR_FLAGS_NONE
#define CONTIG_KIND	ACR_FLAGS_NONE
#else
#define CONTIG_KIND	MIGRATE_MOVABLE
#endif

static int allocate(const struct contig_trigger_range *range)
{
	unsigned long first = range->first, end = range->first + range->count, frame;
	int error;

	if (!range->count || end <= first)
		return -EINVAL;
	for (frame = first; frame < end; frame++)
		if (!pfn_to_online_page(frame))
			return -EINVAL;
	error = alloc_contig_range(first, end, CONTIG_KIND, GFP_KERNEL);
	if (!error)
		free_contig_range(first, range->count);
	return error;
}

static long contig_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct contig_trigger_range range;

	if (command != CONTIG_TRIGGER_ALLOCATE)
		return -ENOTTY;
	if (copy_from_user(&range, (void __user *)argument, sizeof(range)))
		return -EFAULT;
	return allocate(&range);
}

static int contig_open(struct inode *inode, struct file *file)
{
	return capable(CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static const struct file_operations contig_operations = {
	.owner		= THIS_MODULE,
	.open		= contig_open,
	.unlocked_ioctl	= contig_ioctl,
};

static struct miscdevice contig_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "contig_trigger",
	.fops	= &contig_operations,
	.mode	= 0600,
};
module_misc_device(contig_device);

MODULE_DESCRIPTION("Contiguous allocations that migrate what is in the way");
MODULE_LICENSE("GPL");
