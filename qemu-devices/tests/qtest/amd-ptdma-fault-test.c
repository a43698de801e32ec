/*
 * AMD PTDMA: injected faults of the copy, and which copies they select
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "amd-ptdma.h"

static void submit(PTDMADevice *d, PTDMABuffers *b)
{
    ptdma_submit(d, b->source, b->destination, b->size);
}

static void test_error(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t id;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_ERROR);
    ptdma_buffers_init(&b, &d, 100, 0, 0);
    id = ptdma_inject(&d, "'kind': 'error', 'code': 43, 'nth': 2, 'count': 2");
    ptdma_check_fault(&d, id, 0, 0, true);

    ptdma_submit(&d, b.source, b.source, b.size);
    ptdma_wait(&d);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    for (int i = 0; i < 2; i++) {
        ptdma_check_fault(&d, id, 1 + i, i, true);
        submit(&d, &b);
        ptdma_expect_error(&d, AMD_PTDMA_LSB_PARITY_ERROR);
        g_assert_true(ptdma_message_seen(&d));
        ptdma_flush(&d);
        ptdma_buffers_check(&b, 0, -1);
    }
    ptdma_check_fault(&d, id, 3, 2, false);

    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_check_fault(&d, id, 3, 2, false);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "errors"), ==, 2);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 2);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_flip_byte(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t id;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 9000, 5, 77);
    id = ptdma_inject(&d, "'kind': 'flip-byte', 'offset': 8999");

    /* too short to have such a byte: does not count */
    ptdma_submit(&d, b.source, b.destination, 8999);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, 8999, -1);
    ptdma_check_fault(&d, id, 0, 0, true);

    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, 8999);
    ptdma_check_fault(&d, id, 1, 1, false);
    g_assert_cmphex(ptdma_read(&d, A_Q_STATUS), ==, 0);

    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_stall(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 100, 0, 0);
    ptdma_inject(&d, "'kind': 'stall', 'delay-ns': 12345");
    submit(&d, &b);
    g_assert_cmpint(ptdma_wait(&d), ==, 100 + 12345);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);

    /* forever, until cleared */
    ptdma_buffers_init(&b, &d, 100, 0, 0);
    ptdma_inject(&d, "'kind': 'stall', 'delay-ns': 0");
    submit(&d, &b);
    ptdma_step(d.qts, 3600 * 1000000000LL);
    ptdma_buffers_check(&b, 0, -1);
    ptdma_clear_faults(&d);
    ptdma_buffers_check(&b, 0, -1);
    g_assert_cmpint(ptdma_wait(&d), ==, 1);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);

    /* a reset takes back what is held */
    ptdma_buffers_init(&b, &d, 100, 0, 0);
    ptdma_inject(&d, "'kind': 'stall', 'delay-ns': 0");
    submit(&d, &b);
    ptdma_step(d.qts, 1000);
    qtest_system_reset(d.qts);
    ptdma_clear_faults(&d);
    ptdma_step(d.qts, 1000);
    ptdma_buffers_check(&b, 0, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* Only copies that touch the range count, by either end */
static void test_address(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t id;
    g_autofree char *arguments = NULL;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 64, 0, 0);
    arguments = g_strdup_printf("'kind': 'error', 'code': 19, 'count': 0, "
                                "'address': %" PRIu64 ", 'size': 2",
                                b.destination + 31);
    id = ptdma_inject(&d, arguments);
    ptdma_submit(&d, b.source, b.destination, 31);
    ptdma_wait(&d);
    ptdma_submit(&d, b.source + 33, b.destination + 33, 31);
    ptdma_wait(&d);
    ptdma_check_fault(&d, id, 0, 0, true);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);

    ptdma_submit(&d, b.source, b.destination, 32);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA0_SLAVE_ERROR);
    ptdma_flush(&d);
    ptdma_submit(&d, b.source + 32, b.destination + 32, 1);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA0_SLAVE_ERROR);
    ptdma_flush(&d);
    ptdma_submit(&d, b.destination + 31, b.source, 1);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA0_SLAVE_ERROR);
    ptdma_flush(&d);
    ptdma_check_fault(&d, id, 3, 3, true);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_slow_link(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100,bandwidth=1000000000", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 2000, 0, 0);
    ptdma_inject(&d, "'kind': 'slow-link', 'bandwidth': 1000000");
    submit(&d, &b);
    g_assert_cmpint(ptdma_wait(&d), ==, 100 + 2000 + 2000 * 1000);
    submit(&d, &b);
    g_assert_cmpint(ptdma_wait(&d), ==, 100 + 2000);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_partial_copy(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t id;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 5000, 0, 0);
    id = ptdma_inject(&d, "'kind': 'partial-copy', 'copied': 4999");
    ptdma_submit(&d, b.source, b.source, 4999);
    ptdma_wait(&d);
    ptdma_check_fault(&d, id, 0, 0, true);

    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, 4999, -1);
    g_assert_cmphex(ptdma_read(&d, A_Q_STATUS), ==, 0);
    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);

    ptdma_inject(&d, "'kind': 'partial-copy', 'copied': 0");
    qtest_memset(d.qts, b.destination, 0, b.size);
    submit(&d, &b);
    ptdma_wait(&d);
    g_assert_cmphex(qtest_readb(d.qts, b.destination), ==, 0);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_wrong_address(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 100, 0, 200);
    ptdma_inject(&d, "'kind': 'wrong-address', 'displacement': -200");
    submit(&d, &b);
    ptdma_wait(&d);
    b.destination -= 200;
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_interrupt_before_data(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t dw[AMD_PTDMA_DESC_WORDS];

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    ptdma_inject(&d, "'kind': 'interrupt-before-data', 'delay-ns': 5000");
    ptdma_push_three(&d, &b, PTDMA_DW0);
    ptdma_run(&d);
    ptdma_step(d.qts, 100);
    g_assert_true(ptdma_message_seen(&d));
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 1);
    ptdma_step(d.qts, 4999);
    ptdma_buffers_check(&b, 0, -1);
    ptdma_step(d.qts, 1);
    ptdma_buffers_check(&b, 1, -1);
    /* told once only; the next one is not started before */
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 1);
    ptdma_step(d.qts, 100);
    ptdma_buffers_check(&b, 2, -1);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, 3, -1);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 3);

    /* reset in between: the data never come */
    ptdma_buffers_free(&b);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    ptdma_inject(&d, "'kind': 'interrupt-before-data', 'delay-ns': 5000");
    ptdma_fill_desc(dw, b.source, b.destination, b.size);
    ptdma_push(&d, dw);
    ptdma_run(&d);
    ptdma_step(d.qts, 200);
    qtest_system_reset(d.qts);
    ptdma_step(d.qts, 10000);
    ptdma_buffers_check(&b, 0, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* One of each kind to a descriptor: the second waits for the next one */
static void test_stall_twice(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t first, second;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 100, 0, 0);
    first = ptdma_inject(&d, "'kind': 'stall', 'delay-ns': 0");
    second = ptdma_inject(&d, "'kind': 'stall', 'delay-ns': 0");
    submit(&d, &b);
    ptdma_step(d.qts, 1000);
    ptdma_check_fault(&d, first, 1, 1, false);
    ptdma_check_fault(&d, second, 0, 0, true);
    qobject_unref(ptdma_qmp(d.qts, "{'execute': 'amd-dma-clear-faults', "
                            "'arguments': {'device': 'dma0', 'id': %u}}",
                            first));
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);

    submit(&d, &b);
    ptdma_step(d.qts, 100000);
    ptdma_check_fault(&d, second, 1, 1, false);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 1);
    ptdma_clear_faults(&d);
    ptdma_wait(&d);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 2);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* An error is in time, and is all that happens */
