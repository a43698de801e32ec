// SPDX-License-Identifier: GPL-2.0-or-later
/* dcbm's controls under load: each write has one right answer, whatever moves meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stress.h"

#define PARAMETERS "/sys/module/dcbm/parameters/"
#define RIVAL "/sys/module/offload_rival/parameters/"

static void put(struct stress *stress, const char *file, const char *text, int awaited)
{
	char path[128];
	int error;

	snprintf(path, sizeof(path), PARAMETERS "%s", file);
	error = file_put(path, text);
	if (error != awaited)
		tally_surprise(stress->tally, "%s = %s: errno %d, not %d", file, text, error,
			       awaited);
}

static int modprobe(const char *name)
{
	char *argv[] = { (char *)"/bin/busybox", (char *)"modprobe", (char *)name, NULL };

	return task_run(argv);
}

static void unload(struct stress *stress, const char *name, bool awaited)
{
	/* The references of a module in use are looked at, not waited for. */
	bool gone = !syscall(SYS_delete_module, name, O_NONBLOCK);
	int error = errno;

	if (gone != awaited)
		tally_surprise(stress->tally, "unloading %s: %s", name,
			       gone ? "gone, while offloading" : strerror(error));
	else if (!gone && error != EBUSY && error != EAGAIN)
		tally_surprise(stress->tally, "unloading %s in use: %s", name, strerror(error));
}

static long rival_says(struct stress *stress, const char *what)
{
	char path[96], text[32] = "";
	ssize_t got;
	int file;

	snprintf(path, sizeof(path), RIVAL "%s", what);
	file = open(path, O_RDONLY | O_CLOEXEC);
	got = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
	if (file >= 0)
		close(file);
	if (got <= 0)
		tally_surprise(stress->tally, "the rival's %s can't be read", what);
	return strtol(text, NULL, 10);
}

/* Another provider comes: refused while dcbm is registered, welcome otherwise. */
static void meet_rival(struct stress *stress, bool on)
{
	const struct {
		const char *what;
		long awaited;
	} answers[] = {
		{ "registered", on ? -EBUSY : 0 },
		{ "registered_again", -EBUSY },
		{ "unregistered_other", -EINVAL },
		{ "mask_of_other", -EINVAL },
		{ "unregistered", on ? -EINVAL : 0 },
		{ "unregistered_again", -EINVAL },
	};
	size_t i;

	if (!stress->rival)
		return;
	if (modprobe("offload_rival")) {
		tally_surprise(stress->tally, "the rival can't be loaded");
		return;
	}
	for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		long seen = rival_says(stress, answers[i].what);

		if (seen != answers[i].awaited)
			tally_surprise(stress->tally, "a rival is %s: %ld, not %ld",
				       answers[i].what, seen, answers[i].awaited);
	}
	unload(stress, "offload_rival", true);
	stress->tally->rivals++;
}

static void set_count(struct stress *stress, struct chance *chance)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", 1 + (unsigned int)chance_below(chance, 16));
	put(stress, "nr_dma_chan", text, 0);
	stress->tally->counts++;
}

static void load_again(struct stress *stress, bool on)
{
	unload(stress, "dcbm", !on);
	if (on) {
		stress->tally->unloads_refused++;
		return;
	}
	stress->tally->unloads++;
	if (modprobe("dcbm"))
		fail(EXIT_FAILED, 0, "dcbm can't be loaded again");
}

static const char *const masks[] = {
	"all", "none", "compaction", "syscall_or_cpuset", "compaction,syscall_or_cpuset",
};

static const char *const counters[] = { "folios_migrated", "folios_failures" };

static const struct {
	const char *file, *text;
} refused[] = {
	{ "nr_dma_chan", "0" },
	{ "nr_dma_chan", "17" },
	{ "nr_dma_chan", "many" },
	{ "reason_mask", "compaction,moon" },
	{ "reason_mask", "0x10000000" },
	{ "offloading", "2" },
};

/* What there is to do: so many of each, numbered one after the other. */
#define COUNTS 2
#define MASKS (sizeof(masks) / sizeof(masks[0]))
#define RESETS (sizeof(counters) / sizeof(counters[0]))
#define REFUSALS (sizeof(refused) / sizeof(refused[0]))
#define DECK (COUNTS + MASKS + RESETS + REFUSALS + 2)

static void play(struct stress *stress, struct chance *chance, size_t card, bool on)
{
	if (card < COUNTS) {
		set_count(stress, chance);
		return;
	}
	card -= COUNTS;
	if (card < MASKS) {
		put(stress, "reason_mask", masks[card], 0);
		stress->tally->masks++;
		return;
	}
	card -= MASKS;
	if (card < RESETS) {
		put(stress, counters[card], "0", 0);
		stress->tally->resets++;
		return;
	}
	card -= RESETS;
	if (card < REFUSALS) {
		put(stress, refused[card].file, refused[card].text, EINVAL);
		stress->tally->refusals++;
		return;
	}
	if (card == REFUSALS)
		load_again(stress, on);
	else
		meet_rival(stress, on);
}

/* All of the deck once, in an order by chance. */
static void play_deck(struct stress *stress, struct chance *chance, bool on)
{
	size_t deck[DECK], i, other, card;

	for (i = 0; i < DECK; i++)
		deck[i] = i;
	for (i = DECK; i-- > 0 && !over(stress);) {
		other = chance_below(chance, i + 1);
		card = deck[other];
		deck[other] = deck[i];
		play(stress, chance, card, on);
		task_sleep_us(chance_below(chance, 1000));
	}
}

static void control(struct stress *stress, uint64_t task)
{
	struct chance chance = chance_of(stress, 7000 + task);
	bool on = true;

	for (; !over(stress); on = !on) {
		put(stress, "offloading", on ? "1" : "0", 0);
		/* Once it is off, nobody is in there any more: it may go at once. */
		load_again(stress, on);
		/* What it is already changes nothing, and is no error. */
		put(stress, "offloading", on ? "1" : "0", 0);
		stress->tally->toggles += 2;
		play_deck(stress, &chance, on);
	}
	/* As it was found. */
	put(stress, "reason_mask", "all", 0);
	put(stress, "nr_dma_chan", "4", 0);
	put(stress, "offloading", "1", 0);
}

static void run_controls(struct stress *stress)
{
	uint64_t i;

	for (i = 0; i < stress->movers; i++)
		task_start(stress, i, mover_random);
	task_start(stress, stress->movers, mover_by_compaction);
	task_start(stress, stress->movers + 1, control);
	writers_run(stress, 0, stress->pages.count);
}

static void prepare_controls(struct stress *stress)
{
	(void)stress;
	if (access(PARAMETERS "reason_mask", W_OK))
		fail(EXIT_PREMISE, errno, "there is no dcbm with a mask of reasons");
}

const struct scenario scenario_controls = {
	"controls", prepare_controls, run_controls, true
};
