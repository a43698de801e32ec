/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernel settings that a trigger needs for a while. */
#ifndef LAB_SETTING_H
#define LAB_SETTING_H

#include <stdbool.h>

/*
 * Writes `value` to a file of procfs, sysfs or debugfs, and reads it back. The
 * first value that a file had is remembered. Ends the program with EXIT_PREMISE
 * if the kernel refuses, or shows another one.
 */
void setting_set(const char *path, const char *value);

/*
 * Puts every setting back as it was, the last one first, and reads it back. So
 * does any end of the program through exit().
 */
void settings_restore(void);

/*
 * Has `undo` called by settings_restore(), in turn with the settings: for what
 * isn't put back by writing a file's former content to it. It returns whether
 * it could; if not, the program ends and says that `what` can't be restored.
 */
void setting_undo(const char *what, bool (*undo)(void));

/* The first line of a file, without its end. Ends the program if there is none. */
void setting_read(const char *path, char *text, unsigned long size);

/* Writes to a file that can't be read back. Ends the program with EXIT_PREMISE if refused. */
void setting_write(const char *path, const char *text);

#endif
