/*
 * AMD PTDMA: ring, queue control, interrupts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "hw/pci/pci_regs.h"
#include "amd-ptdma.h"

/* Rings of all sizes that fit, each filled again and again */
static void test_ring_wrap(void)
{
    PTDMADevice d;
    uint64_t ring, source, destination;

    ptdma_start(&d, "", PTDMA_MSIX);
    ring = QEMU_ALIGN_UP(qmalloc(d.qs, 2 * MiB), 1 * MiB);
    source = qmalloc(d.qs, 4096);
    destination = qmalloc(d.qs, 4096);

    for (uint32_t size_field = 0; size_field <= 8; size_field++) {
        uint32_t length = 2 << size_field;
        uint32_t number = 0;

        ptdma_set_ring(&d, ring, size_field);
        while (number < 2 * length + 3) {
            uint32_t batch = MIN(length - 1, 7);

            for (uint32_t i = 0; i < batch; i++) {
                uint32_t dw[AMD_PTDMA_DESC_WORDS];

                qtest_writel(d.qts, source + i * 4, number + i + 1);
                ptdma_fill_desc(dw, source + i * 4, destination + i * 4, 4);
                ptdma_push(&d, dw);
            }
            ptdma_run(&d);
            ptdma_wait(&d);
            for (uint32_t i = 0; i < batch; i++) {
                g_assert_cmpint(qtest_readl(d.qts, destination + i * 4), ==,
                                number + i + 1);
            }
            number += batch;
            g_assert_cmphex(ptdma_read(&d, A_Q_HEAD_LO), ==, ring +
                            number % length * AMD_PTDMA_DESC_SIZE);
        }
    }
    ptdma_stop(&d);
}

static void test_stop_on_completion(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_STOPPED);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    ptdma_push_three(&d, &b, PTDMA_DW0 | R_DESC_DW0_SOC_MASK);
    ptdma_run(&d);
    ptdma_step(d.qts, 1000);
    ptdma_buffers_check(&b, 1, -1);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION | PTDMA_STOPPED);
    g_assert_cmphex(FIELD_EX32(ptdma_read(&d, A_Q_CONTROL), Q_CONTROL, RUN),
                    ==, 0);
    ptdma_run(&d);
    ptdma_step(d.qts, 1000);
    ptdma_buffers_check(&b, 3, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* Neither HALT nor a missing RUN takes back the descriptor under way */
static void test_run_and_halt(void)
{
    static const uint32_t stops[] = {
        0, R_Q_CONTROL_HALT_MASK | R_Q_CONTROL_RUN_MASK,
    };
    PTDMADevice d;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_STOPPED | PTDMA_EMPTY);
    for (int i = 0; i < ARRAY_SIZE(stops); i++) {
        PTDMABuffers b;
        uint32_t control;

        ptdma_buffers_init(&b, &d, 3, 0, 0);
        ptdma_write(&d, A_Q_CONTROL, ptdma_read(&d, A_Q_CONTROL) &
                    ~R_Q_CONTROL_RUN_MASK);
        ptdma_push_three(&d, &b, PTDMA_DW0);
        ptdma_step(d.qts, 1000);
        ptdma_buffers_check(&b, 0, -1);

        ptdma_run(&d);
        ptdma_step(d.qts, 50);
        control = ptdma_read(&d, A_Q_CONTROL);
        ptdma_write(&d, A_Q_CONTROL,
                    (control & ~R_Q_CONTROL_RUN_MASK) | stops[i]);
        g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, 0);
        ptdma_step(d.qts, 1000);
        ptdma_buffers_check(&b, 1, -1);
        g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                        PTDMA_COMPLETION | PTDMA_STOPPED);

        ptdma_run(&d);
        ptdma_step(d.qts, 1000);
        ptdma_buffers_check(&b, 3, -1);
        g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                        PTDMA_COMPLETION | PTDMA_STOPPED | PTDMA_EMPTY);
        ptdma_write(&d, A_Q_INTERRUPT_STATUS, UINT32_MAX);
        ptdma_buffers_free(&b);
    }
    ptdma_stop(&d);
}

