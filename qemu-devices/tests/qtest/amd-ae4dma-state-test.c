/*
 * AMD AE4DMA: reset, unplug and migration with descriptors under way
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "hw/pci/pci_regs.h"
#include "amd-ae4dma.h"

/* One descriptor done and one under way in each of two queues */
static void get_going(AE4Device *d, PTDMABuffers *b)
{
    for (int i = 0; i < 2; i++) {
        ptdma_buffers_init(&b[i], &d->pt, 256, 0, 0);
        ae4_submit(d, i, b[i].source, b[i].destination, 128);
        ae4_submit(d, i, b[i].source + 128, b[i].destination + 128, 128);
    }
    ae4_step(d, 1500);
    ptdma_buffers_check(&b[0], 128, -1);
    ptdma_buffers_check(&b[1], 128, -1);
}

static void check_dropped(AE4Device *d, PTDMABuffers *b)
{
    ae4_step(d, AE4_LONG_NS);
    for (int i = 0; i < 2; i++) {
        ptdma_buffers_check(&b[i], 128, -1);
        ae4_check_pending(d, i, 1);
        ptdma_buffers_free(&b[i]);
    }
    g_assert_cmpint(ae4_counter(d, "descriptors"), ==, 2);
}

static void test_function_level_reset(void)
{
    PTDMABuffers b[2];
    AE4Device d;

    ae4_start(&d, ",latency-ns=1000", PTDMA_POLLED, 2);
    get_going(&d, b);
    ae4_function_level_reset(&d);
    check_dropped(&d, b);
    g_assert_cmpint(ptdma_read(&d.pt, A_AE4_QUEUES), ==, 0);
    g_assert_cmpint(ae4_read(&d, 1, A_AE4_Q_READ_IDX), ==, 0);
    /* And usable again */
    ae4_set_up(&d);
    ptdma_buffers_init(&b[0], &d.pt, 256, 0, 0);
    ae4_submit_buffers(&d, 1, &b[0]);
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b[0], 256, -1);
    ptdma_buffers_free(&b[0]);
    ae4_stop(&d);
}

/* As a driver does that is loaded anew */
static void test_restart(void)
{
    PTDMABuffers b[2];
    AE4Device d;

    ae4_start(&d, ",latency-ns=1000", PTDMA_POLLED, 2);
    get_going(&d, b);
    ptdma_write(&d.pt, A_AE4_QUEUES, 1);
    check_dropped(&d, b);
    g_assert_cmphex(ae4_read(&d, 0, A_AE4_Q_CONTROL), ==, 1);
    g_assert_cmphex(ae4_read(&d, 1, A_AE4_Q_CONTROL), ==, 0);
    g_assert_cmphex(ae4_read(&d, 0, A_AE4_Q_WRITE_IDX), ==, 0);
    ae4_stop(&d);
}

static void test_system_reset(void)
{
    PTDMABuffers b[2];
    AE4Device d;

    ae4_start(&d, ",latency-ns=1000", PTDMA_POLLED, 2);
    get_going(&d, b);
    qtest_system_reset(d.pt.qts);
    check_dropped(&d, b);
    ae4_stop(&d);
}

