/*
 * AMD AE4DMA: every kind of fault, and how descriptors are selected
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "hw/pci/pci_ids.h"
#include "hw/pci/pci_regs.h"
#include "amd-ae4dma.h"

#define BUFFERS     6

/* A machine with a function of 16 queues, four of them in use */
static void start(AE4Device *d, PTDMABuffers *b)
{
    ae4_start(d, "", PTDMA_MSIX, 4);
    for (int i = 0; i < BUFFERS; i++) {
        ptdma_buffers_init(&b[i], &d->pt, 256, 0, 0);
    }
}

static void stop(AE4Device *d, PTDMABuffers *b)
{
    for (int i = 0; i < BUFFERS; i++) {
        ptdma_buffers_free(&b[i]);
    }
    ae4_stop(d);
}

static void test_flip_and_partial(void)
{
    PTDMABuffers b[BUFFERS];
    AE4Device d;

    start(&d, b);
    ptdma_inject(&d.pt, "'kind': 'flip-byte', 'offset': 17, 'nth': 2");
    ptdma_inject(&d.pt, "'kind': 'partial-copy', 'copied': 100, 'nth': 3");
    for (int i = 0; i < 4; i++) {
        ae4_submit_buffers(&d, i, &b[i]);
    }
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b[0], 256, -1);
    ptdma_buffers_check(&b[1], 256, 17);
    ptdma_buffers_check(&b[2], 100, -1);
    ptdma_buffers_check(&b[3], 256, -1);
    for (int i = 0; i < 4; i++) {
        ae4_check_desc(&d, i, 0, AE4_COMPLETED, 0);
    }
    stop(&d, b);
}

/* The whole buffer lands in the guard zone behind its place */
static void test_wrong_address(void)
{
    PTDMABuffers b[BUFFERS];
    uint8_t seen[256];
    AE4Device d;

    start(&d, b);
    ptdma_inject(&d.pt, "'kind': 'wrong-address', 'displacement': 1024");
    ae4_submit_buffers(&d, 0, &b[0]);
    ae4_step(&d, AE4_LONG_NS);
    qtest_memread(d.pt.qts, b[0].destination + 1024, seen, sizeof(seen));
    g_assert_cmpmem(seen, sizeof(seen),
                    b[0].before + (b[0].source - b[0].area), sizeof(seen));
    qtest_memread(d.pt.qts, b[0].destination, seen, sizeof(seen));
    g_assert_cmpmem(seen, sizeof(seen),
                    b[0].before + (b[0].destination - b[0].area),
                    sizeof(seen));
    stop(&d, b);
}

/* One queue stands still, the others do not notice */
static void test_stall(void)
{
    PTDMABuffers b[BUFFERS];
    uint32_t id;
    AE4Device d;

    start(&d, b);
    id = ptdma_inject(&d.pt, "'kind': 'stall', 'delay-ns': 0, 'queue': 1");
    for (int i = 0; i < 4; i++) {
        ae4_submit_buffers(&d, i % 2, &b[i]);
    }
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b[0], 256, -1);
    ptdma_buffers_check(&b[2], 256, -1);
    ptdma_buffers_check(&b[1], 0, -1);
    ptdma_buffers_check(&b[3], 0, -1);
    g_assert_cmpint(ae4_read(&d, 1, A_AE4_Q_READ_IDX), ==, 0);
    ptdma_check_fault(&d.pt, id, 1, 1, false);
    ptdma_clear_faults(&d.pt);
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b[1], 256, -1);
    ptdma_buffers_check(&b[3], 256, -1);
    stop(&d, b);
}

static void test_slow(void)
{
    PTDMABuffers b[BUFFERS];
    AE4Device d;

    start(&d, b);
    ptdma_inject(&d.pt, "'kind': 'stall', 'delay-ns': 5000, 'queue': 0");
    /* 256 bytes in 2560 ns */
    ptdma_inject(&d.pt, "'kind': 'slow-link', 'bandwidth': 100000000, "
                 "'queue': 1");
    ae4_submit_buffers(&d, 0, &b[0]);
    ae4_submit_buffers(&d, 1, &b[1]);
    ae4_step(&d, 2559);
    ae4_check_pending(&d, 1, 0);
    ae4_step(&d, 1);
    ae4_check_desc(&d, 1, 0, AE4_COMPLETED, 0);
    ae4_step(&d, 2439);
    ae4_check_pending(&d, 0, 0);
    ae4_step(&d, 1);
    ae4_check_desc(&d, 0, 0, AE4_COMPLETED, 0);
    stop(&d, b);
}

