/*
 * AMD DMA engines: which bytes a copy moves, wherever they lie
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "hw/i386/intel_iommu_internal.h"
#include "amd-ptdma.h"

#define PAGE                4096
#define AREA_PAGES          8
#define AREA_SIZE           (AREA_PAGES * PAGE)

/* Two regions of RAM, next to each other in the guest's memory */
#define NODE_SIZE           (128 * MiB)
#define TWO_NODES                                                           \
    "-machine q35 -nodefaults -m 256M "                                     \
    "-object memory-backend-ram,id=ram0,size=128M "                         \
    "-object memory-backend-ram,id=ram1,size=128M "                         \
    "-numa node,nodeid=0,cpus=0,memdev=ram0 -numa node,nodeid=1,memdev=ram1 "

/* Behind the IOMMU: RAM as it is, and a window of scattered pages */
#define WINDOW              (1 * GiB)
#define WINDOW_PAGES        16
#define IOMMU_REGS          0xfed90000ULL
#define LARGE_PAGE          (2 * MiB)
#define PTE_LARGE           (1 << 7)

static void fill(uint8_t *area, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++) {
        area[i] = (i * 2654435761u) >> 24;
    }
}

/*
 * What the specification says of overlapping sides: ascending pieces, each in
 * one page on both sides, and what was written is what is read later.
 */
static void model_copy(uint8_t *area, uint64_t base, uint64_t source,
                       uint64_t destination, uint32_t size, int64_t flipped)
{
    uint32_t copied = 0;

    while (copied < size) {
        uint32_t piece = size - copied;

        piece = MIN(piece, PAGE - (source + copied) % PAGE);
        piece = MIN(piece, PAGE - (destination + copied) % PAGE);
        memmove(area + (destination + copied - base),
                area + (source + copied - base), piece);
        if (flipped >= copied && flipped < copied + piece) {
            area[destination + flipped - base] ^= 0xff;
        }
        copied += piece;
    }
}

static void check_overlap(PTDMADevice *d, uint64_t base, uint32_t source,
                          uint32_t destination, uint32_t size,
                          int64_t flipped)
{
    g_autofree uint8_t *expected = g_malloc(AREA_SIZE);
    g_autofree uint8_t *seen = g_malloc(AREA_SIZE);

    fill(expected, AREA_SIZE);
    ptdma_memwrite(d->qts, base, expected, AREA_SIZE);
    if (flipped >= 0) {
        g_autofree char *fault = g_strdup_printf(
            "'kind': 'flip-byte', 'offset': %" PRId64, flipped);

        ptdma_inject(d, fault);
    }
    ptdma_submit(d, base + source, base + destination, size);
    ptdma_wait(d);
    g_assert_cmphex(ptdma_read(d, A_Q_STATUS), ==, 0);
    model_copy(expected, base, base + source, base + destination, size,
               flipped);
    qtest_memread(d->qts, base, seen, AREA_SIZE);
    g_assert_cmpmem(seen, AREA_SIZE, expected, AREA_SIZE);
}

static void test_overlap(void)
{
    static const struct {
        uint32_t source, destination, size;
    } cases[] = {
        /* up: bytes written are read again, a piece later */
        { 0, 1, 3 * PAGE }, { 5, 105, 3 * PAGE + 17 },
        { 0, PAGE, 4 * PAGE }, { 100, PAGE + 50, 4 * PAGE },
        /* down */
        { 1, 0, 3 * PAGE }, { 105, 5, 3 * PAGE + 17 },
        { PAGE, 0, 4 * PAGE }, { PAGE + 50, 100, 4 * PAGE },
        /* onto itself */
        { 77, 77, 2 * PAGE },
    };
    PTDMADevice d;
    uint64_t base;

    ptdma_start(&d, "", PTDMA_POLLED);
    base = qmalloc(d.qs, AREA_SIZE);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        check_overlap(&d, base, cases[i].source, cases[i].destination,
                      cases[i].size, -1);
        /* a wrong byte is read again, too */
        check_overlap(&d, base, cases[i].source, cases[i].destination,
                      cases[i].size, 200);
    }
    ptdma_stop(&d);
}