/* With RUN set, tail alone starts the queue; head alone empties it */
static void test_pointers(void)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    ptdma_run(&d);
    ptdma_push_three(&d, &b, PTDMA_DW0);
    ptdma_step(d.qts, 100);
    ptdma_buffers_check(&b, 1, -1);
    ptdma_write(&d, A_Q_HEAD_LO, ptdma_read(&d, A_Q_TAIL_LO));
    ptdma_step(d.qts, 1000);
    /* the second was under way, the third is skipped */
    ptdma_buffers_check(&b, 2, -1);
    g_assert_cmphex(ptdma_read(&d, A_Q_HEAD_LO), ==,
                    ptdma_read(&d, A_Q_TAIL_LO));
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* Head written to where it is: the descriptor under way comes again */
static void test_head_rewritten(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t head;

    ptdma_start(&d, ",latency-ns=100", PTDMA_MSIX);
    ptdma_buffers_init(&b, &d, 3, 0, 0);
    head = ptdma_read(&d, A_Q_HEAD_LO);
    ptdma_push_three(&d, &b, PTDMA_DW0);
    ptdma_run(&d);
    ptdma_step(d.qts, 50);
    ptdma_write(&d, A_Q_HEAD_LO, head);
    ptdma_step(d.qts, 50);
    g_assert_cmphex(ptdma_read(&d, A_Q_HEAD_LO), ==, head);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 1);
    ptdma_step(d.qts, 100);
    g_assert_cmphex(ptdma_read(&d, A_Q_HEAD_LO), ==,
                    head + AMD_PTDMA_DESC_SIZE);

    /* forward, over the second one, which is under way */
    ptdma_write(&d, A_Q_HEAD_LO, head + 2 * AMD_PTDMA_DESC_SIZE);
    ptdma_step(d.qts, 100);
    ptdma_buffers_check(&b, 2, -1);
    g_assert_cmphex(ptdma_read(&d, A_Q_HEAD_LO), ==,
                    head + 2 * AMD_PTDMA_DESC_SIZE);
    g_assert_cmpint(ptdma_wait(&d), ==, 100);
    ptdma_buffers_check(&b, 3, -1);

    /* backward, in an idle queue: all of them once more */
    ptdma_write(&d, A_Q_HEAD_LO, head);
    g_assert_cmpint(ptdma_wait(&d), ==, 300);
    g_assert_cmpint(ptdma_counter(&d, "dma0", "descriptors"), ==, 4 + 3);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

static void submit_byte(PTDMADevice *d, PTDMABuffers *b)
{
    ptdma_submit(d, b->source, b->destination, 1);
    ptdma_wait(d);
}

static void test_interrupt(const void *opaque)
{
    PTDMAInterrupt interrupt = GPOINTER_TO_INT(opaque);
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, "", interrupt);
    ptdma_buffers_init(&b, &d, 1, 0, 0);

    /* masked cause: latched, no message; unmasked: message at once */
    submit_byte(&d, &b);
    g_assert_false(ptdma_message_seen(&d));
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                    PTDMA_COMPLETION);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_ERROR);
    g_assert_false(ptdma_message_seen(&d));
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    g_assert_true(ptdma_message_seen(&d));
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 1);

    /* no second message before the first one is dealt with */
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    submit_byte(&d, &b);
    g_assert_false(ptdma_message_seen(&d));

    /* the copy of the status outlives the acknowledgement, until read */
    ptdma_write(&d, A_Q_INTERRUPT_STATUS, PTDMA_COMPLETION);
    g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, 0);
    g_assert_cmphex(ptdma_read(&d, A_Q_INT_STATUS), ==, PTDMA_COMPLETION);
    g_assert_cmphex(ptdma_read(&d, A_Q_INT_STATUS), ==, 0);

    /* acknowledged: the next one is sent */
    submit_byte(&d, &b);
    g_assert_true(ptdma_message_seen(&d));

    /* the driver's handler, with a completion after its acknowledgement */
    ptdma_write(&d, A_Q_INT_ENABLE, 0);
    ptdma_write(&d, A_Q_INTERRUPT_STATUS,
                ptdma_read(&d, A_Q_INTERRUPT_STATUS));
    submit_byte(&d, &b);
    g_assert_false(ptdma_message_seen(&d));
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION | PTDMA_ERROR);
    g_assert_true(ptdma_message_seen(&d));
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 3);

    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/*
 * COMPLETION is for descriptors with IOC; the queue's causes are for all, but
 * only while they are enabled: a driver that polls takes any cause for the end
 * of its descriptor.
 */
