// SPDX-License-Identifier: GPL-2.0-or-later
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "folio_size.h"
#include "kernel_state.h"
#include "page_flags.h"
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

/* A kernel without huge pages doesn't know the advice. */
static void decline_large(char *start, size_t size_bytes)
{
	if (madvise(start, size_bytes, MADV_NOHUGEPAGE) && errno != EINVAL)
		fail(EXIT_FAILED, errno, "large folios can't be declined");
}

int folio_size_populate(char *start, size_t size_bytes, unsigned long folio_kib)
{
	int error;

	if (folio_kib == PAGE_BYTES / 1024) {
		decline_large(start, size_bytes);
		return region_populate(start, size_bytes);
	}
	folio_size_allow(folio_kib);
	if (madvise(start, size_bytes, MADV_HUGEPAGE))
		fail(EXIT_PREMISE, errno, "large folios can't be asked for");
	error = region_populate(start, size_bytes);
	folio_size_restore();
	decline_large(start, size_bytes);
	return error;
}

/*
 * One folio: consecutive frames from an aligned one, the first page a head (or
 * neither head nor tail if single), the others tails, and no tail after them.
 */
static bool is_folio(const uint64_t *frames, size_t pages)
{
	const uint64_t head = FLAG(COMPOUND_HEAD), tail = FLAG(COMPOUND_TAIL);
	uint64_t flags[FOLIO_PAGES_MAX + 1];
	size_t i;

	if (!frames[0] || frames[0] % pages)
		return false;
	page_flags_read(frames[0], pages + 1, flags);
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
