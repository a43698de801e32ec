/*
 * AMD PTDMA: PCI function, registers, copies, timing, reset, migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "hw/pci/pci_ids.h"
#include "hw/pci/pci_regs.h"
#include "amd-ptdma.h"

static void test_config_space(void)
{
    QOSState *qs = ptdma_machine("");
    QPCIDevice *pdev = qpci_device_find(qs->pcibus, QPCI_DEVFN(4, 0));
    uint64_t size = 0;
    uint8_t cap;

    g_assert_cmphex(qpci_config_readw(pdev, PCI_VENDOR_ID), ==,
                    PCI_VENDOR_ID_AMD);
    g_assert_cmphex(qpci_config_readw(pdev, PCI_DEVICE_ID), ==,
                    AMD_PTDMA_PCI_DEVICE_ID);
    /* The driver knows no INTx */
    g_assert_cmphex(qpci_config_readb(pdev, PCI_INTERRUPT_PIN), ==, 0);

    qpci_iomap(pdev, AMD_PTDMA_REGS_BAR, &size);
    g_assert_cmphex(size, ==, AMD_PTDMA_REGS_SIZE);

    cap = qpci_find_capability(pdev, PCI_CAP_ID_MSIX, 0);
    g_assert_cmphex(cap, !=, 0);
    g_assert_cmphex(qpci_config_readl(pdev, cap + PCI_MSIX_TABLE) &
                    PCI_MSIX_TABLE_BIR, ==, AMD_PTDMA_MSIX_BAR);
    g_assert_cmpint(qpci_msix_table_size(pdev), ==, 1);

    cap = qpci_find_capability(pdev, PCI_CAP_ID_MSI, 0);
    g_assert_cmphex(cap, !=, 0);
    g_assert_cmphex(qpci_config_readw(pdev, cap + PCI_MSI_FLAGS) &
                    PCI_MSI_FLAGS_QMASK, ==, 0);

    cap = qpci_find_capability(pdev, PCI_CAP_ID_EXP, 0);
    g_assert_cmphex(cap, !=, 0);
    g_assert_cmphex(qpci_config_readl(pdev, cap + PCI_EXP_DEVCAP) &
                    PCI_EXP_DEVCAP_FLR, !=, 0);
    g_free(pdev);
    qtest_shutdown(qs);
}

static void test_config_space_without_msix(void)
{
    QOSState *qs = ptdma_machine(",msix=off");
    QPCIDevice *pdev = qpci_device_find(qs->pcibus, QPCI_DEVFN(4, 0));

    g_assert_cmphex(qpci_find_capability(pdev, PCI_CAP_ID_MSIX, 0), ==, 0);
    g_assert_cmphex(qpci_find_capability(pdev, PCI_CAP_ID_MSI, 0), !=, 0);
    g_assert_cmphex(qpci_config_readl(pdev, PCI_BASE_ADDRESS_4), ==, 0);
    g_free(pdev);
    qtest_shutdown(qs);
}

/* Reset value, and what is left of all ones; UINT32_MAX - 1: not written */
static const struct {
    uint32_t offset;
    uint32_t reset;
    uint32_t writable;
} registers[] = {
    { A_QUEUE_PRIO, 0, 0x00000006 },
    { A_REQID_CONFIG, 0, 0xffffffff },
    { A_TIMEOUT, 0, 0xffffffff },
    { A_VERSION, 1 << R_VERSION_NUM_VQM_SHIFT | 5, 0 },
    { A_CONFIG, 0, 0x00000001 },
    { A_CLK_GATE_CTL, 0, 0x00001001 },
    /* HALT goes along with RUN, so nothing is started */
    { A_Q_CONTROL, 0, 0xffff00ff },
    { A_Q_TAIL_LO, 0, 0xffffffe0 },
    { A_Q_HEAD_LO, 0, 0xffffffe0 },
    { A_Q_INT_ENABLE, 0, 0x0000000f },
    { A_Q_INTERRUPT_STATUS, 0, 0 },
    { A_Q_STATUS, 0, 0 },
    { A_Q_INT_STATUS, 0, 0 },
    { A_Q_DMA_STATUS, 0, 0 },
    { A_Q_DMA_READ_STATUS, 0, 0 },
    { A_Q_DMA_WRITE_STATUS, 0, 0 },
    { A_Q_ABORT, 0, 0 },
    { A_Q_AX_CACHE, 0, 0xffffffff },
};

