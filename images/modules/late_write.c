// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A provider of copies for page migration that is right, and somebody who writes late:
 * after the first folio of a batch was copied and vouched for he gets a reference to
 * it, writes through that, and holds it until the first attempt to move the folio has
 * failed for it. The next attempt has to bring what he has written. This is what
 * direct I/O and long-term pins may do; a guest can't have them do it at that time.
 */
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/list.h>
#include <linux/migrate_offload.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/workqueue.h>

/*
 * Longer than from the copy to the first attempt, of microseconds, and shorter than
 * the attempts for all folios of a batch with as many as this.
 */
#define HOLD_US		200
#define BATCH_FOLIOS	256

static bool armed;
static bool registered;
static ulong flip;
static uint writes;
static uint copied_again;
static struct folio *held;

static void let_go(struct work_struct *work);
static DECLARE_WORK(let_go_work, let_go);

static void let_go(struct work_struct *work)
{
	usleep_range(HOLD_US, 2 * HOLD_US);
	folio_put(held);
}

static void copy(struct list_head *dst_folios, struct list_head *src_folios,
		 unsigned int nr_folios)
{
	struct folio *dst = list_first_entry(dst_folios, struct folio, lru);
	struct folio *src;

	list_for_each_entry(src, src_folios, lru) {
		memcpy(folio_address(dst), folio_address(src), folio_size(src));
		migrate_offload_folio_copied(dst);
		dst = list_next_entry(dst, lru);
	}

	src = list_first_entry(src_folios, struct folio, lru);
	/* None of the attempts to move it has met it free: it comes in a batch of its own */
	if (nr_folios == 1 && src == held)
		copied_again++;
	if (nr_folios < BATCH_FOLIOS || !xchg(&armed, false))
		return;
	flush_work(&let_go_work);
	folio_get(src);
	held = src;
	*(ulong *)folio_address(src) ^= flip;
	writes++;
	/* Here it would have to wait until the migration is over */
	queue_work_on(cpumask_any_but(cpu_online_mask, raw_smp_processor_id()),
		      system_percpu_wq, &let_go_work);
}

static const struct migrator late_writer = {
	.name = KBUILD_MODNAME,
	.offload_copy = copy,
	.owner = THIS_MODULE,
};

/* While it is registered it can't be unloaded: so it is not for loading to do */
static int registered_set(const char *val, const struct kernel_param *kp)
{
	bool on;
	int rc;

	rc = kstrtobool(val, &on);
	if (rc || on == registered)
		return rc;
	rc = on ? migrate_offload_register(&late_writer, MIGRATE_OFFLOAD_ALL_REASONS) :
		  migrate_offload_unregister(&late_writer);
	if (!rc)
		registered = on;
	return rc;
}

static const struct kernel_param_ops registered_ops = {
	.set = registered_set,
	.get = param_get_bool,
};

module_param_cb(registered, &registered_ops, &registered, 0644);
MODULE_PARM_DESC(registered, "is the provider");
module_param(armed, bool, 0644);
MODULE_PARM_DESC(armed, "write late into the next large batch");
module_param(flip, ulong, 0644);
MODULE_PARM_DESC(flip, "bits of the folio's first word that the write changes");
module_param(writes, uint, 0444);
MODULE_PARM_DESC(writes, "how often that was done");
module_param(copied_again, uint, 0444);
MODULE_PARM_DESC(copied_again, "folios that came to be copied again, alone");

static int __init late_write_init(void)
{
	return 0;
}

static void __exit late_write_exit(void)
{
	flush_work(&let_go_work);
}

module_init(late_write_init);
module_exit(late_write_exit);

MODULE_DESCRIPTION("A provider of copies, and a late writer, for tests");
MODULE_LICENSE("GPL");
