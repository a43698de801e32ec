/*
 * AMD PTDMA: errors and hostile guests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "hw/pci/pci_regs.h"
#include "amd-ptdma.h"

/* Nothing is there */
#define NOWHERE     0x200000000ULL

/* Q35 host bridge: where configuration space is mapped */
#define MCH_PCIEXBAR            0x60
#define MCH_PCIEXBAR_ENABLE     1

/* In a good descriptor, these bits of this dword are replaced */
static const struct {
    int dword;
    uint32_t mask;
    uint32_t value;
    AMDPTDMAError error;
} malformed[] = {
    { 0, R_DESC_DW0_ENGINE_MASK, 0, AMD_PTDMA_ILLEGAL_ENGINE },
    { 0, R_DESC_DW0_ENGINE_MASK, 6 << 20, AMD_PTDMA_ILLEGAL_ENGINE },
    { 0, UINT32_MAX, 0, AMD_PTDMA_ILLEGAL_ENGINE },
    { 0, R_DESC_DW0_BITWISE_MASK, 1 << 7, AMD_PTDMA_ILLEGAL_FUNCTION_TYPE },
    { 0, R_DESC_DW0_BYTESWAP_MASK, 2 << 5, AMD_PTDMA_ILLEGAL_FUNCTION_MODE },
    { 0, R_DESC_DW0_REFLECT_MASK, 1 << 10, AMD_PTDMA_ILLEGAL_FUNCTION_MODE },
    { 0, R_DESC_DW0_FUNCTION_RSVD_MASK, 1 << 12,
      AMD_PTDMA_ILLEGAL_FUNCTION_RSVD },
    { 1, UINT32_MAX, 0, AMD_PTDMA_ILLEGAL_BUFFER_LENGTH },
    { 3, R_DESC_DW3_SRC_MEM_MASK, 1 << 16, AMD_PTDMA_ILLEGAL_MEM_SEL },
    { 5, R_DESC_DW5_DST_MEM_MASK, 2 << 16, AMD_PTDMA_ILLEGAL_MEM_SEL },
    { 3, R_DESC_DW3_LSB_CTX_ID_MASK, 128 << 18,
      AMD_PTDMA_ILLEGAL_CONTEXT_ID },
    { 3, R_DESC_DW3_FIXED_MASK, 1u << 31, AMD_PTDMA_ILLEGAL_FUNCTION_MODE },
    { 5, R_DESC_DW5_FIXED_MASK, 1u << 31, AMD_PTDMA_ILLEGAL_FUNCTION_MODE },
};

static void test_malformed(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_ERROR);
    ptdma_buffers_init(&b, &d, 64, 0, 0);
    for (int i = 0; i < ARRAY_SIZE(malformed); i++) {
        uint32_t dw[AMD_PTDMA_DESC_WORDS];

        ptdma_fill_desc(dw, b.source, b.destination, b.size);
        dw[malformed[i].dword] = (dw[malformed[i].dword] &
                                  ~malformed[i].mask) | malformed[i].value;
        ptdma_push(&d, dw);
        ptdma_run(&d);
        ptdma_expect_error(&d, malformed[i].error);
        g_assert_true(ptdma_message_seen(&d));
        ptdma_flush(&d);
        g_assert_cmpint(ptdma_counter(&d, "dma0", "errors"), ==, i + 1);
    }
    ptdma_buffers_check(&b, 0, -1);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 0);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "bytes"), ==, 0);

    ptdma_submit(&d, b.source, b.destination, b.size);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* Addresses that do not answer, on either side, from the start or later */
