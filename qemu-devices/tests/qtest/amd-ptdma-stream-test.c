/*
 * AMD PTDMA: snapshots, and broken migration streams
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "amd-ptdma.h"
#include "lab-stream.h"

#define ECHO_DELAY_NS   0x123456789abcLL

/* A snapshot of a descriptor under way: it goes on to the same bytes, twice */
static void test_snapshot(void)
{
    static const char options[] = ",latency-ns=1000";
    PTDMADevice from, to;
    PTDMABuffers b;
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("amd-ptdma-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    ptdma_start(&from, options, PTDMA_MSIX);
    lab_stream_open_disk(from.qts, path, true);
    ptdma_write(&from, A_Q_INT_ENABLE, PTDMA_EMPTY);
    ptdma_buffers_init(&b, &from, 3, 0, 0);
    ptdma_push_three(&from, &b, PTDMA_DW0);
    ptdma_run(&from);
    ptdma_step(from.qts, 1500);
    ptdma_buffers_check(&b, 1, -1);
    lab_stream_snapshot(from.qts, "snapshot-save");
    ptdma_wait(&from);
    ptdma_buffers_check(&b, 3, -1);
    g_assert_true(ptdma_message_seen(&from));
    g_assert_cmpint(ptdma_counter(&from, "dma0", "descriptors"), ==, 3);

    /* In a machine of its own: qtest's clock does not go back */
    to = from;
    to.pdev = g_memdup2(from.pdev, sizeof(*from.pdev));
    ptdma_stop(&from);
    to.qs = ptdma_machine(options);
    to.qts = to.qs->qts;
    to.pdev->bus = to.qs->pcibus;
    b.d = &to;
    lab_stream_open_disk(to.qts, path, false);
    lab_stream_snapshot(to.qts, "snapshot-load");
    ptdma_buffers_check(&b, 1, -1);
    g_assert_cmpint(ptdma_counter(&to, "dma0", "descriptors"), ==, 1);
    g_assert_cmphex(ptdma_read(&to, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION);
    /* the time of the snapshot was 1500 */
    ptdma_step(to.qts, 1999);
    ptdma_buffers_check(&b, 1, -1);
    ptdma_step(to.qts, 1);
    ptdma_buffers_check(&b, 2, -1);
    ptdma_step(to.qts, 1000);
    ptdma_buffers_check(&b, 3, -1);
    g_assert_true(ptdma_message_seen(&to));
    g_assert_cmphex(ptdma_read(&to, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION | PTDMA_EMPTY);
    g_assert_cmpint(ptdma_counter(&to, "dma0", "descriptors"), ==, 3);
    g_free(b.before);
    g_free(to.pdev);
    qtest_shutdown(to.qs);
    unlink(path);
}

/* What a later fault took away is there again, MSI-X table and all */
static void test_snapshot_before_removal(void)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("amd-ptdma-XXXXXX", &path, NULL);
    PTDMADevice d;
    QPCIBar table;
    uint32_t before;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    ptdma_start(&d, "", PTDMA_MSIX);
    table = d.pdev->msix_table_bar;
    lab_stream_open_disk(d.qts, path, true);
    before = qpci_io_readl(d.pdev, table, PCI_MSIX_ENTRY_DATA);
    g_assert_cmphex(before, !=, UINT32_MAX);
    lab_stream_snapshot(d.qts, "snapshot-save");
    ptdma_inject(&d, "'kind': 'all-ones'");
    ptdma_submit(&d, d.ring, d.ring, 1);
    g_assert_cmphex(qpci_io_readl(d.pdev, table, PCI_MSIX_ENTRY_DATA), ==,
                    UINT32_MAX);
    lab_stream_snapshot(d.qts, "snapshot-load");
    g_assert_cmphex(qpci_io_readl(d.pdev, table, PCI_MSIX_ENTRY_DATA), ==,
                    before);
    ptdma_stop(&d);
    unlink(path);
}

/* Where things are in a stream */
typedef struct Marks {
    size_t copied;
    size_t echoes_number;
    uint32_t size;
} Marks;

/* A second completion still to come, a copy that is held */
static GByteArray *make_stream(Marks *marks)
{
    PTDMADevice d;
    PTDMABuffers b;
    GByteArray *stream;
    uint8_t copy[20], due[8];

    ptdma_start(&d, "", PTDMA_POLLED);
    ptdma_buffers_init(&b, &d, 1234, 5, 6);
    ptdma_inject(&d, "'kind': 'duplicate-completion', "
                 "'delay-ns': 20015998343868");
    ptdma_submit(&d, b.source, b.destination, b.size);
    ptdma_step(d.qts, 1);
    ptdma_inject(&d, "'kind': 'stall', 'delay-ns': 0");
    ptdma_submit(&d, b.source, b.destination, b.size);

    stream = lab_stream_save(d.qts);
    stq_be_p(copy, b.source);
    stq_be_p(copy + 8, b.destination);
    stl_be_p(copy + 16, b.size);
    stq_be_p(due, 1 + ECHO_DELAY_NS);
    marks->size = b.size;
    marks->copied = lab_stream_behind(stream, copy, sizeof(copy));
    marks->echoes_number = lab_stream_behind(stream, due, sizeof(due)) -
                           sizeof(due) - 4;
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
    return stream;
}

/*
 * Whatever the stream was: the function answers, takes descriptors and can be
 * reset.  It copies if the machine has taken the stream; otherwise no time
 * passes any more.
 */
static bool load(const GByteArray *stream)
{
    QOSState *qs = ptdma_machine(" -incoming defer");
    PTDMADevice d;
    PTDMABuffers b;
    bool taken = lab_stream_load(qs->qts, stream);

    ptdma_open(&d, qs, 4, PTDMA_POLLED);
    ptdma_step(qs->qts, 1000000);
    ptdma_function_level_reset(&d);
    ptdma_set_ring(&d, d.ring, d.size_field);
    ptdma_buffers_init(&b, &d, 10000, 1, 2);
    ptdma_submit(&d, b.source, b.destination, b.size);
    if (taken) {
        ptdma_wait(&d);
    }
    ptdma_buffers_check(&b, taken ? b.size : 0, -1);
    ptdma_function_level_reset(&d);
    g_assert_cmphex(ptdma_read(&d, A_Q_CONTROL), ==, 0);
    g_assert_cmphex(ptdma_read(&d, A_Q_INT_STATUS), ==, 0);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
    return taken;
}

static bool load_changed(const GByteArray *stream, size_t offset,
                         uint32_t expected, uint32_t value)
{
    g_autoptr(GByteArray) changed = g_byte_array_new();

    g_byte_array_append(changed, stream->data, stream->len);
    g_assert_cmphex(ldl_be_p(changed->data + offset), ==, expected);
    stl_be_p(changed->data + offset, value);
    return load(changed);
}

static void test_malformed(void)
{
    Marks marks;
    g_autoptr(GByteArray) stream = make_stream(&marks);

    g_assert_true(load(stream));
    g_assert_true(load_changed(stream, marks.copied, 0, marks.size));
    g_assert_false(load_changed(stream, marks.copied, 0, marks.size + 1));
    g_assert_false(load_changed(stream, marks.copied, 0, UINT32_MAX));
    g_assert_false(load_changed(stream, marks.echoes_number, 1, 1025));
    g_assert_false(load_changed(stream, marks.echoes_number, 1, UINT32_MAX));
    /* the number of the last fault, of which there were two */
    g_assert_true(load_changed(stream, marks.echoes_number - 12, 2,
                               UINT32_MAX - 1));
    g_assert_false(load_changed(stream, marks.echoes_number - 12, 2,
                                UINT32_MAX));

    /* cut off in the middle of the copy, and of the second completion */
    g_byte_array_set_size(stream, marks.echoes_number + 8);
    g_assert_false(load(stream));
    g_byte_array_set_size(stream, marks.copied - 8);
    g_assert_false(load(stream));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/amd-ptdma-stream/snapshot", test_snapshot);
    qtest_add_func("/amd-ptdma-stream/snapshot/before-removal",
                   test_snapshot_before_removal);
    qtest_add_func("/amd-ptdma-stream/malformed", test_malformed);
    return g_test_run();
}