static void test_interrupt_causes(void)
{
    PTDMADevice d;
    PTDMABuffers b;
    uint32_t dw[AMD_PTDMA_DESC_WORDS];

    ptdma_start(&d, "", PTDMA_MSIX);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    ptdma_buffers_init(&b, &d, 2, 0, 0);
    for (int i = 0; i < 2; i++) {
        ptdma_fill_desc(dw, b.source + i, b.destination + i, 1);
        dw[0] &= ~R_DESC_DW0_IOC_MASK;
        ptdma_push(&d, dw);
        ptdma_run(&d);
        ptdma_wait(&d);
        g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==,
                        i ? PTDMA_EMPTY : 0);
        g_assert_cmpint(ptdma_message_seen(&d), ==, i);
        g_assert_cmphex(ptdma_read(&d, A_Q_INT_STATUS), ==,
                        i ? PTDMA_EMPTY : 0);
        ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_EMPTY);
    }
    ptdma_buffers_check(&b, 2, -1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

/* A descriptor that brings this cause up */
static void submit_for_cause(PTDMADevice *d, PTDMABuffers *b, uint32_t cause)
{
    uint32_t dw[AMD_PTDMA_DESC_WORDS];

    ptdma_fill_desc(dw, b->source, b->destination, 1);
    dw[0] = FIELD_DP32(dw[0], DESC_DW0, IOC, cause == PTDMA_COMPLETION);
    dw[0] = FIELD_DP32(dw[0], DESC_DW0, SOC, cause == PTDMA_STOPPED);
    dw[1] = cause == PTDMA_ERROR ? 0 : 1;
    ptdma_push(d, dw);
    ptdma_run(d);
    ptdma_step(d->qts, 1);
}

/* Each cause alone: masked, unmasked, and coming up inside the handler */
static void test_interrupt_each_cause(void)
{
    static const uint32_t causes[] = {
        PTDMA_COMPLETION, PTDMA_ERROR, PTDMA_STOPPED, PTDMA_EMPTY,
    };
    PTDMADevice d;
    PTDMABuffers b;

    for (int i = 0; i < ARRAY_SIZE(causes); i++) {
        const uint32_t cause = causes[i];
        const uint32_t always = cause & (PTDMA_COMPLETION | PTDMA_ERROR);

        ptdma_start(&d, "", PTDMA_MSIX);
        ptdma_buffers_init(&b, &d, 1, 0, 0);

        /* masked: two of them are latched, and told of when unmasked */
        submit_for_cause(&d, &b, cause);
        g_assert_false(ptdma_message_seen(&d));
        g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, always);
        ptdma_write(&d, A_Q_INT_ENABLE, cause);
        g_assert_cmpint(ptdma_message_seen(&d), ==, !!always);
        ptdma_write(&d, A_Q_INTERRUPT_STATUS, cause);
        g_assert_cmphex(ptdma_read(&d, A_Q_INT_STATUS), ==, always);
        ptdma_set_ring(&d, d.ring, d.size_field);

        /* unmasked: told of at once */
        submit_for_cause(&d, &b, cause);
        g_assert_true(ptdma_message_seen(&d));
        g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, cause);
        ptdma_set_ring(&d, d.ring, d.size_field);

        /* the same again before the acknowledgement: one message for both */
        submit_for_cause(&d, &b, cause);
        g_assert_false(ptdma_message_seen(&d));
        ptdma_set_ring(&d, d.ring, d.size_field);

        /* acknowledging others, and enabling more, changes nothing */
        ptdma_write(&d, A_Q_INTERRUPT_STATUS, R_Q_INTERRUPT_MASK & ~cause);
        ptdma_write(&d, A_Q_INT_ENABLE, R_Q_INTERRUPT_MASK);
        g_assert_cmphex(ptdma_read(&d, A_Q_INTERRUPT_STATUS), ==, cause);
        g_assert_false(ptdma_message_seen(&d));

        /* acknowledged while masked: unmasking has nothing to tell */
        ptdma_write(&d, A_Q_INT_ENABLE, 0);
        ptdma_write(&d, A_Q_INTERRUPT_STATUS, cause);
        ptdma_write(&d, A_Q_INT_ENABLE, cause);
        g_assert_false(ptdma_message_seen(&d));
        ptdma_buffers_free(&b);
        ptdma_stop(&d);
    }
}

