/*
 * AMD AE4DMA: every error that the device raises itself
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_regs.h"
#include "amd-ae4dma.h"

/* Where nobody is; below the memory of PCI devices */
#define NOBODY  0x60000000ull

/*
 * The descriptor fails with this code, its neighbours do not, and nothing is
 * written to either buffer by it
 */
static void check_error(AE4Device *d, PTDMABuffers *b, const uint32_t *dw,
                        AMDAE4DMAError error)
{
    uint64_t errors = ae4_counter(d, "errors");
    uint32_t index = ae4_push(d, 0, dw);
    uint32_t next;

    ae4_step(d, AE4_LONG_NS);
    ae4_check_desc(d, 0, index, AE4_FAILED, error);
    ptdma_buffers_check(b, 0, -1);
    g_assert_cmpint(ae4_counter(d, "errors"), ==, errors + 1);
    g_assert_cmphex(ae4_read(d, 0, A_AE4_Q_INT_STATUS), ==, 1);
    g_assert_true(ae4_message_seen(d, 0));
    ae4_write(d, 0, A_AE4_Q_INT_STATUS, 0);

    /* The queue goes on by itself */
    next = ae4_submit_buffers(d, 0, b);
    ae4_step(d, AE4_LONG_NS);
    ae4_check_desc(d, 0, next, AE4_COMPLETED, 0);
    ptdma_buffers_check(b, b->size, -1);
    g_assert_true(ae4_message_seen(d, 0));
    g_assert_cmpint(ae4_read(d, 0, A_AE4_Q_READ_IDX), ==,
                    ae4_read(d, 0, A_AE4_Q_WRITE_IDX));
    qtest_memwrite(d->pt.qts, b->area, b->before,
                   b->destination + b->size - b->area);
}

/* One word of a good descriptor is changed */
static const struct {
    int word;
    uint32_t value;
    AMDAE4DMAError error;
} words[] = {
    { AMD_AE4DMA_DESC_HEADER, 6, AMD_AE4DMA_INVALID_HEADER },
    { AMD_AE4DMA_DESC_HEADER, 0x102, AMD_AE4DMA_INVALID_HEADER },
    { AMD_AE4DMA_DESC_STATUS, AE4_COMPLETED, AMD_AE4DMA_INVALID_STATUS },
    { AMD_AE4DMA_DESC_STATUS, 1, AMD_AE4DMA_INVALID_STATUS },
    { AMD_AE4DMA_DESC_LENGTH, 0, AMD_AE4DMA_INVALID_LENGTH },
    { AMD_AE4DMA_DESC_LENGTH, 5, AMD_AE4DMA_INVALID_LENGTH },
    { AMD_AE4DMA_DESC_RESERVED, 1, AMD_AE4DMA_INVALID_DESCRIPTOR },
    { AMD_AE4DMA_DESC_SOURCE_LO, NOBODY + 1, AMD_AE4DMA_INVALID_SOURCE },
    { AMD_AE4DMA_DESC_DESTINATION_LO, NOBODY + 2,
      AMD_AE4DMA_INVALID_DESTINATION },
    { AMD_AE4DMA_DESC_SOURCE_HI, 0x10000, AMD_AE4DMA_ADDRESS_TOO_LARGE },
    { AMD_AE4DMA_DESC_SOURCE_HI, UINT32_MAX, AMD_AE4DMA_ADDRESS_TOO_LARGE },
    { AMD_AE4DMA_DESC_DESTINATION_HI, 0x10000, AMD_AE4DMA_ADDRESS_TOO_LARGE },
    { AMD_AE4DMA_DESC_SOURCE_HI, 0x7000, AMD_AE4DMA_READ_DECODE_ERROR },
    { AMD_AE4DMA_DESC_DESTINATION_HI, 0x7000, AMD_AE4DMA_WRITE_DECODE_ERROR },
};

static void test_descriptors(void)
{
    AE4Device d;
    PTDMABuffers b;

    ae4_start(&d, "", PTDMA_MSIX, 1);
    ptdma_buffers_init(&b, &d.pt, 64, 0, 0);
    for (int i = 0; i < ARRAY_SIZE(words); i++) {
        uint32_t dw[AMD_AE4DMA_DESC_WORDS];

        ae4_fill_desc(dw, b.source, b.destination, b.size);
        dw[words[i].word] = words[i].value;
        check_error(&d, &b, dw, words[i].error);
    }
    ptdma_buffers_free(&b);
    ae4_stop(&d);
}

