// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kernel_state.h"
#include "latency_watch.h"
#include "options.h"
#include "report.h"

struct watcher {
	pthread_t thread;
	const volatile uint64_t *word;
	size_t folio;
	unsigned long cpu;
	int to;
	uint64_t period_ns;
	uint64_t usable_ns;	/* CLOCK_MONOTONIC */
	uint64_t reads;
	bool held_up;
};

static struct watcher watchers[WATCHED_FOLIOS];
static pthread_barrier_t ready;
static atomic_bool stop;

/* How often this thread has slept: a read that makes it grow was held up. */
static long count_sleeps(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_THREAD, &usage))
		fail(EXIT_FAILED, errno, "a thread's switches can't be counted");
	return usage.ru_nvcsw;
}

static int node_of(const volatile void *address)
{
	void *page = (void *)(uintptr_t)address;
	int node = -1;

	if (syscall(SYS_move_pages, 0, 1ul, &page, NULL, &node, MPOL_MF_MOVE))
		fail(EXIT_FAILED, errno, "a page's node can't be asked for");
	return node;
}

/* Whether the read was held up and the page has arrived since. */
static bool read_once(struct watcher *watcher)
{
	long sleeps = count_sleeps();
	uint64_t now_ns;

	(void)*watcher->word;
	now_ns = monotonic_ns();
	watcher->reads++;
	/* Something else may hold a reader up, too: only the node tells. */
	if (count_sleeps() == sleeps || node_of(watcher->word) != watcher->to)
		return false;
	watcher->usable_ns = now_ns;
	return true;
}

static void *watch(void *argument)
{
	struct watcher *watcher = argument;
	struct timespec period = {
		.tv_sec = (time_t)(watcher->period_ns / 1000000000u),
		.tv_nsec = (long)(watcher->period_ns % 1000000000u),
	};

	pin_to_cpu(watcher->cpu);
	(void)*watcher->word;
	pthread_barrier_wait(&ready);
	while (!watcher->held_up && !atomic_load(&stop)) {
		watcher->held_up = read_once(watcher);
		if (!watcher->held_up)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &period, NULL);
	}
	return NULL;
}

static void start_thread(struct watcher *watcher)
{
	struct sched_param priority = { .sched_priority = 1 };
	pthread_attr_t attributes;
	int error;

	pthread_attr_init(&attributes);
	error = pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
	if (!error)
		error = pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
	if (!error)
		error = pthread_attr_setschedparam(&attributes, &priority);
	if (!error)
		error = pthread_create(&watcher->thread, &attributes, watch, watcher);
	if (error)
		fail(EXIT_FAILED, error, "a watching thread can't be started");
	pthread_attr_destroy(&attributes);
}

void latency_watch_start(char *region, size_t folios, size_t folio_bytes, unsigned long cpu,
			 unsigned long to, uint64_t period_ns)
{
	const size_t watched[WATCHED_FOLIOS] = { 0, folios / 2, folios - 1 };
	size_t i;

	atomic_store(&stop, false);
	if (pthread_barrier_init(&ready, NULL, WATCHED_FOLIOS + 1))
		fail(EXIT_FAILED, 0, "no barrier for the watching threads");
	for (i = 0; i < WATCHED_FOLIOS; i++) {
		watchers[i] = (struct watcher) {
			.word = (uint64_t *)(uintptr_t)(region + watched[i] * folio_bytes),
			.folio = watched[i],
			.cpu = cpu,
			.to = (int)to,
			.period_ns = period_ns,
		};
		start_thread(&watchers[i]);
	}
}

void latency_watch_await(void)
{
	pthread_barrier_wait(&ready);
}

void latency_watch_report(uint64_t start_ns)
{
	size_t i;

	atomic_store(&stop, true);
	report("\"latency\":{\"period_ns\":%" PRIu64 ",\"watched\":[", watchers[0].period_ns);
	for (i = 0; i < WATCHED_FOLIOS; i++) {
		struct watcher *watcher = &watchers[i];

		pthread_join(watcher->thread, NULL);
		report("%s{\"folio\":%zu,\"held_up\":%s,\"usable_ns\":%" PRIu64 ",\"reads\":%" PRIu64
		       "}", i ? "," : "", watcher->folio, watcher->held_up ? "true" : "false",
		       watcher->held_up ? watcher->usable_ns - start_ns : 0, watcher->reads);
	}
	pthread_barrier_destroy(&ready);
	report("]}");
}
