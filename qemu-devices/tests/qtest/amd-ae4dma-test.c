/*
 * AMD AE4DMA: PCI function, registers, rings, interrupts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "hw/pci/pci_ids.h"
#include "hw/pci/pci_regs.h"
#include "amd-ae4dma.h"

static void test_config_space(void)
{
    QOSState *qs = ae4_machine(",queues=3");
    QPCIDevice *pdev = qpci_device_find(qs->pcibus, QPCI_DEVFN(4, 0));
    uint64_t size = 0;
    uint8_t cap;

    g_assert_cmphex(qpci_config_readw(pdev, PCI_VENDOR_ID), ==,
                    PCI_VENDOR_ID_AMD);
    g_assert_cmphex(qpci_config_readw(pdev, PCI_DEVICE_ID), ==,
                    AMD_AE4DMA_PCI_DEVICE_ID);
    g_assert_cmphex(qpci_config_readb(pdev, PCI_INTERRUPT_PIN), ==, 0);
    qpci_iomap(pdev, AMD_AE4DMA_REGS_BAR, &size);
    g_assert_cmphex(size, ==, AMD_AE4DMA_REGS_SIZE);

    /* The driver takes all 16 or none, however many queues there are */
    cap = qpci_find_capability(pdev, PCI_CAP_ID_MSIX, 0);
    g_assert_cmphex(cap, !=, 0);
    g_assert_cmpint(qpci_msix_table_size(pdev), ==, 16);
    g_assert_cmphex(qpci_config_readl(pdev, cap + PCI_MSIX_TABLE) &
                    PCI_MSIX_TABLE_BIR, ==, AMD_AE4DMA_MSIX_BAR);

    cap = qpci_find_capability(pdev, PCI_CAP_ID_MSI, 0);
    g_assert_cmphex(qpci_config_readw(pdev, cap + PCI_MSI_FLAGS) &
                    PCI_MSI_FLAGS_QMASK, ==, 0);
    cap = qpci_find_capability(pdev, PCI_CAP_ID_EXP, 0);
    g_assert_cmphex(qpci_config_readl(pdev, cap + PCI_EXP_DEVCAP) &
                    PCI_EXP_DEVCAP_FLR, !=, 0);
    g_free(pdev);
    qtest_shutdown(qs);
}

static void test_config_space_without_msix(void)
{
    QOSState *qs = ae4_machine(",msix=off");
    QPCIDevice *pdev = qpci_device_find(qs->pcibus, QPCI_DEVFN(4, 0));

    g_assert_cmphex(qpci_find_capability(pdev, PCI_CAP_ID_MSIX, 0), ==, 0);
    g_assert_cmphex(qpci_find_capability(pdev, PCI_CAP_ID_MSI, 0), !=, 0);
    g_free(pdev);
    qtest_shutdown(qs);
}

/* Reset value of a queue's register, and what is left of all ones */
static const struct {
    uint32_t offset;
    uint32_t reset;
    uint32_t written;
} registers[] = {
    { A_AE4_Q_CONTROL, 0, 1 },
    { A_AE4_Q_INT_ENABLE, 1, 1 },
    { A_AE4_Q_MAX_IDX, 0, 0 },
    { A_AE4_Q_READ_IDX, 0, 0 },
    { A_AE4_Q_WRITE_IDX, 0, 0 },
    { A_AE4_Q_INT_STATUS, 0, 0 },
    { A_AE4_Q_BASE_LO, 0, 0xffffffe0 },
    { A_AE4_Q_BASE_HI, 0, 0x0000ffff },
};

static void check_reset_values(AE4Device *d, uint32_t run)
{
    for (int queue = 0; queue < 16; queue++) {
        for (int i = 0; i < ARRAY_SIZE(registers); i++) {
            g_assert_cmphex(ae4_read(d, queue, registers[i].offset), ==,
                            registers[i].reset | (i ? 0 : run));
        }
    }
}

static void test_registers(void)
{
    AE4Device d;

    ae4_start(&d, "", PTDMA_POLLED, 0);
    g_assert_cmphex(ptdma_read(&d.pt, A_AE4_VERSION), ==,
                    15 << R_AE4_VERSION_NUM_VQM_SHIFT | AMD_AE4DMA_VERSION);
    check_reset_values(&d, 0);
    for (int queue = 0; queue < 16; queue++) {
        for (int i = 0; i < ARRAY_SIZE(registers); i++) {
            ae4_write(&d, queue, registers[i].offset, UINT32_MAX);
            g_assert_cmphex(ae4_read(&d, queue, registers[i].offset), ==,
                            registers[i].written);
        }
    }
    ptdma_write(&d.pt, A_AE4_QUEUES, 17);
    g_assert_cmphex(ptdma_read(&d.pt, A_AE4_QUEUES), ==, 16);
    check_reset_values(&d, R_AE4_Q_CONTROL_RUN_MASK);
    qtest_system_reset(d.pt.qts);
    qpci_device_enable(d.pt.pdev);
    d.pt.regs = qpci_iomap(d.pt.pdev, AMD_AE4DMA_REGS_BAR, NULL);
    g_assert_cmphex(ptdma_read(&d.pt, A_AE4_QUEUES), ==, 0);
    check_reset_values(&d, 0);
    ae4_stop(&d);
}

