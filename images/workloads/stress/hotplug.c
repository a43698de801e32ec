// SPDX-License-Identifier: GPL-2.0-or-later
/* CPUs and blocks of memory go and come while pages move. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stress.h"

#define BLOCKS_MAX 256
#define BLOCK_STATE "/sys/devices/system/memory/memory%u/state"
#define BLOCK_ZONES "/sys/devices/system/memory/memory%u/valid_zones"

struct blocks {
	unsigned int count;
	unsigned int numbers[BLOCKS_MAX];
};

static bool is_movable(unsigned int block)
{
	char path[96], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), BLOCK_ZONES, block);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		*text = 0;
	fclose(file);
	return !strcmp(text, "Movable\n");
}

/* The blocks of a node that hold nothing but what can move. */
static void find_blocks(struct blocks *blocks, unsigned long node)
{
	struct dirent *entry;
	unsigned int number;
	char path[64];
	DIR *directory;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%lu", node);
	directory = opendir(path);
	if (!directory)
		fail(EXIT_PREMISE, errno, "node %lu has no directory in sysfs", node);
	while ((entry = readdir(directory)) && blocks->count < BLOCKS_MAX)
		if (sscanf(entry->d_name, "memory%u", &number) == 1 && is_movable(number))
			blocks->numbers[blocks->count++] = number;
	closedir(directory);
}

static void cycle_memory(struct stress *stress, uint64_t task)
{
	struct chance chance = chance_of(stress, 8000 + task);
	struct blocks blocks = { 0 };
	char path[96];
	int error;

	find_blocks(&blocks, stress->to);
	find_blocks(&blocks, stress->from);
	if (!blocks.count)
		fail(EXIT_PREMISE, 0, "no block of memory is movable");
	while (!over(stress) && blocks.count) {
		unsigned int which = (unsigned int)chance_below(&chance, blocks.count);
		unsigned int number = blocks.numbers[which];

		snprintf(path, sizeof(path), BLOCK_STATE, number);
		error = file_put(path, "offline");
		if (error == EBUSY || error == EAGAIN || error == EINTR) {
			stress->tally->blocks_refused++;
		} else if (error == EINVAL) {
			/* Seen of the last block; taken for a hole in it, and not tried again. */
			blocks.numbers[which] = blocks.numbers[--blocks.count];
		} else if (error) {
			tally_surprise(stress->tally, "block %u goes offline: %s", number,
				       strerror(error));
		} else {
			stress->tally->blocks_off++;
			error = file_put(path, "online_movable");
			if (error)
				tally_surprise(stress->tally, "block %u comes back: %s", number,
					       strerror(error));
		}
		task_sleep_us(1000 + chance_below(&chance, 4000));
	}
}

/* The last CPUs, on which no task is bound. */
static void cycle_cpus(struct stress *stress, uint64_t task)
{
	struct chance chance = chance_of(stress, 9000 + task);
	unsigned long online = (unsigned long)sysconf(_SC_NPROCESSORS_CONF);
	char path[64];
	int error;

	while (!over(stress)) {
		unsigned long cpu = stress->cpus + chance_below(&chance, online - stress->cpus);

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%lu/online", cpu);
		error = file_put(path, "0");
		if (!error) {
			stress->tally->cpus_off++;
			task_sleep_us(chance_below(&chance, 3000));
			error = file_put(path, "1");
		}
		if (error)
			tally_surprise(stress->tally, "CPU %lu: %s", cpu, strerror(error));
		task_sleep_us(1000 + chance_below(&chance, 4000));
	}
}

static void prepare_hotplug(struct stress *stress)
{
	struct blocks blocks = { 0 };

	find_blocks(&blocks, stress->to);
	if (!blocks.count)
		fail(EXIT_PREMISE, 0, "no block of node %lu is movable (movablecore=)",
		     stress->to);
	if ((unsigned long)sysconf(_SC_NPROCESSORS_CONF) <= stress->cpus)
		fail(EXIT_PREMISE, 0, "all %lu CPUs are in use, none may go", stress->cpus);
}

static void run_hotplug(struct stress *stress)
{
	uint64_t i;

	for (i = 0; i < stress->movers; i++)
		task_start(stress, i, mover_random);
	/* These may run anywhere, also where nobody else does. */
	stress->pin = false;
	task_start(stress, stress->movers, mover_random);
	task_start(stress, stress->movers + 1, cycle_memory);
	task_start(stress, stress->movers + 2, cycle_cpus);
	writers_run(stress, 0, stress->pages.count);
}

const struct scenario scenario_hotplug = { "hotplug", prepare_hotplug, run_hotplug, true };
