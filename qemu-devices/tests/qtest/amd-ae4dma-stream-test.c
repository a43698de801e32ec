/*
 * AMD AE4DMA: snapshots, and broken migration streams
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "amd-ae4dma.h"
#include "lab-stream.h"

#define ECHO_DELAY_NS   0x123456789abcLL
#define LAST_QUEUE      (AMD_AE4DMA_QUEUES_MAX - 1)

/* Where things are in a stream */
typedef struct Marks {
    /* of queue 0 */
    size_t max_index;
    size_t write_index;
    /* of the copy that is held in the last queue */
    size_t busy;
    size_t copied;
    size_t last_fault_id;
    uint32_t size;
} Marks;

/* A second completion still to come, a copy that is held in the last queue */
static GByteArray *make_stream(Marks *marks)
{
    uint8_t base[8], copy[20], due[8];
    GByteArray *stream;
    PTDMABuffers b;
    AE4Device d;

    ae4_start(&d, "", PTDMA_POLLED, AMD_AE4DMA_QUEUES_MAX);
    ptdma_buffers_init(&b, &d.pt, 1236, 4, 8);
    ptdma_inject(&d.pt, "'kind': 'duplicate-completion', "
                 "'delay-ns': 20015998343868");
    ae4_submit_buffers(&d, 1, &b);
    ae4_step(&d, 1);
    ptdma_inject(&d.pt, "'kind': 'stall', 'delay-ns': 0");
    ae4_submit_buffers(&d, LAST_QUEUE, &b);

    stream = lab_stream_save(d.pt.qts);
    stl_be_p(base, d.rings[0]);
    stl_be_p(base + 4, d.rings[0] >> 32);
    marks->max_index = lab_stream_behind(stream, base, sizeof(base)) - 24;
    marks->write_index = marks->max_index + 8;
    /* Held, not retired; queue 1 has ended its own */
    copy[0] = 1;
    copy[1] = 0;
    stq_be_p(copy + 2, b.source);
    stq_be_p(copy + 10, b.destination);
    marks->busy = lab_stream_behind(stream, copy, 18) - 18;
    marks->copied = marks->busy + 22;
    stq_be_p(due, 1 + ECHO_DELAY_NS);
    marks->last_fault_id = lab_stream_behind(stream, due, sizeof(due)) -
                           sizeof(due) - 12;
    marks->size = b.size;
    ptdma_buffers_free(&b);
    ae4_stop(&d);
    return stream;
}

static void change(GByteArray *stream, size_t offset, uint32_t expected,
                   uint32_t value)
{
    g_assert_cmphex(ldl_be_p(stream->data + offset), ==, expected);
    stl_be_p(stream->data + offset, value);
}

static GByteArray *copy_of(const GByteArray *stream)
{
    GByteArray *copy = g_byte_array_new();

    g_byte_array_append(copy, stream->data, stream->len);
    return copy;
}

/*
 * Whatever the stream was: every queue can be told to run, and the function
 * can be reset.
 */
static bool load(const GByteArray *stream)
{
    QOSState *qs = ae4_machine(" -incoming defer");
    bool taken = lab_stream_load(qs->qts, stream);
    AE4Device d = {
        .pt = { .qs = qs, .qts = qs->qts, .interrupt = PTDMA_POLLED },
    };

    d.pt.pdev = qpci_device_find(qs->pcibus, QPCI_DEVFN(4, 0));
    g_assert_nonnull(d.pt.pdev);
    qpci_device_enable(d.pt.pdev);
    d.pt.regs = qpci_iomap(d.pt.pdev, AMD_AE4DMA_REGS_BAR, NULL);
    for (int i = 0; i < AMD_AE4DMA_QUEUES_MAX; i++) {
        ae4_write(&d, i, A_AE4_Q_CONTROL, 1);
        g_assert_cmphex(ae4_read(&d, i, A_AE4_Q_CONTROL), ==, 1);
    }
    qtest_clock_step(qs->qts, AE4_LONG_NS);
    ae4_function_level_reset(&d);
    g_assert_cmpint(ptdma_read(&d.pt, A_AE4_QUEUES), ==, 0);
    g_assert_cmphex(ae4_read(&d, 0, A_AE4_Q_CONTROL), ==, 0);
    g_free(d.pt.pdev);
    qtest_shutdown(qs);
    return taken;
}

static bool load_changed(const GByteArray *stream, size_t offset,
                         uint32_t expected, uint32_t value)
{
    g_autoptr(GByteArray) changed = copy_of(stream);

    change(changed, offset, expected, value);
    return load(changed);
}

