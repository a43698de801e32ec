// SPDX-License-Identifier: GPL-2.0-or-later
/* CPUs and blocks of memory go and come while pages move. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel_state.h"
#include "stress.h"

#define BLOCKS_MAX 256
#define BLOCK_STATE "/sys/devices/system/memory/memory%u/state"
#define BLOCK_ZONES "/sys/devices/system/memory/memory%u/valid_zones"

/* Each block in one of the two lists. */
struct blocks {
	unsigned int count, nr_holed;
	unsigned int numbers[BLOCKS_MAX], holed[BLOCKS_MAX];
};

/*
 * Is all of a block system memory? The kernel refuses to take one with a hole off
 * line, whoever uses it, and finds holes where this does: in the resources.
 */
static bool is_whole(unsigned int block, uint64_t block_bytes)
{
	uint64_t next = block * block_bytes, end = next + block_bytes, from, to;
	FILE *file = fopen("/proc/iomem", "re");
	char line[128];

	if (!file)
		fail(EXIT_PREMISE, errno, "/proc/iomem can't be read");
	/* In the order of addresses. Parts of a resource are indented. */
	while (next < end && fgets(line, sizeof(line), file))
		if (*line != ' ' && strstr(line, " : System RAM") &&
		    sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) == 2 && from <= next &&
		    next <= to)
			next = to + 1;
	fclose(file);
	return next >= end;
}

static uint64_t read_block_bytes(void)
{
	FILE *file = fopen("/sys/devices/system/memory/block_size_bytes", "re");
	uint64_t bytes = 0;

	if (!file || fscanf(file, "%" SCNx64, &bytes) != 1 || !bytes)
		fail(EXIT_PREMISE, errno, "the size of blocks of memory can't be read");
	fclose(file);
	return bytes;
}

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
	uint64_t block_bytes = read_block_bytes();
	struct dirent *entry;
	unsigned int number;
	char path[64];
	DIR *directory;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%lu", node);
	directory = opendir(path);
	if (!directory)
		fail(EXIT_PREMISE, errno, "node %lu has no directory in sysfs", node);
	while ((entry = readdir(directory))) {
		if (sscanf(entry->d_name, "memory%u", &number) != 1 || !is_movable(number))
			continue;
		if (blocks->count + blocks->nr_holed == BLOCKS_MAX)
			fail(EXIT_PREMISE, E2BIG, "too many blocks of memory");
		if (is_whole(number, block_bytes))
			blocks->numbers[blocks->count++] = number;
		else
			blocks->holed[blocks->nr_holed++] = number;
	}
	closedir(directory);
}

static int put_state(unsigned int block, const char *state)
{
	char path[96];

	snprintf(path, sizeof(path), BLOCK_STATE, block);
	return file_put(path, state);
}

/* Each block with a hole is refused for it. */
static void refuse_holed(struct stress *stress, const struct blocks *blocks)
{
	unsigned int i;
	int error;

	for (i = 0; i < blocks->nr_holed; i++) {
		error = put_state(blocks->holed[i], "offline");
		if (error != EINVAL)
			tally_surprise(stress->tally, "block %u, with a hole, goes offline: %s",
				       blocks->holed[i], strerror(error));
		stress->tally->blocks_holed++;
	}
}

static void cycle_block(struct stress *stress, unsigned int number)
{
	int error = put_state(number, "offline");

	if (error == EBUSY || error == EAGAIN || error == EINTR) {
		stress->tally->blocks_refused++;
		return;
	}
	if (error) {
		tally_surprise(stress->tally, "block %u goes offline: %s", number,
			       strerror(error));
		return;
	}
	stress->tally->blocks_off++;
	error = put_state(number, "online_movable");
	if (error)
		tally_surprise(stress->tally, "block %u comes back: %s", number, strerror(error));
}

static void cycle_memory(struct stress *stress, uint64_t task)
{
	struct chance chance = chance_of(stress, 8000 + task);
	struct blocks blocks = { 0 };

	find_blocks(&blocks, stress->to);
	find_blocks(&blocks, stress->from);
	refuse_holed(stress, &blocks);
	while (!over(stress)) {
		uint64_t before_ns = monotonic_ns();

		cycle_block(stress, blocks.numbers[chance_below(&chance, blocks.count)]);
		/* With instruments a cycle takes long, and nobody else would get anywhere. */
		task_rest_us(before_ns, 1000 + chance_below(&chance, 4000));
	}
}

/* The last CPUs, on which no task is bound. */
static void cycle_cpus(struct stress *stress, uint64_t task)
{
	struct chance chance = chance_of(stress, 9000 + task);
	unsigned long all = (unsigned long)sysconf(_SC_NPROCESSORS_CONF), cpu = stress->cpus;
	char path[64];
	int error;

	for (; !over(stress); cpu = cpu + 1 < all ? cpu + 1 : stress->cpus) {
		uint64_t before_ns = monotonic_ns();

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%lu/online", cpu);
		error = file_put(path, "0");
		if (!error) {
			stress->tally->cpus_off++;
			task_sleep_us(chance_below(&chance, 3000));
			error = file_put(path, "1");
		}
		if (error)
			tally_surprise(stress->tally, "CPU %lu: %s", cpu, strerror(error));
		/* Whoever finds the lock of all hotplug taken tries again every 5 ms. */
		task_rest_us(before_ns, 6000 + chance_below(&chance, 4000));
	}
}

static void prepare_hotplug(struct stress *stress)
{
	struct blocks blocks = { 0 };

	find_blocks(&blocks, stress->to);
	if (!blocks.count)
		fail(EXIT_PREMISE, 0,
		     "no block of node %lu is movable and whole (movablecore=), %u have holes",
		     stress->to, blocks.nr_holed);
	if ((unsigned long)sysconf(_SC_NPROCESSORS_CONF) <= stress->cpus)
		fail(EXIT_PREMISE, 0, "all %lu CPUs are in use, none may go", stress->cpus);
}

static void run_hotplug(struct stress *stress)
{
	uint64_t i;

	for (i = 0; i < stress->movers; i++)
		task_start(stress, i, mover_with_rests);
	/* These may run anywhere, also where nobody else does. */
	stress->pin = false;
	task_start(stress, stress->movers, mover_with_rests);
	task_start(stress, stress->movers + 1, cycle_memory);
	task_start(stress, stress->movers + 2, cycle_cpus);
	writers_run(stress, 0, stress->pages.count);
}

const struct scenario scenario_hotplug = { "hotplug", prepare_hotplug, run_hotplug, true };
