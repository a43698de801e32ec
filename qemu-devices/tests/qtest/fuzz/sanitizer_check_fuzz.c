/*
 * Bugs that a fuzzer has to find: a check of the sanitizers themselves
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "tests/qtest/libqtest.h"
#include "fuzz.h"
#include "device_fuzz.h"

static GString *get_command_line(FuzzTarget *target)
{
    return g_string_new("qemu-fuzz -machine none,accel=qtest -nodefaults "
                        "-display none");
}

/* The input's only byte says which bug it is to be; others are none */
static void fuzz(QTestState *qts, const unsigned char *data, size_t size)
{
    /* volatile: or the compiler sees the bugs, and removes them */
    volatile int number = INT_MAX;
    /* volatile: the same */
    char *volatile bytes;

    switch (size == 1 ? data[0] : 0) {
    case 'o':
        bytes = g_malloc(10);
        bytes[number % 10 + 10] = 1;
        g_free(bytes);
        break;
    case 'f':
        bytes = g_malloc(10);
        g_free(bytes);
        bytes[0] = 1;
        break;
    case 'l':
        bytes = g_malloc(10);
        bytes = NULL;
        break;
    case 'u':
        number = number % 33 + 100;
        number = 1 << number;
        break;
    case 'a':
        g_assert_cmpint(number, ==, 0);
        break;
    case 'h':
        while (number) {
            g_usleep(1000);
        }
        break;
    }
}

static void register_target(void)
{
    fuzz_add_target(&(FuzzTarget) {
        .name = "sanitizer-check",
        .description = "one bug of each kind, to be found",
        .get_init_cmdline = get_command_line,
        .pre_fuzz = fuzz_unblock_alarm,
        .fuzz = fuzz,
    });
}

fuzz_target_init(register_target);
