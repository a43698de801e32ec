// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Moves a region between two nodes with move_pages(2), in folios of one proven
 * size, and checks after each move where every page is and what it contains.
 * On request it also measures CPU time, watches when single folios can be used
 * again, has several tasks move parts of the region at once, or stays with all that
 * was moved, to see whether somebody writes there later.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu_time.h"
#include "folio_size.h"
#include "held_signals.h"
#include "kernel_state.h"
#include "latency_watch.h"
#include "move_tasks.h"
#include "options.h"
#include "pattern.h"
#include "region.h"
#include "report.h"

static const char usage[] =
	"usage: movepages --from A --to B --cpu C --folio-kib S --total-mib T [--rounds R]\n"
	"                 [--cpu-back D] [--same-folios] [--cpu-account] [--watch-period-us P]\n"
	"                 [--tasks N [--cpus M]] [--stay]\n"
	"\n"
	"Faults in T MiB on node A in folios of exactly S KiB (a power of two from 4 to\n"
	"2048), and moves them to node B; then the same from B to A; R times (default 1),\n"
	"on CPU C, the way back on CPU D (default C). Each move starts with folios just\n"
	"faulted in, or, with --same-folios, with those that the move before left. A \"move\"\n"
	"event tells the time of each move and what its verification found.\n"
	"--cpu-account: also what the CPU did meanwhile (needs the module cpu_account).\n"
	"--watch-period-us: tasks on the same CPU want the first, the middle and the last\n"
	"folio and look at them every P microseconds; when each can be used again.\n"
	"--tasks: N tasks move an equal part of the region each at once, on the M CPUs\n"
	"from C (default 1) in turn.\n"
	"--stay: keeps every region that was moved, writes all of them once more, says\n"
	"\"ready\", and verifies them after SIGUSR1: a \"stayed\" event.\n";

/* Regions that are stayed with. */
#define STAY_MAX 16

/* Left alone on each node, for page tables and per-CPU lists. */
#define RESERVE_PAGES 4096

struct workload {
	unsigned long from, to, cpu, cpu_back, folio_kib, total_mib, rounds;
	unsigned long watch_period_us, tasks, cpus;
	bool same_folios, cpu_account, stay;
	int account;		/* the module's device, with cpu_account */
	char *kept[STAY_MAX];	/* regions of earlier moves, with stay */
	size_t nr_kept;
	char *start;		/* NULL before the first move */
	size_t size_bytes, folios, pages, folio_pages;
	uint32_t generation;
	void **addresses;	/* one a page */
	void **heads;		/* one a folio */
	int *nodes;		/* destination, one a folio */
	int *status;		/* one a page */
};

struct placement {
	uint64_t pages_elsewhere;	/* not on the node they should be on */
	uint64_t folios_wrong;		/* not one folio of the size */
};

static void *array(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		fail(EXIT_FAILED, ENOMEM, "no memory for %zu entries", count);
	return memory;
}

/* Without nodes nothing moves: the status is where each page is. */
static long ask_nodes(size_t count, void **addresses, int *status)
{
	return syscall(SYS_move_pages, 0, count, addresses, NULL, status, MPOL_MF_MOVE);
}

static void prepare(struct workload *workload)
{
	workload->size_bytes = workload->total_mib << 20;
	workload->folio_pages = workload->folio_kib * 1024 / PAGE_BYTES;
	workload->pages = workload->size_bytes / PAGE_BYTES;
	workload->folios = workload->pages / workload->folio_pages;
	workload->addresses = array(workload->pages, sizeof(*workload->addresses));
	workload->heads = array(workload->folios, sizeof(*workload->heads));
	workload->nodes = array(workload->folios, sizeof(*workload->nodes));
	workload->status = array(workload->pages, sizeof(*workload->status));
}

/* Enough for the region and then some, or the OOM killer would end the program. */
static void assert_room(const struct workload *workload, unsigned long node)
{
	struct node_memory memory;

	node_memory_read(&memory, node);
	if (memory.free_pages < memory.high_pages + workload->pages + RESERVE_PAGES)
		fail(EXIT_PREMISE, ENOMEM, "node %lu has no room for %lu MiB: %" PRIu64
		     " pages are free", node, workload->total_mib, memory.free_pages);
}

static void fault_in(struct workload *workload, unsigned long node)
{
	size_t i;
	int error;

	if (workload->start && workload->stay)
		workload->kept[workload->nr_kept++] = workload->start;
	else if (workload->start)
		region_unmap(workload->start, workload->size_bytes);
	assert_room(workload, workload->from);
	assert_room(workload, workload->to);
	workload->start = region_map(workload->size_bytes, node);
	error = folio_size_populate(workload->start, workload->size_bytes, workload->folio_kib);
	if (error)
		fail(EXIT_PREMISE, error, "the region can't be faulted in on node %lu", node);
	for (i = 0; i < workload->pages; i++)
		workload->addresses[i] = workload->start + i * PAGE_BYTES;
	for (i = 0; i < workload->folios; i++)
		workload->heads[i] = workload->addresses[i * workload->folio_pages];
}