static void test_reports(void)
{
    PTDMABuffers b[BUFFERS];
    uint64_t word;
    AE4Device d;

    start(&d, b);
    ptdma_inject(&d.pt, "'kind': 'interrupt-before-data', 'delay-ns': 500, "
                 "'queue': 0");
    ptdma_inject(&d.pt, "'kind': 'lost-interrupt', 'queue': 1");
    ptdma_inject(&d.pt, "'kind': 'spurious-interrupt', 'delay-ns': 700, "
                 "'queue': 2");
    ptdma_inject(&d.pt, "'kind': 'duplicate-completion', 'delay-ns': 900, "
                 "'queue': 3");
    for (int i = 0; i < 4; i++) {
        ae4_submit_buffers(&d, i, &b[i]);
    }
    ae4_step(&d, 1);
    for (int i = 0; i < 4; i++) {
        ae4_check_desc(&d, i, 0, AE4_COMPLETED, 0);
        g_assert_cmphex(ae4_read(&d, i, A_AE4_Q_INT_STATUS), ==, 1);
        g_assert_cmpint(ae4_message_seen(&d, i), ==, i != 1);
        ptdma_buffers_check(&b[i], i ? 256 : 0, -1);
        ae4_write(&d, i, A_AE4_Q_INT_STATUS, 0);
    }
    ae4_step(&d, 500);
    ptdma_buffers_check(&b[0], 256, -1);
    ae4_step(&d, 200);
    /* A message without a cause */
    g_assert_true(ae4_message_seen(&d, 2));
    g_assert_cmphex(ae4_read(&d, 2, A_AE4_Q_INT_STATUS), ==, 0);
    /* What the driver does with a place in the ring that it may use again */
    word = d.rings[3] + AMD_AE4DMA_DESC_STATUS * 4;
    qtest_writel(d.pt.qts, word, 0);
    ae4_step(&d, 200);
    g_assert_true(ae4_message_seen(&d, 3));
    g_assert_cmphex(ae4_read(&d, 3, A_AE4_Q_INT_STATUS), ==, 1);
    ae4_check_desc(&d, 3, 0, AE4_COMPLETED, 0);
    g_assert_cmpint(ae4_read(&d, 3, A_AE4_Q_READ_IDX), ==, 1);
    g_assert_false(ae4_message_seen(&d, 1));
    g_assert_cmpint(ae4_counter(&d, "descriptors"), ==, 4);
    stop(&d, b);
}

static void test_all_ones(void)
{
    PTDMABuffers b[BUFFERS];
    AE4Device d;

    start(&d, b);
    ptdma_inject(&d.pt, "'kind': 'all-ones', 'queue': 2");
    ae4_submit_buffers(&d, 0, &b[0]);
    ae4_submit_buffers(&d, 2, &b[2]);
    ae4_step(&d, AE4_LONG_NS);
    /* It took along what another queue had under way */
    ptdma_buffers_check(&b[0], 0, -1);
    ptdma_buffers_check(&b[2], 0, -1);
    g_assert_cmphex(qpci_config_readl(d.pt.pdev, 0), ==, UINT32_MAX);
    g_assert_cmphex(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, UINT32_MAX);
    g_assert_cmphex(qpci_io_readl(d.pt.pdev, d.pt.pdev->msix_table_bar, 0), ==,
                    UINT32_MAX);
    ptdma_clear_faults(&d.pt);
    g_assert_cmphex(qpci_config_readw(d.pt.pdev, PCI_VENDOR_ID), ==,
                    PCI_VENDOR_ID_AMD);
    qpci_device_enable(d.pt.pdev);
    d.pt.regs = qpci_iomap(d.pt.pdev, AMD_AE4DMA_REGS_BAR, NULL);
    g_assert_cmpint(ptdma_read(&d.pt, A_AE4_QUEUES), ==, 0);
    ae4_set_up(&d);
    ae4_submit_buffers(&d, 0, &b[0]);
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b[0], 256, -1);
    stop(&d, b);
}

