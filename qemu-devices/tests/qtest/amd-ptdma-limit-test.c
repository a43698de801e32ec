/*
 * AMD PTDMA: the largest and smallest of everything
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "hw/pci/pci_regs.h"
#include "amd-ptdma.h"

/* Q35 has so much RAM below 4 GiB once there is more than fits */
#define LOW_RAM         (2 * GiB)
#define HIGH            (4 * GiB)
#define NODE_SIZE       (256 * MiB)
#define NODES_LOW       (LOW_RAM / NODE_SIZE)
#define NODES           ((LOW_RAM + 4 * GiB) / NODE_SIZE + 1)

typedef struct Machine {
    PTDMADevice d;
    char *file;
} Machine;

/*
 * A machine with 4.25 GiB of RAM from 4 GiB on that takes no more of the
 * host's than a few nodes: all nodes are the same file, but for the first and
 * the last one from 4 GiB on.
 */
static void machine_start(Machine *m)
{
    g_autoptr(GString) options = g_string_new(" -m 6400M");
    QOSState *qs;
    int fd = g_file_open_tmp("amd-ptdma-XXXXXX", &m->file, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, NODE_SIZE), ==, 0);
    close(fd);
    for (int i = 0; i < NODES; i++) {
        if (i == NODES_LOW || i == NODES - 1) {
            g_string_append_printf(options, " -object memory-backend-ram,"
                                   "id=m%d,size=256M", i);
        } else {
            g_string_append_printf(options, " -object memory-backend-file,"
                                   "id=m%d,size=256M,share=on,mem-path=%s",
                                   i, m->file);
        }
        g_string_append_printf(options, " -numa node,nodeid=%d,memdev=m%d%s",
                               i, i, i ? "" : ",cpus=0");
    }
    qs = qtest_pc_boot("-machine q35 -nodefaults "
                       "-device amd-ptdma,id=dma0,addr=04.0%s", options->str);
    ptdma_open(&m->d, qs, 4, PTDMA_MSIX);
}

static void machine_stop(Machine *m)
{
    ptdma_stop(&m->d);
    unlink(m->file);
    g_free(m->file);
}

static void write_desc(PTDMADevice *d, uint64_t at, uint64_t source,
                       uint64_t destination, uint32_t size)
{
    uint32_t dw[AMD_PTDMA_DESC_WORDS];

    ptdma_fill_desc(dw, source, destination, size);
    for (int i = 0; i < AMD_PTDMA_DESC_WORDS; i++) {
        qtest_writel(d->qts, at + i * 4, dw[i]);
    }
}

/*
 * Every value of SIZE: the descriptor in the ring's last slot is followed by
 * the one in its first, and no ring is longer than 4 GiB.
 */
static void test_ring_sizes(void)
{
    const uint64_t word = 64 * MiB;
    Machine m;

    machine_start(&m);
    for (uint32_t field = 0; field <= 31; field++) {
        uint64_t bytes = MIN((2ULL << field) * AMD_PTDMA_DESC_SIZE, 4 * GiB);
        uint64_t last = HIGH + bytes - AMD_PTDMA_DESC_SIZE;
        uint32_t control = R_Q_CONTROL_RUN_MASK;

        qtest_writel(m.d.qts, word, 0x11111111 + field);
        qtest_writeq(m.d.qts, word + 8, 0);
        write_desc(&m.d, last, word, word + 8, 4);
        write_desc(&m.d, HIGH, word + 8, word + 12, 4);
        control = FIELD_DP32(control, Q_CONTROL, SIZE, field);
        control = FIELD_DP32(control, Q_CONTROL, BASE_HI, HIGH >> 32);
        ptdma_write(&m.d, A_Q_CONTROL, 0);
        ptdma_write(&m.d, A_Q_HEAD_LO, last);
        /* in a ring of two, one is all that there is room for */
        ptdma_write(&m.d, A_Q_TAIL_LO, field ? AMD_PTDMA_DESC_SIZE : 0);
        ptdma_write(&m.d, A_Q_CONTROL, control);
        ptdma_wait(&m.d);
        g_assert_cmphex(qtest_readl(m.d.qts, word + 8), ==,
                        0x11111111 + field);
        g_assert_cmphex(qtest_readl(m.d.qts, word + 12), ==,
                        field ? 0x11111111 + field : 0);
        g_assert_cmphex(ptdma_read(&m.d, A_Q_HEAD_LO), ==,
                        field ? AMD_PTDMA_DESC_SIZE : 0);
        g_assert_cmphex(ptdma_read(&m.d, A_Q_STATUS), ==, 0);
    }
    machine_stop(&m);
}