static void test_bus_errors(void)
{
    const uint64_t ram_end = 256 * MiB;
    uint8_t before[4096], after[4096];
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, "", PTDMA_POLLED);
    ptdma_buffers_init(&b, &d, 8192, 0, 0);

    ptdma_submit(&d, NOWHERE, b.destination, b.size);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA0_DECODE_ERROR);
    ptdma_flush(&d);
    ptdma_submit(&d, b.source, NOWHERE, b.size);
    ptdma_expect_error(&d, AMD_PTDMA_ODMA0_DECODE_ERROR);
    ptdma_flush(&d);
    ptdma_buffers_check(&b, 0, -1);

    /* the longest copy there is, in slices, up to the end of RAM */
    ptdma_submit(&d, b.source, ram_end - 100 * MiB - 5, UINT32_MAX);
    ptdma_expect_error(&d, AMD_PTDMA_ODMA0_DECODE_ERROR);
    g_assert_cmpint(ptdma_now(), >=, 100);
    qtest_memread(d.qts, b.source + 100 * MiB - 4096, before, sizeof(before));
    qtest_memread(d.qts, ram_end - 4096 - 5, after, sizeof(after));
    g_assert_cmpmem(before, sizeof(before), after, sizeof(after));
    ptdma_flush(&d);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);

    /* what comes before the hole is copied, nothing else */
    ptdma_start(&d, "", PTDMA_POLLED);
    qtest_memset(d.qts, ram_end - 4096, 0xa5, 4096);
    ptdma_buffers_init(&b, &d, 8192, 0, 0);
    ptdma_submit(&d, ram_end - 4096, b.destination, b.size);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA0_DECODE_ERROR);
    ptdma_flush(&d);
    qtest_memread(d.qts, ram_end - 4096, before, sizeof(before));
    qtest_memread(d.qts, b.destination, after, sizeof(after));
    g_assert_cmpmem(before, sizeof(before), after, sizeof(after));
    qtest_memread(d.qts, b.destination + 4096, after, sizeof(after));
    g_assert_cmpmem(b.before + (b.destination + 4096 - b.area),
                    sizeof(after), after, sizeof(after));
    ptdma_buffers_free(&b);

    /* however the two sides lie in their pages */
    ptdma_buffers_init(&b, &d, 200, 0, 0);
    ptdma_submit(&d, ram_end - 100, b.destination, b.size);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA0_DECODE_ERROR);
    ptdma_flush(&d);
    qtest_memread(d.qts, ram_end - 100, before, 100);
    qtest_memread(d.qts, b.destination, after, 200);
    g_assert_cmpmem(before, 100, after, 100);
    g_assert_cmpmem(b.before + (b.destination + 100 - b.area), 100,
                    after + 100, 100);
    ptdma_buffers_free(&b);

    /* the end of the 48 bits */
    ptdma_submit(&d, (1ULL << AMD_PTDMA_ADDR_BITS) - 8, NOWHERE, 8);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA0_DECODE_ERROR);
    ptdma_flush(&d);
    ptdma_buffers_init(&b, &d, 8, 0, 0);
    ptdma_submit(&d, b.source, (1ULL << AMD_PTDMA_ADDR_BITS) - 8, 8);
    ptdma_expect_error(&d, AMD_PTDMA_ODMA0_DECODE_ERROR);
    ptdma_flush(&d);
    ptdma_buffers_free(&b);
    ptdma_submit(&d, (1ULL << AMD_PTDMA_ADDR_BITS) - 8, NOWHERE, 8 + 1);
    ptdma_expect_error(&d, AMD_PTDMA_ILLEGAL_MEM_ADDR);
    ptdma_flush(&d);
    ptdma_submit(&d, NOWHERE, (1ULL << AMD_PTDMA_ADDR_BITS) - 8, 8 + 1);
    ptdma_expect_error(&d, AMD_PTDMA_ILLEGAL_MEM_ADDR);
    ptdma_stop(&d);
}

static void test_bus_master_off(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint16_t command;

    ptdma_start(&d, ",latency-ns=1000", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_ERROR);
    ptdma_buffers_init(&b, &d, 64, 0, 0);
    command = qpci_config_readw(d.pdev, PCI_COMMAND);

    /* while a copy is under way: it can neither read nor tell */
    ptdma_submit(&d, b.source, b.destination, b.size);
    qpci_config_writew(d.pdev, PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA0_DECODE_ERROR);
    ptdma_flush(&d);

    /* before: the descriptor itself is out of reach */
    ptdma_submit(&d, b.source, b.destination, b.size);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA1_DECODE_ERROR);
    g_assert_false(ptdma_message_seen(&d));
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 0);
    ptdma_buffers_check(&b, 0, -1);

    /* control alone makes it try again */
    qpci_config_writew(d.pdev, PCI_COMMAND, command);
    ptdma_run(&d);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* The engine is kept off its own registers; others' are memory like any */
static void test_own_registers(void)
{
    QOSState *qs = qtest_pc_boot(
        "-machine q35 -nodefaults -m 256M -device amd-ptdma,id=dma0,addr=04.0 "
        "-device amd-ptdma,id=dma1,addr=05.0");
    PTDMADevice d, other;
    uint64_t word = qmalloc(qs, 4);

    ptdma_open(&d, qs, 4, PTDMA_MSIX);
    ptdma_open(&other, qs, 5, PTDMA_POLLED);
    qtest_writel(qs->qts, word, 0x12345678);

    ptdma_submit(&d, word, d.regs.addr + A_REQID_CONFIG, 4);
    ptdma_expect_error(&d, AMD_PTDMA_ODMA0_SLAVE_ERROR);
    ptdma_flush(&d);
    g_assert_cmphex(ptdma_read(&d, A_REQID_CONFIG), ==, 0);

    ptdma_submit(&d, d.regs.addr + A_VERSION, word, 4);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA0_SLAVE_ERROR);
    ptdma_flush(&d);
    g_assert_cmphex(qtest_readl(qs->qts, word), ==, 0x12345678);

    ptdma_submit(&d, word, d.pdev->msix_table_bar.addr, 4);
    ptdma_expect_error(&d, AMD_PTDMA_ODMA0_SLAVE_ERROR);
    ptdma_flush(&d);

    ptdma_submit(&d, word, other.regs.addr + A_REQID_CONFIG, 4);
    ptdma_wait(&d);
    g_assert_cmphex(ptdma_read(&other, A_REQID_CONFIG), ==, 0x12345678);
    g_assert_cmphex(ptdma_read(&d, A_Q_STATUS), ==, 0);

    /* a ring in the registers */
    ptdma_set_ring(&d, d.regs.addr, PTDMA_RING_SIZE_FIELD);
    ptdma_write(&d, A_Q_TAIL_LO, d.regs.addr + AMD_PTDMA_DESC_SIZE);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_run(&d);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA1_SLAVE_ERROR);

    ptdma_close(&other);
    ptdma_stop(&d);
}

