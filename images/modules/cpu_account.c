// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reads the kernel's account of a CPU's time to the nanosecond, for programs
 * through /dev/cpu_account and for modules that measure something themselves.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/kernel_stat.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/cputime.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/vtime.h>

#include "cpu_account.h"
#include "cpu_account_sample.h"

/* How long a sample may take to be one, and how often it is tried. */
#define MAX_SAMPLE_NS		(200 * NSEC_PER_USEC)
#define MAX_SAMPLE_ATTEMPTS	64

#ifdef CONFIG_VIRT_CPU_ACCOUNTING_GEN
/*
 * With generic virtual time accounting, a task keeps up to one tick of user
 * and system time to itself before it goes to the CPU's account, and
 * kcpustat_cpu_fetch() adds only what the running task holds. Add what the
 * others hold, or each would shift up to 4 ms (HZ=250) out of the interval or
 * into it. A task that moved between CPUs brings its share along, as it does
 * in the kernel's account.
 */
static void add_pending_cputime(struct cpu_account_time *sum, int cpu)
{
	struct task_struct *process, *task;

	rcu_read_lock();
	for_each_process_thread(process, task) {
		u64 user, system;

		if (task_cpu(task) != cpu)
			continue;
		user = READ_ONCE(task->vtime.utime);
		/* Fetched already: of a task in the kernel, that time alone. */
		system = task == current ? 0 : READ_ONCE(task->vtime.stime);
		if (task_nice(task) > 0)
			sum->nice += user;
		else
			sum->user += user;
		sum->system += system;
	}
	rcu_read_unlock();
}
#else
static void add_pending_cputime(struct cpu_account_time *sum, int cpu)
{
}
#endif

/* The source of /proc/stat's line for @cpu, before it is rounded to ticks. */
static void read_cputime(struct cpu_account_time *sum, int cpu)
{
	struct kernel_cpustat fetched;
	u64 *stat = fetched.cpustat;

	kcpustat_cpu_fetch(&fetched, cpu);
	sum->user = stat[CPUTIME_USER];
	sum->nice = stat[CPUTIME_NICE];
	sum->system = stat[CPUTIME_SYSTEM];
	sum->idle = stat[CPUTIME_IDLE];
	sum->iowait = stat[CPUTIME_IOWAIT];
	sum->irq = stat[CPUTIME_IRQ];
	sum->softirq = stat[CPUTIME_SOFTIRQ];
	sum->steal = stat[CPUTIME_STEAL];
	add_pending_cputime(sum, cpu);
}

static int read_counter(u64 *value, u64 address)
{
	u64 __user *counter = u64_to_user_ptr(address);
	int error;

	*value = 0;
	if (!address)
		return 0;
	/* Preemption is off: the caller's page is resident, or this fails. */
	pagefault_disable();
	error = get_user(*value, counter);
	pagefault_enable();
	return error;
}

/*
 * One end of the interval. All of it on one CPU and without a task switch. Who
 * emulates this CPU may take it away for milliseconds between two readings of
 * different clocks; then they don't belong together and are taken again.
 */
int cpu_account_sample(struct cpu_account_sample *sample, u64 counter_address)
{
	unsigned int attempts = MAX_SAMPLE_ATTEMPTS;
	int error;

	do {
		preempt_disable();
		sample->clock_ns = ktime_get_ns();
		error = read_counter(&sample->counter, counter_address);
		read_cputime(&sample->time, smp_processor_id());
		preempt_enable();
	} while (!error && ktime_get_ns() - sample->clock_ns > MAX_SAMPLE_NS &&
		 --attempts);
	return error;
}
EXPORT_SYMBOL_GPL(cpu_account_sample);

static long account_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct cpu_account_sample sample;
	int error;

	if (command != CPU_ACCOUNT_SAMPLE)
		return -ENOTTY;
	if (current->nr_cpus_allowed != 1)
		return -EINVAL;
	error = cpu_account_sample(&sample, 0);
	if (error)
		return error;
	return copy_to_user((void __user *)argument, &sample, sizeof(sample)) ? -EFAULT : 0;
}

static int account_open(struct inode *inode, struct file *file)
{
	return capable(CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static const struct file_operations account_operations = {
	.owner		= THIS_MODULE,
	.open		= account_open,
	.unlocked_ioctl	= account_ioctl,
};

static struct miscdevice account_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "cpu_account",
	.fops	= &account_operations,
	.mode	= 0600,
};
module_misc_device(account_device);

MODULE_DESCRIPTION("The kernel's account of a CPU's time, in nanoseconds");
MODULE_LICENSE("GPL");
