/*
 * Lab mailbox
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_regs.h"
#include "libqtest.h"
#include "libqos/libqos-pc.h"
#include "libqos/pci.h"

/* Not shared with the device: the guest's agent has them once more anyway */
enum {
    MAILBOX_ID = 0x00,
    MAILBOX_TX = 0x04,
    MAILBOX_PAUSE = 0x08,
    MAILBOX_RX_AVAIL = 0x0c,
    MAILBOX_RX = 0x10,
};

typedef struct Mailbox {
    QOSState *qs;
    QTestState *qts;
    QPCIDevice *pdev;
    QPCIBar regs;
    char *path;
} Mailbox;

static void mailbox_start_with(Mailbox *m, const char *options)
{
    int fd = g_file_open_tmp("lab-mailbox-XXXXXX", &m->path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    m->qs = qtest_pc_boot("-machine q35 -nodefaults -chardev file,id=c,path=%s "
                          "-device lab-mailbox,id=mailbox,addr=04.0,chardev=c "
                          "%s", m->path, options);
    m->qts = m->qs->qts;
    m->pdev = qpci_device_find(m->qs->pcibus, QPCI_DEVFN(4, 0));
    g_assert_nonnull(m->pdev);
    qpci_device_enable(m->pdev);
    m->regs = qpci_iomap(m->pdev, 0, NULL);
}

static void mailbox_start(Mailbox *m)
{
    mailbox_start_with(m, "");
}

static void mailbox_stop(Mailbox *m)
{
    g_free(m->pdev);
    qtest_shutdown(m->qs);
    unlink(m->path);
    g_free(m->path);
}

static uint32_t mailbox_read(Mailbox *m, uint32_t offset)
{
    return qpci_io_readl(m->pdev, m->regs, offset);
}

static void mailbox_send(Mailbox *m, const char *text)
{
    for (; *text; text++) {
        /* the upper bytes do not count */
        qpci_io_writel(m->pdev, m->regs, MAILBOX_TX,
                       0xabcdef00 | (uint8_t)*text);
    }
}

static void check_sent(Mailbox *m, const char *expected)
{
    g_autofree char *seen = NULL;

    g_assert_true(g_file_get_contents(m->path, &seen, NULL, NULL));
    g_assert_cmpstr(seen, ==, expected);
}

static void set_message(Mailbox *m, const char *message)
{
    QDict *response = qtest_qmp(m->qts, "{'execute': 'qom-set', 'arguments': "
        "{'path': 'mailbox', 'property': 'message', 'value': %s}}", message);

    g_assert_true(qdict_haskey(response, "return"));
    qobject_unref(response);
}

static bool is_running(Mailbox *m)
{
    QDict *response = qtest_qmp(m->qts, "{'execute': 'query-status'}");
    bool running = qdict_get_bool(qdict_get_qdict(response, "return"),
                                  "running");

    qobject_unref(response);
    return running;
}

static void test_transmit(void)
{
    Mailbox m;
    g_autofree char *line = g_strnfill(5000, 'x');
    g_autofree char *expected = NULL;

    mailbox_start(&m);
    g_assert_cmphex(qpci_config_readw(m.pdev, PCI_VENDOR_ID), ==,
                    PCI_VENDOR_ID_QEMU);
    g_assert_cmphex(qpci_config_readw(m.pdev, PCI_DEVICE_ID), ==, 0xdcb0);
    g_assert_cmphex(mailbox_read(&m, MAILBOX_ID), ==, 0x4c41424d);

    /* a line goes out when it is whole */
    mailbox_send(&m, "{\"a\":1}");
    check_sent(&m, "");
    mailbox_send(&m, "\n");
    check_sent(&m, "{\"a\":1}\n");

    /* or when there is no room for more */
    mailbox_send(&m, line);
    expected = g_strdup_printf("{\"a\":1}\n%.4096s", line);
    check_sent(&m, expected);
    mailbox_stop(&m);
}

static void check_received(Mailbox *m, const char *message)
{
    size_t size = strlen(message);

    for (size_t i = 0; i < size; i++) {
        g_assert_cmpint(mailbox_read(m, MAILBOX_RX_AVAIL), ==, size - i);
        g_assert_cmphex(mailbox_read(m, MAILBOX_RX), ==, (uint8_t)message[i]);
    }
    g_assert_cmpint(mailbox_read(m, MAILBOX_RX_AVAIL), ==, 0);
    g_assert_cmphex(mailbox_read(m, MAILBOX_RX), ==, 0);
}

static void test_receive(void)
{
    Mailbox m;
    QDict *response;

    mailbox_start(&m);
    check_received(&m, "");
    set_message(&m, "run\n1\n/bin/true");
    check_received(&m, "run\n1\n/bin/true");

    /* replaced and rewound, whatever was read of the one before */
    set_message(&m, "first");
    mailbox_read(&m, MAILBOX_RX);
    set_message(&m, "\xc3\xa4");
    check_received(&m, "\xc3\xa4");

    response = qtest_qmp(m.qts, "{'execute': 'qom-get', 'arguments': "
                         "{'path': 'mailbox', 'property': 'message'}}");
    g_assert_cmpstr(qdict_get_str(response, "return"), ==, "\xc3\xa4");
    qobject_unref(response);
    mailbox_stop(&m);
}

static void test_pause(void)
{
    Mailbox m;
    QDict *response;

    mailbox_start(&m);
    for (int i = 0; i < 3; i++) {
        mailbox_send(&m, "x");
        g_assert_true(is_running(&m));
        qpci_io_writel(m.pdev, m.regs, MAILBOX_PAUSE, 0);
        qtest_qmp_eventwait(m.qts, "STOP");
        g_assert_false(is_running(&m));

        /* what was said before the pause has been said */
        check_sent(&m, i == 0 ? "x" : i == 1 ? "xx" : "xxx");

        response = qtest_qmp(m.qts, "{'execute': 'cont'}");
        g_assert_true(qdict_haskey(response, "return"));
        qobject_unref(response);
        qtest_qmp_eventwait(m.qts, "RESUME");
    }
    mailbox_stop(&m);
}

/* A pause that cannot begin, as the machine does not run, begins later */
static void test_pause_pending(void)
{
    Mailbox m;
    QDict *response;

    mailbox_start_with(&m, "-S");
    qpci_io_writel(m.pdev, m.regs, MAILBOX_PAUSE, 0);
    for (int i = 0; i < 2; i++) {
        response = qtest_qmp(m.qts, "{'execute': 'cont'}");
        g_assert_true(qdict_haskey(response, "return"));
        qobject_unref(response);
        qtest_qmp_eventwait(m.qts, "RESUME");
        if (!i) {
            qtest_qmp_eventwait(m.qts, "STOP");
        }
    }
    /* once */
    g_assert_true(is_running(&m));
    mailbox_stop(&m);
}

static void test_message_size(void)
{
    g_autofree char *longest = g_strnfill(1024 * 1024, 'x');
    g_autofree char *longer = g_strnfill(1024 * 1024 + 1, 'x');
    Mailbox m;
    QDict *response;

    mailbox_start(&m);
    set_message(&m, longest);
    response = qtest_qmp(m.qts, "{'execute': 'qom-set', 'arguments': "
        "{'path': 'mailbox', 'property': 'message', 'value': %s}}", longer);
    g_assert_true(qdict_haskey(response, "error"));
    qobject_unref(response);
    g_assert_cmpint(mailbox_read(&m, MAILBOX_RX_AVAIL), ==, 1024 * 1024);
    mailbox_stop(&m);
}

static void test_migration(void)
{
    g_autofree char *dir = g_dir_make_tmp("lab-mailbox-XXXXXX", NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s/migrate", dir);
    Mailbox from, to;

    mailbox_start(&from);
    set_message(&from, "message");
    g_assert_cmphex(mailbox_read(&from, MAILBOX_RX), ==, 'm');
    mailbox_send(&from, "half a ");

    to = from;
    g_assert_cmpint(close(g_file_open_tmp("lab-mailbox-XXXXXX", &to.path,
                                          NULL)), ==, 0);
    to.qs = qtest_pc_boot("-machine q35 -nodefaults -chardev file,id=c,path=%s "
                          "-device lab-mailbox,id=mailbox,addr=04.0,chardev=c "
                          "-incoming %s", to.path, uri);
    to.qts = to.qs->qts;
    to.pdev = g_memdup2(from.pdev, sizeof(*from.pdev));
    to.pdev->bus = to.qs->pcibus;
    migrate(from.qs, to.qs, uri);

    check_received(&to, "essage");
    mailbox_send(&to, "line\n");
    check_sent(&to, "half a line\n");

    mailbox_stop(&to);
    mailbox_stop(&from);
    unlink(uri + strlen("unix:"));
    rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/lab-mailbox/transmit", test_transmit);
    qtest_add_func("/lab-mailbox/receive", test_receive);
    qtest_add_func("/lab-mailbox/pause", test_pause);
    qtest_add_func("/lab-mailbox/pause/pending", test_pause_pending);
    qtest_add_func("/lab-mailbox/message-size", test_message_size);
    qtest_add_func("/lab-mailbox/migration", test_migration);
    return g_test_run();
}
