// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages under migration that the kernel itself reads and writes through references of
 * its own: a task writes into another's memory, a disk reads and writes directly.
 * Each way has a quarter of the region, the last one is for registered buffers.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gup.h"
#include "region.h"

#define REMOTE_PAGES 128
#define DIRECT_PAGES 64

void *gup_buffer(size_t pages)
{
	void *buffer = mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (buffer == MAP_FAILED)
		fail(EXIT_FAILED, errno, "no memory for a buffer");
	return buffer;
}

size_t gup_choose(const struct stress *stress, struct chance *chance, unsigned int quarter,
		  size_t count)
{
	size_t all = stress->pages.count / 4;

	return quarter * all + chance_below(chance, all - count + 1);
}

void gup_fill(const struct pages *pages, void *buffer, size_t first, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		pattern_fill_for((char *)buffer + i * PAGE_BYTES,
				 (uintptr_t)pages->start + (first + i) * PAGE_BYTES, PAGE_BYTES,
				 pages_next(pages, first + i));
}

void gup_written(struct pages *pages, size_t first, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		pages_written(pages, first + i);
}

void gup_check_copy(const struct stress *stress, const void *copy, size_t first, size_t count,
		    const char *who)
{
	const struct pages *pages = &stress->pages;
	struct pattern_mismatch mismatch;
	size_t i;

	for (i = 0; i < count; i++) {
		stress->tally->pages_verified++;
		if (pattern_check_copy((const char *)copy + i * PAGE_BYTES,
				       (uintptr_t)pages->start + (first + i) * PAGE_BYTES,
				       pages->sequence[first + i], &mismatch))
			tally_wrong(stress->tally, who, first + i, &mismatch);
	}
}

void gup_check(const struct stress *stress, size_t first, size_t count, const char *who)
{
	size_t i;

	for (i = 0; i < count; i++)
		pages_check(stress, &stress->pages, first + i, who);
}

/*
 * A child writes into the worker's pages, and reads them, all by the kernel's hand,
 * which gets a reference to each page in turn.
 */
static void write_remotely(struct stress *stress, uint64_t task)
{
	struct chance chance = chance_of(stress, 3000 + task);
	struct pages *pages = &stress->pages;
	char *buffer = gup_buffer(REMOTE_PAGES);
	char path[32];
	int memory;

	snprintf(path, sizeof(path), "/proc/%d/mem", getppid());
	memory = open(path, O_RDWR | O_CLOEXEC);
	if (memory < 0)
		fail(EXIT_PREMISE, errno, "the worker's memory can't be opened");
	while (!over(stress)) {
		size_t count = 1 + chance_below(&chance, REMOTE_PAGES);
		size_t first = gup_choose(stress, &chance, GUP_REMOTE, count);
		off_t address = (off_t)(uintptr_t)(pages->start + first * PAGE_BYTES);
		ssize_t size = (ssize_t)(count * PAGE_BYTES);

		gup_fill(pages, buffer, first, count);
		if (pwrite(memory, buffer, (size_t)size, address) != size)
			fail(EXIT_FAILED, errno, "%zu pages can't be written remotely", count);
		gup_written(pages, first, count);
		stress->tally->gup_writes += count;
		/* Time for a lost write to show: the move comes after the copy. */
		if (chance_below(&chance, 2))
			task_sleep_us(chance_below(&chance, 500));
		if (pread(memory, buffer, (size_t)size, address) != size)
			fail(EXIT_FAILED, errno, "%zu pages can't be read remotely", count);
		gup_check_copy(stress, buffer, first, count, "a remote reader");
	}
	close(memory);
}

static void transfer(int disk, bool out, void *buffer, size_t page, size_t count)
{
	off_t offset = (off_t)(page * PAGE_BYTES);
	size_t size = count * PAGE_BYTES;
	ssize_t done = out ? pwrite(disk, buffer, size, offset) :
			     pread(disk, buffer, size, offset);

	if (done != (ssize_t)size)
		fail(EXIT_FAILED, errno, "%zu pages can't be %s directly", count,
		     out ? "written" : "read");
}

/* From the disk into pages under migration, and from them to the disk. */
static void *transfer_directly(void *argument)
{
	struct stress *stress = argument;
	struct chance chance = chance_of(stress, 4000);
	struct pages *pages = &stress->pages;
	void *buffer = gup_buffer(DIRECT_PAGES);
	int disk = gup_open_disk();

	while (!over(stress)) {
		size_t count = 1 + chance_below(&chance, DIRECT_PAGES), i;
		size_t first = gup_choose(stress, &chance, GUP_DIRECT, count);
		void *run = pages->start + first * PAGE_BYTES;

		gup_fill(pages, buffer, first, count);
		transfer(disk, true, buffer, first, count);
		transfer(disk, false, run, first, count);
		gup_written(pages, first, count);
		stress->tally->direct_reads += count;
		if (chance_below(&chance, 2))
			task_sleep_us(chance_below(&chance, 500));
		gup_check(stress, first, count, "a direct reader");

		for (i = 0; i < count; i++)
			pages_write(stress, pages, first + i);
		transfer(disk, true, run, first, count);
		stress->tally->direct_writes += count;
		transfer(disk, false, buffer, first, count);
		gup_check_copy(stress, buffer, first, count, "the disk");
	}
	close(disk);
	return NULL;
}

int gup_open_disk(void)
{
	int disk = open(GUP_DISK, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (disk < 0)
		fail(EXIT_PREMISE, errno, GUP_DISK " can't be opened for direct I/O");
	return disk;
}

static void run_gup(struct stress *stress)
{
	pthread_t direct, ring;
	uint64_t i;

	for (i = 0; i < stress->movers; i++)
		task_start(stress, i, mover_random);
	task_start(stress, stress->movers, write_remotely);
	if (pthread_create(&direct, NULL, transfer_directly, stress) ||
	    pthread_create(&ring, NULL, gup_use_ring, stress))
		fail(EXIT_FAILED, 0, "a thread can't be started");
	writers_run(stress, 0, stress->pages.count / 4);
	pthread_join(direct, NULL);
	pthread_join(ring, NULL);
}

static void prepare_gup(struct stress *stress)
{
	(void)stress;
	close(gup_open_disk());
}

const struct scenario scenario_gup = { "gup", prepare_gup, run_gup, true };
