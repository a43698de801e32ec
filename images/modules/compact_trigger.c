// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Allocates high-order pages in the calling task, so that each allocation
 * enters direct compaction, and measures the loop: wall time and, through the
 * module cpu_account, the kernel's account of the CPU, both to the nanosecond.
 */
#include <linux/atomic.h>
#include <linux/capability.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "compact_trigger.h"
#include "cpu_account_sample.h"

/*
 * What a huge page fault that may work for its page asks for: movable, so that
 * asynchronous compaction takes its sources from movable blocks, direct
 * reclaim and compaction allowed, no emergency reserves, no warning. It does
 * not wake kswapd, and so not kcompactd either: all the work is done, and
 * accounted, in this task. Without __GFP_NORETRY a failed asynchronous pass is
 * followed by a synchronous one. __GFP_THISNODE: a page of another node would
 * be a success without any compaction.
 */
#define TRIGGER_GFP	(GFP_TRANSHUGE | __GFP_THISNODE)

/* The same without any effort: succeeds only if such a page is free. */
#define FREE_GFP	(GFP_TRANSHUGE_LIGHT | __GFP_THISNODE)

/*
 * An attempt fails when the compaction scanners meet, and the next one starts
 * anew, but skips the pageblocks that did not help this time. Only kswapd clears
 * these marks, or the kernel after it has put off 1 + 2 + 4 + … + 64 attempts.
 * So many in a row, doubled, mean that the page really can't be had.
 */
#define MAX_RETRIES_IN_A_ROW	256

/* One user at a time: two loops at once would spoil each other's figures. */
static struct trigger {
	atomic_t open;		/* 1 while the device is open */
	struct mutex lock;	/* serialises ioctls; protects what follows */
	struct list_head pages;	/* held pages, by their lru member */
	unsigned int order;	/* of the held pages */
} trigger = {
	.lock = __MUTEX_INITIALIZER(trigger.lock),
	.pages = LIST_HEAD_INIT(trigger.pages),
};

static void free_held(void)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &trigger.pages, lru) {
		list_del(&page->lru);
		__free_pages(page, trigger.order);
		cond_resched();
	}
}

/*
 * What is free already would be an allocation without compaction. A large
 * machine has few such pages among very many, a small one would mostly
 * measure them.
 */
static int take_free(struct compact_trigger_run *run)
{
	struct page *page;

	while ((page = alloc_pages_node(run->node, FREE_GFP, run->order))) {
		list_add(&page->lru, &trigger.pages);
		run->taken_free++;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static int allocate(struct compact_trigger_run *run)
{
	unsigned int failures = 0;

	while (run->allocated < run->count) {
		struct page *page;

		if (fatal_signal_pending(current))
			return -EINTR;
		page = alloc_pages_node(run->node, TRIGGER_GFP, run->order);
		if (page) {
			list_add(&page->lru, &trigger.pages);
			run->allocated++;
			failures = 0;
		} else if (!(run->flags & COMPACT_TRIGGER_MORE) &&
			   failures++ < MAX_RETRIES_IN_A_ROW) {
			run->retries++;
		} else {
			break;
		}
		/* A neighbour on this CPU gets its share on every kernel. */
		cond_resched();
	}
	return 0;
}

static int measure(struct compact_trigger_run *run)
{
	int error, end_error;

	error = cpu_account_sample(&run->start, run->counter_address);
	if (error)
		return error;
	error = allocate(run);
	end_error = cpu_account_sample(&run->end, run->counter_address);
	return error ? error : end_error;
}

static int check_run(const struct compact_trigger_run *run)
{
	bool more = run->flags & COMPACT_TRIGGER_MORE;

	if (run->flags & ~COMPACT_TRIGGER_MORE || run->node >= MAX_NUMNODES ||
	    !node_state(run->node, N_MEMORY) || run->order > MAX_PAGE_ORDER ||
	    current->nr_cpus_allowed != 1)
		return -EINVAL;
	if (!list_empty(&trigger.pages) && (!more || run->order != trigger.order))
		return -EBUSY;
	return 0;
}

static long trigger_run(void __user *argument)
{
	struct compact_trigger_run run;
	int error;

	if (copy_from_user(&run, argument, sizeof(run)))
		return -EFAULT;
	error = check_run(&run);
	if (error)
		return error;
	run.allocated = 0;
	run.taken_free = 0;
	run.retries = 0;
	run.cpu = raw_smp_processor_id();
	trigger.order = run.order;
	error = run.flags & COMPACT_TRIGGER_MORE ? 0 : take_free(&run);
	if (!error)
		error = measure(&run);
	if (!error && copy_to_user(argument, &run, sizeof(run)))
		error = -EFAULT;
	if (error)
		free_held();
	return error;
}

static long trigger_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	long result;

	if (mutex_lock_killable(&trigger.lock))
		return -EINTR;
	switch (command) {
	case COMPACT_TRIGGER_RUN:
		result = trigger_run((void __user *)argument);
		break;
	case COMPACT_TRIGGER_FREE:
		free_held();
		result = 0;
		break;
	default:
		result = -ENOTTY;
	}
	mutex_unlock(&trigger.lock);
	return result;
}

static int trigger_open(struct inode *inode, struct file *file)
{
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	return atomic_cmpxchg(&trigger.open, 0, 1) ? -EBUSY : 0;
}

static int trigger_release(struct inode *inode, struct file *file)
{
	free_held();
	atomic_set(&trigger.open, 0);
	return 0;
}

static const struct file_operations trigger_operations = {
	.owner		= THIS_MODULE,
	.open		= trigger_open,
	.release	= trigger_release,
	.unlocked_ioctl	= trigger_ioctl,
};

static struct miscdevice trigger_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "compact_trigger",
	.fops	= &trigger_operations,
	.mode	= 0600,
};
module_misc_device(trigger_device);

MODULE_DESCRIPTION("Measured high-order allocations that trigger compaction");
MODULE_LICENSE("GPL");
