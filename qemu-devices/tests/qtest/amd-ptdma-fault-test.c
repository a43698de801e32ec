/*
 * AMD PTDMA: errors, hostile guests, injected faults
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "hw/pci/pci_regs.h"
#include "amd-ptdma.h"

/* Nothing is there */
#define NOWHERE     0x200000000ULL

static void expect_error(PTDMADevice *d, AMDPTDMAError error)
{
    uint32_t head = ptdma_read(d, A_Q_HEAD_LO);

    ptdma_wait(d);
    g_assert_cmpint(FIELD_EX32(ptdma_read(d, A_Q_STATUS), Q_STATUS, ERROR),
                    ==, error);
    g_assert_cmphex(ptdma_read(d, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_ERROR | PTDMA_STOPPED);
    /* stopped at the failed descriptor */
    g_assert_cmphex(ptdma_read(d, A_Q_HEAD_LO), ==, head);
    g_assert_cmphex(ptdma_read(d, A_Q_CONTROL) &
                    (R_Q_CONTROL_RUN_MASK | R_Q_CONTROL_HALT_MASK), ==,
                    R_Q_CONTROL_HALT_MASK);
    ptdma_write(d, A_Q_INTERRUPT_STATUS, PTDMA_ERROR | PTDMA_STOPPED);
}

/* What the driver does after an error */
static void flush_queue(PTDMADevice *d)
{
    ptdma_write(d, A_Q_HEAD_LO, ptdma_read(d, A_Q_TAIL_LO));
    g_assert_cmphex(ptdma_read(d, A_Q_STATUS), ==, 0);
    g_assert_cmphex(ptdma_read(d, A_Q_CONTROL) & R_Q_CONTROL_HALT_MASK, ==, 0);
}

/* In a good descriptor, these bits of this dword are replaced */
static const struct {
    int dword;
    uint32_t mask;
    uint32_t value;
    AMDPTDMAError error;
} malformed[] = {
    { 0, R_DESC_DW0_ENGINE_MASK, 0, AMD_PTDMA_ILLEGAL_ENGINE },
    { 0, R_DESC_DW0_ENGINE_MASK, 6 << 20, AMD_PTDMA_ILLEGAL_ENGINE },
    { 0, UINT32_MAX, 0, AMD_PTDMA_ILLEGAL_ENGINE },
    { 0, R_DESC_DW0_BITWISE_MASK, 1 << 7, AMD_PTDMA_ILLEGAL_FUNCTION_TYPE },
    { 0, R_DESC_DW0_BYTESWAP_MASK, 2 << 5, AMD_PTDMA_ILLEGAL_FUNCTION_MODE },
    { 0, R_DESC_DW0_REFLECT_MASK, 1 << 10, AMD_PTDMA_ILLEGAL_FUNCTION_MODE },
    { 0, R_DESC_DW0_FUNCTION_RSVD_MASK, 1 << 12,
      AMD_PTDMA_ILLEGAL_FUNCTION_RSVD },
    { 1, UINT32_MAX, 0, AMD_PTDMA_ILLEGAL_BUFFER_LENGTH },
    { 3, R_DESC_DW3_SRC_MEM_MASK, 1 << 16, AMD_PTDMA_ILLEGAL_MEM_SEL },
    { 5, R_DESC_DW5_DST_MEM_MASK, 2 << 16, AMD_PTDMA_ILLEGAL_MEM_SEL },
    { 3, R_DESC_DW3_LSB_CTX_ID_MASK, 128 << 18,
      AMD_PTDMA_ILLEGAL_CONTEXT_ID },
    { 3, R_DESC_DW3_FIXED_MASK, 1u << 31, AMD_PTDMA_ILLEGAL_FUNCTION_MODE },
    { 5, R_DESC_DW5_FIXED_MASK, 1u << 31, AMD_PTDMA_ILLEGAL_FUNCTION_MODE },
};

static void test_malformed(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_ERROR);
    ptdma_buffers_init(&b, &d, 64, 0, 0);
    for (int i = 0; i < ARRAY_SIZE(malformed); i++) {
        uint32_t dw[AMD_PTDMA_DESC_WORDS];

        ptdma_fill_desc(dw, b.source, b.destination, b.size);
        dw[malformed[i].dword] = (dw[malformed[i].dword] &
                                  ~malformed[i].mask) | malformed[i].value;
        ptdma_push(&d, dw);
        ptdma_run(&d);
        expect_error(&d, malformed[i].error);
        g_assert_true(ptdma_message_seen(&d));
        flush_queue(&d);
        g_assert_cmpint(ptdma_counter(&d, "dma0", "errors"), ==, i + 1);
    }
    ptdma_buffers_check(&b, 0, -1);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 0);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "bytes"), ==, 0);

    ptdma_submit(&d, b.source, b.destination, b.size);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* Addresses that do not answer, on either side, from the start or later */
