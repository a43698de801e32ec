/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When the pages of a region can be used again while they migrate: tasks that
 * want a folio, are held up by its migration entry, and note when they get on.
 */
#ifndef LAB_LATENCY_WATCH_H
#define LAB_LATENCY_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first folio of the region, the one in its middle, and the last. */
#define WATCHED_FOLIOS 3

/*
 * Starts a thread for each watched folio, at real-time priority on CPU `cpu`,
 * that reads the folio's first word every `period_ns` until a read is held up
 * and afterwards finds the page on node `to`.
 *
 * The CPU has to be the one that the migration runs on. The wake-up then takes
 * it over at once; on another CPU it would wait for the emulator's turn, which
 * on the virtual clock is longer than what is to be measured.
 */
void latency_watch_start(char *region, size_t folios, size_t folio_bytes, unsigned long cpu,
			 unsigned long to, uint64_t period_ns);

/* Waits until all threads have read once: a migration may begin. */
void latency_watch_await(void);

/*
 * Ends the watch and prints "latency":{…}: for each watched folio the time from
 * `start_ns` until it could be used, and whether its reader was held up at
 * all. One that was not says nothing about latency.
 */
void latency_watch_report(uint64_t start_ns);

#endif
