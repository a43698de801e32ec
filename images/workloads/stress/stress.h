/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many tasks at the same pages: some write and verify, some move, some change what
 * the kernel does meanwhile. A scenario is a worker, which owns the pages and knows
 * their contents, and tasks around it. All of them count in one tally.
 *
 * The contents of a page are the pattern of its address, and of a sequence number as
 * the generation. Every write is of a whole page and of the next number.
 */
#ifndef LAB_STRESS_H
#define LAB_STRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "report.h"

#define CPUS_MAX 64
#define CHILDREN_MAX 64
/* Pages that one move_pages() call takes at most. */
#define CHUNK_PAGES_MAX 512

/* What the tasks count, in memory that all of them share. */
struct tally {
	_Atomic bool stop;
	_Atomic uint64_t writes;		/* pages written */
	_Atomic uint64_t looks;			/* words read by who doesn't write */
	_Atomic uint64_t pages_verified, pages_wrong;
	_Atomic uint64_t move_calls, pages_arrived, pages_busy, pages_absent;
	_Atomic uint64_t compactions, migrations;
	_Atomic uint64_t gup_writes;		/* pages, through /proc/PID/mem */
	_Atomic uint64_t direct_reads, direct_writes;	/* pages, O_DIRECT */
	_Atomic uint64_t ring_copies;		/* pages, from or to registered buffers */
	_Atomic uint64_t pins, pinned_refused, pinned_moved, unpinned_arrived;
	_Atomic uint64_t forks, unmaps, zaps;
	_Atomic uint64_t toggles, counts, masks, resets, refusals;
	_Atomic uint64_t unloads, unloads_refused, rivals;
	_Atomic uint64_t cpus_off, blocks_off, blocks_refused, blocks_holed;
	_Atomic uint64_t late_writes, late_retries;
	_Atomic uint64_t surprises;		/* what no kernel may answer */
	_Atomic uint32_t nr_wrong, nr_surprise;	/* slots taken below */
	struct wrong {
		_Atomic bool ready;
		const char *who;
		uint64_t page;
		struct pattern_mismatch mismatch;
	} wrong[REPORT_MAX_WRONG];
	struct surprise {
		_Atomic bool ready;
		char text[128];
	} surprise[REPORT_MAX_WRONG];
};

/* What the pages of a region hold: one writer a page, many who look. */
struct pages {
	char *start;
	size_t count;
	_Atomic uint32_t *sequence;	/* of the last whole write, shared memory */
};

struct stress {
	unsigned long seed, run_ms, mib, writers, movers, from, to;
	bool pin, rival;
	bool shared;			/* the region is a mapping of a file in memory */
	unsigned long folio_kib;	/* of its folios: anonymous if they are large */
	unsigned long cpus;		/* in use, from 0 */
	struct tally *tally;
	struct pages pages;
	pid_t children[CHILDREN_MAX];
	size_t nr_children;
};

struct scenario {
	const char *name;
	/* Before the region is made. Ends the program if the kernel can't do it. */
	void (*prepare)(struct stress *stress);
	/* Starts tasks, returns when the time is up. They are ended by the caller. */
	void (*run)(struct stress *stress);
	bool owns_region;		/* the worker's region is made and verified by main */
};

/* Chance by a sequence of numbers that the seed alone decides. */
struct chance {
	uint64_t state;
};

struct chance chance_of(const struct stress *stress, uint64_t task);
uint64_t chance_below(struct chance *chance, uint64_t limit);

/* tally.c */
struct tally *tally_new(void);
void tally_wrong(struct tally *tally, const char *who, uint64_t page,
		 const struct pattern_mismatch *mismatch);
void tally_surprise(struct tally *tally, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void tally_report(const struct tally *tally);

static inline bool over(const struct stress *stress)
{
	return atomic_load_explicit(&stress->tally->stop, memory_order_relaxed);
}

/* pages.c: every write is preceded by a check of what is there. */
void pages_make(struct stress *stress, struct pages *pages);
/* How many folios are not, or no more, of the size they are to have. */
uint64_t pages_split(const struct stress *stress, const struct pages *pages);
bool pages_check(const struct stress *stress, const struct pages *pages, size_t page,
		 const char *who);
void pages_write(const struct stress *stress, struct pages *pages, size_t page);
/* The same, but it doesn't count: nobody has looked at the page before. */
void pages_rewrite(struct pages *pages, size_t page);
/* The sequence number that the next write of a page has. */
uint32_t pages_next(const struct pages *pages, size_t page);
/* Somebody else has written the next number: from now on it is awaited. */
void pages_written(struct pages *pages, size_t page);
void pages_check_all(const struct stress *stress, const struct pages *pages, const char *who);
/* Looks at a single word: it is there, and not older than the page was before. */
void pages_look(const struct stress *stress, const struct pages *pages, size_t page, size_t word);

/* tasks.c */
void task_place(const struct stress *stress, uint64_t task);
/* Starts a child that runs `body` until the time is up. */
void task_start(struct stress *stress, uint64_t task,
		void (*body)(struct stress *stress, uint64_t task));
void tasks_end(struct stress *stress);
void task_sleep_us(unsigned long us);
/* Sleeps as long as it has worked since then, and that long at least. */
void task_rest_us(uint64_t since_ns, unsigned long least_us);
/* Runs a program, waits, returns its exit status or -1. */
int task_run(char *const argv[]);
/* Writes to a file: 0 or an errno. */
int file_put(const char *path, const char *text);

/* movers.c: bodies of tasks that move the pages of the parent process. */
void mover_random(struct stress *stress, uint64_t task);
void mover_with_rests(struct stress *stress, uint64_t task);
void mover_to_and_fro(struct stress *stress, uint64_t task);
void mover_of_slice(struct stress *stress, uint64_t task);
void mover_of_process(struct stress *stress, uint64_t task);
void mover_by_compaction(struct stress *stress, uint64_t task);
/*
 * Has `count` pages of a process moved to their nodes. `status` is what the kernel
 * says of each. Counts them. Returns false if there is no such process any more.
 */
bool move_pages_of(const struct stress *stress, pid_t pid, char *start, size_t count,
		   const int *nodes, int *status);

/* writers.c */
void writers_run(struct stress *stress, size_t first_page, size_t pages);

extern const struct scenario scenario_writers, scenario_ping_pong, scenario_crowd;
extern const struct scenario scenario_gup, scenario_fork, scenario_controls, scenario_hotplug;
extern const struct scenario scenario_late;

#endif