static void check_reset_values(PTDMADevice *d)
{
    for (int i = 0; i < ARRAY_SIZE(registers); i++) {
        g_assert_cmphex(ptdma_read(d, registers[i].offset), ==,
                        registers[i].reset);
    }
}

static void test_registers(void)
{
    QOSState *qs = ptdma_machine("");
    PTDMADevice d = { .qs = qs, .qts = qs->qts };

    d.pdev = qpci_device_find(qs->pcibus, QPCI_DEVFN(4, 0));
    qpci_device_enable(d.pdev);
    d.regs = qpci_iomap(d.pdev, AMD_PTDMA_REGS_BAR, NULL);

    check_reset_values(&d);
    for (int i = 0; i < ARRAY_SIZE(registers); i++) {
        ptdma_write(&d, registers[i].offset, UINT32_MAX);
        g_assert_cmphex(ptdma_read(&d, registers[i].offset), ==,
                        registers[i].reset | registers[i].writable);
    }
    qtest_system_reset(qs->qts);
    qpci_device_enable(d.pdev);
    d.regs = qpci_iomap(d.pdev, AMD_PTDMA_REGS_BAR, NULL);
    check_reset_values(&d);
    ptdma_stop(&d);
}

static void test_copy(void)
{
    static const struct {
        uint32_t size, source_offset, destination_offset;
    } cases[] = {
        { 1, 0, 0 }, { 1, 4095, 4095 }, { 31, 1, 30 }, { 4096, 0, 0 },
        { 4097, 0, 0 }, { 4096, 17, 4080 }, { 65536, 3, 0 },
        /* more than a slice of the main loop's time */
        { 2 * MiB + 5, 0, 0 }, { 3 * MiB - 1, 100, 4000 },
    };
    PTDMADevice d;
    uint64_t bytes = 0;

    ptdma_start(&d, "", PTDMA_MSIX);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        PTDMABuffers b;

        ptdma_buffers_init(&b, &d, cases[i].size, cases[i].source_offset,
                           cases[i].destination_offset);
        ptdma_submit(&d, b.source, b.destination, b.size);
        ptdma_wait(&d);
        ptdma_buffers_check(&b, b.size, -1);
        ptdma_buffers_free(&b);
        bytes += cases[i].size;
        g_assert_cmphex(ptdma_read(&d, A_Q_STATUS), ==, 0);
        g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, i + 1);
        g_assert_cmpint(ptdma_counter(&d, "dma0", "bytes"), ==, bytes);
    }
    g_assert_cmpint(ptdma_counter(&d, "dma0", "errors"), ==, 0);
    ptdma_stop(&d);
}

/* Nothing happens in the register write; data are those of the end */
static void test_asynchronous(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=1000", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 100, 0, 0);
    ptdma_submit(&d, b.source, b.destination, b.size);
    ptdma_step(d.qts, 999);
    ptdma_buffers_check(&b, 0, -1);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, 0);

    qtest_writeb(d.qts, b.source + 50, 0xee);
    b.before[b.source + 50 - b.area] = 0xee;
    ptdma_step(d.qts, 1);
    ptdma_buffers_check(&b, b.size, -1);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* An instant engine still gives way after each descriptor */
