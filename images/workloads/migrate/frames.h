/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which page frames a region has, and whether it has left them. */
#ifndef LAB_FRAMES_H
#define LAB_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cell.h"

/* Frames of a region that follow one another, whatever their order in it. */
struct frame_run {
	uint64_t first, count;
};

/*
 * The frames that the region had before its migration, as runs from the lowest
 * to the highest. The caller frees `*runs`. Returns how many there are.
 */
size_t frames_before(const struct cell *cell, struct frame_run **runs);

/*
 * How many pages that are to move are in the frame that they had before, and with
 * `absent_too` those in none, which may be on their way.
 */
size_t frames_still(const struct cell *cell, bool absent_too);

/* How many pages of the region are on a node. */
size_t pages_on(const struct cell *cell, unsigned long node);

/*
 * Sleeps until all pages that are to move have another frame, or `timeout_ms` are
 * over: for migrations that a kernel thread does.
 */
void frames_await(const struct cell *cell, unsigned long timeout_ms);

/*
 * Sleeps until no page of the region is under writeback any more, and counts that as
 * a retry; false if none was. For triggers that pass over such pages.
 */
bool frames_await_written(struct cell *cell);

/*
 * Sleeps until no page of the region is on its way, and none has gone further for
 * a while, or `timeout_ms` are over.
 */
void frames_settle(const struct cell *cell, unsigned long timeout_ms);

/* Sleeps. */
void sleep_ms(unsigned long ms);

#endif
