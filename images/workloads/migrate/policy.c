// SPDX-License-Identifier: GPL-2.0-or-later
/* Memory policies that move what doesn't obey them: reason mempolicy_mbind. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cell.h"

static int bind_to(struct cell *cell, unsigned int flags)
{
	unsigned long mask = 1ul << cell->to;

	return syscall(SYS_mbind, cell->start, cell->size_bytes, MPOL_BIND, &mask,
		       sizeof(mask) * 8, flags) ? errno : 0;
}

static int pull_mbind(struct cell *cell)
{
	return bind_to(cell, MPOL_MF_MOVE);
}

static int pull_mbind_all(struct cell *cell)
{
	return bind_to(cell, MPOL_MF_MOVE_ALL);
}

const struct trigger policy_triggers[] = {
	{ .name = "mbind", .purpose = "mbind(2) with MPOL_MF_MOVE", .pull = pull_mbind },
	{ .name = "mbind_all", .purpose = "mbind(2) with MPOL_MF_MOVE_ALL",
	  .pull = pull_mbind_all },
	{ 0 },
};