static void test_copy(void)
{
    static const struct {
        uint32_t size, source_offset, destination_offset;
    } cases[] = {
        { 4, 0, 0 }, { 4, 4092, 4092 }, { 4096, 0, 0 }, { 4100, 16, 4080 },
        { 65536, 4, 0 }, { 2 * MiB + 4, 0, 0 },
    };
    AE4Device d;
    uint64_t bytes = 0;

    ae4_start(&d, ",latency-ns=500", PTDMA_MSIX, 1);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        PTDMABuffers b;
        uint32_t index;

        ptdma_buffers_init(&b, &d.pt, cases[i].size, cases[i].source_offset,
                           cases[i].destination_offset);
        index = ae4_submit_buffers(&d, 0, &b);
        ae4_step(&d, 499);
        ptdma_buffers_check(&b, 0, -1);
        ae4_check_pending(&d, 0, index);
        g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, i);
        ae4_step(&d, AE4_LONG_NS);
        ptdma_buffers_check(&b, b.size, -1);
        ptdma_buffers_free(&b);
        ae4_check_desc(&d, 0, index, AE4_COMPLETED, 0);
        g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, i + 1);
        g_assert_true(ae4_message_seen(&d, 0));
        bytes += cases[i].size;
        g_assert_cmpint(ae4_counter(&d, "descriptors"), ==, i + 1);
        g_assert_cmpint(ae4_counter(&d, "bytes"), ==, bytes);
        g_assert_cmpint(ae4_counter(&d, "interrupts"), ==, i + 1);
    }
    g_assert_cmpint(ae4_counter(&d, "errors"), ==, 0);
    ae4_stop(&d);
}

/* Three times around, as full as the driver ever has it, and one at a time */
static void test_wrap(void)
{
    AE4Device d;
    PTDMABuffers b;

    ae4_start(&d, "", PTDMA_POLLED, 1);
    ptdma_buffers_init(&b, &d.pt, 4 * (AE4_RING_LENGTH - 1), 0, 0);
    for (int turn = 0; turn < 3; turn++) {
        for (uint32_t i = 0; i < AE4_RING_LENGTH - 1; i++) {
            ae4_submit(&d, 0, b.source + i * 4, b.destination + i * 4, 4);
        }
        ae4_step(&d, AE4_LONG_NS);
        ptdma_buffers_check(&b, b.size, -1);
        g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==,
                        ae4_read(&d, 0, A_AE4_Q_WRITE_IDX));
        qtest_memwrite(d.pt.qts, b.destination,
                       b.before + (b.destination - b.area), b.size);
    }
    g_assert_cmpint(ae4_counter(&d, "queue0-descriptors"), ==,
                    3 * (AE4_RING_LENGTH - 1));
    ptdma_buffers_free(&b);
    ae4_stop(&d);
}

/* At the same time, each with its own message */
static void test_sixteen_queues(void)
{
    PTDMABuffers b[16];
    AE4Device d;

    ae4_start(&d, ",latency-ns=1000", PTDMA_MSIX, 16);
    for (int i = 0; i < 16; i++) {
        ptdma_buffers_init(&b[i], &d.pt, 4096 + 4 * i, 4 * i, 0);
        for (int j = 0; j <= i; j++) {
            ae4_submit_buffers(&d, i, &b[i]);
        }
    }
    ae4_step(&d, 1000);
    for (int i = 0; i < 16; i++) {
        g_autofree char *name = g_strdup_printf("queue%d-descriptors", i);

        ae4_check_desc(&d, i, 0, AE4_COMPLETED, 0);
        g_assert_true(ae4_message_seen(&d, i));
        g_assert_cmpint(ae4_counter(&d, name), ==, 1);
    }
    ae4_step(&d, AE4_LONG_NS);
    for (int i = 0; i < 16; i++) {
        g_autofree char *name = g_strdup_printf("queue%d-descriptors", i);

        ptdma_buffers_check(&b[i], b[i].size, -1);
        ptdma_buffers_free(&b[i]);
        g_assert_cmpint(ae4_counter(&d, name), ==, i + 1);
        g_assert_cmpint(ae4_read(&d, i, A_AE4_Q_READ_IDX), ==, i + 1);
        /* The first queue had one only */
        g_assert_cmpint(ae4_message_seen(&d, i), ==, i > 0);
    }
    g_assert_cmpint(ae4_counter(&d, "interrupts"), ==, 16 * 17 / 2);
    ae4_stop(&d);
}

