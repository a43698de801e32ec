// SPDX-License-Identifier: GPL-2.0-or-later
/* Many tasks at the same pages, for a given time, and what all of them have seen. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "held_signals.h"
#include "kernel_state.h"
#include "options.h"
#include "region.h"
#include "stress.h"

static const char usage[] =
	"usage: stress SCENARIO --from A --to B --cpus N --run-ms T [--seed S] [--mib M]\n"
	"              [--writers W] [--movers V] [--rival]\n"
	"              [--shared | --folio-kib F]\n"
	"\n"
	"SCENARIO: writers, ping-pong, crowd, gup, fork, controls, hotplug, late-write.\n"
	"Makes M MiB (default 4) on node A, says \"ready\", and from SIGUSR1 on has W\n"
	"tasks (default 4) write and verify while V tasks (default 3) move the pages\n"
	"between the nodes, for T ms, on the CPUs 0 to N - 1. --rival: the module\n"
	"offload_rival is there. --shared: the pages are those of a file in memory.\n"
	"F: size of the folios (default 4). A \"stress\" event tells what was done and\n"
	"seen.\n";

static const struct scenario *const scenarios[] = {
	&scenario_writers, &scenario_ping_pong, &scenario_crowd, &scenario_gup,
	&scenario_fork, &scenario_controls, &scenario_hotplug, &scenario_late,
};

static const struct scenario *find_scenario(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		if (!strcmp(scenarios[i]->name, name))
			return scenarios[i];
	fail(EXIT_USAGE, EINVAL, "there is no such scenario");
}

static void run(struct stress *stress, const struct scenario *scenario)
{
	static struct vmstat before, after;
	uint64_t start_ns;

	stress->tally = tally_new();
	if (scenario->prepare)
		scenario->prepare(stress);
	if (scenario->owns_region)
		pages_make(stress, &stress->pages);
	report("{\"event\":\"ready\",\"pages\":%zu}", stress->pages.count);
	report_end();
	signal_await();
	vmstat_read(&before);
	start_ns = monotonic_ns();
	scenario->run(stress);
	tasks_end(stress);
	if (scenario->owns_region)
		pages_check_all(stress, &stress->pages, "the end");
	vmstat_read(&after);
	report("{\"event\":\"stress\",\"wall_ns\":%" PRIu64 ",", monotonic_ns() - start_ns);
	if (scenario->owns_region)
		report("\"folios_split\":%" PRIu64 ",", pages_split(stress, &stress->pages));
	tally_report(stress->tally);
	report(",");
	report_vmstat(&before, &after);
	report("}");
	report_end();
}

int main(int argc, char **argv)
{
	struct stress stress = {
		.seed = 1, .mib = 4, .writers = 4, .movers = 3, .pin = true, .folio_kib = 4,
	};
	const struct option_number numbers[] = {
		{ "from", &stress.from, 0, 63, false },
		{ "to", &stress.to, 0, 63, false },
		{ "cpus", &stress.cpus, 1, CPUS_MAX, false },
		{ "run-ms", &stress.run_ms, 1, 3600000, false },
		{ "seed", &stress.seed, 0, UINT32_MAX, true },
		{ "mib", &stress.mib, 2, 1 << 12, true },
		{ "writers", &stress.writers, 1, 32, true },
		{ "movers", &stress.movers, 1, 32, true },
		{ "folio-kib", &stress.folio_kib, 4, 2048, true },
		{ NULL, NULL, 0, 0, false },
	};
	const struct option_flag flags[] = {
		{ "rival", &stress.rival },
		{ "shared", &stress.shared },
		{ NULL, NULL },
	};
	const struct scenario *scenario;

	if (argc < 2)
		options_read(argc, argv, usage, numbers, flags);
	scenario = find_scenario(argv[1]);
	options_read(argc - 1, argv + 1, usage, numbers, flags);
	if (stress.folio_kib & (stress.folio_kib - 1))
		fail(EXIT_USAGE, EINVAL, "--folio-kib is no power of two");
	if (stress.shared && stress.folio_kib > PAGE_BYTES / 1024)
		fail(EXIT_USAGE, EINVAL, "--shared has single pages, and no --folio-kib");
	if (!scenario->owns_region && stress.folio_kib > PAGE_BYTES / 1024)
		fail(EXIT_USAGE, EINVAL, "this scenario has single pages, and no --folio-kib");
	signal_hold(SIGUSR1);
	run(&stress, scenario);
	return 0;
}