/*
 * 4 GiB - 1, to a place a page further on: each page is copied to the next,
 * so the first one ends up everywhere, up to the last byte and no further.
 */
static void test_longest_copy(void)
{
    const uint64_t end = HIGH + 4096 + UINT32_MAX;
    g_autofree uint8_t *page = g_malloc(4096);
    g_autofree uint8_t *seen = g_malloc(4096);
    Machine m;

    machine_start(&m);
    for (int i = 0; i < 4096; i++) {
        page[i] = i * 7 + (i >> 8) + 1;
    }
    qtest_memwrite(m.d.qts, HIGH, page, 4096);
    qtest_memset(m.d.qts, end - 4095, 0x5a, 8192);
    ptdma_submit(&m.d, HIGH, HIGH + 4096, UINT32_MAX);
    /* 4096 slices of 1 MiB, the first of them after 1 ns */
    g_assert_cmpint(ptdma_wait(&m.d), ==, 4096);
    g_assert_cmpint(ptdma_counter(&m.d, "dma0", "bytes"), ==, UINT32_MAX);
    g_assert_cmphex(ptdma_read(&m.d, A_Q_STATUS), ==, 0);
    for (uint64_t at = HIGH; at < end - 4095; at += 127 * MiB) {
        qtest_memread(m.d.qts, QEMU_ALIGN_DOWN(at, 4096), seen, 4096);
        g_assert_cmpmem(seen, 4096, page, 4096);
    }
    /* one byte less than a page, and then nothing */
    qtest_memread(m.d.qts, end - 4095, seen, 4096);
    g_assert_cmpmem(seen, 4095, page, 4095);
    g_assert_cmphex(seen[4095], ==, 0x5a);
    g_assert_cmphex(qtest_readb(m.d.qts, end + 1), ==, 0x5a);
    machine_stop(&m);
}

/* From one memory region into the next, on either side and on both */
static void test_across_regions(void)
{
    static const struct {
        uint64_t source, destination;
    } cases[] = {
        { HIGH + NODE_SIZE - 5000, HIGH + 4 * GiB - 3000 },
        { HIGH + 4 * GiB - 3000, HIGH + NODE_SIZE / 2 },
        { HIGH + NODE_SIZE / 2, HIGH + NODE_SIZE - 77 },
    };
    const uint32_t size = 9001;
    g_autofree uint8_t *bytes = g_malloc(size);
    g_autofree uint8_t *seen = g_malloc(size + 2);
    Machine m;

    machine_start(&m);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        for (int j = 0; j < size; j++) {
            bytes[j] = (j * 2654435761u) >> 24 | 1;
        }
        qtest_memset(m.d.qts, cases[i].destination - 1, 0, size + 2);
        qtest_memwrite(m.d.qts, cases[i].source, bytes, size);
        ptdma_submit(&m.d, cases[i].source, cases[i].destination, size);
        ptdma_wait(&m.d);
        qtest_memread(m.d.qts, cases[i].destination - 1, seen, size + 2);
        g_assert_cmpmem(seen + 1, size, bytes, size);
        g_assert_cmphex(seen[0], ==, 0);
        g_assert_cmphex(seen[size + 1], ==, 0);
    }
    machine_stop(&m);
}