/* Held while two later ones of its queue, and one of another, complete */
static void test_out_of_order(void)
{
    PTDMABuffers b[BUFFERS];
    uint32_t id;
    AE4Device d;

    start(&d, b);
    id = ptdma_inject(&d.pt, "'kind': 'out-of-order', 'later': 2, "
                      "'queue': 0, 'nth': 2");
    for (int i = 0; i < 3; i++) {
        ae4_submit_buffers(&d, 0, &b[i]);
    }
    ae4_submit_buffers(&d, 1, &b[5]);
    ae4_step(&d, AE4_LONG_NS);
    ptdma_check_fault(&d.pt, id, 2, 1, false);
    ptdma_buffers_check(&b[0], 256, -1);
    ptdma_buffers_check(&b[1], 0, -1);
    ptdma_buffers_check(&b[2], 256, -1);
    ptdma_buffers_check(&b[5], 256, -1);
    ae4_check_desc(&d, 0, 0, AE4_COMPLETED, 0);
    ae4_check_pending(&d, 0, 1);
    ae4_check_desc(&d, 0, 2, AE4_COMPLETED, 0);
    /* The index says that all are done */
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, 3);
    g_assert_cmpint(ae4_counter(&d, "interrupts"), ==, 3);

    ae4_submit_buffers(&d, 0, &b[3]);
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b[3], 256, -1);
    ptdma_buffers_check(&b[1], 256, -1);
    ae4_check_desc(&d, 0, 1, AE4_COMPLETED, 0);
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, 4);
    g_assert_cmpint(ae4_counter(&d, "interrupts"), ==, 5);
    /* And in order again */
    ae4_submit_buffers(&d, 0, &b[4]);
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b[4], 256, -1);
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, 5);
    stop(&d, b);
}

/* Held for more than ever come; a second hit passes; clearing ends it */
static void test_out_of_order_cleared(void)
{
    PTDMABuffers b[BUFFERS];
    AE4Device d;

    start(&d, b);
    ptdma_inject(&d.pt, "'kind': 'out-of-order', 'later': 100, 'count': 2");
    ae4_submit_buffers(&d, 0, &b[0]);
    ae4_step(&d, AE4_LONG_NS);
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, 0);
    ae4_submit_buffers(&d, 0, &b[1]);
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b[0], 0, -1);
    ptdma_buffers_check(&b[1], 256, -1);
    ptdma_clear_faults(&d.pt);
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b[0], 256, -1);
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, 2);
    stop(&d, b);
}

/* Cleared with a later one under way, which ends first */
static void test_out_of_order_cleared_late(void)
{
    PTDMABuffers b[BUFFERS];
    AE4Device d;

    start(&d, b);
    ptdma_inject(&d.pt, "'kind': 'out-of-order', 'later': 5");
    ae4_submit_buffers(&d, 0, &b[0]);
    ae4_submit_buffers(&d, 0, &b[1]);
    ptdma_clear_faults(&d.pt);
    ae4_step(&d, 1);
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, 2);
    ae4_step(&d, AE4_LONG_NS);
    ptdma_buffers_check(&b[0], 256, -1);
    ptdma_buffers_check(&b[1], 256, -1);
    g_assert_cmpint(ae4_read(&d, 0, A_AE4_Q_READ_IDX), ==, 2);
    stop(&d, b);
}

/* A second hit is not held, and takes the time that it takes */
static void test_out_of_order_second(void)
{
    PTDMABuffers b[2];
    AE4Device d;

    ae4_start(&d, ",latency-ns=1000", PTDMA_POLLED, 1);
    ptdma_inject(&d.pt, "'kind': 'out-of-order', 'later': 5, 'count': 2");
    for (int i = 0; i < 2; i++) {
        ptdma_buffers_init(&b[i], &d.pt, 256, 0, 0);
        ae4_submit_buffers(&d, 0, &b[i]);
    }
    ae4_step(&d, 999);
    ae4_check_pending(&d, 0, 1);
    ae4_step(&d, 1);
    ae4_check_desc(&d, 0, 1, AE4_COMPLETED, 0);
    ae4_check_pending(&d, 0, 0);
    for (int i = 0; i < 2; i++) {
        ptdma_buffers_free(&b[i]);
    }
    ae4_stop(&d);
}

/* A bit for each of 64 descriptors that a fault of this seed hits */
static uint64_t hits_of(AE4Device *d, PTDMABuffers *b, const char *seed)
{
    g_autofree char *fault = g_strdup_printf(
        "'kind': 'error', 'code': 77, 'count': 0, "
        "'probability-ppm': 250000%s", seed);
    uint64_t hits = 0;

    ptdma_inject(&d->pt, fault);
    for (int i = 0; i < 64; i++) {
        uint64_t errors = ae4_counter(d, "errors");

        ae4_submit_buffers(d, 0, b);
        ae4_step(d, 10);
        hits |= (ae4_counter(d, "errors") - errors) << i;
    }
    ptdma_clear_faults(&d->pt);
    return hits;
}

