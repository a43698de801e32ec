/*
 * Lab mailbox: migration streams, whole and broken
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "libqtest.h"
#include "libqos/libqos-pc.h"
#include "libqos/pci.h"
#include "lab-stream.h"

/* As in lab-mailbox-test.c: not shared with the device */
enum {
    MAILBOX_ID = 0x00,
    MAILBOX_TX = 0x04,
    MAILBOX_PAUSE = 0x08,
    MAILBOX_RX_AVAIL = 0x0c,
    MAILBOX_RX = 0x10,
};

#define MAILBOX_ID_VALUE    0x4c41424d
#define LINE_SIZE           4096

static const char message[] = "a message that is nowhere else";
static const char line[] = "a line that is nowhere else";

typedef struct Mailbox {
    QOSState *qs;
    QTestState *qts;
    QPCIDevice *pdev;
    QPCIBar regs;
} Mailbox;

static void mailbox_boot(Mailbox *m, const char *options)
{
    m->qs = qtest_pc_boot("-machine q35 -nodefaults -m 16M "
                          "-chardev null,id=c "
                          "-device lab-mailbox,id=mailbox,addr=04.0,chardev=c "
                          "%s", options);
    m->qts = m->qs->qts;
    m->pdev = qpci_device_find(m->qs->pcibus, QPCI_DEVFN(4, 0));
    g_assert_nonnull(m->pdev);
}

static void mailbox_map(Mailbox *m)
{
    qpci_device_enable(m->pdev);
    m->regs = qpci_iomap(m->pdev, 0, NULL);
}

static void mailbox_stop(Mailbox *m)
{
    g_free(m->pdev);
    qtest_shutdown(m->qs);
}

static uint32_t mailbox_read(Mailbox *m, uint32_t offset)
{
    return qpci_io_readl(m->pdev, m->regs, offset);
}

/* A mailbox with 5 bytes of its message read, and half a line */
static GByteArray *make_stream(bool pause)
{
    GByteArray *stream;
    Mailbox m;

    mailbox_boot(&m, pause ? "-S" : "");
    mailbox_map(&m);
    qtest_qmp_assert_success(m.qts, "{'execute': 'qom-set', 'arguments': "
                             "{'path': 'mailbox', 'property': 'message', "
                             "'value': %s}}", message);
    for (int i = 0; i < 5; i++) {
        mailbox_read(&m, MAILBOX_RX);
    }
    for (const char *c = line; *c && !pause; c++) {
        qpci_io_writel(m.pdev, m.regs, MAILBOX_TX, *c);
    }
    if (pause) {
        /* the machine does not run, so the pause has to wait */
        qpci_io_writel(m.pdev, m.regs, MAILBOX_PAUSE, 0);
    }
    stream = lab_stream_save(m.qts);
    mailbox_stop(&m);
    return stream;
}

/* Whatever the stream was: the device answers, and works */
static void check_alive(Mailbox *m)
{
    mailbox_map(m);
    g_assert_cmphex(mailbox_read(m, MAILBOX_ID), ==, MAILBOX_ID_VALUE);
    while (mailbox_read(m, MAILBOX_RX_AVAIL)) {
        g_assert_cmpint(mailbox_read(m, MAILBOX_RX_AVAIL), <=, 1 * MiB);
        mailbox_read(m, MAILBOX_RX);
    }
    for (int i = 0; i < 2 * LINE_SIZE; i++) {
        qpci_io_writel(m->pdev, m->regs, MAILBOX_TX, 'x');
    }
    qtest_qmp_assert_success(m->qts, "{'execute': 'qom-set', 'arguments': "
                             "{'path': 'mailbox', 'property': 'message', "
                             "'value': 'ok'}}");
    g_assert_cmpint(mailbox_read(m, MAILBOX_RX_AVAIL), ==, 2);
    g_assert_cmphex(mailbox_read(m, MAILBOX_RX), ==, 'o');
}

static bool load(const GByteArray *stream)
{
    Mailbox m;
    bool taken;

    mailbox_boot(&m, "-incoming defer");
    taken = lab_stream_load(m.qts, stream);
    check_alive(&m);
    mailbox_stop(&m);
    return taken;
}

static bool load_changed(const GByteArray *stream, size_t offset,
                         uint32_t expected, uint32_t value)
{
    g_autoptr(GByteArray) changed = g_byte_array_new();

    g_byte_array_append(changed, stream->data, stream->len);
    g_assert_cmphex(ldl_be_p(changed->data + offset), ==, expected);
    stl_be_p(changed->data + offset, value);
    return load(changed);
}

static void test_malformed(void)
{
    const uint32_t size = strlen(message);
    g_autoptr(GByteArray) stream = make_stream(false);
    size_t behind = lab_stream_behind(stream, message, size);
    size_t message_size = behind - size - 4;

    /* size, bytes, bytes read, bytes of the line */
    g_assert_true(load(stream));
    g_assert_true(load_changed(stream, behind, 5, size));
    g_assert_false(load_changed(stream, behind, 5, size + 1));
    g_assert_false(load_changed(stream, behind, 5, UINT32_MAX));
    g_assert_false(load_changed(stream, message_size, size, 1 * MiB + 1));
    g_assert_false(load_changed(stream, message_size, size, UINT32_MAX));
    g_assert_false(load_changed(stream, behind + 4, strlen(line), LINE_SIZE));
    g_assert_false(load_changed(stream, behind + 4, strlen(line),
                                UINT32_MAX));
    g_assert_true(load_changed(stream, behind + 4, strlen(line),
                               LINE_SIZE - 1));

    /* cut off in the middle of the message, and of the line */
    g_byte_array_set_size(stream, behind + 8 + LINE_SIZE / 2);
    g_assert_false(load(stream));
    g_byte_array_set_size(stream, behind - size / 2);
    g_assert_false(load(stream));
}

static bool is_running(Mailbox *m)
{
    QDict *response = qtest_qmp(m->qts, "{'execute': 'query-status'}");
    bool running = qdict_get_bool(qdict_get_qdict(response, "return"),
                                  "running");

    qobject_unref(response);
    return running;
}

/* What could not begin on this end begins on the other, once */
static void test_pause_pending(void)
{
    g_autoptr(GByteArray) stream = make_stream(true);
    Mailbox m;

    mailbox_boot(&m, "-incoming defer");
    g_assert_true(lab_stream_load(m.qts, stream));
    mailbox_map(&m);
    g_assert_cmpint(mailbox_read(&m, MAILBOX_RX_AVAIL), ==,
                    strlen(message) - 5);
    g_assert_false(is_running(&m));
    qtest_qmp_assert_success(m.qts, "{'execute': 'cont'}");
    qtest_qmp_eventwait(m.qts, "STOP");
    g_assert_false(is_running(&m));
    qtest_qmp_assert_success(m.qts, "{'execute': 'cont'}");
    qtest_qmp_eventwait(m.qts, "RESUME");
    g_assert_true(is_running(&m));
    mailbox_stop(&m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/lab-mailbox-stream/malformed", test_malformed);
    qtest_add_func("/lab-mailbox-stream/pause-pending", test_pause_pending);
    return g_test_run();
}