static void test_bus_errors(void)
{
    const uint64_t ram_end = 256 * 1024 * 1024;
    uint8_t before[4096], after[4096];
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, "", PTDMA_POLLED);
    ptdma_buffers_init(&b, &d, 8192, 0, 0);

    ptdma_submit(&d, NOWHERE, b.destination, b.size);
    expect_error(&d, AMD_PTDMA_IDMA0_DECODE_ERROR);
    flush_queue(&d);
    ptdma_submit(&d, b.source, NOWHERE, b.size);
    expect_error(&d, AMD_PTDMA_ODMA0_DECODE_ERROR);
    flush_queue(&d);
    ptdma_submit(&d, b.source, b.destination, UINT32_MAX);
    ptdma_write(&d, A_Q_HEAD_LO, ptdma_read(&d, A_Q_TAIL_LO));
    ptdma_buffers_check(&b, 0, -1);
    ptdma_write(&d, A_Q_CONTROL, 0);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);

    /* what comes before the hole is copied, nothing else */
    ptdma_start(&d, "", PTDMA_POLLED);
    ptdma_buffers_init(&b, &d, 8192, 0, 0);
    ptdma_submit(&d, ram_end - 4096, b.destination, b.size);
    expect_error(&d, AMD_PTDMA_IDMA0_DECODE_ERROR);
    flush_queue(&d);
    qtest_memread(d.qts, ram_end - 4096, before, sizeof(before));
    qtest_memread(d.qts, b.destination, after, sizeof(after));
    g_assert_cmpmem(before, sizeof(before), after, sizeof(after));
    qtest_memread(d.qts, b.destination + 4096, after, sizeof(after));
    g_assert_cmpmem(b.before + (b.destination + 4096 - b.area),
                    sizeof(after), after, sizeof(after));
    ptdma_buffers_free(&b);

    /* the end of the 48 bits */
    ptdma_submit(&d, (1ULL << AMD_PTDMA_ADDR_BITS) - 8, NOWHERE, 8 + 1);
    expect_error(&d, AMD_PTDMA_ILLEGAL_MEM_ADDR);
    flush_queue(&d);
    ptdma_submit(&d, NOWHERE, (1ULL << AMD_PTDMA_ADDR_BITS) - 8, 8 + 1);
    expect_error(&d, AMD_PTDMA_ILLEGAL_MEM_ADDR);
    ptdma_stop(&d);
}

