/*
 * AMD DMA engines: how fast the model copies, in host time
 *
 * Prints a line of JSON for each size: descriptors and bytes per second of the
 * device, and of memcpy() on the same host in between.  Nothing is judged, so
 * this is no test.  Run like a qtest, with QTEST_QEMU_BINARY set; arguments go
 * to QEMU.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "amd-ptdma.h"

/* The largest copy, twice, and room for the ring below */
#define BENCH_MACHINE_MIB       512
#define BENCH_AREA              (64 * MiB)
#define BENCH_RING_SIZE_FIELD   12
#define BENCH_RING_LENGTH       (2 << BENCH_RING_SIZE_FIELD)

/* What one size moves, so that each takes a good part of a second */
#define BENCH_BYTES             (1 * GiB)
#define BENCH_DESCRIPTORS       (16 * (BENCH_RING_LENGTH - 1))
#define BENCH_REPEATS           5

/* Enough virtual time for a whole ring of an instant engine */
#define BENCH_STEP_NS           (1000 * 1000 * 1000LL)

typedef struct BenchBuffers {
    uint64_t source;
    uint64_t destination;
} BenchBuffers;

static uint32_t bench_descriptors(uint32_t size)
{
    return MIN(BENCH_DESCRIPTORS, BENCH_BYTES / size);
}

/* The ring's contents stay; only tail moves on */
static void bench_fill_ring(PTDMADevice *d, const BenchBuffers *buffers,
                            uint32_t size)
{
    g_autofree uint32_t *ring = g_malloc0(BENCH_RING_LENGTH *
                                          AMD_PTDMA_DESC_SIZE);

    for (uint32_t i = 0; i < BENCH_RING_LENGTH; i++) {
        uint32_t *dw = ring + i * AMD_PTDMA_DESC_WORDS;

        ptdma_fill_desc(dw, buffers->source, buffers->destination, size);
        dw[0] &= ~R_DESC_DW0_IOC_MASK;
    }
    qtest_memwrite(d->qts, d->ring, ring,
                   BENCH_RING_LENGTH * AMD_PTDMA_DESC_SIZE);
}

/* Host microseconds for @number descriptors */
static int64_t bench_device(PTDMADevice *d, uint32_t number)
{
    int64_t start_us = g_get_monotonic_time();

    while (number) {
        uint32_t batch = MIN(number, BENCH_RING_LENGTH - 1);
        uint64_t offset = ptdma_read(d, A_Q_TAIL_LO) - (uint32_t)d->ring;

        offset = (offset + batch * AMD_PTDMA_DESC_SIZE) % ptdma_ring_bytes(d);
        ptdma_write(d, A_Q_TAIL_LO, d->ring + offset);
        ptdma_run(d);
        ptdma_step(d->qts, BENCH_STEP_NS);
        g_assert_cmphex(ptdma_read(d, A_Q_HEAD_LO), ==,
                        ptdma_read(d, A_Q_TAIL_LO));
        number -= batch;
    }
    return MAX(1, g_get_monotonic_time() - start_us);
}

static int64_t bench_memcpy(uint8_t *area, uint32_t size, uint32_t number)
{
    int64_t start_us = g_get_monotonic_time();

    for (uint32_t i = 0; i < number; i++) {
        memcpy(area + BENCH_AREA, area, size);
        /* The copy is not to be left out because the next one repeats it */
        asm volatile("" : : : "memory");
    }
    return MAX(1, g_get_monotonic_time() - start_us);
}

static int compare_us(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* One after the other, so that both see the same load of the host */
static void bench_size(PTDMADevice *d, const BenchBuffers *buffers,
                       uint8_t *area, uint32_t size)
{
    uint32_t number = bench_descriptors(size);
    int64_t device_us[BENCH_REPEATS], memcpy_us[BENCH_REPEATS];
    uint64_t before = ptdma_counter(d, "dma0", "bytes");
    double bytes = (double)number * size;

    bench_fill_ring(d, buffers, size);
    for (int i = 0; i < BENCH_REPEATS; i++) {
        device_us[i] = bench_device(d, number);
        memcpy_us[i] = bench_memcpy(area, size, number);
    }
    g_assert_cmpint(ptdma_counter(d, "dma0", "bytes") - before, ==,
                    (uint64_t)number * size * BENCH_REPEATS);
    qsort(device_us, BENCH_REPEATS, sizeof(*device_us), compare_us);
    qsort(memcpy_us, BENCH_REPEATS, sizeof(*memcpy_us), compare_us);

    printf("{\"size_bytes\": %" PRIu32 ", \"descriptors\": %" PRIu32
           ", \"repeats\": %d, \"descriptors_per_s\": %.0f"
           ", \"device_bytes_per_s\": %.0f, \"memcpy_bytes_per_s\": %.0f}\n",
           size, number, BENCH_REPEATS,
           number * 1e6 / device_us[BENCH_REPEATS / 2],
           bytes * 1e6 / device_us[BENCH_REPEATS / 2],
           bytes * 1e6 / memcpy_us[BENCH_REPEATS / 2]);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    g_autofree char *options = g_strjoinv(" ", argv + 1);
    QOSState *qs = qtest_pc_boot("-machine q35 -nodefaults -m %dM "
                                 "-device amd-ptdma,id=dma0,addr=04.0 %s",
                                 BENCH_MACHINE_MIB, options);
    g_autofree uint8_t *area = g_malloc(2 * BENCH_AREA);
    BenchBuffers buffers;
    PTDMADevice d;

    ptdma_open(&d, qs, 4, PTDMA_POLLED);
    ptdma_set_ring(&d, QEMU_ALIGN_UP(qmalloc(qs, 2 * BENCH_RING_LENGTH *
                                             AMD_PTDMA_DESC_SIZE),
                                     BENCH_RING_LENGTH * AMD_PTDMA_DESC_SIZE),
                   BENCH_RING_SIZE_FIELD);
    buffers.source = qmalloc(qs, BENCH_AREA);
    buffers.destination = qmalloc(qs, BENCH_AREA);
    /* No page of either side is to be touched for the first time later */
    memset(area, 0x5a, 2 * BENCH_AREA);
    qtest_memset(d.qts, buffers.source, 0x5a, BENCH_AREA);
    qtest_memset(d.qts, buffers.destination, 0xa5, BENCH_AREA);

    for (uint64_t size = 64; size <= BENCH_AREA; size *= 4) {
        bench_size(&d, &buffers, area, size);
    }
    ptdma_stop(&d);
    return 0;
}