static void test_malformed(void)
{
    g_autoptr(GByteArray) changed = NULL;
    Marks marks;
    g_autoptr(GByteArray) stream = make_stream(&marks);

    g_assert_true(load(stream));
    g_assert_true(load_changed(stream, marks.copied, 0, marks.size));
    g_assert_false(load_changed(stream, marks.copied, 0, marks.size + 1));
    g_assert_false(load_changed(stream, marks.write_index, 0,
                                AE4_RING_LENGTH));

    /* A queue without a ring, of a function that is refused behind it */
    changed = copy_of(stream);
    change(changed, marks.max_index, AE4_RING_LENGTH, 0);
    change(changed, marks.write_index, 0, 5);
    change(changed, marks.copied, 0, marks.size + 1);
    g_assert_false(load(changed));
    /* The number of the last fault */
    g_assert_false(load_changed(stream, marks.last_fault_id, 2, UINT32_MAX));
}

/* Whoever has given out the last number takes no more faults */
static void test_last_fault(void)
{
    g_autoptr(GByteArray) stream = NULL;
    QDict *response;
    QOSState *qs;
    Marks marks;

    stream = make_stream(&marks);
    change(stream, marks.last_fault_id, 2, UINT32_MAX - 1);
    qs = ae4_machine(" -incoming defer");
    g_assert_true(lab_stream_load(qs->qts, stream));
    response = qtest_qmp(qs->qts,
        "{'execute': 'amd-dma-inject-fault',"
        " 'arguments': {'device': 'dma0', 'kind': 'all-ones'}}");
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(response, "error"),
                                          "desc"), "no number left"));
    qobject_unref(response);
    qtest_shutdown(qs);
}

/* A timer that is to end a copy, and no copy */
static void test_malformed_timer(void)
{
    g_autoptr(GByteArray) stream = NULL;
    uint8_t copy[18] = { 1, 0 };
    PTDMABuffers b;
    AE4Device d;
    size_t busy;

    ae4_start(&d, ",latency-ns=1000", PTDMA_POLLED, 1);
    ptdma_buffers_init(&b, &d.pt, 1236, 4, 8);
    ae4_submit_buffers(&d, 0, &b);
    stream = lab_stream_save(d.pt.qts);
    stq_be_p(copy + 2, b.source);
    stq_be_p(copy + 10, b.destination);
    busy = lab_stream_behind(stream, copy, sizeof(copy)) - sizeof(copy);
    ptdma_buffers_free(&b);
    ae4_stop(&d);

    g_assert_true(load(stream));
    stream->data[busy] = 0;
    g_assert_false(load(stream));
}

/* What a later fault took away is there again, MSI-X table and all */
static void test_snapshot_before_removal(void)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("amd-ae4dma-XXXXXX", &path, NULL);
    PTDMABuffers b;
    uint32_t before;
    QPCIBar table;
    AE4Device d;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    ae4_start(&d, "", PTDMA_MSIX, 1);
    table = d.pt.pdev->msix_table_bar;
    lab_stream_open_disk(d.pt.qts, path, true);
    before = qpci_io_readl(d.pt.pdev, table, PCI_MSIX_ENTRY_DATA);
    g_assert_cmphex(before, !=, UINT32_MAX);
    lab_stream_snapshot(d.pt.qts, "snapshot-save");
    ptdma_inject(&d.pt, "'kind': 'all-ones'");
    ptdma_buffers_init(&b, &d.pt, 256, 0, 0);
    ae4_submit_buffers(&d, 0, &b);
    g_assert_cmphex(qpci_io_readl(d.pt.pdev, table, PCI_MSIX_ENTRY_DATA), ==,
                    UINT32_MAX);
    lab_stream_snapshot(d.pt.qts, "snapshot-load");
    g_assert_cmphex(qpci_io_readl(d.pt.pdev, table, PCI_MSIX_ENTRY_DATA), ==,
                    before);
    ptdma_buffers_free(&b);
    ae4_stop(&d);
    unlink(path);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-ae4dma-stream/snapshot/before-removal",
                   test_snapshot_before_removal);
    qtest_add_func("/amd-ae4dma-stream/malformed", test_malformed);
    qtest_add_func("/amd-ae4dma-stream/last-fault", test_last_fault);
    qtest_add_func("/amd-ae4dma-stream/malformed/timer",
                   test_malformed_timer);
    return g_test_run();
}
