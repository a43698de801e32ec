// SPDX-License-Identifier: GPL-2.0-or-later
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "folio_size.h"
#include "kernel_state.h"
#include "region.h"
#include "report.h"

#define THP "/sys/kernel/mm/transparent_hugepage"
#define SIZES_MAX 16
#define FOLIO_PAGES_MAX 512

/* A hugepages-<size>kB directory and what its `enabled` said before us. */
struct setting {
	unsigned long kib;
	char before[16];
};

static struct setting settings[SIZES_MAX];
static size_t setting_count;

static void setting_path(char *path, size_t size, unsigned long kib)
{
	snprintf(path, size, THP "/hugepages-%lukB/enabled", kib);
}

/* "always inherit [madvise] never": the word in brackets. */
static bool chosen_word(char *word, size_t size, const char *text)
{
	const char *open = strchr(text, '[');
	const char *close = open ? strchr(open, ']') : NULL;

	if (!close || (size_t)(close - open) > size)
		return false;
	memcpy(word, open + 1, (size_t)(close - open - 1));
	word[close - open - 1] = '\0';
	return true;
}

static void remember(unsigned long kib)
{
	char path[128], text[64];

	if (setting_count == SIZES_MAX)
		fail(EXIT_FAILED, 0, "there are too many folio sizes");
	setting_path(path, sizeof(path), kib);
	/* A size that only shared memory has, like 8 KiB. */
	if (access(path, F_OK))
		return;
	if (!file_read(path, text, sizeof(text)))
		fail(EXIT_FAILED, errno, "%s can't be read", path);
	if (!chosen_word(settings[setting_count].before,
			 sizeof(settings[setting_count].before), text))
		fail(EXIT_FAILED, 0, "%s can't be understood", path);
	settings[setting_count++].kib = kib;
}

static void remember_all(void)
{
	DIR *directory = opendir(THP);
	struct dirent *entry;
	unsigned long kib;

	if (!directory)
		return;		/* no huge pages at all: 4 KiB is what there is */
	while ((entry = readdir(directory)) != NULL)
		if (sscanf(entry->d_name, "hugepages-%lukB", &kib) == 1)
			remember(kib);
	closedir(directory);
}

void folio_size_allow(unsigned long folio_kib)
{
	static bool at_exit;
	bool found = folio_kib == PAGE_BYTES / 1024;
	char path[128];
	size_t i;

	remember_all();
	if (!at_exit)
		atexit(folio_size_restore);
	at_exit = true;
	for (i = 0; i < setting_count; i++) {
		bool wanted = settings[i].kib == folio_kib;

		found |= wanted;
		setting_path(path, sizeof(path), settings[i].kib);
		if (!file_write(path, wanted ? "madvise" : "never"))
			fail(EXIT_FAILED, errno, "%s can't be written", path);
	}
	if (!found)
		fail(EXIT_PREMISE, 0, "this kernel has no folios of %lu KiB", folio_kib);
}

void folio_size_restore(void)
{
	char path[128];

	while (setting_count) {
		setting_count--;
		setting_path(path, sizeof(path), settings[setting_count].kib);
		if (!file_write(path, settings[setting_count].before)) {
			/* Also called by exit(): nothing there but to say so. */
			report("{\"event\":\"error\",\"what\":\"%s can't be restored\","
			       "\"errno\":%d}", path, errno);
			report_end();
			_exit(EXIT_FAILED);
		}
	}
}

static void read_flags(uint64_t frame, size_t count, uint64_t *flags)
{
	static int kpageflags = -1;
	size_t size = count * sizeof(*flags);
	ssize_t got;

	if (kpageflags < 0)
		kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	got = pread(kpageflags, flags, size, (off_t)(frame * sizeof(*flags)));
	/* The frame after the last one of all memory has no entry. */
	if (got >= 0 && (size_t)got == size - sizeof(*flags)) {
		flags[count - 1] = 0;
		return;
	}
	if (got < 0 || (size_t)got != size)
		fail(EXIT_FAILED, got < 0 ? errno : 0, "/proc/kpageflags can't be read");
}

/*
 * One folio: consecutive frames from an aligned one, the first page a head (or
 * neither head nor tail if single), the others tails, and no tail after them.
 */
static bool is_folio(const uint64_t *frames, size_t pages)
{
	const uint64_t head = 1ull << KPF_COMPOUND_HEAD, tail = 1ull << KPF_COMPOUND_TAIL;
	uint64_t flags[FOLIO_PAGES_MAX + 1];
	size_t i;

	if (!frames[0] || frames[0] % pages)
		return false;
	read_flags(frames[0], pages + 1, flags);
	if ((flags[0] & (head | tail)) != (pages > 1 ? head : 0))
		return false;
	for (i = 1; i < pages; i++)
		if (frames[i] != frames[0] + i || (flags[i] & (head | tail)) != tail)
			return false;
	return !(flags[pages] & tail);
}

uint64_t folio_size_count_wrong(const char *start, size_t folios, unsigned long folio_kib)
{
	size_t pages = folio_kib * 1024 / PAGE_BYTES, i;
	uint64_t frames[FOLIO_PAGES_MAX], wrong = 0;

	for (i = 0; i < folios; i++) {
		region_frames(start + i * pages * PAGE_BYTES, pages, frames);
		wrong += !is_folio(frames, pages);
	}
	return wrong;
}