static void mask_vector(PTDMADevice *d, bool mask)
{
    uint8_t cap;

    if (d->interrupt == PTDMA_MSIX) {
        qpci_io_writel(d->pdev, d->pdev->msix_table_bar,
                       d->pdev->msix_table_off + PCI_MSIX_ENTRY_VECTOR_CTRL,
                       mask ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0);
    } else {
        cap = qpci_find_capability(d->pdev, PCI_CAP_ID_MSI, 0);
        qpci_config_writel(d->pdev, cap + PCI_MSI_MASK_64, mask);
    }
}

static void test_interrupt_vector_mask(const void *opaque)
{
    PTDMADevice d;
    PTDMABuffers b;

    ptdma_start(&d, "", GPOINTER_TO_INT(opaque));
    ptdma_buffers_init(&b, &d, 1, 0, 0);
    ptdma_write(&d, A_Q_INT_ENABLE, PTDMA_COMPLETION);
    mask_vector(&d, true);
    submit_byte(&d, &b);
    g_assert_false(ptdma_message_seen(&d));
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 0);
    mask_vector(&d, false);
    g_assert_true(ptdma_message_seen(&d));
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 1);

    /* nothing is left over */
    mask_vector(&d, true);
    mask_vector(&d, false);
    g_assert_false(ptdma_message_seen(&d));
    g_assert_cmpint(ptdma_counter(&d, "dma0", "interrupts"), ==, 1);
    ptdma_buffers_free(&b);
    ptdma_stop(&d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/amd-ptdma-queue/ring-wrap", test_ring_wrap);
    qtest_add_func("/amd-ptdma-queue/stop-on-completion",
                   test_stop_on_completion);
    qtest_add_func("/amd-ptdma-queue/run-and-halt", test_run_and_halt);
    qtest_add_func("/amd-ptdma-queue/pointers", test_pointers);
    qtest_add_func("/amd-ptdma-queue/head-rewritten", test_head_rewritten);
    qtest_add_data_func("/amd-ptdma-queue/interrupt/msix",
                        GINT_TO_POINTER(PTDMA_MSIX), test_interrupt);
    qtest_add_data_func("/amd-ptdma-queue/interrupt/msi",
                        GINT_TO_POINTER(PTDMA_MSI), test_interrupt);
    qtest_add_func("/amd-ptdma-queue/interrupt/causes", test_interrupt_causes);
    qtest_add_func("/amd-ptdma-queue/interrupt/each-cause",
                   test_interrupt_each_cause);
    qtest_add_data_func("/amd-ptdma-queue/interrupt/vector-mask/msix",
                        GINT_TO_POINTER(PTDMA_MSIX),
                        test_interrupt_vector_mask);
    qtest_add_data_func("/amd-ptdma-queue/interrupt/vector-mask/msi",
                        GINT_TO_POINTER(PTDMA_MSI),
                        test_interrupt_vector_mask);
    return g_test_run();
}
