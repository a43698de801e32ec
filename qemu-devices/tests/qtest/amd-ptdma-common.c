/*
 * AMD PTDMA: what its qtests share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "hw/pci/pci_regs.h"
#include "amd-ptdma.h"

#define PTDMA_GUARD_SIZE    4096
#define PTDMA_WAIT_NS       (100 * 1000 * 1000 * 1000LL)

/* qtest tells the time only when it changes; it starts from 0 */
static int64_t ptdma_time_ns;

int64_t ptdma_now(void)
{
    return ptdma_time_ns;
}

void ptdma_step(QTestState *qts, int64_t step_ns)
{
    ptdma_time_ns = qtest_clock_step(qts, step_ns);
}

QOSState *ptdma_machine(const char *options)
{
    return qtest_pc_boot("-machine q35 -nodefaults -m 256M "
                         "-device amd-ptdma,id=dma0,addr=04.0%s", options);
}

static void ptdma_enable_msix(PTDMADevice *d)
{
    uint64_t entry;

    qpci_msix_enable(d->pdev);
    entry = d->pdev->msix_table_off;
    qpci_io_writel(d->pdev, d->pdev->msix_table_bar,
                   entry + PCI_MSIX_ENTRY_LOWER_ADDR, d->message);
    qpci_io_writel(d->pdev, d->pdev->msix_table_bar,
                   entry + PCI_MSIX_ENTRY_UPPER_ADDR, d->message >> 32);
    qpci_io_writel(d->pdev, d->pdev->msix_table_bar,
                   entry + PCI_MSIX_ENTRY_DATA, PTDMA_MESSAGE);
    qpci_io_writel(d->pdev, d->pdev->msix_table_bar,
                   entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
}

static void ptdma_enable_msi(PTDMADevice *d)
{
    uint8_t cap = qpci_find_capability(d->pdev, PCI_CAP_ID_MSI, 0);
    uint16_t flags;

    g_assert_cmpint(cap, !=, 0);
    flags = qpci_config_readw(d->pdev, cap + PCI_MSI_FLAGS);
    g_assert_true(flags & PCI_MSI_FLAGS_64BIT);
    qpci_config_writel(d->pdev, cap + PCI_MSI_ADDRESS_LO, d->message);
    qpci_config_writel(d->pdev, cap + PCI_MSI_ADDRESS_HI, d->message >> 32);
    /* MSI data have 16 bits; the upper ones are written as 0 */
    qpci_config_writew(d->pdev, cap + PCI_MSI_DATA_64,
                       PTDMA_MESSAGE & 0xffff);
    qpci_config_writew(d->pdev, cap + PCI_MSI_FLAGS,
                       flags | PCI_MSI_FLAGS_ENABLE);
}

void ptdma_open(PTDMADevice *d, QOSState *qs, int slot,
                PTDMAInterrupt interrupt)
{
    *d = (PTDMADevice) { .qs = qs, .qts = qs->qts, .interrupt = interrupt };
    ptdma_time_ns = 0;
    d->pdev = qpci_device_find(qs->pcibus, QPCI_DEVFN(slot, 0));
    g_assert_nonnull(d->pdev);
    qpci_device_enable(d->pdev);
    d->regs = qpci_iomap(d->pdev, AMD_PTDMA_REGS_BAR, NULL);

    d->message = qmalloc(qs, 4);
    qtest_writel(d->qts, d->message, 0);
    if (interrupt == PTDMA_MSIX) {
        ptdma_enable_msix(d);
    } else if (interrupt == PTDMA_MSI) {
        ptdma_enable_msi(d);
    }

    ptdma_set_ring(d, qmalloc(qs, PTDMA_RING_LENGTH * AMD_PTDMA_DESC_SIZE),
                   PTDMA_RING_SIZE_FIELD);
}

void ptdma_close(PTDMADevice *d)
{
    if (d->pdev->msix_enabled) {
        qpci_msix_disable(d->pdev);
    }
    qpci_iounmap(d->pdev, d->regs);
    g_free(d->pdev);
    d->pdev = NULL;
}

void ptdma_start(PTDMADevice *d, const char *options, PTDMAInterrupt interrupt)
{
    ptdma_open(d, ptdma_machine(options), 4, interrupt);
}

void ptdma_stop(PTDMADevice *d)
{
    ptdma_close(d);
    qtest_shutdown(d->qs);
}

uint32_t ptdma_read(PTDMADevice *d, uint32_t offset)
{
    return qpci_io_readl(d->pdev, d->regs, offset);
}

void ptdma_write(PTDMADevice *d, uint32_t offset, uint32_t value)
{
    qpci_io_writel(d->pdev, d->regs, offset, value);
}

uint64_t ptdma_ring_bytes(const PTDMADevice *d)
{
    return (2ULL << d->size_field) * AMD_PTDMA_DESC_SIZE;
}

void ptdma_set_ring(PTDMADevice *d, uint64_t ring, uint32_t size_field)
{
    uint32_t control = 0;

    d->ring = ring;
    d->size_field = size_field;
    g_assert_cmphex(ring % ptdma_ring_bytes(d), ==, 0);
    control = FIELD_DP32(control, Q_CONTROL, SIZE, size_field);
    control = FIELD_DP32(control, Q_CONTROL, BASE_HI, ring >> 32);
    ptdma_write(d, A_Q_CONTROL, 0);
    ptdma_write(d, A_Q_TAIL_LO, ring);
    ptdma_write(d, A_Q_HEAD_LO, ring);
    ptdma_write(d, A_Q_CONTROL, control);
}

void ptdma_fill_desc(uint32_t *dw, uint64_t source, uint64_t destination,
                     uint32_t size)
{
    memset(dw, 0, AMD_PTDMA_DESC_SIZE);
    dw[0] = PTDMA_DW0;
    dw[1] = size;
    dw[2] = source;
    dw[3] = FIELD_DP32(dw[3], DESC_DW3, SRC_HI, source >> 32);
    dw[4] = destination;
    dw[5] = FIELD_DP32(dw[5], DESC_DW5, DST_HI, destination >> 32);
}

void ptdma_push(PTDMADevice *d, const uint32_t *dw)
{
    uint32_t tail = ptdma_read(d, A_Q_TAIL_LO);
    uint64_t offset = (tail - (uint32_t)d->ring) % ptdma_ring_bytes(d);

    for (int i = 0; i < AMD_PTDMA_DESC_WORDS; i++) {
        qtest_writel(d->qts, d->ring + offset + i * 4, dw[i]);
    }
    offset = (offset + AMD_PTDMA_DESC_SIZE) % ptdma_ring_bytes(d);
    ptdma_write(d, A_Q_TAIL_LO, d->ring + offset);
}

void ptdma_run(PTDMADevice *d)
{
    uint32_t control = 0;

    control = FIELD_DP32(control, Q_CONTROL, RUN, 1);
    control = FIELD_DP32(control, Q_CONTROL, SIZE, d->size_field);
    control = FIELD_DP32(control, Q_CONTROL, BASE_HI, d->ring >> 32);
    ptdma_write(d, A_Q_CONTROL, control);
}

void ptdma_submit(PTDMADevice *d, uint64_t source, uint64_t destination,
                  uint32_t size)
{
    uint32_t dw[AMD_PTDMA_DESC_WORDS];

    ptdma_fill_desc(dw, source, destination, size);
    ptdma_push(d, dw);
    ptdma_run(d);
}

static bool ptdma_idle(PTDMADevice *d)
{
    return !FIELD_EX32(ptdma_read(d, A_Q_CONTROL), Q_CONTROL, RUN) ||
           ptdma_read(d, A_Q_HEAD_LO) == ptdma_read(d, A_Q_TAIL_LO);
}

int64_t ptdma_wait(PTDMADevice *d)
{
    int64_t start_ns = ptdma_time_ns;

    while (!ptdma_idle(d)) {
        g_assert_cmpint(ptdma_time_ns - start_ns, <, PTDMA_WAIT_NS);
        ptdma_time_ns = qtest_clock_step_next(d->qts);
    }
    return ptdma_time_ns - start_ns;
}

bool ptdma_message_seen(PTDMADevice *d)
{
    uint32_t expected = d->interrupt == PTDMA_MSI ? PTDMA_MESSAGE & 0xffff
                                                  : PTDMA_MESSAGE;
    uint32_t value = qtest_readl(d->qts, d->message);

    qtest_writel(d->qts, d->message, 0);
    if (value) {
        g_assert_cmphex(value, ==, expected);
    }
    return value;
}

uint64_t ptdma_counter(PTDMADevice *d, const char *id, const char *name)
{
    QDict *response;
    uint64_t value;

    response = qtest_qmp(d->qts, "{'execute': 'qom-get', 'arguments': "
                         "{'path': %s, 'property': %s}}", id, name);
    g_assert_true(qdict_haskey(response, "return"));
    value = qdict_get_int(response, "return");
    qobject_unref(response);
    return value;
}

QDict *ptdma_qmp(QTestState *qts, const char *fmt, ...)
{
    QDict *response;
    va_list ap;

    va_start(ap, fmt);
    response = qtest_vqmp(qts, fmt, ap);
    va_end(ap);
    g_assert_true(qdict_haskey(response, "return"));
    return response;
}

void ptdma_qmp_fails(QTestState *qts, const char *fmt, ...)
{
    QDict *response;
    va_list ap;

    va_start(ap, fmt);
    response = qtest_vqmp(qts, fmt, ap);
    va_end(ap);
    g_assert_true(qdict_haskey(response, "error"));
    qobject_unref(response);
}

uint32_t ptdma_inject(PTDMADevice *d, const char *arguments)
{
    g_autofree char *command = g_strdup_printf(
        "{'execute': 'amd-dma-inject-fault', 'arguments': "
        "{'device': 'dma0', %s}}", arguments);
    QDict *response = qtest_qmp(d->qts, command, NULL);
    uint32_t id;

    g_assert_true(qdict_haskey(response, "return"));
    id = qdict_get_int(qdict_get_qdict(response, "return"), "id");
    qobject_unref(response);
    return id;
}

void ptdma_clear_faults(PTDMADevice *d)
{
    qobject_unref(ptdma_qmp(d->qts, "{'execute': 'amd-dma-clear-faults', "
                            "'arguments': {'device': 'dma0'}}"));
}

void ptdma_check_fault(PTDMADevice *d, uint32_t id, uint64_t seen,
                       uint64_t hits, bool active)
{
    QDict *response = ptdma_qmp(d->qts, "{'execute': 'query-amd-dma-faults', "
                                "'arguments': {'device': 'dma0'}}");
    QList *faults = qdict_get_qlist(response, "return");
    QListEntry *entry;
    bool found = false;

    QLIST_FOREACH_ENTRY(faults, entry) {
        QDict *fault = qobject_to(QDict, qlist_entry_obj(entry));

        if (qdict_get_int(fault, "id") == id) {
            found = true;
            g_assert_cmpint(qdict_get_int(fault, "seen"), ==, seen);
            g_assert_cmpint(qdict_get_int(fault, "hits"), ==, hits);
            g_assert_cmpint(qdict_get_bool(fault, "active"), ==, active);
        }
    }
    g_assert_true(found);
    qobject_unref(response);
}

/* guard | source | guard | destination | guard, from a page boundary */
static uint64_t ptdma_area_size(uint32_t size)
{
    return 2 * (uint64_t)QEMU_ALIGN_UP(size + PTDMA_GUARD_SIZE,
                                       PTDMA_GUARD_SIZE) +
           3 * PTDMA_GUARD_SIZE;
}

void ptdma_memwrite(QTestState *qts, uint64_t address, const uint8_t *data,
                    size_t size)
{
    while (size) {
        size_t piece = MIN(size, PTDMA_WRITE_PIECE);

        qtest_memwrite(qts, address, data, piece);
        address += piece;
        data += piece;
        size -= piece;
    }
}

void ptdma_buffers_init(PTDMABuffers *b, PTDMADevice *d, uint32_t size,
                        uint32_t source_offset, uint32_t destination_offset)
{
    uint64_t area_size = ptdma_area_size(size);
    uint64_t stride = QEMU_ALIGN_UP(size + PTDMA_GUARD_SIZE,
                                    PTDMA_GUARD_SIZE) + PTDMA_GUARD_SIZE;

    g_assert_cmpint(source_offset, <, PTDMA_GUARD_SIZE);
    g_assert_cmpint(destination_offset, <, PTDMA_GUARD_SIZE);
    b->d = d;
    b->size = size;
    b->area = qmalloc(d->qs, area_size);
    g_assert_cmphex(b->area % PTDMA_GUARD_SIZE, ==, 0);
    b->source = b->area + PTDMA_GUARD_SIZE + source_offset;
    b->destination = b->area + stride + PTDMA_GUARD_SIZE + destination_offset;

    /*
     * Source bytes have bit 7 set, all others have not, so that no byte is
     * right by accident.
     */
    b->before = g_malloc(area_size);
    for (uint64_t i = 0; i < area_size; i++) {
        uint64_t address = b->area + i;
        uint8_t byte = (i * 2654435761u) >> 24;

        if (address >= b->source && address < b->source + size) {
            b->before[i] = byte | 0x80;
        } else {
            b->before[i] = byte & 0x7f;
        }
    }
    ptdma_memwrite(d->qts, b->area, b->before, area_size);
}

void ptdma_buffers_free(PTDMABuffers *b)
{
    qfree(b->d->qs, b->area);
    g_free(b->before);
}

void ptdma_buffers_check(PTDMABuffers *b, uint32_t copied, int64_t flipped)
{
    uint64_t area_size = ptdma_area_size(b->size);
    g_autofree uint8_t *expected = g_memdup2(b->before, area_size);
    g_autofree uint8_t *seen = g_malloc(area_size);

    memcpy(expected + (b->destination - b->area),
           b->before + (b->source - b->area), copied);
    if (flipped >= 0) {
        expected[b->destination - b->area + flipped] ^= 0xff;
    }
    qtest_memread(b->d->qts, b->area, seen, area_size);
    g_assert_cmpmem(seen, area_size, expected, area_size);
}

void ptdma_push_three(PTDMADevice *d, PTDMABuffers *b, uint32_t dw0)
{
    for (int i = 0; i < 3; i++) {
        uint32_t dw[AMD_PTDMA_DESC_WORDS];

        ptdma_fill_desc(dw, b->source + i, b->destination + i, 1);
        if (!i) {
            dw[0] = dw0;
        }
        ptdma_push(d, dw);
    }
}

void ptdma_expect_error(PTDMADevice *d, AMDPTDMAError error)
{
    uint32_t head = ptdma_read(d, A_Q_HEAD_LO);

    ptdma_wait(d);
    g_assert_cmpint(FIELD_EX32(ptdma_read(d, A_Q_STATUS), Q_STATUS, ERROR),
                    ==, error);
    g_assert_cmphex(ptdma_read(d, A_Q_INTERRUPT_STATUS), ==, PTDMA_ERROR |
                    (ptdma_read(d, A_Q_INT_ENABLE) & PTDMA_STOPPED));
    /* stopped at the failed descriptor */
    g_assert_cmphex(ptdma_read(d, A_Q_HEAD_LO), ==, head);
    g_assert_cmphex(ptdma_read(d, A_Q_CONTROL) &
                    (R_Q_CONTROL_RUN_MASK | R_Q_CONTROL_HALT_MASK), ==,
                    R_Q_CONTROL_HALT_MASK);
    ptdma_write(d, A_Q_INTERRUPT_STATUS, PTDMA_ERROR | PTDMA_STOPPED);
}

void ptdma_flush(PTDMADevice *d)
{
    ptdma_write(d, A_Q_HEAD_LO, ptdma_read(d, A_Q_TAIL_LO));
    g_assert_cmphex(ptdma_read(d, A_Q_CONTROL) & R_Q_CONTROL_HALT_MASK, ==, 0);
}

void ptdma_function_level_reset(PTDMADevice *d)
{
    uint8_t cap = qpci_find_capability(d->pdev, PCI_CAP_ID_EXP, 0);
    uint32_t bar = qpci_config_readl(d->pdev, PCI_BASE_ADDRESS_2);

    qpci_config_writew(d->pdev, cap + PCI_EXP_DEVCTL,
                       qpci_config_readw(d->pdev, cap + PCI_EXP_DEVCTL) |
                       PCI_EXP_DEVCTL_BCR_FLR);
    qpci_config_writel(d->pdev, PCI_BASE_ADDRESS_2, bar);
    qpci_device_enable(d->pdev);
}
