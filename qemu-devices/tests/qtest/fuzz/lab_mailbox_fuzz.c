/*
 * Fuzzing of the lab mailbox
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "hw/pci/pci_regs.h"
#include "qom/object.h"
#include "system/runstate.h"
#include "tests/qtest/libqtest.h"
#include "device_fuzz.h"
#include "fuzz.h"

#define MAILBOX_CONFIG_ADDRESS  (0x80000000u | 4 << 11)
#define MAILBOX_REGS            0xe0000000u

typedef struct MailboxFuzz {
    QTestState *qts;
    FuzzInput in;
} MailboxFuzz;

static void map(QTestState *qts)
{
    qtest_outl(qts, 0xcf8, MAILBOX_CONFIG_ADDRESS + PCI_BASE_ADDRESS_0);
    qtest_outl(qts, 0xcfc, MAILBOX_REGS);
    qtest_outl(qts, 0xcf8, MAILBOX_CONFIG_ADDRESS + PCI_COMMAND);
    qtest_outl(qts, 0xcfc, PCI_COMMAND_MEMORY);
}

static void op_write(MailboxFuzz *f)
{
    uint32_t offset = fuzz_take8(&f->in) % 8 * 4;

    qtest_writel(f->qts, MAILBOX_REGS + offset, fuzz_take8(&f->in));
}

static void op_read(MailboxFuzz *f)
{
    qtest_readl(f->qts, MAILBOX_REGS + fuzz_take8(&f->in) % 8 * 4);
}

/* Any size, aligned or not */
static void op_access(MailboxFuzz *f)
{
    uint64_t address = MAILBOX_REGS + fuzz_take16(&f->in) % 4096;

    if (fuzz_take8(&f->in) % 2) {
        qtest_readq(f->qts, address);
    } else {
        qtest_writew(f->qts, address, fuzz_take16(&f->in));
    }
}

static void op_transmit(MailboxFuzz *f)
{
    uint16_t number = fuzz_take16(&f->in) % 8192;

    for (uint16_t i = 0; i < number; i++) {
        qtest_writel(f->qts, MAILBOX_REGS + 4, 'x');
    }
}

static void op_message(MailboxFuzz *f)
{
    g_autofree char *message = g_strnfill(fuzz_take8(&f->in), 'm');

    object_property_set_str(OBJECT(fuzz_find_device("mailbox")), "message",
                            message, &error_abort);
}

static void op_read_message(MailboxFuzz *f)
{
    g_free(object_property_get_str(OBJECT(fuzz_find_device("mailbox")),
                                   "message", &error_abort));
}

static void op_main_loop(MailboxFuzz *f)
{
    flush_events(f->qts);
}

static void op_continue(MailboxFuzz *f)
{
    if (!runstate_is_running()) {
        vm_start();
    }
}

static void op_stop(MailboxFuzz *f)
{
    vm_stop(fuzz_take8(&f->in) % 2 ? RUN_STATE_PAUSED : RUN_STATE_SAVE_VM);
}

static void op_migrate(MailboxFuzz *f)
{
    fuzz_migrate(fuzz_find_device("mailbox"), &f->in);
    map(f->qts);
}

static void (*const operations[])(MailboxFuzz *f) = {
    op_write, op_read, op_access, op_transmit, op_message, op_read_message,
    op_main_loop, op_continue, op_stop, op_migrate,
};

static GString *get_command_line(FuzzTarget *target)
{
    return g_string_new(
        "qemu-fuzz -machine q35,accel=qtest -nodefaults -display none -m 4M "
        "-chardev null,id=c "
        "-device lab-mailbox,id=mailbox,addr=04.0,chardev=c");
}

static void fuzz(QTestState *qts, const unsigned char *data, size_t size)
{
    MailboxFuzz f = { qts, { data, size } };

    map(qts);
    while (f.in.left) {
        operations[fuzz_take8(&f.in) % ARRAY_SIZE(operations)](&f);
    }
    flush_events(qts);
    op_continue(&f);
    flush_events(qts);
    op_continue(&f);
    object_property_set_str(OBJECT(fuzz_find_device("mailbox")), "message",
                            "", &error_abort);
    fuzz_begin_again();
}

static void register_target(void)
{
    fuzz_add_target(&(FuzzTarget) {
        .name = "lab-mailbox",
        .description = "lab mailbox: registers, pauses, migration",
        .get_init_cmdline = get_command_line,
        .pre_fuzz = fuzz_unblock_alarm,
        .fuzz = fuzz,
    });
}

fuzz_target_init(register_target);
