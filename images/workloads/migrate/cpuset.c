// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The process's cpuset loses the node that the region is on: its memory follows,
 * with the reason of the system calls, syscall_or_cpuset.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cell.h"
#include "kernel_state.h"
#include "setting.h"

/* Version 2, where a change of cpuset.mems always takes the memory along. */
#define ROOT "/tmp/migrate-cgroup"
#define GROUP ROOT "/cell"

static bool unmount(void)
{
	return !umount(ROOT) && !rmdir(ROOT);
}

static bool leave(void)
{
	return file_write(ROOT "/cgroup.procs", "0") && !rmdir(GROUP) &&
	       file_write(ROOT "/cgroup.subtree_control", "-cpuset");
}

static void prepare(struct cell *cell)
{
	char nodes[64];

	if (mkdir(ROOT, 0700))
		fail(EXIT_FAILED, errno, ROOT " can't be made");
	if (mount("cgroup2", ROOT, "cgroup2", 0, NULL))
		fail(EXIT_PREMISE, errno, "cgroup2 can't be mounted");
	setting_undo(ROOT, unmount);
	setting_write(ROOT "/cgroup.subtree_control", "+cpuset");
	if (mkdir(GROUP, 0700))
		fail(EXIT_PREMISE, errno, GROUP " can't be made");
	setting_undo(GROUP, leave);
	/* Both nodes: joining moves nothing between them. */
	snprintf(nodes, sizeof(nodes), "%lu,%lu", cell->from, cell->to);
	setting_write(GROUP "/cpuset.mems", nodes);
	setting_write(GROUP "/cgroup.procs", "0");
}

static int pull(struct cell *cell)
{
	char node[32];

	snprintf(node, sizeof(node), "%lu", cell->to);
	return file_write(GROUP "/cpuset.mems", node) ? 0 : errno;
}

const struct trigger cpuset_triggers[] = {
	{ .name = "cpuset", .purpose = "cpuset.mems of the process's cgroup changes",
	  .prepare = prepare, .pull = pull },
	{ 0 },
};
