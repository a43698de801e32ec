/*
 * Migration streams as files, for qtests that break them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_LAB_STREAM_H
#define TESTS_QTEST_LAB_STREAM_H

#include "libqtest.h"

/* Stop the machine and take its state */
GByteArray *lab_stream_save(QTestState *qts);

/*
 * Load into a machine that was started with "-incoming defer", and wait for
 * the end.
 *
 * Returns: whether the machine took it.
 */
bool lab_stream_load(QTestState *qts, const GByteArray *stream);

/* Where the only copy of @bytes is, plus @size */
size_t lab_stream_behind(const GByteArray *stream, const void *bytes,
                         size_t size);

/* A disk, new with @make, that snapshots of the machine go to */
void lab_stream_open_disk(QTestState *qts, const char *path, bool make);

/* "snapshot-save" or "snapshot-load", and wait for its success */
void lab_stream_snapshot(QTestState *qts, const char *command);

#endif /* TESTS_QTEST_LAB_STREAM_H */