/* The copy itself resets the function that makes it */
static void test_reset_by_own_copy(void)
{
    const uint64_t ecam = 0xb0000000;
    PTDMADevice d;
    PTDMABuffers b;
    QPCIDevice *bridge;
    uint64_t source, devctl;
    uint32_t bar;
    uint8_t cap;

    ptdma_start(&d, "", PTDMA_POLLED);
    ptdma_buffers_init(&b, &d, 64, 0, 0);
    bridge = qpci_device_find(d.qs->pcibus, QPCI_DEVFN(0, 0));
    qpci_config_writel(bridge, MCH_PCIEXBAR, ecam | MCH_PCIEXBAR_ENABLE);
    g_free(bridge);

    cap = qpci_find_capability(d.pdev, PCI_CAP_ID_EXP, 0);
    devctl = ecam + (QPCI_DEVFN(4, 0) << 12) + cap + PCI_EXP_DEVCTL;
    bar = qpci_config_readl(d.pdev, PCI_BASE_ADDRESS_2);
    source = qmalloc(d.qs, 8192);
    qtest_writew(d.qts, source, PCI_EXP_DEVCTL_BCR_FLR);

    ptdma_submit(&d, source, devctl, 2);
    ptdma_submit(&d, b.source, b.destination, b.size);
    ptdma_step(d.qts, 1000);
    g_assert_cmphex(qpci_config_readl(d.pdev, PCI_BASE_ADDRESS_2), ==, 0);
    qpci_config_writel(d.pdev, PCI_BASE_ADDRESS_2, bar);
    qpci_device_enable(d.pdev);
    g_assert_cmphex(ptdma_read(&d, A_Q_CONTROL), ==, 0);
    g_assert_cmphex(ptdma_read(&d, A_Q_HEAD_LO), ==, 0);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, 0);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 0);
    ptdma_buffers_check(&b, 0, -1);

    /* and the copy is not taken up again */
    ptdma_step(d.qts, 1000);
    g_assert_cmphex(qpci_config_readl(d.pdev, PCI_BASE_ADDRESS_2), ==, bar);

    ptdma_set_ring(&d, d.ring, d.size_field);
    ptdma_submit(&d, b.source, b.destination, b.size);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* A tail that head never reaches: an endless queue, but a living machine */
static void test_endless_ring(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t dw[AMD_PTDMA_DESC_WORDS];
    uint64_t done;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_set_ring(&d, d.ring, 0);
    ptdma_buffers_init(&b, &d, 16, 0, 0);
    ptdma_fill_desc(dw, b.source, b.destination, b.size);
    ptdma_push(&d, dw);
    ptdma_push(&d, dw);
    ptdma_write(&d, A_Q_TAIL_LO, d.ring + 4 * AMD_PTDMA_DESC_SIZE);
    ptdma_run(&d);
    ptdma_step(d.qts, 1000);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 1000);

    ptdma_write(&d, A_Q_CONTROL, 0);
    ptdma_step(d.qts, 1000);
    done = ptdma_counter(&d, "dma0", "descriptors");
    g_assert_cmpint(done, ==, 1001);

    /* the largest ring wraps at 4 GiB */
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_write(&d, A_Q_HEAD_LO, UINT32_MAX);
    ptdma_write(&d, A_Q_TAIL_LO, 0);
    ptdma_write(&d, A_Q_CONTROL, R_Q_CONTROL_RUN_MASK | R_Q_CONTROL_SIZE_MASK);
    ptdma_expect_error(&d, AMD_PTDMA_ILLEGAL_ENGINE);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/amd-ptdma-error/malformed", test_malformed);
    qtest_add_func("/amd-ptdma-error/bus-errors", test_bus_errors);
    qtest_add_func("/amd-ptdma-error/bus-master-off", test_bus_master_off);
    qtest_add_func("/amd-ptdma-error/own-registers", test_own_registers);
    qtest_add_func("/amd-ptdma-error/reset-by-own-copy",
                   test_reset_by_own_copy);
    qtest_add_func("/amd-ptdma-error/endless-ring", test_endless_ring);
    return g_test_run();
}
