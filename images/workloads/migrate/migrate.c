// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Makes one region of one kind of folio, has the kernel migrate it for one reason
 * between two signals, and tells what moved and whether every byte is right.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cell.h"
#include "held_signals.h"
#include "kernel_state.h"
#include "options.h"
#include "pattern.h"
#include "region.h"
#include "state.h"
#include "setting.h"

static const char usage[] =
	"usage: migrate TRIGGER KIND --from A --to B --cpu C [--mib M] [--generation N]\n"
	"\n"
	"Makes M MiB (default 4) of folios of a KIND on node A, says \"ready\", and at\n"
	"SIGUSR1 has them migrated, by the way that TRIGGER names, to node B where the\n"
	"way has a destination. A \"moved\" event tells what moved, a \"cell\" event\n"
	"what is wrong. No two generations (default 1) of contents have a word in common.\n"
	"migrate --list names all triggers and kinds, and what a trigger lacks here.\n";

static const struct folio_kind *const kinds[] = {
	anon_kinds,
	shared_kinds,
	shmem_kinds,
	hugetlb_kinds,
	swap_kinds,
	uffd_kinds,
	pinned_kinds,
	file_kinds,
	block_kinds,
};

static const struct trigger *const triggers[] = {
	syscall_triggers,
	cpuset_triggers,
	policy_triggers,
	compaction_triggers,
	numa_triggers,
	memory_block_triggers,
	soft_offline_triggers,
	contig_triggers,
	pin_triggers,
	demotion_triggers,
	damon_triggers,
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct folio_kind *find_kind(const char *name)
{
	const struct folio_kind *kind;
	size_t i;

	for (i = 0; i < COUNT(kinds); i++)
		for (kind = kinds[i]; kind->name; kind++)
			if (!strcmp(kind->name, name))
				return kind;
	fail(EXIT_USAGE, EINVAL, "there is no such kind of folio");
}

static const struct trigger *find_trigger(const char *name)
{
	const struct trigger *trigger;
	size_t i;

	for (i = 0; i < COUNT(triggers); i++)
		for (trigger = triggers[i]; trigger->name; trigger++)
			if (!strcmp(trigger->name, name))
				return trigger;
	fail(EXIT_USAGE, EINVAL, "there is no such trigger");
}

static void list(void)
{
	const struct folio_kind *kind;
	const struct trigger *trigger;
	size_t i;

	for (i = 0; i < COUNT(triggers); i++)
		for (trigger = triggers[i]; trigger->name; trigger++) {
			bool lacks = trigger->needs && access(trigger->needs, F_OK);

			report("{\"event\":\"trigger\",\"name\":\"%s\",\"purpose\":\"%s\","
			       "\"lacks\":\"%s\"}", trigger->name, trigger->purpose,
			       lacks ? trigger->needs : "");
			report_end();
		}
	for (i = 0; i < COUNT(kinds); i++)
		for (kind = kinds[i]; kind->name; kind++) {
			report("{\"event\":\"kind\",\"name\":\"%s\",\"purpose\":\"%s\"}",
			       kind->name, kind->purpose);
			report_end();
		}
}

static uint64_t *frames_of(const struct cell *cell)
{
	uint64_t *frames = calloc(cell->pages, sizeof(*frames));

	if (!frames)
		fail(EXIT_FAILED, ENOMEM, "no memory for frame numbers");
	region_frames(cell->start, cell->pages, frames);
	return frames;
}

static void report_ready(const struct cell *cell)
{
	report("{\"event\":\"ready\",\"pages\":%zu,\"folios\":%zu,\"folio_kib\":%lu}",
	       cell->pages, cell->pages / cell->folio_pages,
	       (unsigned long)(cell->folio_pages * PAGE_BYTES / 1024));
	report_end();
}

/*
 * A folio of a file that was split is unmapped, whatever became of its pages: unmap_folio()
 * of mm/huge_memory.c. Those that are in the page cache still are mapped again.
 */
static void find_absent(const struct cell *cell)
{
	unsigned char *cached = calloc(cell->pages, 1);
	size_t i;

	if (!cached)
		fail(EXIT_FAILED, ENOMEM, "no memory for %zu pages", cell->pages);
	if (mincore(cell->start, cell->pages * PAGE_BYTES, cached))
		fail(EXIT_FAILED, errno, "the region's pages can't be asked for");
	for (i = 0; i < cell->pages; i++) {
		char *page = cell->start + i * PAGE_BYTES;

		if (cell->frames_after[i] || !(cached[i] & 1))
			continue;
		(void)*(volatile char *)page;
		region_frames(page, 1, &cell->frames_after[i]);
	}
	free(cached);
}

/* Where the pages are now, by node. */
static void report_nodes(const struct cell *cell)
{
	int *nodes = calloc(cell->pages, sizeof(*nodes));
	size_t on_from = 0, on_to = 0, elsewhere = 0, absent = 0, i;

	if (!nodes)
		fail(EXIT_FAILED, ENOMEM, "no memory for nodes");
	cell_nodes(cell, nodes);
	for (i = 0; i < cell->pages; i++) {
		if (nodes[i] < 0)
			absent++;
		else if (nodes[i] == (int)cell->to)
			on_to++;
		else if (nodes[i] == (int)cell->from)
			on_from++;
		else
			elsewhere++;
	}
	free(nodes);
	report("\"on_from\":%zu,\"on_to\":%zu,\"elsewhere\":%zu,\"absent\":%zu,", on_from,
	       on_to, elsewhere, absent);
}

static bool has_left(const struct cell *cell, size_t page)
{
	return cell->frames_after[page] &&
	       cell->frames_after[page] != cell->frames_before[page];
}

static bool wanted(const struct cell *cell, size_t page)
{
	return !cell->asked || cell->asked[page];
}

/* Of those that were to leave and are there still, the lowest frame tells the most. */
static void report_stayed(const struct cell *cell)
{
	size_t lowest = cell->pages, i;

	for (i = 0; i < cell->pages; i++)
		if (wanted(cell, i) && !has_left(cell, i) && cell->frames_after[i] &&
		    (lowest == cell->pages ||
		     cell->frames_after[i] < cell->frames_after[lowest]))
			lowest = i;
	if (lowest < cell->pages)
		report("\"stayed\":{\"page\":%zu,\"frame\":%" PRIu64 ",\"flags\":%" PRIu64 "},",
		       lowest, cell->frames_after[lowest], state_flags(cell, lowest));
}

static void report_moved(const struct cell *cell)
{
	size_t pages = 0, folios = 0, asked = 0, asked_moved = 0, folio, i;

	for (folio = 0; folio < cell->pages / cell->folio_pages; folio++) {
		size_t moved = 0;

		for (i = 0; i < cell->folio_pages; i++) {
			size_t page = folio * cell->folio_pages + i;
			bool left = has_left(cell, page), was_asked = wanted(cell, page);

			moved += left;
			asked += was_asked;
			asked_moved += was_asked && left;
		}
		pages += moved;
		folios += moved == cell->folio_pages;
	}
	report("\"pages_moved\":%zu,\"folios_moved\":%zu,\"asked\":%zu,\"asked_moved\":%zu,",
	       pages, folios, asked, asked_moved);
	if (asked_moved < asked)
		report_stayed(cell);
}

/* Apart from the rest: it counts even if the region then can't be looked at. */
static void report_pull(const struct cell *cell, int error, uint64_t wall_ns,
			const struct vmstat *before, const struct vmstat *after)
{
	report("{\"event\":\"moved\",\"pages\":%zu,\"folios\":%zu,\"pull_errno\":%d,"
	       "\"retries\":%lu,\"wall_ns\":%" PRIu64 ",", cell->pages,
	       cell->pages / cell->folio_pages, error, cell->retries, wall_ns);
	report_nodes(cell);
	report_moved(cell);
	report_vmstat(before, after);
	report("}");
	report_end();
}

static void run(struct cell *cell, const struct trigger *trigger, const struct folio_kind *kind)
{
	static struct vmstat before, after;
	struct verification verification = { 0 };
	uint64_t start_ns, wall_ns;
	size_t i;
	int error;

	if (trigger->prepare)
		trigger->prepare(cell);
	kind->make(cell);
	/* The last folios are in a batch still, where none but mbind(2) would find them. */
	cell_drain_lru();
	kind->prove(cell);
	cell_assert_node(cell, cell->from);
	cell->frames_before = frames_of(cell);
	cell->state = state_read(cell);
	report_ready(cell);
	signal_await();
	if (kind->yet)
		kind->yet(cell);
	vmstat_read(&before);
	start_ns = monotonic_ns();
	error = trigger->pull(cell);
	wall_ns = monotonic_ns() - start_ns;
	vmstat_read(&after);
	if (kind->still)
		kind->still(cell);
	cell->frames_after = frames_of(cell);
	/* Before anybody touches a page. */
	state_check(cell, kind->may_lose);
	find_absent(cell);
	report_pull(cell, error, wall_ns, &before, &after);
	/* What isn't the pattern is compared by its kind. */
	for (i = 0; cell->generation && i < cell->pages; i++)
		verify_page(&verification, cell->start + i * PAGE_BYTES, i, cell->generation);
	if (kind->verify)
		kind->verify(cell, &verification);
	report("{\"event\":\"cell\",");
	report_verification(&verification);
	report(",\"lost\":\"%s\"}", cell->lost);
	report_end();
	if (kind->release)
		kind->release(cell);
	if (trigger->restore)
		trigger->restore(cell);
	settings_restore();
}

int main(int argc, char **argv)
{
	struct cell cell = { .mib = 4, .first_generation = 1, .lost = "" };
	const struct option_number numbers[] = {
		{ "from", &cell.from, 0, 63, false },
		{ "to", &cell.to, 0, 63, false },
		{ "cpu", &cell.cpu, 0, 1023, false },
		{ "mib", &cell.mib, 2, 1 << 12, true },
		/* The next one is that of what others write into their copies. */
		{ "generation", &cell.first_generation, 1, PATTERN_MAX_GENERATION - 1, true },
		{ NULL, NULL, 0, 0, false },
	};
	const struct option_flag flags[] = { { NULL, NULL } };
	const struct trigger *trigger;
	const struct folio_kind *kind;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		list();
		return 0;
	}
	if (argc < 3)
		options_read(argc, argv, usage, numbers, flags);
	trigger = find_trigger(argv[1]);
	kind = find_kind(argv[2]);
	options_read(argc - 2, argv + 2, usage, numbers, flags);
	if (cell.mib % 2)
		fail(EXIT_USAGE, EINVAL, "--mib is no multiple of 2");
	signal_hold(SIGUSR1);
	pin_to_cpu(cell.cpu);
	run(&cell, trigger, kind);
	return 0;
}
