// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Another provider of copies for page migration. When it is loaded it tries to
 * register, and to act on what isn't registered, and keeps each answer for who reads
 * its parameters. It is registered, if at all, for a moment only and copies nothing:
 * the CPU does.
 */
#include <linux/delay.h>
#include <linux/migrate_offload.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

/* Long enough for migrations to come by. */
#define REGISTERED_MS	5

static int registered, registered_again, unregistered_other, mask_of_other;
static int unregistered, unregistered_again;

module_param(registered, int, 0444);
MODULE_PARM_DESC(registered, "what the first registration returned");
module_param(registered_again, int, 0444);
MODULE_PARM_DESC(registered_again, "what the second one returned, while somebody is");
module_param(unregistered_other, int, 0444);
MODULE_PARM_DESC(unregistered_other, "what unregistering a provider that isn't returned");
module_param(mask_of_other, int, 0444);
MODULE_PARM_DESC(mask_of_other, "what setting the mask of one that isn't returned");
module_param(unregistered, int, 0444);
MODULE_PARM_DESC(unregistered, "what unregistering the first returned");
module_param(unregistered_again, int, 0444);
MODULE_PARM_DESC(unregistered_again, "what doing so again returned");

static void decline(struct list_head *dst_folios, struct list_head *src_folios,
		    unsigned int nr_folios)
{
}

static const struct migrator rival = {
	.name = KBUILD_MODNAME,
	.offload_copy = decline,
	.owner = THIS_MODULE,
};

static const struct migrator other = {
	.name = "other",
	.offload_copy = decline,
	.owner = THIS_MODULE,
};

static int __init offload_rival_init(void)
{
	registered = migrate_offload_register(&rival, MIGRATE_OFFLOAD_ALL_REASONS);
	registered_again = migrate_offload_register(&other, MIGRATE_OFFLOAD_ALL_REASONS);
	unregistered_other = migrate_offload_unregister(&other);
	mask_of_other = migrate_offload_set_reason_mask(&other, 0);
	if (!registered)
		msleep(REGISTERED_MS);
	unregistered = migrate_offload_unregister(&rival);
	unregistered_again = migrate_offload_unregister(&rival);
	return 0;
}

static void __exit offload_rival_exit(void)
{
}

module_init(offload_rival_init);
module_exit(offload_rival_exit);

MODULE_DESCRIPTION("Another provider of copies, for tests");
MODULE_LICENSE("GPL");