/* The machine of @from goes on as @to; the qtest clock starts again from 0 */
static void migrate_to(AE4Device *from, AE4Device *to, const char *options)
{
    g_autofree char *dir = g_dir_make_tmp("amd-ae4dma-XXXXXX", NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s/migrate", dir);
    g_autofree char *incoming = g_strdup_printf("%s -incoming %s", options,
                                                uri);

    *to = *from;
    to->pt.qs = ae4_machine(incoming);
    to->pt.qts = to->pt.qs->qts;
    to->pt.pdev = g_memdup2(from->pt.pdev, sizeof(*from->pt.pdev));
    to->pt.pdev->bus = to->pt.qs->pcibus;
    migrate(from->pt.qs, to->pt.qs, uri);
    unlink(uri + strlen("unix:"));
    rmdir(dir);
}

static void stop_both(AE4Device *from, AE4Device *to)
{
    g_free(to->pt.pdev);
    qtest_shutdown(to->pt.qs);
    ae4_stop(from);
}

static void test_migration_in_flight(void)
{
    PTDMABuffers b[2];
    AE4Device from, to;

    ae4_start(&from, ",latency-ns=1000", PTDMA_MSIX, 2);
    get_going(&from, b);
    for (int i = 0; i < 2; i++) {
        g_assert_true(ae4_message_seen(&from, i));
    }
    migrate_to(&from, &to, ",latency-ns=1000");
    /* When it was to end, by a clock that starts again from 0 */
    ae4_step(&to, 1999);
    ae4_check_pending(&to, 0, 1);
    ae4_step(&to, 1);
    for (int i = 0; i < 2; i++) {
        b[i].d = &to.pt;
        ptdma_buffers_check(&b[i], 256, -1);
        ae4_check_desc(&to, i, 1, AE4_COMPLETED, 0);
        g_assert_true(ae4_message_seen(&to, i));
        g_assert_cmpint(ae4_read(&to, i, A_AE4_Q_READ_IDX), ==, 2);
        b[i].d = &from.pt;
        ptdma_buffers_check(&b[i], 128, -1);
        b[i].d = &to.pt;
        ptdma_buffers_free(&b[i]);
    }
    /* Nothing is done twice */
    ae4_step(&to, AE4_LONG_NS);
    g_assert_cmpint(ae4_counter(&to, "errors"), ==, 0);
    g_assert_cmpint(ae4_read(&to, 0, A_AE4_Q_READ_IDX), ==, 2);
    g_assert_cmpint(ae4_counter(&to, "descriptors"), ==, 4);
    g_assert_cmpint(ae4_counter(&to, "queue1-descriptors"), ==, 2);
    stop_both(&from, &to);
}

/* What is held is let go at the other end, when enough have passed it there */
static void test_migration_held(void)
{
    PTDMABuffers b[3];
    AE4Device from, to;

    ae4_start(&from, "", PTDMA_POLLED, 1);
    ptdma_inject(&from.pt, "'kind': 'out-of-order', 'later': 2");
    ptdma_inject(&from.pt, "'kind': 'duplicate-completion', "
                 "'delay-ns': 2000000, 'nth': 2");
    for (int i = 0; i < 3; i++) {
        ptdma_buffers_init(&b[i], &from.pt, 256, 0, 0);
    }
    ae4_submit_buffers(&from, 0, &b[0]);
    ae4_submit_buffers(&from, 0, &b[1]);
    ae4_step(&from, 10);
    migrate_to(&from, &to, "");
    for (int i = 0; i < 3; i++) {
        b[i].d = &to.pt;
    }
    ae4_step(&to, AE4_LONG_NS);
    ptdma_buffers_check(&b[0], 0, -1);
    ptdma_buffers_check(&b[1], 256, -1);
    g_assert_cmpint(ae4_read(&to, 0, A_AE4_Q_READ_IDX), ==, 2);
    ae4_submit_buffers(&to, 0, &b[2]);
    ae4_step(&to, 10);
    ptdma_buffers_check(&b[2], 256, -1);
    ptdma_buffers_check(&b[0], 256, -1);
    g_assert_cmpint(ae4_read(&to, 0, A_AE4_Q_READ_IDX), ==, 3);
    g_assert_cmpint(ae4_counter(&to, "errors"), ==, 0);
    g_assert_cmpint(ae4_counter(&to, "descriptors"), ==, 3);
    /* The echo of the one that passed comes, too */
    ae4_write(&to, 0, A_AE4_Q_INT_STATUS, 0);
    ae4_step(&to, 2 * AE4_LONG_NS);
    g_assert_cmphex(ae4_read(&to, 0, A_AE4_Q_INT_STATUS), ==, 1);
    for (int i = 0; i < 3; i++) {
        ptdma_buffers_free(&b[i]);
    }
    stop_both(&from, &to);
}

/*
 * The function behind a root port; what its copy writes to the port's slot
 * control register unplugs it, with other queues at work.
 */
static void test_unplug_in_flight(void)
{
    const uint64_t ecam = 0xb0000000;
    QOSState *qs = qtest_pc_boot(
        "-machine q35 -nodefaults -m 256M "
        "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off "
        "-device pcie-root-port,id=rp,addr=03.0,chassis=1 "
        "-device amd-ae4dma,id=dma0,bus=rp");
    QPCIDevice *host = qpci_device_find(qs->pcibus, QPCI_DEVFN(0, 0));
    QPCIDevice *port = qpci_device_find(qs->pcibus, QPCI_DEVFN(3, 0));
    uint64_t source = qmalloc(qs, 8192);
    uint64_t slot_control;
    AE4Device d;

    /* Configuration space is mapped, for 64 buses */
    qpci_config_writel(host, 0x60, ecam | 2 << 1 | 1);
    qpci_config_writeb(port, PCI_SECONDARY_BUS, 1);
    qpci_config_writeb(port, PCI_SUBORDINATE_BUS, 1);
    qpci_config_writew(port, PCI_MEMORY_BASE, (ecam + 0x4000000) >> 16);
    qpci_config_writew(port, PCI_MEMORY_LIMIT, 0xeff0);
    qpci_config_writew(port, PCI_COMMAND,
                       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    slot_control = ecam + (QPCI_DEVFN(3, 0) << 12) + PCI_EXP_SLTCTL +
                   qpci_find_capability(port, PCI_CAP_ID_EXP, 0);
    g_free(host);
    g_free(port);

    ae4_open(&d, qs, 1 << 5 << 3, PTDMA_POLLED, 16);
    qtest_writel(qs->qts, source,
                 PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
    ae4_submit(&d, 0, source, slot_control, 4);
    for (int i = 1; i < 16; i++) {
        ae4_submit(&d, i, source, source + 4096 + i * 4, 4);
    }
    ae4_submit(&d, 0, source, source + 4096, 4);
    ae4_step(&d, 1);
    qtest_qmp_eventwait(qs->qts, "DEVICE_DELETED");
    ae4_step(&d, AE4_LONG_NS);
    g_assert_cmphex(qtest_readl(qs->qts, source + 4096), ==, 0);
    g_assert_cmphex(qtest_readl(qs->qts, d.rings[0] + 4), ==, 0);
    ptdma_qmp_fails(qs->qts, "{'execute': 'query-amd-dma-faults', "
                    "'arguments': {'device': 'dma0'}}");
    ae4_close(&d);
    qtest_shutdown(qs);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-ae4dma-state/reset/function-level",
                   test_function_level_reset);
    qtest_add_func("/amd-ae4dma-state/reset/restart", test_restart);
    qtest_add_func("/amd-ae4dma-state/reset/system", test_system_reset);
    qtest_add_func("/amd-ae4dma-state/migration/in-flight",
                   test_migration_in_flight);
    qtest_add_func("/amd-ae4dma-state/migration/held", test_migration_held);
    qtest_add_func("/amd-ae4dma-state/unplug", test_unplug_in_flight);
    return g_test_run();
}
