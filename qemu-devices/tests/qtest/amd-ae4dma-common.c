/*
 * AMD AE4DMA: what its qtests share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_regs.h"
#include "amd-ae4dma.h"

#define AE4_MESSAGE     0x5a5a0100u

QOSState *ae4_machine(const char *options)
{
    return qtest_pc_boot("-machine q35 -nodefaults -m 256M "
                         "-device amd-ae4dma,id=dma0,addr=04.0%s", options);
}

static uint32_t ae4_message(AE4Device *d, unsigned int vector)
{
    /* MSI data have 16 bits; the upper ones are written as 0 */
    return d->pt.interrupt == PTDMA_MSI ? (uint16_t)(AE4_MESSAGE + vector)
                                        : AE4_MESSAGE + vector;
}

static void ae4_enable_msix(AE4Device *d)
{
    QPCIDevice *pdev = d->pt.pdev;

    qpci_msix_enable(pdev);
    for (unsigned int i = 0; i < AMD_AE4DMA_QUEUES_MAX; i++) {
        uint64_t entry = pdev->msix_table_off + i * PCI_MSIX_ENTRY_SIZE;
        uint64_t address = d->messages + i * 4;

        qpci_io_writel(pdev, pdev->msix_table_bar,
                       entry + PCI_MSIX_ENTRY_LOWER_ADDR, address);
        qpci_io_writel(pdev, pdev->msix_table_bar,
                       entry + PCI_MSIX_ENTRY_UPPER_ADDR, address >> 32);
        qpci_io_writel(pdev, pdev->msix_table_bar,
                       entry + PCI_MSIX_ENTRY_DATA, ae4_message(d, i));
        qpci_io_writel(pdev, pdev->msix_table_bar,
                       entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
    }
}

static void ae4_enable_msi(AE4Device *d)
{
    QPCIDevice *pdev = d->pt.pdev;
    uint8_t cap = qpci_find_capability(pdev, PCI_CAP_ID_MSI, 0);

    g_assert_cmpint(cap, !=, 0);
    qpci_config_writel(pdev, cap + PCI_MSI_ADDRESS_LO, d->messages);
    qpci_config_writel(pdev, cap + PCI_MSI_ADDRESS_HI, d->messages >> 32);
    qpci_config_writew(pdev, cap + PCI_MSI_DATA_64, ae4_message(d, 0));
    qpci_config_writew(pdev, cap + PCI_MSI_FLAGS,
                       qpci_config_readw(pdev, cap + PCI_MSI_FLAGS) |
                       PCI_MSI_FLAGS_ENABLE);
}

uint32_t ae4_read(AE4Device *d, unsigned int queue, uint32_t offset)
{
    return ptdma_read(&d->pt, (queue + 1) * AMD_AE4DMA_QUEUE_SIZE + offset);
}

void ae4_write(AE4Device *d, unsigned int queue, uint32_t offset,
               uint32_t value)
{
    ptdma_write(&d->pt, (queue + 1) * AMD_AE4DMA_QUEUE_SIZE + offset, value);
}

void ae4_set_up(AE4Device *d)
{
    ptdma_write(&d->pt, A_AE4_QUEUES, d->queues);
    for (uint32_t i = 0; i < d->queues; i++) {
        qtest_memset(d->pt.qts, d->rings[i], 0,
                     AE4_RING_LENGTH * AMD_AE4DMA_DESC_SIZE);
        ae4_write(d, i, A_AE4_Q_MAX_IDX, AE4_RING_LENGTH);
        ae4_write(d, i, A_AE4_Q_BASE_LO, d->rings[i]);
        ae4_write(d, i, A_AE4_Q_BASE_HI, d->rings[i] >> 32);
    }
}

void ae4_open(AE4Device *d, QOSState *qs, int devfn, PTDMAInterrupt interrupt,
              uint32_t queues)
{
    *d = (AE4Device) {
        .pt = { .qs = qs, .qts = qs->qts, .interrupt = interrupt },
        .queues = queues,
    };
    d->pt.pdev = qpci_device_find(qs->pcibus, devfn);
    g_assert_nonnull(d->pt.pdev);
    qpci_device_enable(d->pt.pdev);
    d->pt.regs = qpci_iomap(d->pt.pdev, AMD_AE4DMA_REGS_BAR, NULL);

    d->messages = qmalloc(qs, 4 * AMD_AE4DMA_QUEUES_MAX);
    qtest_memset(d->pt.qts, d->messages, 0, 4 * AMD_AE4DMA_QUEUES_MAX);
    if (interrupt == PTDMA_MSIX) {
        ae4_enable_msix(d);
    } else if (interrupt == PTDMA_MSI) {
        ae4_enable_msi(d);
    }
    for (uint32_t i = 0; i < queues; i++) {
        d->rings[i] = qmalloc(qs, AE4_RING_LENGTH * AMD_AE4DMA_DESC_SIZE);
    }
    ae4_set_up(d);
}

void ae4_close(AE4Device *d)
{
    ptdma_close(&d->pt);
}

void ae4_start(AE4Device *d, const char *options, PTDMAInterrupt interrupt,
               uint32_t queues)
{
    ae4_open(d, ae4_machine(options), QPCI_DEVFN(4, 0), interrupt, queues);
}

void ae4_stop(AE4Device *d)
{
    ptdma_stop(&d->pt);
}

void ae4_fill_desc(uint32_t *dw, uint64_t source, uint64_t destination,
                   uint32_t size)
{
    memset(dw, 0, AMD_AE4DMA_DESC_SIZE);
    dw[AMD_AE4DMA_DESC_HEADER] = AE4_HEADER;
    dw[AMD_AE4DMA_DESC_LENGTH] = size;
    dw[AMD_AE4DMA_DESC_SOURCE_LO] = source;
    dw[AMD_AE4DMA_DESC_SOURCE_HI] = source >> 32;
    dw[AMD_AE4DMA_DESC_DESTINATION_LO] = destination;
    dw[AMD_AE4DMA_DESC_DESTINATION_HI] = destination >> 32;
}

uint32_t ae4_push(AE4Device *d, unsigned int queue, const uint32_t *dw)
{
    uint32_t index = ae4_read(d, queue, A_AE4_Q_WRITE_IDX);
    uint64_t address = d->rings[queue] + index * AMD_AE4DMA_DESC_SIZE;

    for (int i = 0; i < AMD_AE4DMA_DESC_WORDS; i++) {
        qtest_writel(d->pt.qts, address + i * 4, dw[i]);
    }
    ae4_write(d, queue, A_AE4_Q_WRITE_IDX, (index + 1) % AE4_RING_LENGTH);
    return index;
}

uint32_t ae4_submit(AE4Device *d, unsigned int queue, uint64_t source,
                    uint64_t destination, uint32_t size)
{
    uint32_t dw[AMD_AE4DMA_DESC_WORDS];

    ae4_fill_desc(dw, source, destination, size);
    return ae4_push(d, queue, dw);
}

uint32_t ae4_submit_buffers(AE4Device *d, unsigned int queue, PTDMABuffers *b)
{
    return ae4_submit(d, queue, b->source, b->destination, b->size);
}

void ae4_step(AE4Device *d, int64_t step_ns)
{
    ptdma_step(d->pt.qts, step_ns);
}

static uint32_t ae4_word_1(AE4Device *d, unsigned int queue, uint32_t index)
{
    return qtest_readl(d->pt.qts, d->rings[queue] +
                       index * AMD_AE4DMA_DESC_SIZE +
                       AMD_AE4DMA_DESC_STATUS * 4);
}

void ae4_check_desc(AE4Device *d, unsigned int queue, uint32_t index,
                    uint8_t status, uint8_t error)
{
    g_assert_cmphex(ae4_word_1(d, queue, index), ==,
                    index << 16 | error << 8 | status);
}

void ae4_check_pending(AE4Device *d, unsigned int queue, uint32_t index)
{
    g_assert_cmphex(ae4_word_1(d, queue, index), ==, 0);
}

bool ae4_message_seen(AE4Device *d, unsigned int vector)
{
    uint32_t value = qtest_readl(d->pt.qts, d->messages + vector * 4);

    qtest_writel(d->pt.qts, d->messages + vector * 4, 0);
    if (value) {
        g_assert_cmphex(value, ==, ae4_message(d, vector));
    }
    return value;
}

uint64_t ae4_counter(AE4Device *d, const char *name)
{
    return ptdma_counter(&d->pt, "dma0", name);
}

void ae4_function_level_reset(AE4Device *d)
{
    QPCIDevice *pdev = d->pt.pdev;
    uint8_t cap = qpci_find_capability(pdev, PCI_CAP_ID_EXP, 0);
    uint32_t bar = qpci_config_readl(pdev, PCI_BASE_ADDRESS_0);

    qpci_config_writew(pdev, cap + PCI_EXP_DEVCTL,
                       qpci_config_readw(pdev, cap + PCI_EXP_DEVCTL) |
                       PCI_EXP_DEVCTL_BCR_FLR);
    qpci_config_writel(pdev, PCI_BASE_ADDRESS_0, bar);
    qpci_device_enable(pdev);
}
