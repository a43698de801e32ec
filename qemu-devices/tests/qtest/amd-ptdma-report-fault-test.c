/*
 * AMD PTDMA: injected faults of what the function tells of itself
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_ids.h"
#include "hw/pci/pci_regs.h"
#include "amd-ptdma.h"

static void submit(PTDMADevice *d, PTDMABuffers *b)
{
    ptdma_submit(d, b->source, b->destination, b->size);
}

static void test_lost_interrupt(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t id;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    ptdma_buffers_init(&b, &d, 100, 0, 0);
    id = ptdma_inject(&d, "'kind': 'lost-interrupt'");
    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
    g_assert_false(ptdma_message_seen(&d));
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 0);
    ptdma_check_fault(&d, id, 1, 1, false);

    /* one message, and no other, is lost */
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    submit(&d, &b);
    ptdma_wait(&d);
    g_assert_true(ptdma_message_seen(&d));
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 1);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);

    /* a message that never becomes necessary is not owed by the next one */
    ptdma_inject(&d, "'kind': 'lost-interrupt'");
    ptdma_write(&d, A_Q_INT_ENABLE, 0);
    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    submit(&d, &b);
    ptdma_wait(&d);
    g_assert_true(ptdma_message_seen(&d));
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);

    /* nor is one whose fault has been cleared */
    ptdma_inject(&d, "'kind': 'lost-interrupt'");
    ptdma_write(&d, A_Q_INT_ENABLE, 0);
    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_clear_faults(&d);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    g_assert_true(ptdma_message_seen(&d));
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_spurious_interrupt(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    ptdma_inject(&d, "'kind': 'spurious-interrupt', 'delay-ns': 500");
    submit(&d, &b);
    ptdma_wait(&d);
    g_assert_true(ptdma_message_seen(&d));
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_step(d.qts, 499);
    g_assert_false(ptdma_message_seen(&d));
    ptdma_step(d.qts, 1);
    g_assert_true(ptdma_message_seen(&d));
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, 0);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 2);
    ptdma_step(d.qts, 100000);
    g_assert_false(ptdma_message_seen(&d));
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_duplicate_completion(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    ptdma_inject(&d, "'kind': 'duplicate-completion', 'delay-ns': 0");
    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_message_seen(&d);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_step(d.qts, 1);
    g_assert_true(ptdma_message_seen(&d));
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 1);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_step(d.qts, 100000);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, 0);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}


/* Each descriptor has its own second completion, however close they are */
static void test_duplicate_completions(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    ptdma_inject(&d, "'kind': 'duplicate-completion', 'delay-ns': 500, "
                 "'count': 0");
    ptdma_push_three(&d, &b, PTDMA_DW0);
    ptdma_run(&d);
    ptdma_wait(&d);
    g_assert_cmpint(ptdma_now(), ==, 300);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_step(d.qts, 299);
    for (int i = 0; i < 3; i++) {
        g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, 0);
        ptdma_step(d.qts, 1);
        g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                        PTDMA_COMPLETION);
        ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
        ptdma_step(d.qts, 99);
    }
    ptdma_step(d.qts, 100000);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, 0);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static uint32_t msix_data(PTDMADevice *d)
{
    return qpci_io_readl(d->pdev, d->pdev->msix_table_bar,
                         d->pdev->msix_table_off + PCI_MSIX_ENTRY_DATA);
}

static void test_all_ones(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t regs_bar, msix_bar;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    regs_bar = qpci_config_readl(d.pdev, PCI_BASE_ADDRESS_2);
    msix_bar = qpci_config_readl(d.pdev, PCI_BASE_ADDRESS_4);
    ptdma_inject(&d, "'kind': 'all-ones'");
    submit(&d, &b);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, UINT32_MAX);
    g_assert_cmphex(ptdma_read(&d, A_VERSION), ==, UINT32_MAX);
    g_assert_cmphex(qpci_config_readl(d.pdev, PCI_VENDOR_ID), ==, UINT32_MAX);
    g_assert_cmphex(qpci_config_readw(d.pdev, PCI_VENDOR_ID), ==, UINT16_MAX);
    g_assert_cmphex(msix_data(&d), ==, UINT32_MAX);
    ptdma_write(&d, A_REQID_CONFIG, 1);
    qpci_io_writel(d.pdev, d.pdev->msix_table_bar, d.pdev->msix_table_off +
                   PCI_MSIX_ENTRY_DATA, 1);
    ptdma_step(d.qts, 100000);
    ptdma_buffers_check(&b, 0, -1);

    /* as after power-on: the guest has to set it up again */
    ptdma_clear_faults(&d);
    g_assert_cmphex(qpci_config_readw(d.pdev, PCI_VENDOR_ID), ==,
                    PCI_VENDOR_ID_AMD);
    g_assert_cmphex(qpci_config_readw(d.pdev, PCI_COMMAND) &
                    PCI_COMMAND_MASTER, ==, 0);
    g_assert_cmphex(qpci_config_readl(d.pdev, PCI_BASE_ADDRESS_2), ==, 0);
    qpci_config_writel(d.pdev, PCI_BASE_ADDRESS_2, regs_bar);
    qpci_config_writel(d.pdev, PCI_BASE_ADDRESS_4, msix_bar);
    qpci_device_enable(d.pdev);
    g_assert_cmphex(msix_data(&d), ==, 0);
    g_assert_cmphex(ptdma_read(&d, A_REQID_CONFIG), ==, 0);
    g_assert_cmphex(ptdma_read(&d, A_Q_CONTROL), ==, 0);
    ptdma_set_ring(&d, d.ring, d.size_field);
    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* Whatever sends a message, it does not get into the function's registers */
static void test_message_to_own_registers(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    qpci_io_writel(d.pdev, d.pdev->msix_table_bar, d.pdev->msix_table_off +
                   PCI_MSIX_ENTRY_LOWER_ADDR, d.regs.addr + A_REQID_CONFIG);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    ptdma_inject(&d, "'kind': 'spurious-interrupt', 'delay-ns': 500");
    ptdma_inject(&d, "'kind': 'duplicate-completion', 'delay-ns': 800");
    submit(&d, &b);
    ptdma_wait(&d);
    for (int i = 1; i <= 3; i++) {
        g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, i);
        g_assert_cmphex(ptdma_read(&d, A_REQID_CONFIG), ==, 0);
        ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
        ptdma_step(d.qts, i == 1 ? 500 : 300);
    }
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/amd-ptdma-report-fault/lost-interrupt",
                   test_lost_interrupt);
    qtest_add_func("/amd-ptdma-report-fault/spurious-interrupt",
                   test_spurious_interrupt);
    qtest_add_func("/amd-ptdma-report-fault/duplicate-completion",
                   test_duplicate_completion);
    qtest_add_func("/amd-ptdma-report-fault/duplicate-completions",
                   test_duplicate_completions);
    qtest_add_func("/amd-ptdma-report-fault/all-ones", test_all_ones);
    qtest_add_func("/amd-ptdma-report-fault/message-to-own-registers",
                   test_message_to_own_registers);
    return g_test_run();
}