/* Up to the last byte that 48 bits can name, and one piece beyond it */
static void test_address_limit(void)
{
    uint32_t dw[AMD_AE4DMA_DESC_WORDS];
    AE4Device d;
    PTDMABuffers b;

    ae4_start(&d, "", PTDMA_MSIX, 1);
    ptdma_buffers_init(&b, &d.pt, 64, 0, 0);
    ae4_fill_desc(dw, (1ull << 48) - 64, b.destination, 64);
    check_error(&d, &b, dw, AMD_AE4DMA_READ_DECODE_ERROR);
    ae4_fill_desc(dw, (1ull << 48) - 64, b.destination, 68);
    check_error(&d, &b, dw, AMD_AE4DMA_ADDRESS_TOO_LARGE);
    ptdma_buffers_free(&b);
    ae4_stop(&d);
}

/* The function's own registers answer it with an error */
static void test_own_registers(void)
{
    uint32_t dw[AMD_AE4DMA_DESC_WORDS];
    uint32_t bar;
    AE4Device d;
    PTDMABuffers b;

    ae4_start(&d, "", PTDMA_MSIX, 1);
    ptdma_buffers_init(&b, &d.pt, 64, 0, 0);
    bar = qpci_config_readl(d.pt.pdev, PCI_BASE_ADDRESS_0) &
          PCI_BASE_ADDRESS_MEM_MASK;
    ae4_fill_desc(dw, bar, b.destination, 64);
    check_error(&d, &b, dw, AMD_AE4DMA_READ_SLAVE_ERROR);
    ae4_fill_desc(dw, b.source, bar, 64);
    check_error(&d, &b, dw, AMD_AE4DMA_WRITE_SLAVE_ERROR);
    g_assert_cmpint(ptdma_read(&d.pt, A_AE4_QUEUES), ==, 1);
    ptdma_buffers_free(&b);
    ae4_stop(&d);
}

/* A ring where nobody is: fetched in vain, reported in vain, and over */
static void test_ring_nowhere(void)
{
    AE4Device d;

    ae4_start(&d, "", PTDMA_MSIX, 1);
    ae4_write(&d, 0, A_AE4_Q_BASE_HI, 0x7000);
    ae4_write(&d, 0, A_AE4_Q_WRITE_IDX, 3);
    ae4_step(&d, AE4_LONG_NS);
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, 3);
    /* Each counts once, although its status could not be written either */
    g_assert_cmpint(ae4_counter(&d, "errors"), ==, 3);
    g_assert_cmpint(ae4_counter(&d, "interrupts"), ==, 3);
    ae4_stop(&d);
}

/* Nothing answers a function that is no bus master; nor does it tell */
static void test_no_bus_master(void)
{
    AE4Device d;
    PTDMABuffers b;

    ae4_start(&d, "", PTDMA_MSIX, 1);
    ptdma_buffers_init(&b, &d.pt, 64, 0, 0);
    qpci_config_writew(d.pt.pdev, PCI_COMMAND, PCI_COMMAND_MEMORY);
    ae4_submit_buffers(&d, 0, &b);
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b, 0, -1);
    ae4_check_pending(&d, 0, 0);
    g_assert_cmpint(ae4_counter(&d, "interrupts"), ==, 0);
    g_assert_cmpint(ae4_counter(&d, "errors"), ==, 1);
    ptdma_buffers_free(&b);
    ae4_stop(&d);
}

/* Every code that can be asked for arrives as it is */
static void test_injected_codes(void)
{
    uint32_t dw[AMD_AE4DMA_DESC_WORDS];
    AE4Device d;
    PTDMABuffers b;

    ae4_start(&d, "", PTDMA_MSIX, 1);
    ptdma_buffers_init(&b, &d.pt, 64, 0, 0);
    ae4_fill_desc(dw, b.source, b.destination, b.size);
    for (int code = 1; code <= UINT8_MAX; code++) {
        g_autofree char *fault = g_strdup_printf("'kind': 'error', "
                                                 "'code': %d", code);

        ptdma_inject(&d.pt, fault);
        check_error(&d, &b, dw, code);
    }
    ptdma_qmp_fails(d.pt.qts, "{'execute': 'amd-dma-inject-fault', "
                    "'arguments': {'device': 'dma0', 'kind': 'error', "
                    "'code': 0}}");
    ptdma_buffers_free(&b);
    ae4_stop(&d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-ae4dma-error/descriptors", test_descriptors);
    qtest_add_func("/amd-ae4dma-error/address-limit", test_address_limit);
    qtest_add_func("/amd-ae4dma-error/own-registers", test_own_registers);
    qtest_add_func("/amd-ae4dma-error/ring-nowhere", test_ring_nowhere);
    qtest_add_func("/amd-ae4dma-error/no-bus-master", test_no_bus_master);
    qtest_add_func("/amd-ae4dma-error/injected-codes", test_injected_codes);
    return g_test_run();
}