static void test_probability(void)
{
    PTDMABuffers b[BUFFERS];
    uint64_t first, other;
    AE4Device d;

    start(&d, b);
    first = hits_of(&d, b, ", 'seed': 1");
    other = hits_of(&d, b, ", 'seed': 2");
    g_assert_cmphex(first, !=, other);
    g_assert_cmphex(hits_of(&d, b, ", 'seed': 1"), ==, first);
    g_assert_cmphex(hits_of(&d, b, ""), ==, hits_of(&d, b, ", 'seed': 0"));
    /* 16 are to be expected; less than 1 in 10^5 seeds is as far off */
    g_assert_cmpint(ctpop64(first), >=, 3);
    g_assert_cmpint(ctpop64(first), <=, 32);
    stop(&d, b);
}

/* Certainty hits each; what is spared does not use up the count */
static void test_probability_and_count(void)
{
    PTDMABuffers b[BUFFERS];
    uint32_t certain, rare;
    AE4Device d;

    start(&d, b);
    certain = ptdma_inject(&d.pt, "'kind': 'error', 'code': 1, 'queue': 0, "
                           "'count': 3, 'probability-ppm': 1000000");
    rare = ptdma_inject(&d.pt, "'kind': 'error', 'code': 2, 'queue': 1, "
                        "'probability-ppm': 1, 'nth': 2");
    for (int i = 0; i < 5; i++) {
        ae4_submit_buffers(&d, 0, &b[0]);
        ae4_submit_buffers(&d, 1, &b[1]);
        ae4_step(&d, 10);
    }
    ptdma_check_fault(&d.pt, certain, 3, 3, false);
    ptdma_check_fault(&d.pt, rare, 5, 0, true);
    g_assert_cmpint(ae4_counter(&d, "errors"), ==, 3);
    stop(&d, b);
}

static void test_bad_arguments(void)
{
    static const char *const bad[] = {
        "'kind': 'lost-interrupt', 'queue': 5",
        "'kind': 'error', 'code': 256",
        "'kind': 'out-of-order', 'later': 0",
        "'kind': 'out-of-order'",
        "'kind': 'lost-interrupt', 'probability-ppm': 0",
        "'kind': 'lost-interrupt', 'probability-ppm': 1000001",
        "'kind': 'lost-interrupt', 'seed': 1",
    };
    QOSState *qs = ae4_machine(",queues=5 -device amd-ptdma,id=dma1");

    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        g_autofree char *command = g_strdup_printf(
            "{'execute': 'amd-dma-inject-fault', 'arguments': "
            "{'device': 'dma0', %s}}", bad[i]);
        QDict *response = qtest_qmp(qs->qts, command, NULL);

        g_assert_true(qdict_haskey(response, "error"));
        qobject_unref(response);
    }
    /* A device that has a head pointer only can't complete out of order */
    ptdma_qmp_fails(qs->qts, "{'execute': 'amd-dma-inject-fault', "
                    "'arguments': {'device': 'dma1', 'kind': 'out-of-order', "
                    "'later': 1}}");
    ptdma_qmp_fails(qs->qts, "{'execute': 'amd-dma-inject-fault', "
                    "'arguments': {'device': 'dma1', 'queue': 1, "
                    "'kind': 'lost-interrupt'}}");
    qobject_unref(ptdma_qmp(qs->qts, "{'execute': 'amd-dma-inject-fault', "
                  "'arguments': {'device': 'dma1', 'queue': 0, "
                  "'kind': 'lost-interrupt', 'probability-ppm': 5}}"));
    qtest_shutdown(qs);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-ae4dma-fault/flip-and-partial",
                   test_flip_and_partial);
    qtest_add_func("/amd-ae4dma-fault/wrong-address", test_wrong_address);
    qtest_add_func("/amd-ae4dma-fault/stall", test_stall);
    qtest_add_func("/amd-ae4dma-fault/slow", test_slow);
    qtest_add_func("/amd-ae4dma-fault/reports", test_reports);
    qtest_add_func("/amd-ae4dma-fault/all-ones", test_all_ones);
    qtest_add_func("/amd-ae4dma-fault/out-of-order", test_out_of_order);
    qtest_add_func("/amd-ae4dma-fault/out-of-order/cleared",
                   test_out_of_order_cleared);
    qtest_add_func("/amd-ae4dma-fault/out-of-order/cleared-late",
                   test_out_of_order_cleared_late);
    qtest_add_func("/amd-ae4dma-fault/out-of-order/second",
                   test_out_of_order_second);
    qtest_add_func("/amd-ae4dma-fault/probability", test_probability);
    qtest_add_func("/amd-ae4dma-fault/probability/count",
                   test_probability_and_count);
    qtest_add_func("/amd-ae4dma-fault/bad-arguments", test_bad_arguments);
    return g_test_run();
}