static struct placement find_placement(const struct workload *workload, unsigned long node)
{
	struct placement placement = { 0 };
	size_t i;

	if (ask_nodes(workload->pages, workload->addresses, workload->status))
		fail(EXIT_FAILED, errno, "the pages' nodes can't be asked for");
	for (i = 0; i < workload->pages; i++)
		placement.pages_elsewhere += workload->status[i] != (int)node;
	placement.folios_wrong = folio_size_count_wrong(workload->start, workload->folios,
							workload->folio_kib);
	return placement;
}

static void assert_premise(const struct workload *workload, unsigned long node)
{
	struct placement placement = find_placement(workload, node);

	if (placement.pages_elsewhere)
		fail(EXIT_PREMISE, 0, "%" PRIu64 " of %zu pages are not on node %lu",
		     placement.pages_elsewhere, workload->pages, node);
	if (placement.folios_wrong)
		fail(EXIT_PREMISE, 0, "%" PRIu64 " of %zu folios have not %lu KiB",
		     placement.folios_wrong, workload->folios, workload->folio_kib);
}

static void report_statuses(const struct workload *workload, unsigned long to)
{
	uint64_t failed = 0;
	int first = 0;
	size_t i;

	for (i = 0; i < workload->folios; i++) {
		if (workload->status[i] == (int)to)
			continue;
		if (!failed++)
			first = workload->status[i];
	}
	report("\"folios_failed\":%" PRIu64 ",\"first_status\":%d,", failed, first);
}

/* What is to be moved, and where to. */
static void set_out(struct workload *workload, unsigned long from, unsigned long to)
{
	size_t i;

	/*
	 * A folio that has moved once may not be whole the next time: in 7.3,
	 * unmapping for the move leaves a folio that no huge entry maps marked
	 * as partially mapped, the mark goes with it, and the next move splits it.
	 */
	if (!workload->start || !workload->same_folios) {
		fault_in(workload, from);
		assert_premise(workload, from);
	}
	/* What a frame still holds from an earlier round must be wrong now. */
	workload->generation++;
	pattern_fill(workload->start, workload->pages * PAGE_BYTES, workload->generation);
	for (i = 0; i < workload->folios; i++) {
		workload->nodes[i] = (int)to;
		workload->status[i] = INT32_MIN;
	}
}

/* The interval from the first task's start to the last one's end, and each task. */
static void report_tasks(const struct workload *workload, const struct move_task *tasks)
{
	uint64_t start_ns = tasks[0].start_ns, end_ns = tasks[0].end_ns, cpu_ns = 0;
	long not_moved = 0;
	size_t i;

	for (i = 0; i < workload->tasks; i++) {
		start_ns = tasks[i].start_ns < start_ns ? tasks[i].start_ns : start_ns;
		end_ns = tasks[i].end_ns > end_ns ? tasks[i].end_ns : end_ns;
		cpu_ns += tasks[i].cpu_ns;
		not_moved += tasks[i].not_moved;
	}
	report("\"wall_ns\":%" PRIu64 ",\"not_moved\":%ld,\"task_cpu_ns\":%" PRIu64 ",",
	       end_ns - start_ns, not_moved, cpu_ns);
	if (workload->tasks == 1)
		return;
	report("\"tasks\":[");
	for (i = 0; i < workload->tasks; i++)
		report("%s{\"cpu\":%lu,\"folios\":%zu,\"start_ns\":%" PRIu64 ",\"wall_ns\":%" PRIu64
		       ",\"cpu_ns\":%" PRIu64 "}", i ? "," : "", tasks[i].cpu, tasks[i].folios,
		       tasks[i].start_ns - start_ns, tasks[i].end_ns - tasks[i].start_ns,
		       tasks[i].cpu_ns);
	report("],");
}

/* Where everything is after a move, and what it contains. */
static void report_findings(struct workload *workload, unsigned long to)
{
	struct verification verification = { 0 };
	struct placement placement;
	size_t i;

	report_statuses(workload, to);
	placement = find_placement(workload, to);
	for (i = 0; i < workload->pages; i++)
		verify_page(&verification, workload->addresses[i], i, workload->generation);
	report("\"pages_elsewhere\":%" PRIu64 ",\"folios_split\":%" PRIu64 ",",
	       placement.pages_elsewhere, placement.folios_wrong);
	report_verification(&verification);
	report(",");
}

