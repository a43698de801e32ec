/*
 * AMD PTDMA: migration and unplug
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "hw/pci/pci_ids.h"
#include "hw/pci/pci_regs.h"
#include "amd-ptdma.h"

/* Q35 host bridge: where configuration space is mapped; 64 buses */
#define MCH_PCIEXBAR            0x60
#define MCH_PCIEXBAR_ENABLE     1
#define MCH_PCIEXBAR_64M        (2 << 1)
#define ECAM_BASE               0xb0000000u
#define ECAM_SIZE               (64 * 1024 * 1024)

/* The machine of @from goes on as @to; the qtest clock starts again from 0 */
static void migrate_to(PTDMADevice *from, PTDMADevice *to, const char *options)
{
    g_autofree char *dir = g_dir_make_tmp("amd-ptdma-XXXXXX", NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s/migrate", dir);
    g_autofree char *incoming = g_strdup_printf("%s -incoming %s", options,
                                                uri);

    *to = *from;
    to->qs = ptdma_machine(incoming);
    to->qts = to->qs->qts;
    to->pdev = g_memdup2(from->pdev, sizeof(*from->pdev));
    to->pdev->bus = to->qs->pcibus;
    migrate(from->qs, to->qs, uri);
    unlink(uri + strlen("unix:"));
    rmdir(dir);
}

/* The allocator has migrated too: free at @to only */
static void stop_both(PTDMADevice *from, PTDMADevice *to, PTDMABuffers *b)
{
    b->d = to;
    ptdma_buffers_free(b);
    g_free(to->pdev);
    qtest_shutdown(to->qs);
    ptdma_stop(from);
}

/* The other end carries on with the descriptor under way and the rest */
static void test_in_flight(void)
{
    PTDMADevice from, to;
    PTDMABuffers b;

    ptdma_start(&from, ",latency-ns=1000", PTDMA_MSIX);
    ptdma_write(&from, A_Q_INT_ENABLE, PTDMA_EMPTY);
    ptdma_buffers_init(&b, &from, 3, 0, 0);
    ptdma_inject(&from, "'kind': 'flip-byte', 'offset': 0, 'nth': 2");
    ptdma_push_three(&from, &b, PTDMA_DW0);
    ptdma_run(&from);
    ptdma_step(from.qts, 1500);
    ptdma_buffers_check(&b, 1, -1);

    migrate_to(&from, &to, ",latency-ns=1000");
    b.d = &to;
    ptdma_wait(&to);
    ptdma_buffers_check(&b, 3, 1);
    g_assert_true(ptdma_message_seen(&to));
    g_assert_cmphex(ptdma_read(&to, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION | PTDMA_EMPTY);
    g_assert_cmpint(ptdma_counter(&to, "dma0", "descriptors"), ==, 3);
    b.d = &from;
    ptdma_buffers_check(&b, 1, -1);
    stop_both(&from, &to, &b);
}

static void submit(PTDMADevice *d, PTDMABuffers *b)
{
    ptdma_submit(d, b->source, b->destination, b->size);
}

/* What a fault holds is held at the other end, under a number of its own */
static void test_stalled(void)
{
    PTDMADevice from, to;
    PTDMABuffers b;
    uint32_t stall, other;

    ptdma_start(&from, "", PTDMA_MSIX);
    ptdma_buffers_init(&b, &from, 100, 0, 0);
    stall = ptdma_inject(&from, "'kind': 'stall', 'delay-ns': 0");
    submit(&from, &b);

    migrate_to(&from, &to, "");
    b.d = &to;
    ptdma_step(to.qts, 1000000);
    ptdma_buffers_check(&b, 0, -1);
    other = ptdma_inject(&to, "'kind': 'lost-interrupt'");
    g_assert_cmpint(other, !=, stall);
    qobject_unref(ptdma_qmp(to.qts, "{'execute': 'amd-dma-clear-faults', "
                            "'arguments': {'device': 'dma0', 'id': %u}}",
                            other));
    ptdma_step(to.qts, 1000000);
    ptdma_buffers_check(&b, 0, -1);
    ptdma_clear_faults(&to);
    ptdma_wait(&to);
    ptdma_buffers_check(&b, b.size, -1);
    stop_both(&from, &to, &b);
}

/* Told already, with the data and a second completion still to come */
static void test_late_data(void)
{
    PTDMADevice from, to;
    PTDMABuffers b;

    ptdma_start(&from, "", PTDMA_MSIX);
    ptdma_buffers_init(&b, &from, 100, 0, 0);
    ptdma_inject(&from, "'kind': 'interrupt-before-data', 'delay-ns': 5000");
    ptdma_inject(&from, "'kind': 'duplicate-completion', 'delay-ns': 8000");
    submit(&from, &b);
    ptdma_step(from.qts, 1);
    g_assert_cmphex(ptdma_read(&from, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION);
    ptdma_write(&from, A_Q_INTERRUPT_STATUS, UINT32_MAX);

    migrate_to(&from, &to, "");
    b.d = &to;
    ptdma_step(to.qts, 5000);
    ptdma_buffers_check(&b, 0, -1);
    ptdma_step(to.qts, 1);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_step(to.qts, 2999);
    g_assert_cmphex(ptdma_read(&to, A_Q_INTERRUPT_STATUS), ==, 0);
    ptdma_step(to.qts, 1);
    g_assert_cmphex(ptdma_read(&to, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION);
    g_assert_cmpint(ptdma_counter(&to, "dma0", "descriptors"), ==, 1);
    stop_both(&from, &to, &b);
}

static void test_removed(void)
{
    PTDMADevice from, to;
    PTDMABuffers b;

    ptdma_start(&from, "", PTDMA_MSIX);
    ptdma_buffers_init(&b, &from, 100, 0, 0);
    ptdma_inject(&from, "'kind': 'all-ones'");
    submit(&from, &b);

    migrate_to(&from, &to, "");
    b.d = &to;
    g_assert_cmphex(qpci_config_readl(to.pdev, PCI_VENDOR_ID), ==, UINT32_MAX);
    g_assert_cmphex(ptdma_read(&to, A_VERSION), ==, UINT32_MAX);
    g_assert_cmphex(qpci_io_readl(to.pdev, to.pdev->msix_table_bar, 0), ==,
                    UINT32_MAX);
    ptdma_clear_faults(&to);
    g_assert_cmphex(qpci_config_readw(to.pdev, PCI_VENDOR_ID), ==,
                    PCI_VENDOR_ID_AMD);
    ptdma_clear_faults(&from);
    stop_both(&from, &to, &b);
}

/* A message that waits for its vector */
static void test_message_held(void)
{
    PTDMADevice from, to;
    PTDMABuffers b;
    uint8_t cap;

    ptdma_start(&from, "", PTDMA_MSI);
    ptdma_buffers_init(&b, &from, 100, 0, 0);
    ptdma_write(&from, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    cap = qpci_find_capability(from.pdev, PCI_CAP_ID_MSI, 0);
    qpci_config_writel(from.pdev, cap + PCI_MSI_MASK_64, 1);
    submit(&from, &b);
    ptdma_wait(&from);

    migrate_to(&from, &to, "");
    b.d = &to;
    g_assert_false(ptdma_message_seen(&to));
    g_assert_cmpint(ptdma_counter(&to, "dma0", "interrupts"), ==, 0);
    qpci_config_writel(to.pdev, cap + PCI_MSI_MASK_64, 0);
    g_assert_true(ptdma_message_seen(&to));
    g_assert_cmpint(ptdma_counter(&to, "dma0", "interrupts"), ==, 1);
    stop_both(&from, &to, &b);
}

/* Whoever has the fabric has it at the other end, for the same time */
static void test_fabric(void)
{
    static const char options[] =
        ",fabric=fab -object amd-dma-fabric,id=fab,bandwidth=1000000000 "
        "-device amd-ptdma,id=dma1,addr=05.0,fabric=fab";
    QOSState *qs = ptdma_machine(options);
    PTDMADevice from, other, to, to_other;
    PTDMABuffers b;

    ptdma_open(&other, qs, 5, PTDMA_POLLED);
    ptdma_open(&from, qs, 4, PTDMA_POLLED);
    ptdma_buffers_init(&b, &from, 5000, 0, 0);
    ptdma_step(qs->qts, 1000);
    submit(&from, &b);

    migrate_to(&from, &to, options);
    to_other = other;
    to_other.qs = to.qs;
    to_other.qts = to.qts;
    to_other.pdev = g_memdup2(other.pdev, sizeof(*other.pdev));
    to_other.pdev->bus = to.qs->pcibus;
    b.d = &to;
    ptdma_submit(&to_other, b.source, b.destination, 1000);
    ptdma_wait(&to_other);
    g_assert_cmpint(ptdma_now(), ==, 1000 + 5000 + 1000);
    ptdma_buffers_check(&b, b.size, -1);
    g_free(to_other.pdev);
    ptdma_close(&other);
    stop_both(&from, &to, &b);
}

/*
 * Connect to dma0 behind the root port at @port_devfn, on bus @secondary.
 * Returns: where the port's slot control register is mapped.
 */
static uint64_t open_behind_port(PTDMADevice *d, QOSState *qs, int port_devfn,
                                 uint8_t secondary)
{
    QPCIDevice *host = qpci_device_find(qs->pcibus, QPCI_DEVFN(0, 0));
    QPCIDevice *port;
    uint8_t cap;

    qpci_config_writel(host, MCH_PCIEXBAR,
                       ECAM_BASE | MCH_PCIEXBAR_64M | MCH_PCIEXBAR_ENABLE);
    g_free(host);
    port = qpci_device_find(qs->pcibus, port_devfn);
    g_assert_nonnull(port);
    qpci_config_writeb(port, PCI_PRIMARY_BUS, port_devfn >> 8);
    qpci_config_writeb(port, PCI_SECONDARY_BUS, secondary);
    qpci_config_writeb(port, PCI_SUBORDINATE_BUS, secondary);
    qpci_config_writew(port, PCI_MEMORY_BASE, (ECAM_BASE + ECAM_SIZE) >> 16);
    qpci_config_writew(port, PCI_MEMORY_LIMIT, 0xeff0);
    qpci_config_writew(port, PCI_COMMAND,
                       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    cap = qpci_find_capability(port, PCI_CAP_ID_EXP, 0);
    g_free(port);

    ptdma_open(d, qs, secondary << 5, PTDMA_POLLED);
    return ECAM_BASE + ((uint64_t)port_devfn << 12) + cap + PCI_EXP_SLTCTL;
}

/* The copy itself unplugs the function that makes it */
static void test_unplug_by_own_copy(void)
{
    QOSState *qs = qtest_pc_boot(
        "-machine q35 -nodefaults -m 256M "
        "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off "
        "-device pcie-root-port,id=rp,addr=03.0,chassis=1 "
        "-device amd-ptdma,id=dma0,bus=rp");
    PTDMADevice d;
    uint64_t slot_control, source = qmalloc(qs, 8192);

    slot_control = open_behind_port(&d, qs, QPCI_DEVFN(3, 0), 1);
    qtest_writew(qs->qts, source,
                 PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
    ptdma_submit(&d, source, slot_control, 2);
    ptdma_submit(&d, source, source + 4096, 2);
    ptdma_step(qs->qts, 1);
    qtest_qmp_eventwait(qs->qts, "DEVICE_DELETED");
    ptdma_step(qs->qts, 1000000);
    g_assert_cmphex(qtest_readw(qs->qts, source + 4096), ==, 0);
    ptdma_qmp_fails(qs->qts, "{'execute': 'query-amd-dma-faults', "
                    "'arguments': {'device': 'dma0'}}");
    ptdma_close(&d);
    qtest_shutdown(qs);
}

/* A copy that is under way when the slot loses its power */
static void test_unplug_in_flight(void)
{
    QOSState *qs = qtest_pc_boot(
        "-machine q35 -nodefaults -m 256M "
        "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off "
        "-object amd-dma-fabric,id=fab,bandwidth=1000000 "
        "-device pcie-root-port,id=rp,addr=03.0,chassis=1 "
        "-device amd-ptdma,id=dma0,bus=rp,fabric=fab "
        "-device amd-ptdma,id=dma1,addr=05.0,fabric=fab");
    PTDMADevice d, other;
    PTDMABuffers b;
    uint64_t slot_control;

    slot_control = open_behind_port(&d, qs, QPCI_DEVFN(3, 0), 1);
    ptdma_open(&other, qs, 5, PTDMA_POLLED);
    ptdma_buffers_init(&b, &d, 5000, 0, 0);
    ptdma_inject(&d, "'kind': 'duplicate-completion', 'count': 0, "
                 "'delay-ns': 10000000");
    submit(&d, &b);
    submit(&d, &b);
    ptdma_step(qs->qts, 5000 * 1000);
    ptdma_buffers_check(&b, b.size, -1);
    qtest_memwrite(qs->qts, b.area, b.before, 4096);
    qtest_memwrite(qs->qts, b.destination,
                   b.before + (b.destination - b.area), b.size);

    qtest_writew(qs->qts, slot_control,
                 PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
    qtest_qmp_eventwait(qs->qts, "DEVICE_DELETED");
    /* nothing comes of it, and the fabric is free */
    ptdma_submit(&other, b.source, b.source, 1000);
    g_assert_cmpint(ptdma_wait(&other), ==, 1000 * 1000);
    ptdma_step(qs->qts, 100 * 1000 * 1000);
    ptdma_buffers_check(&b, 0, -1);
    ptdma_buffers_free(&b);
    ptdma_close(&other);
    ptdma_close(&d);
    qtest_shutdown(qs);
}

/*
 * One access unplugs the function, and goes on to its registers: they are
 * behind the slot control register in the memory map, as it was when the
 * access began.  This is what a vCPU sees that was waiting to get at them.
 */
static void test_access_after_unplug(void)
{
    const uint8_t bus = ECAM_SIZE / (1024 * 1024) - 1;
    const uint32_t regs = ECAM_BASE + ECAM_SIZE;
    QOSState *qs = qtest_pc_boot(
        "-machine q35 -nodefaults -m 256M "
        "-device pxb-pcie,id=pxb,bus_nr=%u,addr=03.0 "
        "-device pcie-root-port,id=rp,bus=pxb,addr=1f.0,chassis=1 "
        "-device amd-ptdma,id=dma0,bus=rp", bus);
    PTDMADevice d;
    uint64_t slot_control;
    g_autofree uint8_t *access = NULL;
    uint8_t *access_regs;

    slot_control = open_behind_port(&d, qs, bus << 8 | QPCI_DEVFN(0x1f, 0),
                                    bus + 1);
    qpci_config_writel(d.pdev, PCI_BASE_ADDRESS_2, regs);
    g_assert_cmphex(qtest_readl(qs->qts, regs + A_Q_TAIL_LO), ==,
                    (uint32_t)d.ring);

    access = g_malloc0(regs + A_Q_HEAD_LO - slot_control);
    access_regs = access + (regs - slot_control);
    stw_le_p(access, PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
    stl_le_p(access_regs + A_Q_CONTROL, R_Q_CONTROL_RUN_MASK | 4 << 3);
    stl_le_p(access_regs + A_Q_TAIL_LO, AMD_PTDMA_DESC_SIZE);
    qtest_memwrite(qs->qts, slot_control, access,
                   regs + A_Q_HEAD_LO - slot_control);
    qtest_qmp_eventwait(qs->qts, "DEVICE_DELETED");
    ptdma_step(qs->qts, 1000000);
    ptdma_close(&d);
    qtest_shutdown(qs);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/amd-ptdma-state/migration/in-flight", test_in_flight);
    qtest_add_func("/amd-ptdma-state/migration/stalled", test_stalled);
    qtest_add_func("/amd-ptdma-state/migration/late-data", test_late_data);
    qtest_add_func("/amd-ptdma-state/migration/removed", test_removed);
    qtest_add_func("/amd-ptdma-state/migration/message-held",
                   test_message_held);
    qtest_add_func("/amd-ptdma-state/migration/fabric", test_fabric);
    qtest_add_func("/amd-ptdma-state/unplug/by-own-copy",
                   test_unplug_by_own_copy);
    qtest_add_func("/amd-ptdma-state/unplug/in-flight",
                   test_unplug_in_flight);
    qtest_add_func("/amd-ptdma-state/unplug/access-after",
                   test_access_after_unplug);
    return g_test_run();
}