/* Where one region of RAM ends and the next begins, on either side or both */
static void test_regions(void)
{
    static const struct {
        int64_t source, destination;
    } cases[] = {
        { -3 * PAGE, -40 * PAGE }, { -40 * PAGE, -3 * PAGE },
        { -2 * PAGE - 100, 20 * PAGE }, { 20 * PAGE, -2 * PAGE - 100 },
        { -2 * PAGE - 1, -2 * PAGE - 101 }, { -2 * PAGE - 101, -2 * PAGE - 1 },
    };
    const uint32_t span = 128 * PAGE, size = 5 * PAGE + 3;
    const uint64_t base = NODE_SIZE - span / 2;
    QOSState *qs = qtest_pc_boot(TWO_NODES
                                 "-device amd-ptdma,id=dma0,addr=04.0");
    g_autofree uint8_t *expected = g_malloc(span);
    g_autofree uint8_t *seen = g_malloc(span);
    PTDMADevice d;

    ptdma_open(&d, qs, 4, PTDMA_POLLED);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t source = NODE_SIZE + cases[i].source;
        uint64_t destination = NODE_SIZE + cases[i].destination;

        fill(expected, span);
        ptdma_memwrite(qs->qts, base, expected, span);
        ptdma_submit(&d, source, destination, size);
        ptdma_wait(&d);
        g_assert_cmphex(ptdma_read(&d, A_Q_STATUS), ==, 0);
        model_copy(expected, base, source, destination, size, -1);
        qtest_memread(qs->qts, base, seen, span);
        g_assert_cmpmem(seen, span, expected, span);
    }
    ptdma_stop(&d);
}

