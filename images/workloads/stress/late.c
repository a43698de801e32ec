// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A folio is written through a reference between its copy and its move, by the module
 * late_write, which is the provider meanwhile: the next attempt must not trust that
 * copy. The write changes the first word of the first page of the batch.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel_state.h"
#include "region.h"
#include "stress.h"

#define LATE "/sys/module/late_write/parameters/"
/* No word of the pattern becomes one of another generation by it. */
#define FLIP UINT64_C(0x5a5a5a5a5a5a5a5a)

static void put_late(const char *file, const char *text)
{
	char path[96];
	int error;

	snprintf(path, sizeof(path), LATE "%s", file);
	error = file_put(path, text);
	if (error)
		fail(EXIT_FAILED, error, "the late writer's %s can't be set to %s", file, text);
}

static unsigned long get_late(const char *file)
{
	unsigned long value;
	char path[96];
	FILE *stream;

	snprintf(path, sizeof(path), LATE "%s", file);
	stream = fopen(path, "re");
	if (!stream || fscanf(stream, "%lu", &value) != 1)
		fail(EXIT_FAILED, 0, "the late writer's %s can't be read", file);
	fclose(stream);
	return value;
}

/*
 * Takes the late write back: it is in one of the pages, the first that could be moved.
 * What isn't right then is found by who checks.
 */
static void take_back(struct stress *stress)
{
	struct pages *pages = &stress->pages;
	struct pattern_mismatch mismatch = { 0 };
	size_t i;

	for (i = 0; i < CHUNK_PAGES_MAX; i++) {
		uint64_t *word = (uint64_t *)(pages->start + i * PAGE_BYTES);
		uint64_t pattern = pattern_word((uintptr_t)word, pages->sequence[i]);

		if (*word != (pattern ^ FLIP))
			continue;
		*word = pattern;
		return;
	}
	mismatch.address = (uintptr_t)pages->start;
	mismatch.expected = pattern_word(mismatch.address, pages->sequence[0]) ^ FLIP;
	mismatch.seen = *(uint64_t *)pages->start;
	mismatch.bytes_wrong = sizeof(uint64_t);
	tally_wrong(stress->tally, "a late writer", 0, &mismatch);
}

static void move_under_late_write(struct stress *stress, unsigned long node)
{
	int nodes[CHUNK_PAGES_MAX], status[CHUNK_PAGES_MAX];
	unsigned long writes = get_late("writes"), again = get_late("copied_again");
	struct pages *pages = &stress->pages;
	size_t i;

	for (i = 0; i < CHUNK_PAGES_MAX; i++) {
		pages_check(stress, pages, i, "its owner");
		pages_write(stress, pages, i);
		nodes[i] = (int)node;
	}
	put_late("armed", "1");
	move_pages_of(stress, 0, pages->start, CHUNK_PAGES_MAX, nodes, status);
	writes = get_late("writes") - writes;
	stress->tally->late_writes += writes;
	if (!writes)
		return;
	/* All have moved, none alone: by a later attempt with the batch, that has to copy. */
	for (i = 0; i < CHUNK_PAGES_MAX && status[i] == (int)node; i++)
		;
	if (i == CHUNK_PAGES_MAX && get_late("copied_again") == again)
		stress->tally->late_retries++;
	take_back(stress);
}

static void run_late(struct stress *stress)
{
	uint64_t end_ns = monotonic_ns() + stress->run_ms * UINT64_C(1000000);
	char text[24];
	bool there = true;

	/* The other CPU's to let go of the reference. */
	task_place(stress, 0);
	snprintf(text, sizeof(text), "%" PRIu64, FLIP);
	put_late("flip", text);
	put_late("registered", "1");
	for (; monotonic_ns() < end_ns; there = !there)
		move_under_late_write(stress, there ? stress->to : stress->from);
	put_late("registered", "0");
}

static void prepare_late(struct stress *stress)
{
	(void)stress;
	if (access(LATE "armed", W_OK))
		fail(EXIT_PREMISE, 0, "the module late_write isn't there");
}

const struct scenario scenario_late = { "late-write", prepare_late, run_late, true };
