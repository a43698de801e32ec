/*
 * AMD PTDMA: injected faults
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_regs.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "amd-ptdma.h"

static uint32_t inject(PTDMADevice *d, const char *arguments)
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

static void clear_faults(PTDMADevice *d)
{
    qobject_unref(ptdma_qmp(d->qts, "{'execute': 'amd-dma-clear-faults', "
                            "'arguments': {'device': 'dma0'}}"));
}

static void check_fault(PTDMADevice *d, uint32_t id, uint64_t seen,
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
    id = inject(&d, "'kind': 'error', 'code': 43, 'nth': 2, 'count': 2");
    check_fault(&d, id, 0, 0, true);

    ptdma_submit(&d, b.source, b.source, b.size);
    ptdma_wait(&d);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    for (int i = 0; i < 2; i++) {
        check_fault(&d, id, 1 + i, i, true);
        submit(&d, &b);
        ptdma_expect_error(&d, AMD_PTDMA_LSB_PARITY_ERROR);
        g_assert_true(ptdma_message_seen(&d));
        ptdma_flush(&d);
        ptdma_buffers_check(&b, 0, -1);
    }
    check_fault(&d, id, 3, 2, false);

    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
    check_fault(&d, id, 3, 2, false);
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
    id = inject(&d, "'kind': 'flip-byte', 'offset': 8999");

    /* too short to have such a byte: does not count */
    ptdma_submit(&d, b.source, b.destination, 8999);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, 8999, -1);
    check_fault(&d, id, 0, 0, true);

    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, 8999);
    check_fault(&d, id, 1, 1, false);
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
    inject(&d, "'kind': 'stall', 'delay-ns': 12345");
    submit(&d, &b);
    g_assert_cmpint(ptdma_wait(&d), ==, 100 + 12345);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);

    /* forever, until cleared */
    ptdma_buffers_init(&b, &d, 100, 0, 0);
    inject(&d, "'kind': 'stall', 'delay-ns': 0");
    submit(&d, &b);
    ptdma_step(d.qts, 3600 * 1000000000LL);
    ptdma_buffers_check(&b, 0, -1);
    clear_faults(&d);
    ptdma_buffers_check(&b, 0, -1);
    g_assert_cmpint(ptdma_wait(&d), ==, 1);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);

    /* a reset takes back what is held */
    ptdma_buffers_init(&b, &d, 100, 0, 0);
    inject(&d, "'kind': 'stall', 'delay-ns': 0");
    submit(&d, &b);
    ptdma_step(d.qts, 1000);
    qtest_system_reset(d.qts);
    clear_faults(&d);
    ptdma_step(d.qts, 1000);
    ptdma_buffers_check(&b, 0, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_lost_interrupt(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t id;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    ptdma_buffers_init(&b, &d, 100, 0, 0);
    id = inject(&d, "'kind': 'lost-interrupt'");
    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
    g_assert_false(ptdma_message_seen(&d));
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION | PTDMA_EMPTY);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 0);
    check_fault(&d, id, 1, 1, false);

    /* one message, and no other, is lost */
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    submit(&d, &b);
    ptdma_wait(&d);
    g_assert_true(ptdma_message_seen(&d));
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
    id = inject(&d, arguments);
    ptdma_submit(&d, b.source, b.destination, 31);
    ptdma_wait(&d);
    ptdma_submit(&d, b.source + 33, b.destination + 33, 31);
    ptdma_wait(&d);
    check_fault(&d, id, 0, 0, true);
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
    check_fault(&d, id, 3, 3, true);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_slow_link(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100,bandwidth=1000000000", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 2000, 0, 0);
    inject(&d, "'kind': 'slow-link', 'bandwidth': 1000000");
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
    id = inject(&d, "'kind': 'partial-copy', 'copied': 4999");
    ptdma_submit(&d, b.source, b.source, 4999);
    ptdma_wait(&d);
    check_fault(&d, id, 0, 0, true);

    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, 4999, -1);
    g_assert_cmphex(ptdma_read(&d, A_Q_STATUS), ==, 0);
    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);

    inject(&d, "'kind': 'partial-copy', 'copied': 0");
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
    inject(&d, "'kind': 'wrong-address', 'displacement': -200");
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
    inject(&d, "'kind': 'interrupt-before-data', 'delay-ns': 5000");
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
    inject(&d, "'kind': 'interrupt-before-data', 'delay-ns': 5000");
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

static void test_spurious_interrupt(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    inject(&d, "'kind': 'spurious-interrupt', 'delay-ns': 500");
    submit(&d, &b);
    ptdma_wait(&d);
    g_assert_true(ptdma_message_seen(&d));
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_step(d.qts, 499);
    g_assert_false(ptdma_message_seen(&d));
    ptdma_step(d.qts, 1);
    g_assert_true(ptdma_message_seen(&d));
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, 0);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 2);
    ptdma_step(d.qts, 100000);
    g_assert_false(ptdma_message_seen(&d));
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_duplicate_completion(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    inject(&d, "'kind': 'duplicate-completion', 'delay-ns': 0");
    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_message_seen(&d);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_step(d.qts, 1);
    g_assert_true(ptdma_message_seen(&d));
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 1);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_step(d.qts, 100000);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, 0);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_all_ones(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    inject(&d, "'kind': 'all-ones'");
    submit(&d, &b);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, UINT32_MAX);
    g_assert_cmphex(ptdma_read(&d, A_VERSION), ==, UINT32_MAX);
    g_assert_cmphex(qpci_config_readl(d.pdev, PCI_VENDOR_ID), ==, UINT32_MAX);
    g_assert_cmphex(qpci_config_readw(d.pdev, PCI_VENDOR_ID), ==, UINT16_MAX);
    ptdma_write(&d, A_REQID_CONFIG, 1);
    ptdma_step(d.qts, 100000);
    ptdma_buffers_check(&b, 0, -1);

    clear_faults(&d);
    g_assert_cmphex(ptdma_read(&d, A_REQID_CONFIG), ==, 0);
    g_assert_cmphex(ptdma_read(&d, A_Q_CONTROL), ==, 0);
    ptdma_set_ring(&d, d.ring, d.size_field);
    submit(&d, &b);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
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
    qtest_add_func("/amd-ptdma-fault/lost-interrupt",
                   test_lost_interrupt);
    qtest_add_func("/amd-ptdma-fault/slow-link",
                   test_slow_link);
    qtest_add_func("/amd-ptdma-fault/partial-copy",
                   test_partial_copy);
    qtest_add_func("/amd-ptdma-fault/wrong-address",
                   test_wrong_address);
    qtest_add_func("/amd-ptdma-fault/interrupt-before-data",
                   test_interrupt_before_data);
    qtest_add_func("/amd-ptdma-fault/spurious-interrupt",
                   test_spurious_interrupt);
    qtest_add_func("/amd-ptdma-fault/duplicate-completion",
                   test_duplicate_completion);
    qtest_add_func("/amd-ptdma-fault/all-ones",
                   test_all_ones);
    qtest_add_func("/amd-ptdma-fault/address", test_address);
    qtest_add_func("/amd-ptdma-fault/refused", test_refused);
    return g_test_run();
}
