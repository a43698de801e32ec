/*
 * What the fuzz targets of single devices share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_FUZZ_DEVICE_FUZZ_H
#define TESTS_QTEST_FUZZ_DEVICE_FUZZ_H

#include "hw/qdev-core.h"
#include "tests/qtest/libqtest.h"

/* An input, which operations take their arguments from */
typedef struct FuzzInput {
    const uint8_t *data;
    size_t left;
} FuzzInput;

/*
 * Take the next so many bytes, little-endian.  What lies beyond the end reads
 * as 0, so that every prefix of an input is one, too.
 */
uint8_t fuzz_take8(FuzzInput *in);
uint16_t fuzz_take16(FuzzInput *in);
uint32_t fuzz_take32(FuzzInput *in);
uint64_t fuzz_take64(FuzzInput *in);

/*
 * For pre_fuzz: let libFuzzer notice an input that hangs.  Its alarm is a
 * signal that QEMU's main loop has blocked.
 */
void fuzz_unblock_alarm(QTestState *qts);

/* The device of this ID; NULL: there is none */
DeviceState *fuzz_find_device(const char *id);

/* Let @step_ns of QEMU_CLOCK_VIRTUAL pass, with the timers that expire */
void fuzz_step(int64_t step_ns);

/* The same up to the next timer, unless that is beyond @limit_ns from now */
void fuzz_step_next(int64_t limit_ns);

/*
 * Reset the machine, and let time begin again: what an input does must not
 * depend on the inputs before it.
 */
void fuzz_begin_again(void);

/*
 * Send the device's state through a migration stream, with as many bytes
 * replaced as @in says.  With none, the device has to take the stream, and to
 * be the same as before.
 */
void fuzz_migrate(DeviceState *dev, FuzzInput *in);

#endif /* TESTS_QTEST_FUZZ_DEVICE_FUZZ_H */
