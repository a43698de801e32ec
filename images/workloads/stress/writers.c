// SPDX-License-Identifier: GPL-2.0-or-later
/* Threads of the worker that write and verify, and the scenarios that need no more. */
#include <pthread.h>
#include <stdlib.h>

#include "region.h"
#include "stress.h"

/*
 * One turn in so many stays at its page for as long as a batch takes from its first
 * unmapped folio to its last copied one, and longer: only who goes on writing through
 * a mapping that other CPUs have dropped shows that one of them has not been flushed.
 */
#define STAYS_ONE_IN	16
#define STAY_WRITES	256

struct writer {
	struct stress *stress;
	uint64_t task;
	size_t first_page, pages;
	pthread_t thread;
};

/* Each writer has every n-th page, so that neighbours in a batch belong to others. */
static void *write_pages(void *argument)
{
	struct writer *writer = argument;
	struct stress *stress = writer->stress;
	struct chance chance = chance_of(stress, 1000 + writer->task);
	size_t mine = writer->pages / stress->writers;

	task_place(stress, writer->task);
	while (!over(stress)) {
		size_t page = writer->first_page + writer->task +
			      chance_below(&chance, mine) * stress->writers;
		unsigned int more = chance_below(&chance, STAYS_ONE_IN) ? 0 : STAY_WRITES;

		/* What was found wrong once would be found wrong again. */
		pages_check(stress, &stress->pages, page, "its writer");
		pages_write(stress, &stress->pages, page);
		/* Half of the numbers are for those that are checked. */
		while (more-- && !over(stress) &&
		       pages_next(&stress->pages, page) < PATTERN_MAX_GENERATION / 2)
			pages_rewrite(&stress->pages, page);
	}
	return NULL;
}

static void *look_at_pages(void *argument)
{
	struct writer *looker = argument;
	struct stress *stress = looker->stress;
	struct chance chance = chance_of(stress, 2000 + looker->task);
	unsigned int i;

	task_place(stress, looker->task);
	while (!over(stress)) {
		for (i = 0; i < 256; i++)
			pages_look(stress, &stress->pages,
				   looker->first_page + chance_below(&chance, looker->pages),
				   chance_below(&chance, PAGE_BYTES / sizeof(uint64_t)));
		/* Looking is cheap; it is the writers' and movers' time. */
		task_sleep_us(500);
	}
	return NULL;
}

void writers_run(struct stress *stress, size_t first_page, size_t pages)
{
	size_t count = stress->writers + 1, i;
	struct writer *all = calloc(count, sizeof(*all));

	if (!all)
		fail(EXIT_FAILED, 0, "no memory for threads");
	for (i = 0; i < count; i++) {
		all[i] = (struct writer){ stress, i, first_page, pages, 0 };
		if (pthread_create(&all[i].thread, NULL,
				   i < stress->writers ? write_pages : look_at_pages, &all[i]))
			fail(EXIT_FAILED, 0, "a thread can't be started");
	}
	task_sleep_us(stress->run_ms * 1000);
	stress->tally->stop = true;
	for (i = 0; i < count; i++)
		pthread_join(all[i].thread, NULL);
	free(all);
}

static void start_movers(struct stress *stress, void (*body)(struct stress *, uint64_t))
{
	uint64_t i;

	for (i = 0; i < stress->movers; i++)
		task_start(stress, i, body);
}

static void run_writers(struct stress *stress)
{
	start_movers(stress, mover_random);
	task_start(stress, stress->movers, mover_of_process);
	task_start(stress, stress->movers + 1, mover_by_compaction);
	writers_run(stress, 0, stress->pages.count);
}

static void run_ping_pong(struct stress *stress)
{
	start_movers(stress, mover_to_and_fro);
	writers_run(stress, 0, stress->pages.count);
}

static void run_crowd(struct stress *stress)
{
	start_movers(stress, mover_of_slice);
	writers_run(stress, 0, stress->pages.count);
}

const struct scenario scenario_writers = { "writers", NULL, run_writers, true };
const struct scenario scenario_ping_pong = { "ping-pong", NULL, run_ping_pong, true };
const struct scenario scenario_crowd = { "crowd", NULL, run_crowd, true };