static void test_interrupt_status(void)
{
    AE4Device d;
    PTDMABuffers b;

    ae4_start(&d, "", PTDMA_MSIX, 2);
    ptdma_buffers_init(&b, &d.pt, 8, 0, 0);
    ae4_submit_buffers(&d, 1, &b);
    ae4_step(&d, 10);
    g_assert_cmphex(ae4_read(&d, 0, A_AE4_Q_INT_STATUS), ==, 0);
    g_assert_cmphex(ae4_read(&d, 1, A_AE4_Q_INT_STATUS), ==, 1);
    g_assert_true(ae4_message_seen(&d, 1));
    /* A second one sends a message, whatever the bit says */
    ae4_submit_buffers(&d, 1, &b);
    ae4_step(&d, 10);
    g_assert_true(ae4_message_seen(&d, 1));
    /* As the driver's handler clears it, and not otherwise */
    ae4_write(&d, 1, A_AE4_Q_INT_STATUS, 1);
    g_assert_cmphex(ae4_read(&d, 1, A_AE4_Q_INT_STATUS), ==, 1);
    ae4_write(&d, 1, A_AE4_Q_INT_STATUS, 0);
    g_assert_cmphex(ae4_read(&d, 1, A_AE4_Q_INT_STATUS), ==, 0);
    ae4_write(&d, 1, A_AE4_Q_INT_STATUS, 1);
    g_assert_cmphex(ae4_read(&d, 1, A_AE4_Q_INT_STATUS), ==, 0);
    ptdma_buffers_free(&b);
    ae4_stop(&d);
}

static void mask(AE4Device *d, unsigned int vector, bool masked)
{
    qpci_io_writel(d->pt.pdev, d->pt.pdev->msix_table_bar,
                   d->pt.pdev->msix_table_off + vector * PCI_MSIX_ENTRY_SIZE +
                   PCI_MSIX_ENTRY_VECTOR_CTRL, masked);
}

/* What ends while a vector is masked is told once, when it is unmasked */
static void test_msix_mask(void)
{
    AE4Device d;
    PTDMABuffers b;

    ae4_start(&d, "", PTDMA_MSIX, 16);
    ptdma_buffers_init(&b, &d.pt, 8, 0, 0);
    mask(&d, 3, true);
    mask(&d, 9, true);
    for (int i = 0; i < 2; i++) {
        ae4_submit_buffers(&d, 3, &b);
        ae4_submit_buffers(&d, 8, &b);
        ae4_submit_buffers(&d, 9, &b);
        ae4_step(&d, 10);
    }
    g_assert_false(ae4_message_seen(&d, 3));
    g_assert_true(ae4_message_seen(&d, 8));
    g_assert_false(ae4_message_seen(&d, 9));
    g_assert_cmpint(ae4_counter(&d, "interrupts"), ==, 2);
    mask(&d, 3, false);
    g_assert_true(ae4_message_seen(&d, 3));
    g_assert_false(ae4_message_seen(&d, 9));
    g_assert_cmpint(ae4_counter(&d, "interrupts"), ==, 3);
    /* Nothing is left over */
    mask(&d, 3, true);
    mask(&d, 3, false);
    g_assert_false(ae4_message_seen(&d, 3));
    mask(&d, 9, false);
    g_assert_true(ae4_message_seen(&d, 9));
    g_assert_cmpint(ae4_counter(&d, "interrupts"), ==, 4);
    ptdma_buffers_free(&b);
    ae4_stop(&d);
}

/* One vector for all */
static void test_msi(void)
{
    AE4Device d;
    PTDMABuffers b;

    ae4_start(&d, ",msix=off", PTDMA_MSI, 16);
    ptdma_buffers_init(&b, &d.pt, 8, 0, 0);
    for (int i = 0; i < 16; i++) {
        ae4_submit_buffers(&d, i, &b);
        ae4_step(&d, 10);
        g_assert_true(ae4_message_seen(&d, 0));
        g_assert_cmphex(ae4_read(&d, i, A_AE4_Q_INT_STATUS), ==, 1);
    }
    g_assert_cmpint(ae4_counter(&d, "interrupts"), ==, 16);
    ptdma_buffers_free(&b);
    ae4_stop(&d);
}