/* One measured move, and all that is checked about it. */
static void move(struct workload *workload, unsigned long round, unsigned long from,
		 unsigned long to, unsigned long cpu)
{
	const struct move job = {
		.folios = workload->folios,
		.heads = workload->heads,
		.nodes = workload->nodes,
		.status = workload->status,
	};
	struct cpu_account_sample account_before, account_after;
	struct move_task tasks[MOVE_TASKS_MAX];
	static struct vmstat before, after;
	size_t i;

	for (i = 0; i < workload->tasks; i++)
		tasks[i].cpu = cpu + i % workload->cpus;
	if (workload->cpu_back != workload->cpu)
		pin_to_cpu(cpu);
	set_out(workload, from, to);
	if (workload->watch_period_us) {
		latency_watch_start(workload->start, workload->folios,
				    workload->folio_kib * 1024, cpu, to,
				    workload->watch_period_us * 1000);
		latency_watch_await();
	}
	vmstat_read(&before);
	if (workload->cpu_account)
		cpu_account_read(workload->account, &account_before);
	move_tasks_run(&job, tasks, workload->tasks);
	if (workload->cpu_account)
		cpu_account_read(workload->account, &account_after);
	vmstat_read(&after);
	report("{\"event\":\"move\",\"round\":%lu,\"from\":%lu,\"to\":%lu,\"folio_kib\":%lu,"
	       "\"folios\":%zu,\"pages\":%zu,\"bytes\":%zu,",
	       round, from, to, workload->folio_kib, workload->folios, workload->pages,
	       workload->pages * PAGE_BYTES);
	report_tasks(workload, tasks);
	if (workload->cpu_account) {
		report("\"account_ns\":%" PRIu64 ",",
		       (uint64_t)(account_after.clock_ns - account_before.clock_ns));
		report_cpu_account(&account_before.time, &account_after.time);
		report(",");
	}
	if (workload->watch_period_us) {
		latency_watch_report(tasks[0].start_ns);
		report(",");
	}
	report_findings(workload, to);
	report_vmstat(&before, &after);
	report("}");
	report_end();
}

/*
 * Who still writes to a page that is in use writes over what it is used for: new
 * contents, which no copy of the earlier ones can be mistaken for.
 */
static void stay(struct workload *workload)
{
	struct verification verification = { 0 };
	size_t at, i;

	workload->kept[workload->nr_kept++] = workload->start;
	workload->generation++;
	for (at = 0; at < workload->nr_kept; at++)
		pattern_fill(workload->kept[at], workload->size_bytes, workload->generation);
	report("{\"event\":\"ready\"}");
	report_end();
	signal_await();
	for (at = 0; at < workload->nr_kept; at++)
		for (i = 0; i < workload->pages; i++)
			verify_page(&verification, workload->kept[at] + i * PAGE_BYTES,
				    at * workload->pages + i, workload->generation);
	report("{\"event\":\"stayed\",");
	report_verification(&verification);
	report("}");
	report_end();
}

static void read_options(int argc, char **argv, struct workload *workload)
{
	const struct option_number numbers[] = {
		{ "from", &workload->from, 0, 63, false },
		{ "to", &workload->to, 0, 63, false },
		{ "cpu", &workload->cpu, 0, 1023, false },
		{ "folio-kib", &workload->folio_kib, 4, 2048, false },
		{ "total-mib", &workload->total_mib, 2, 1 << 20, false },
		{ "rounds", &workload->rounds, 1, PATTERN_MAX_GENERATION / 2, true },
		{ "cpu-back", &workload->cpu_back, 0, 1023, true },
		{ "watch-period-us", &workload->watch_period_us, 1, 1000000, true },
		{ "tasks", &workload->tasks, 1, MOVE_TASKS_MAX, true },
		{ "cpus", &workload->cpus, 1, 1024, true },
		{ NULL, NULL, 0, 0, false },
	};
	const struct option_flag flags[] = {
		{ "same-folios", &workload->same_folios },
		{ "cpu-account", &workload->cpu_account },
		{ "stay", &workload->stay },
		{ NULL, NULL },
	};

	workload->cpu_back = ULONG_MAX;
	options_read(argc, argv, usage, numbers, flags);
	if (workload->cpu_back == ULONG_MAX)
		workload->cpu_back = workload->cpu;
	if (workload->folio_kib & (workload->folio_kib - 1))
		fail(EXIT_USAGE, EINVAL, "--folio-kib is no power of two");
	if (workload->total_mib % 2)
		fail(EXIT_USAGE, EINVAL, "--total-mib is no multiple of 2");
	if (workload->from == workload->to)
		fail(EXIT_USAGE, EINVAL, "--from and --to are the same node");
	if (workload->tasks > 1 && (workload->watch_period_us || workload->cpu_account))
		fail(EXIT_USAGE, EINVAL, "--tasks excludes --watch-period-us and --cpu-account");
	if (workload->tasks > workload->total_mib * 1024 / workload->folio_kib)
		fail(EXIT_USAGE, EINVAL, "there are more --tasks than folios");
	if (workload->stay && (workload->same_folios || workload->rounds * 2 > STAY_MAX))
		fail(EXIT_USAGE, EINVAL, "--stay excludes --same-folios and more than %d rounds",
		     STAY_MAX / 2);
}

int main(int argc, char **argv)
{
	struct workload workload = { .rounds = 1, .tasks = 1, .cpus = 1 };
	unsigned long round;

	read_options(argc, argv, &workload);
	signal_hold(SIGUSR1);
	pin_to_cpu(workload.cpu);
	prepare(&workload);
	if (workload.cpu_account)
		workload.account = cpu_account_open();
	for (round = 0; round < workload.rounds; round++) {
		move(&workload, round, workload.from, workload.to, workload.cpu);
		move(&workload, round, workload.to, workload.from, workload.cpu_back);
	}
	if (workload.stay)
		stay(&workload);
	return 0;
}