static void test_bus_master_off(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint16_t command;

    ptdma_start(&d, ",latency-ns=1000", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_ERROR);
    ptdma_buffers_init(&b, &d, 64, 0, 0);
    command = qpci_config_readw(d.pdev, PCI_COMMAND);

    /* while a copy is under way: it can neither read nor tell */
    ptdma_submit(&d, b.source, b.destination, b.size);
    qpci_config_writew(d.pdev, PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
    expect_error(&d, AMD_PTDMA_IDMA0_DECODE_ERROR);
    flush_queue(&d);

    /* before: the descriptor itself is out of reach */
    ptdma_submit(&d, b.source, b.destination, b.size);
    expect_error(&d, AMD_PTDMA_IDMA1_DECODE_ERROR);
    g_assert_false(ptdma_message_seen(&d));
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 0);
    ptdma_buffers_check(&b, 0, -1);

    /* control alone makes it try again */
    qpci_config_writew(d.pdev, PCI_COMMAND, command);
    ptdma_run(&d);
    ptdma_wait(&d);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* The engine is kept off its own registers; others' are memory like any */
static void test_own_registers(void)
{
    QOSState *qs = qtest_pc_boot(
        "-machine q35 -nodefaults -m 256M -device amd-ptdma,id=dma0,addr=04.0 "
        "-device amd-ptdma,id=dma1,addr=05.0");
    PTDMADevice d, other;
    uint64_t word = qmalloc(qs, 4);

    ptdma_open(&d, qs, 4, PTDMA_MSIX);
    ptdma_open(&other, qs, 5, PTDMA_POLLED);
    qtest_writel(qs->qts, word, 0x12345678);

    ptdma_submit(&d, word, d.regs.addr + A_REQID_CONFIG, 4);
    expect_error(&d, AMD_PTDMA_ODMA0_SLAVE_ERROR);
    flush_queue(&d);
    g_assert_cmphex(ptdma_read(&d, A_REQID_CONFIG), ==, 0);

    ptdma_submit(&d, d.regs.addr + A_VERSION, word, 4);
    expect_error(&d, AMD_PTDMA_IDMA0_SLAVE_ERROR);
    flush_queue(&d);
    g_assert_cmphex(qtest_readl(qs->qts, word), ==, 0x12345678);

    ptdma_submit(&d, word, d.pdev->msix_table_bar.addr, 4);
    expect_error(&d, AMD_PTDMA_ODMA0_SLAVE_ERROR);
    flush_queue(&d);

    ptdma_submit(&d, word, other.regs.addr + A_REQID_CONFIG, 4);
    ptdma_wait(&d);
    g_assert_cmphex(ptdma_read(&other, A_REQID_CONFIG), ==, 0x12345678);
    g_assert_cmphex(ptdma_read(&d, A_Q_STATUS), ==, 0);

    /* a ring in the registers */
    ptdma_set_ring(&d, d.regs.addr, PTDMA_RING_SIZE_FIELD);
    ptdma_write(&d, A_Q_TAIL_LO, d.regs.addr + AMD_PTDMA_DESC_SIZE);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_run(&d);
    expect_error(&d, AMD_PTDMA_IDMA1_SLAVE_ERROR);

    ptdma_close(&other);
    ptdma_stop(&d);
}

/* A tail that head never reaches: an endless queue, but a living machine */
static void test_endless_ring(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t dw[AMD_PTDMA_DESC_WORDS];
    uint64_t done;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_set_ring(&d, d.ring, 0);
    ptdma_buffers_init(&b, &d, 16, 0, 0);
    ptdma_fill_desc(dw, b.source, b.destination, b.size);
    ptdma_push(&d, dw);
    ptdma_push(&d, dw);
    ptdma_write(&d, A_Q_TAIL_LO, d.ring + 4 * AMD_PTDMA_DESC_SIZE);
    ptdma_run(&d);
    ptdma_step(d.qts, 1000);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 1000);

    ptdma_write(&d, A_Q_CONTROL, 0);
    ptdma_step(d.qts, 1000);
    done = ptdma_counter(&d, "dma0", "descriptors");
    g_assert_cmpint(done, ==, 1001);

    /* the largest ring wraps at 4 GiB */
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
    ptdma_write(&d, A_Q_HEAD_LO, UINT32_MAX);
    ptdma_write(&d, A_Q_TAIL_LO, 0);
    ptdma_write(&d, A_Q_CONTROL, R_Q_CONTROL_RUN_MASK | R_Q_CONTROL_SIZE_MASK);
    expect_error(&d, AMD_PTDMA_ILLEGAL_ENGINE);
    ptdma_buffers_check(&b, b.size, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

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

static void test_inject_error(void)
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
        expect_error(&d, AMD_PTDMA_LSB_PARITY_ERROR);
        g_assert_true(ptdma_message_seen(&d));
        flush_queue(&d);
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

static void test_inject_flip_byte(void)
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

static void test_inject_stall(void)
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

static void test_inject_lost_interrupt(void)
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
static void test_inject_address(void)
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
    expect_error(&d, AMD_PTDMA_IDMA0_SLAVE_ERROR);
    flush_queue(&d);
    ptdma_submit(&d, b.source + 32, b.destination + 32, 1);
    expect_error(&d, AMD_PTDMA_IDMA0_SLAVE_ERROR);
    flush_queue(&d);
    ptdma_submit(&d, b.destination + 31, b.source, 1);
    expect_error(&d, AMD_PTDMA_IDMA0_SLAVE_ERROR);
    flush_queue(&d);
    check_fault(&d, id, 3, 3, true);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void test_inject_refused(void)
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

    qtest_add_func("/amd-ptdma-fault/malformed", test_malformed);
    qtest_add_func("/amd-ptdma-fault/bus-errors", test_bus_errors);
    qtest_add_func("/amd-ptdma-fault/bus-master-off", test_bus_master_off);
    qtest_add_func("/amd-ptdma-fault/own-registers", test_own_registers);
    qtest_add_func("/amd-ptdma-fault/endless-ring", test_endless_ring);
    qtest_add_func("/amd-ptdma-fault/inject/error", test_inject_error);
    qtest_add_func("/amd-ptdma-fault/inject/flip-byte", test_inject_flip_byte);
    qtest_add_func("/amd-ptdma-fault/inject/stall", test_inject_stall);
    qtest_add_func("/amd-ptdma-fault/inject/lost-interrupt",
                   test_inject_lost_interrupt);
    qtest_add_func("/amd-ptdma-fault/inject/address", test_inject_address);
    qtest_add_func("/amd-ptdma-fault/inject/refused", test_inject_refused);
    return g_test_run();
}
