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

#endif /* TESTS_QTEST_LAB_STREAM_H */