static void test_error_before_data(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 100, 0, 0);
    ptdma_inject(&d, "'kind': 'interrupt-before-data', 'delay-ns': 5000");
    ptdma_inject(&d, "'kind': 'error', 'code': 19");
    submit(&d, &b);
    ptdma_expect_error(&d, AMD_PTDMA_IDMA0_SLAVE_ERROR);
    g_assert_cmpint(ptdma_now(), ==, 100);
    ptdma_step(d.qts, 10000);
    ptdma_buffers_check(&b, 0, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_refused(void)
{
    static const char *const refused[] = {
        "{'device': 'dma9', 'kind': 'lost-interrupt'}",
        "{'device': '/machine', 'kind': 'lost-interrupt'}",
        "{'device': 'dma0', 'kind': 'error'}",
        "{'device': 'dma0', 'kind': 'error', 'code': 0}",
        "{'device': 'dma0', 'kind': 'error', 'code': 64}",
        "{'device': 'dma0', 'kind': 'flip-byte'}",
        "{'device': 'dma0', 'kind': 'lost-interrupt', 'nth': 0}",
        "{'device': 'dma0', 'kind': 'lost-interrupt', 'size': 1}",
        "{'device': 'dma0', 'kind': 'lost-interrupt', 'address': 1, "
        "'size': 0}",
        "{'device': 'dma0', 'kind': 'lost-interrupt', 'address': 2, "
        "'size': 18446744073709551615}",
        "{'device': 'dma0', 'kind': 'stall', "
        "'delay-ns': 9223372036854775808}",
        "{'device': 'dma0', 'kind': 'spurious-interrupt', "
        "'delay-ns': 9223372036854775808}",
        "{'device': 'dma0', 'kind': 'slow-link', 'bandwidth': 0}",
        "{'device': 'dma0', 'kind': 'no-such-fault'}",
    };
    QOSState *qs = ptdma_machine("");
    QDict *response;

    for (int i = 0; i < ARRAY_SIZE(refused); i++) {
        g_autofree char *command = g_strdup_printf(
            "{'execute': 'amd-dma-inject-fault', 'arguments': %s}",
            refused[i]);

        response = qtest_qmp(qs->qts, command, NULL);
        g_assert_true(qdict_haskey(response, "error"));
        qobject_unref(response);
    }
    ptdma_qmp_fails(qs->qts, "{'execute': 'amd-dma-clear-faults', "
                    "'arguments': {'device': 'dma0', 'id': 1}}");
    response = ptdma_qmp(qs->qts, "{'execute': 'query-amd-dma-faults', "
                         "'arguments': {'device': 'dma0'}}");
    g_assert_true(qlist_empty(qdict_get_qlist(response, "return")));
    qobject_unref(response);
    qtest_shutdown(qs);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/amd-ptdma-fault/error", test_error);
    qtest_add_func("/amd-ptdma-fault/flip-byte", test_flip_byte);
    qtest_add_func("/amd-ptdma-fault/stall", test_stall);
    qtest_add_func("/amd-ptdma-fault/slow-link",
                   test_slow_link);
    qtest_add_func("/amd-ptdma-fault/partial-copy",
                   test_partial_copy);
    qtest_add_func("/amd-ptdma-fault/wrong-address",
                   test_wrong_address);
    qtest_add_func("/amd-ptdma-fault/interrupt-before-data",
                   test_interrupt_before_data);
    qtest_add_func("/amd-ptdma-fault/stall-twice", test_stall_twice);
    qtest_add_func("/amd-ptdma-fault/error-before-data",
                   test_error_before_data);
    qtest_add_func("/amd-ptdma-fault/address", test_address);
    qtest_add_func("/amd-ptdma-fault/refused", test_refused);
    return g_test_run();
}