static void test_instant(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t head;

    ptdma_start(&d, "", PTDMA_POLLED);
    head = ptdma_read(&d, A_Q_HEAD_LO);
    ptdma_buffers_init(&b, &d, 8, 0, 0);
    for (int i = 0; i < 10; i++) {
        ptdma_submit(&d, b.source, b.destination, b.size);
    }
    ptdma_buffers_check(&b, 0, -1);
    for (int i = 1; i <= 10; i++) {
        g_assert_cmphex(ptdma_read(&d, A_Q_HEAD_LO), ==,
                        head + (i - 1) * AMD_PTDMA_DESC_SIZE);
        ptdma_step(d.qts, 1);
        g_assert_cmphex(ptdma_read(&d, A_Q_HEAD_LO), ==,
                        head + i * AMD_PTDMA_DESC_SIZE);
    }
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void check_duration(PTDMADevice *d, uint32_t size, int64_t expected_ns)
{
    PTDMABuffers b;

    ptdma_buffers_init(&b, d, size, 0, 0);
    ptdma_submit(d, b.source, b.destination, b.size);
    g_assert_cmpint(ptdma_wait(d), ==, expected_ns);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
}

static void test_timing(void)
{
    PTDMADevice d;

    ptdma_start(&d, ",latency-ns=350,bandwidth=3000000000", PTDMA_MSIX);
    /* rounded up to the next nanosecond */
    check_duration(&d, 3000, 350 + 1000);
    check_duration(&d, 3001, 350 + 1001);
    check_duration(&d, 1, 350 + 1);
    check_duration(&d, 600000, 350 + 200000);
    ptdma_stop(&d);
}

static void test_fabric(void)
{
    QOSState *qs = qtest_pc_boot(
        "-machine q35 -nodefaults -m 256M -object amd-dma-fabric,id=fab,bandwidth=1000M "
        "-device amd-ptdma,id=dma0,addr=04.0,fabric=fab,latency-ns=100 "
        "-device amd-ptdma,id=dma1,addr=05.0,fabric=fab,latency-ns=5000 "
        "-device amd-ptdma,id=dma2,addr=06.0");
    /* "1000M" is 1000 MiB */
    const int64_t copy_ns = DIV_ROUND_UP(4096 * 1000000000ULL, 1000 * MiB);
    PTDMADevice d[3];
    PTDMABuffers b[3];
    int64_t start_ns;

    for (int i = 0; i < 3; i++) {
        ptdma_open(&d[i], qs, 4 + i, PTDMA_POLLED);
        ptdma_buffers_init(&b[i], &d[i], 4096, 0, 0);
    }
    for (int i = 0; i < 3; i++) {
        ptdma_submit(&d[i], b[i].source, b[i].destination, b[i].size);
    }
    start_ns = ptdma_now();
    /* No fabric, no cost; one behind the other; latencies overlap */
    g_assert_cmpint(ptdma_wait(&d[2]), ==, 1);
    ptdma_wait(&d[0]);
    g_assert_cmpint(ptdma_now() - start_ns, ==, copy_ns);
    ptdma_submit(&d[0], b[0].source, b[0].destination, b[0].size);
    ptdma_wait(&d[0]);
    g_assert_cmpint(ptdma_now() - start_ns, ==, 3 * copy_ns);
    ptdma_wait(&d[1]);
    g_assert_cmpint(ptdma_now() - start_ns, ==,
                    MAX(3 * copy_ns, 5000));
    for (int i = 0; i < 3; i++) {
        ptdma_buffers_check(&b[i], b[i].size, -1);
        ptdma_buffers_free(&b[i]);
        ptdma_close(&d[i]);
    }
    qtest_shutdown(qs);
}

/* A turn that is given back is not waited for, however long it is */
static void test_fabric_reset(void)
{
    QOSState *qs = qtest_pc_boot(
        "-machine q35 -nodefaults -m 256M "
        "-object amd-dma-fabric,id=fab,bandwidth=1000 "
        "-device amd-ptdma,id=dma0,addr=04.0,fabric=fab "
        "-device amd-ptdma,id=dma1,addr=05.0,fabric=fab");
    PTDMADevice d[2];
    uint64_t source = qmalloc(qs, 8192);

    for (int i = 0; i < 2; i++) {
        ptdma_open(&d[i], qs, 4 + i, PTDMA_POLLED);
    }
    ptdma_submit(&d[0], source, source + 4096, UINT32_MAX);
    ptdma_submit(&d[1], source, source + 4096, 1);
    ptdma_step(qs->qts, 1000);
    ptdma_function_level_reset(&d[0]);
    ptdma_function_level_reset(&d[1]);
    ptdma_set_ring(&d[1], d[1].ring, d[1].size_field);
    ptdma_submit(&d[1], source, source + 4096, 2);
    g_assert_cmpint(ptdma_wait(&d[1]), ==, 2 * 1000000);
    for (int i = 0; i < 2; i++) {
        ptdma_close(&d[i]);
    }
    qtest_shutdown(qs);
}

/* Bytes that a device answers for: the main loop gets its turn more often */
static void test_copy_from_device(void)
{
    QOSState *qs = qtest_pc_boot(
        "-machine q35 -nodefaults -m 256M -device amd-ptdma,id=dma0,addr=04.0 "
        "-device amd-ptdma,id=dma1,addr=05.0");
    PTDMADevice d, other;
    PTDMABuffers b;

    ptdma_open(&d, qs, 4, PTDMA_POLLED);
    ptdma_open(&other, qs, 5, PTDMA_POLLED);
    ptdma_buffers_init(&b, &d, 20 * KiB, 0, 0);
    ptdma_submit(&d, b.source, b.destination, b.size);
    g_assert_cmpint(ptdma_wait(&d), ==, 1);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_submit(&d, other.regs.addr, b.destination, b.size);
    g_assert_cmpint(ptdma_wait(&d), ==, 2);
    g_assert_cmphex(qtest_readl(qs->qts, b.destination + A_VERSION), ==,
                    ptdma_read(&other, A_VERSION));
    ptdma_buffers_free(&b);
    ptdma_close(&other);
    ptdma_stop(&d);
}

/* A reset takes back what is under way, and leaves the counters alone */
static void test_reset_in_flight(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=1000", PTDMA_POLLED);
    ptdma_buffers_init(&b, &d, 64, 0, 0);
    ptdma_submit(&d, b.source, b.source, b.size);
    ptdma_wait(&d);
    ptdma_submit(&d, b.source, b.destination, b.size);
    ptdma_step(d.qts, 999);
    ptdma_function_level_reset(&d);
    check_reset_values(&d);
    ptdma_step(d.qts, 100000);
    ptdma_buffers_check(&b, 0, -1);
    check_reset_values(&d);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 1);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "bytes"), ==, b.size);

    /* and it works again */
    ptdma_set_ring(&d, d.ring, d.size_field);
    ptdma_submit(&d, b.source, b.destination, b.size);
    g_assert_cmpint(ptdma_wait(&d), ==, 1000);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/amd-ptdma/config-space", test_config_space);
    qtest_add_func("/amd-ptdma/config-space/without-msix",
                   test_config_space_without_msix);
    qtest_add_func("/amd-ptdma/registers", test_registers);
    qtest_add_func("/amd-ptdma/copy", test_copy);
    qtest_add_func("/amd-ptdma/asynchronous", test_asynchronous);
    qtest_add_func("/amd-ptdma/instant", test_instant);
    qtest_add_func("/amd-ptdma/timing", test_timing);
    qtest_add_func("/amd-ptdma/fabric", test_fabric);
    qtest_add_func("/amd-ptdma/fabric/reset", test_fabric_reset);
    qtest_add_func("/amd-ptdma/copy-from-device", test_copy_from_device);
    qtest_add_func("/amd-ptdma/reset-in-flight", test_reset_in_flight);
    return g_test_run();
}
