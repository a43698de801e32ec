// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DAMON's schemes that migrate what is hot or cold: reason damon. Told to watch
 * the region alone, and to take everything in it for what it looks for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cell.h"
#include "frames.h"
#include "kernel_state.h"
#include "region.h"
#include "setting.h"

#define KDAMONDS "/sys/kernel/mm/damon/admin/kdamonds"
#define CONTEXT KDAMONDS "/0/contexts/0"
#define TARGET CONTEXT "/targets/0"
#define SCHEME CONTEXT "/schemes/0"

#define TIMEOUT_MS 2000

/* Documentation/admin-guide/mm/damon/usage.rst, "contexts/<N>/monitoring_attrs/" */
#define REGIONS_MAX 1000

static void set_number(const char *path, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	setting_write(path, text);
}

static bool running;

static bool stop(void)
{
	if (!running)
		return true;
	running = false;
	return file_write(KDAMONDS "/0/state", "off");
}

static bool remove_all(void)
{
	return file_write(KDAMONDS "/nr_kdamonds", "0");
}

static void make_context(const char *operations)
{
	setting_undo(KDAMONDS, remove_all);
	setting_write(KDAMONDS "/nr_kdamonds", "1");
	setting_write(KDAMONDS "/0/contexts/nr_contexts", "1");
	setting_write(CONTEXT "/operations", operations);
	setting_write(CONTEXT "/monitoring_attrs/intervals/sample_us", "1000");
	setting_write(CONTEXT "/monitoring_attrs/intervals/aggr_us", "10000");
	setting_write(CONTEXT "/targets/nr_targets", "1");
}

/* Whatever its size, age and number of accesses. */
static void make_scheme(const struct cell *cell, const char *action)
{
	static const char *const axes[] = { "sz", "nr_accesses", "age" };
	char path[128];
	size_t i;

	setting_write(CONTEXT "/schemes/nr_schemes", "1");
	setting_write(SCHEME "/action", action);
	set_number(SCHEME "/target_nid", cell->to);
	for (i = 0; i < sizeof(axes) / sizeof(axes[0]); i++) {
		snprintf(path, sizeof(path), SCHEME "/access_pattern/%s/min", axes[i]);
		set_number(path, 0);
		snprintf(path, sizeof(path), SCHEME "/access_pattern/%s/max", axes[i]);
		set_number(path, UINT32_MAX);
	}
}

static void make_range(size_t number, uint64_t start, uint64_t end)
{
	char path[128];

	snprintf(path, sizeof(path), TARGET "/regions/%zu/start", number);
	set_number(path, start);
	snprintf(path, sizeof(path), TARGET "/regions/%zu/end", number);
	set_number(path, end);
}

static int watch(const struct cell *cell)
{
	setting_write(KDAMONDS "/0/state", "on");
	running = true;
	setting_undo("a kdamond", stop);
	frames_await(cell, TIMEOUT_MS);
	/*
	 * Or it would take what had to stay, as soon as that is let go to be looked at,
	 * and after the counters were read.
	 */
	return stop() ? 0 : errno;
}

static int pull_physical(struct cell *cell)
{
	struct frame_run *runs;
	size_t count = frames_before(cell, &runs), i;

	make_context("paddr");
	/* Each piece is a region to DAMON, which else merges and splits them to this number. */
	if (count > REGIONS_MAX / 2)
		set_number(CONTEXT "/monitoring_attrs/nr_regions/max", 2 * count);
	set_number(TARGET "/regions/nr_regions", count);
	for (i = 0; i < count; i++)
		make_range(i, runs[i].first * PAGE_BYTES,
			   (runs[i].first + runs[i].count) * PAGE_BYTES);
	free(runs);
	make_scheme(cell, "migrate_cold");
	return watch(cell);
}

static int pull_virtual(struct cell *cell)
{
	make_context("fvaddr");
	set_number(TARGET "/pid_target", (uint64_t)getpid());
	setting_write(TARGET "/regions/nr_regions", "1");
	make_range(0, (uintptr_t)cell->start, (uintptr_t)cell->start + cell->size_bytes);
	make_scheme(cell, "migrate_hot");
	return watch(cell);
}

const struct trigger damon_triggers[] = {
	{ .name = "damon_cold", .purpose = "DAMON's migrate_cold, physical addresses",
	  .pull = pull_physical, .needs = KDAMONDS "/nr_kdamonds" },
	{ .name = "damon_hot", .purpose = "DAMON's migrate_hot, virtual addresses",
	  .pull = pull_virtual, .needs = KDAMONDS "/nr_kdamonds" },
	{ 0 },
};