/* What a copy in pieces, each inside a page on both sides, makes of @bytes */
static void copy_in_pieces(uint8_t *bytes, uint32_t source,
                           uint32_t destination, uint32_t size)
{
    while (size) {
        uint32_t piece = MIN(size, 4096 - source % 4096);
        g_autofree uint8_t *held = NULL;

        piece = MIN(piece, 4096 - destination % 4096);
        held = g_memdup2(bytes + source, piece);
        memcpy(bytes + destination, held, piece);
        source += piece;
        destination += piece;
        size -= piece;
    }
}

static void test_overlap(void)
{
    static const struct {
        uint32_t source, destination, size;
    } cases[] = {
        { 0, 0, 20000 }, { 100, 101, 20000 }, { 101, 100, 20000 },
        { 4096, 8192, 20000 }, { 8192, 4096, 20000 }, { 5, 4000, 30000 },
        { 4000, 5, 30000 }, { 1, 4097, 4096 }, { 0, 1, 4095 },
    };
    const uint32_t area_size = 64 * KiB;
    g_autofree uint8_t *expected = g_malloc(area_size);
    g_autofree uint8_t *seen = g_malloc(area_size);
    PTDMADevice d;
    uint64_t area;

    ptdma_start(&d, "", PTDMA_POLLED);
    area = QEMU_ALIGN_UP(qmalloc(d.qs, area_size + 4096), 4096);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        for (uint32_t j = 0; j < area_size; j++) {
            expected[j] = (j * 2654435761u + i) >> 24;
        }
        qtest_memwrite(d.qts, area, expected, area_size);
        ptdma_submit(&d, area + cases[i].source, area + cases[i].destination,
                     cases[i].size);
        ptdma_wait(&d);
        copy_in_pieces(expected, cases[i].source, cases[i].destination,
                       cases[i].size);
        qtest_memread(d.qts, area, seen, area_size);
        g_assert_cmpmem(seen, area_size, expected, area_size);
    }
    ptdma_stop(&d);
}

/* Aligned 32-bit accesses and no others; W1C by bit; nothing between */
static void test_access_rules(void)
{
    PTDMADevice d;
    uint64_t at;

    ptdma_start(&d, "", PTDMA_POLLED);
    at = d.regs.addr + A_REQID_CONFIG;
    ptdma_write(&d, A_REQID_CONFIG, 0x12345678);
    qtest_writeb(d.qts, at, 0xff);
    qtest_writew(d.qts, at, 0xffff);
    g_assert_cmphex(ptdma_read(&d, A_REQID_CONFIG), ==, 0x12345678);
    g_assert_cmphex(qtest_readb(d.qts, at), !=, 0x78);
    g_assert_cmphex(qtest_readw(d.qts, at), !=, 0x5678);

    /* beside the registers: reads 0, ignores writes */
    for (uint32_t offset = 0; offset < AMD_PTDMA_REGS_SIZE; offset += 0x14c) {
        if (offset % 4 == 0 && offset >= 0x2000 && offset < A_CLK_GATE_CTL) {
            ptdma_write(&d, offset, UINT32_MAX);
            g_assert_cmphex(ptdma_read(&d, offset), ==, 0);
        }
    }

    /* a malformed descriptor, with all causes but COMPLETION enabled */
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_ERROR | PTDMA_STOPPED | PTDMA_EMPTY);
    ptdma_submit(&d, 0, 0, 0);
    ptdma_step(d.qts, 1);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_ERROR | PTDMA_STOPPED);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, 0);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_ERROR | PTDMA_STOPPED);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, PTDMA_ERROR | PTDMA_COMPLETION);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, PTDMA_STOPPED);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, PTDMA_STOPPED);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, 0);
    ptdma_stop(&d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/amd-ptdma-limit/ring-sizes", test_ring_sizes);
    qtest_add_func("/amd-ptdma-limit/longest-copy", test_longest_copy);
    qtest_add_func("/amd-ptdma-limit/across-regions", test_across_regions);
    qtest_add_func("/amd-ptdma-limit/overlap", test_overlap);
    qtest_add_func("/amd-ptdma-limit/access-rules", test_access_rules);
    return g_test_run();
}