/* Without IOC no message; with SOC the queue stops; RUN goes on */
static void test_header_and_run(void)
{
    uint32_t dw[AMD_AE4DMA_DESC_WORDS];
    AE4Device d;
    PTDMABuffers b;

    ae4_start(&d, "", PTDMA_MSIX, 1);
    ptdma_buffers_init(&b, &d.pt, 8, 0, 0);
    ae4_fill_desc(dw, b.source, b.destination, 4);
    dw[AMD_AE4DMA_DESC_HEADER] = R_AE4_DESC_HEADER_SOC_MASK |
                                 R_AE4_DESC_HEADER_TIMESTAMP_MASK;
    ae4_push(&d, 0, dw);
    ae4_submit(&d, 0, b.source + 4, b.destination + 4, 4);
    ae4_step(&d, AE4_LONG_NS);
    ae4_check_desc(&d, 0, 0, AE4_COMPLETED, 0);
    ae4_check_pending(&d, 0, 1);
    ptdma_buffers_check(&b, 4, -1);
    g_assert_false(ae4_message_seen(&d, 0));
    g_assert_cmphex(ae4_read(&d, 0, A_AE4_Q_CONTROL), ==, 0);
    ae4_write(&d, 0, A_AE4_Q_CONTROL, R_AE4_Q_CONTROL_RUN_MASK);
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b, 8, -1);
    g_assert_true(ae4_message_seen(&d, 0));
    ptdma_buffers_free(&b);
    ae4_stop(&d);
}

/* Values that no ring has */
static void test_hostile(void)
{
    AE4Device d;
    PTDMABuffers b;

    ae4_start(&d, ",queues=2", PTDMA_POLLED, 1);
    ptdma_buffers_init(&b, &d.pt, 8, 0, 0);
    ae4_write(&d, 0, A_AE4_Q_WRITE_IDX, AE4_RING_LENGTH);
    ae4_write(&d, 0, A_AE4_Q_WRITE_IDX, UINT32_MAX);
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_WRITE_IDX), ==, 0);
    ae4_write(&d, 0, A_AE4_Q_READ_IDX, 7);
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, 0);
    /* The ring shrinks, and vanishes, with a descriptor under way */
    for (uint32_t length = 2; length != UINT32_MAX; length--) {
        ae4_set_up(&d);
        ae4_submit_buffers(&d, 0, &b);
        ae4_submit_buffers(&d, 0, &b);
        ae4_write(&d, 0, A_AE4_Q_MAX_IDX, length);
        ae4_step(&d, AE4_LONG_NS);
        ae4_check_desc(&d, 0, 0, AE4_COMPLETED, 0);
        ae4_check_pending(&d, 0, 1);
        g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, 0);
        ae4_write(&d, 0, A_AE4_Q_WRITE_IDX, length);
        g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_WRITE_IDX), ==, 0);
    }
    ae4_write(&d, 0, A_AE4_Q_MAX_IDX, AMD_AE4DMA_MAX_IDX_LIMIT);
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_MAX_IDX), ==, 65536);
    /* A whole ring of zeros: every one of them fails, and it ends */
    ae4_write(&d, 0, A_AE4_Q_BASE_LO, 16 * MiB);
    ae4_write(&d, 0, A_AE4_Q_WRITE_IDX, 65535);
    ae4_step(&d, AE4_LONG_NS);
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, 65535);
    g_assert_cmpint(ae4_counter(&d, "errors"), ==, 65535);
    /* A queue that the driver does not use, and one that there is not */
    ae4_write(&d, 1, A_AE4_Q_CONTROL, R_AE4_Q_CONTROL_RUN_MASK);
    ae4_write(&d, 1, A_AE4_Q_MAX_IDX, 4);
    ae4_write(&d, 1, A_AE4_Q_WRITE_IDX, 3);
    ae4_write(&d, 2, A_AE4_Q_MAX_IDX, 4);
    ae4_step(&d, AE4_LONG_NS);
    g_assert_cmpint(ae4_read(&d, 1, A_AE4_Q_READ_IDX), ==, 0);
    g_assert_cmpint(ae4_read(&d, 2, A_AE4_Q_MAX_IDX), ==, 0);
    ptdma_buffers_free(&b);
    ae4_stop(&d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-ae4dma/config-space", test_config_space);
    qtest_add_func("/amd-ae4dma/config-space/no-msix",
                   test_config_space_without_msix);
    qtest_add_func("/amd-ae4dma/registers", test_registers);
    qtest_add_func("/amd-ae4dma/copy", test_copy);
    qtest_add_func("/amd-ae4dma/wrap", test_wrap);
    qtest_add_func("/amd-ae4dma/sixteen-queues", test_sixteen_queues);
    qtest_add_func("/amd-ae4dma/interrupt-status", test_interrupt_status);
    qtest_add_func("/amd-ae4dma/msix-mask", test_msix_mask);
    qtest_add_func("/amd-ae4dma/msi", test_msi);
    qtest_add_func("/amd-ae4dma/header-and-run", test_header_and_run);
    qtest_add_func("/amd-ae4dma/hostile", test_hostile);
    return g_test_run();
}