/* RAM ends in the middle of a copy: all pieces before have been written */
static void test_end_of_ram(void)
{
    const uint64_t ram_end = 2 * NODE_SIZE;
    PTDMADevice d;
    PTDMABuffers b;
    g_autofree uint8_t *before = g_malloc(3 * PAGE);
    g_autofree uint8_t *after = g_malloc(3 * PAGE);

    ptdma_start(&d, "", PTDMA_POLLED);
    ptdma_buffers_init(&b, &d, 3 * PAGE, 100, 0);

    fill(before, 3 * PAGE);
    qtest_memwrite(d.qts, ram_end - 3 * PAGE, before, 3 * PAGE);
    ptdma_submit(&d, b.source, ram_end - 2 * PAGE - 50, b.size);
    ptdma_expect_error(&d, AMD_PTDMA_ODMA0_DECODE_ERROR);
    ptdma_flush(&d);
    ptdma_buffers_check(&b, 0, -1);
    memcpy(before + PAGE - 50, b.before + (b.source - b.area),
           2 * PAGE + 50);
    qtest_memread(d.qts, ram_end - 3 * PAGE, after, 3 * PAGE);
    g_assert_cmpmem(after, 3 * PAGE, before, 3 * PAGE);
    ptdma_buffers_free(&b);

    ptdma_buffers_init(&b, &d, 3 * PAGE, 0, 0);
    qtest_memwrite(d.qts, ram_end - 2 * PAGE - 50,
                   b.before + (b.source - b.area), 2 * PAGE + 50);
    ptdma_submit(&d, ram_end - 2 * PAGE - 50, b.destination, b.size);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA0_DECODE_ERROR);
    ptdma_buffers_check(&b, 2 * PAGE + 50, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static uint64_t table_new(PTDMADevice *d)
{
    uint64_t table = qmalloc(d->qs, PAGE);

    qtest_memset(d->qts, table, 0, PAGE);
    return table;
}

static void table_set(PTDMADevice *d, uint64_t table, int index,
                      uint64_t value)
{
    qtest_writeq(d->qts, table + index * 8, value);
}

/*
 * Let the IOMMU translate for bus 0.  Page i of the window is page
 * (7 * i) % WINDOW_PAGES of @pages.  The one before the last is read-only and
 * the last isn't there.
 */
static void iommu_enable(PTDMADevice *d, uint64_t pages)
{
    const uint64_t rw = VTD_SL_RW_MASK;
    uint64_t root = table_new(d), context = table_new(d);
    uint64_t level4 = table_new(d), level3 = table_new(d);
    uint64_t identity = table_new(d), level2 = table_new(d);
    uint64_t level1 = table_new(d);

    table_set(d, root, 0, context | VTD_ROOT_ENTRY_P);
    /* domain 1, four levels */
    table_set(d, context, 2 * d->pdev->devfn, level4 | VTD_CONTEXT_ENTRY_P);
    table_set(d, context, 2 * d->pdev->devfn + 1, 1 << 8 | 2);
    table_set(d, level4, 0, level3 | rw);
    table_set(d, level3, 0, identity | rw);
    table_set(d, level3, WINDOW / GiB, level2 | rw);
    for (int i = 0; i < 2 * NODE_SIZE / LARGE_PAGE; i++) {
        table_set(d, identity, i, i * LARGE_PAGE | PTE_LARGE | rw);
    }
    table_set(d, level2, 0, level1 | rw);
    for (int i = 0; i < WINDOW_PAGES - 1; i++) {
        table_set(d, level1, i, (pages + 7 * i % WINDOW_PAGES * PAGE) |
                  (i < WINDOW_PAGES - 2 ? rw : VTD_SL_R));
    }
    qtest_writeq(d->qts, IOMMU_REGS + DMAR_RTADDR_REG, root);
    qtest_writel(d->qts, IOMMU_REGS + DMAR_GCMD_REG, VTD_GCMD_SRTP);
    qtest_writel(d->qts, IOMMU_REGS + DMAR_GCMD_REG, VTD_GCMD_TE);
    g_assert_cmphex(qtest_readl(d->qts, IOMMU_REGS + DMAR_GSTS_REG) &
                    (VTD_GSTS_TES | VTD_GSTS_RTPS), ==,
                    VTD_GSTS_TES | VTD_GSTS_RTPS);
}

/* The window's contents, through the page table; but for the last page */
static void window_access(PTDMADevice *d, uint64_t pages, uint8_t *data,
                          bool write)
{
    for (int i = 0; i < WINDOW_PAGES - 1; i++) {
        uint64_t page = pages + 7 * i % WINDOW_PAGES * PAGE;

        if (write) {
            qtest_memwrite(d->qts, page, data + i * PAGE, PAGE);
        } else {
            qtest_memread(d->qts, page, data + i * PAGE, PAGE);
        }
    }
}

static void test_iommu(void)
{
    static const struct {
        uint32_t source, destination, size;
        AMDPTDMAError error;
        uint32_t copied;
    } cases[] = {
        /* more than a slice of what has to go through a bounce buffer */
        { 10, 8 * PAGE, 5 * PAGE, AMD_PTDMA_OK, 5 * PAGE },
        { 8 * PAGE + 4000, 30, 4 * PAGE, AMD_PTDMA_OK, 4 * PAGE },
        { 0, 100, 6 * PAGE, AMD_PTDMA_OK, 6 * PAGE },
        /* read-only */
        { 0, 13 * PAGE - 10, 3 * PAGE, AMD_PTDMA_ODMA0_DECODE_ERROR,
          PAGE + 10 },
        /* not there */
        { 14 * PAGE + 1, 0, 2 * PAGE, AMD_PTDMA_IDMA0_DECODE_ERROR, PAGE - 1 },
    };
    const uint32_t size = (WINDOW_PAGES - 1) * PAGE;
    QOSState *qs = qtest_pc_boot("-machine q35 -nodefaults -m 256M "
                                 "-device intel-iommu,aw-bits=48 "
                                 "-device amd-ptdma,id=dma0,addr=04.0");
    g_autofree uint8_t *expected = g_malloc(size);
    g_autofree uint8_t *seen = g_malloc(size);
    PTDMADevice d;
    uint64_t pages;

    ptdma_open(&d, qs, 4, PTDMA_POLLED);
    pages = qmalloc(qs, WINDOW_PAGES * PAGE);
    iommu_enable(&d, pages);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        fill(expected, size);
        window_access(&d, pages, expected, true);
        ptdma_submit(&d, WINDOW + cases[i].source,
                     WINDOW + cases[i].destination, cases[i].size);
        if (cases[i].error) {
            ptdma_expect_error(&d, cases[i].error);
            ptdma_flush(&d);
        } else {
            /* RAM is seen to be RAM, so all of it is one slice */
            g_assert_cmpint(ptdma_wait(&d), ==, 1);
            g_assert_cmphex(ptdma_read(&d, A_Q_STATUS), ==, 0);
            ptdma_write(&d, A_Q_INTERRUPT_STATUS, PTDMA_COMPLETION);
        }
        model_copy(expected, WINDOW, WINDOW + cases[i].source,
                   WINDOW + cases[i].destination, cases[i].copied, -1);
        window_access(&d, pages, seen, false);
        g_assert_cmpmem(seen, size, expected, size);
    }
    ptdma_stop(&d);
}

