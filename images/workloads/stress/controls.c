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

static void refuse(struct stress *stress, struct chance *chance)
{
	static const char *const never[][2] = {
		{ "nr_dma_chan", "0" },
		{ "nr_dma_chan", "17" },
		{ "nr_dma_chan", "many" },
		{ "reason_mask", "compaction,moon" },
		{ "reason_mask", "0x10000000" },
		{ "offloading", "2" },
	};
	size_t which = chance_below(chance, sizeof(never) / sizeof(never[0]));

	put(stress, never[which][0], never[which][1], EINVAL);
	stress->tally->refusals++;
}

static void change(struct stress *stress, struct chance *chance, bool *on)
{
	static const char *const masks[] = {
		"all", "none", "compaction", "syscall_or_cpuset", "compaction,syscall_or_cpuset",
	};
	char text[16];

	switch (chance_below(chance, 8)) {
	case 0:
	case 1:
	case 2:
		/* One time in four it is what it was before. */
		*on = chance_below(chance, 4) ? !*on : *on;
		put(stress, "offloading", *on ? "1" : "0", 0);
		stress->tally->toggles++;
		break;
	case 3:
	case 4:
		snprintf(text, sizeof(text), "%u", 1 + (unsigned int)chance_below(chance, 16));
		put(stress, "nr_dma_chan", text, 0);
		stress->tally->counts++;
		break;
	case 5:
		put(stress, "reason_mask", masks[chance_below(chance, 5)], 0);
		stress->tally->masks++;
		break;
	case 6:
		put(stress, chance_below(chance, 2) ? "folios_migrated" : "folios_failures", "0",
		    0);
		stress->tally->resets++;
		break;
	default:
		refuse(stress, chance);
	}
}

/* What takes long, and so comes seldom. */
static void unload_or_meet(struct stress *stress, struct chance *chance, bool *on)
{
	if (chance_below(chance, 2)) {
		meet_rival(stress, *on);
	} else if (*on) {
		unload(stress, "dcbm", false);
		stress->tally->unloads_refused++;
	} else {
		unload(stress, "dcbm", true);
		stress->tally->unloads++;
		if (modprobe("dcbm"))
			fail(EXIT_FAILED, 0, "dcbm can't be loaded again");
	}
}

static void control(struct stress *stress, uint64_t task)
{
	struct chance chance = chance_of(stress, 7000 + task);
	bool on = true;

	while (!over(stress)) {
		if (chance_below(&chance, 4))
			change(stress, &chance, &on);
		else
			unload_or_meet(stress, &chance, &on);
		task_sleep_us(chance_below(&chance, 1000));
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
