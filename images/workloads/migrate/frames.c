// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "frames.h"
#include "region.h"
#include "state.h"

#define POLL_MS 10
#define STILL_POLLS 10
#define WRITEBACK_MS 1000

static int by_frame(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

size_t frames_before(const struct cell *cell, struct frame_run **runs)
{
	uint64_t *sorted = malloc(cell->pages * sizeof(*sorted));
	size_t count = 0, i;

	*runs = calloc(cell->pages, sizeof(**runs));
	if (!sorted || !*runs)
		fail(EXIT_FAILED, ENOMEM, "no memory for %zu frames", cell->pages);
	memcpy(sorted, cell->frames_before, cell->pages * sizeof(*sorted));
	qsort(sorted, cell->pages, sizeof(*sorted), by_frame);
	for (i = 0; i < cell->pages; i++) {
		struct frame_run *last = count ? *runs + count - 1 : NULL;

		if (!sorted[i] || (last && sorted[i] < last->first + last->count))
			continue;	/* absent, or one frame mapped twice */
		if (last && sorted[i] == last->first + last->count)
			last->count++;
		else
			(*runs)[count++] = (struct frame_run){ sorted[i], 1 };
	}
	free(sorted);
	if (!count)
		fail(EXIT_PREMISE, 0, "the region has no page frames");
	return count;
}

size_t frames_still(const struct cell *cell, bool absent_too)
{
	uint64_t *frames = calloc(cell->pages, sizeof(*frames));
	size_t still = 0, i;

	if (!frames)
		fail(EXIT_FAILED, ENOMEM, "no memory for frame numbers");
	region_frames(cell->start, cell->pages, frames);
	for (i = 0; i < cell->pages; i++)
		if (!cell->asked || cell->asked[i])
			still += frames[i] ? frames[i] == cell->frames_before[i] : absent_too;
	free(frames);
	return still;
}

size_t pages_on(const struct cell *cell, unsigned long node)
{
	int *nodes = calloc(cell->pages, sizeof(*nodes));
	size_t on = 0, i;

	if (!nodes)
		fail(EXIT_FAILED, ENOMEM, "no memory for nodes");
	cell_nodes(cell, nodes);
	for (i = 0; i < cell->pages; i++)
		on += nodes[i] == (int)node;
	free(nodes);
	return on;
}

void sleep_ms(unsigned long ms)
{
	struct timespec left = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

void frames_await(const struct cell *cell, unsigned long timeout_ms)
{
	unsigned long slept_ms;

	for (slept_ms = 0; slept_ms < timeout_ms; slept_ms += POLL_MS) {
		if (!frames_still(cell, true))
			return;
		sleep_ms(POLL_MS);
	}
}

bool frames_await_written(struct cell *cell)
{
	unsigned long slept_ms;

	if (!state_count(cell, FLAG(WRITEBACK)))
		return false;
	cell->retries++;
	for (slept_ms = 0; slept_ms < WRITEBACK_MS && state_count(cell, FLAG(WRITEBACK));
	     slept_ms += POLL_MS)
		sleep_ms(POLL_MS);
	return true;
}

void frames_settle(const struct cell *cell, unsigned long timeout_ms)
{
	uint64_t *last = calloc(cell->pages, sizeof(*last));
	uint64_t *now = calloc(cell->pages, sizeof(*now));
	unsigned long slept_ms;
	unsigned int same = 0;
	bool absent;
	size_t i;

	if (!last || !now)
		fail(EXIT_FAILED, ENOMEM, "no memory for frame numbers");
	for (slept_ms = 0; same < STILL_POLLS && slept_ms < timeout_ms; slept_ms += POLL_MS) {
		region_frames(cell->start, cell->pages, now);
		for (absent = false, i = 0; i < cell->pages; i++)
			absent |= !now[i];
		same = absent || memcmp(last, now, cell->pages * sizeof(*now)) ? 0 : same + 1;
		memcpy(last, now, cell->pages * sizeof(*now));
		sleep_ms(POLL_MS);
	}
	free(last);
	free(now);
}