/* Pages of RAM that the migration has looked at, in its first pass */
static int64_t pages_seen(QTestState *qts)
{
    QDict *response = ptdma_qmp(qts, "{'execute': 'query-migrate'}");
    QDict *answer = qdict_get_qdict(response, "return");
    QDict *ram = qdict_get_qdict(answer, "ram");
    int64_t pages = 0;

    if (ram) {
        g_assert_cmpstr(qdict_get_str(answer, "status"), ==, "active");
        g_assert_cmpint(qdict_get_int(ram, "dirty-sync-count"), ==, 1);
        pages = qdict_get_int(ram, "duplicate") + qdict_get_int(ram, "normal");
    }
    qobject_unref(response);
    return pages;
}

static void set_bandwidth(QTestState *qts, int64_t bytes_per_s)
{
    qobject_unref(ptdma_qmp(qts, "{'execute': 'migrate-set-parameters', "
                            "'arguments': {'max-bandwidth': %" PRId64 "}}",
                            bytes_per_s));
}

/* A copy into pages that have been sent: they have to be sent again */
static void test_dirty_pages(void)
{
    g_autofree char *dir = g_dir_make_tmp("amd-dma-XXXXXX", NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s/migrate", dir);
    g_autofree char *incoming = g_strdup_printf(" -incoming %s", uri);
    PTDMADevice d;
    PTDMABuffers b;
    QOSState *to;

    ptdma_start(&d, "", PTDMA_POLLED);
    to = ptdma_machine(incoming);
    ptdma_buffers_init(&b, &d, 5 * PAGE + 7, 50, 4000);

    /* Slow enough that the first pass is far from its end */
    set_bandwidth(d.qts, 20 * KiB);
    qobject_unref(ptdma_qmp(d.qts, "{'execute': 'migrate', 'arguments': "
                            "{'uri': %s}}", uri));
    while (pages_seen(d.qts) < (b.area + 2 * AREA_SIZE) / PAGE) {
        g_usleep(10000);
    }
    ptdma_submit(&d, b.source, b.destination, b.size);
    ptdma_wait(&d);
    g_assert_cmpint(pages_seen(d.qts), >, 0);
    set_bandwidth(d.qts, 1 * TiB);
    qtest_qmp_eventwait(d.qts, "STOP");
    qtest_qmp_eventwait(to->qts, "RESUME");

    ptdma_buffers_check(&b, b.size, -1);
    d.qts = to->qts;
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    qtest_shutdown(to);
    ptdma_stop(&d);
    unlink(uri + strlen("unix:"));
    rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/amd-dma-copy/overlap", test_overlap);
    qtest_add_func("/amd-dma-copy/regions", test_regions);
    qtest_add_func("/amd-dma-copy/end-of-ram", test_end_of_ram);
    qtest_add_func("/amd-dma-copy/iommu", test_iommu);
    qtest_add_func("/amd-dma-copy/dirty-pages", test_dirty_pages);
    return g_test_run();
}
