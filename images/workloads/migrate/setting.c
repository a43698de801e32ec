// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel_state.h"
#include "report.h"
#include "setting.h"

#define SETTINGS_MAX 16

/* A file and what it said before us, or something to undo. */
static struct {
	char path[128], before[64];
	bool (*undo)(void);
} settings[SETTINGS_MAX];

static size_t setting_count;

static void remember(const char *path, const char *before, bool (*undo)(void))
{
	static bool at_exit;

	if (!at_exit)
		atexit(settings_restore);
	at_exit = true;
	if (setting_count == SETTINGS_MAX)
		fail(EXIT_FAILED, 0, "there are too many settings");
	snprintf(settings[setting_count].path, sizeof(settings[0].path), "%s", path);
	snprintf(settings[setting_count].before, sizeof(settings[0].before), "%s", before);
	settings[setting_count++].undo = undo;
}

static bool first_line(const char *path, char *text, size_t size)
{
	if (!file_read(path, text, size))
		return false;
	text[strcspn(text, "\n")] = '\0';
	return true;
}

void setting_read(const char *path, char *text, unsigned long size)
{
	if (!first_line(path, text, size))
		fail(EXIT_PREMISE, errno, "%s can't be read", path);
}

void setting_write(const char *path, const char *text)
{
	if (!file_write(path, text))
		fail(EXIT_PREMISE, errno, "%s doesn't take %s", path, text);
}

void setting_set(const char *path, const char *value)
{
	char before[64], after[64];
	size_t i;

	setting_read(path, before, sizeof(before));
	for (i = 0; i < setting_count && strcmp(settings[i].path, path); i++)
		;
	if (i == setting_count)
		remember(path, before, NULL);
	setting_write(path, value);
	setting_read(path, after, sizeof(after));
	if (strcmp(after, value))
		fail(EXIT_PREMISE, 0, "%s reads %s after %s was written", path, after, value);
}

void setting_undo(const char *what, bool (*undo)(void))
{
	remember(what, "", undo);
}

static bool restore(size_t number)
{
	char after[64];

	if (settings[number].undo)
		return settings[number].undo();
	return file_write(settings[number].path, settings[number].before) &&
	       first_line(settings[number].path, after, sizeof(after)) &&
	       !strcmp(after, settings[number].before);
}

void settings_restore(void)
{
	while (setting_count) {
		size_t last = --setting_count;

		if (restore(last))
			continue;
		/* Also called by exit(): nothing there but to say so. */
		report("{\"event\":\"error\",\"what\":\"%s can't be restored\",\"errno\":%d}",
		       settings[last].path, errno);
		report_end();
		_exit(EXIT_FAILED);
	}
}
