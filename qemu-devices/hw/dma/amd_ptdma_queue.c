/*
 * AMD PTDMA (pass-through DMA) controller: queue and interrupt causes
 *
 * docs/specs/amd-ptdma.rst describes the device, and says what of it is known
 * from its driver and what is only a model.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/dma/amd_ptdma.h"
#include "hw/dma/amd_ptdma_regs.h"
#include "amd_ptdma_queue.h"
#include "trace.h"

/*
 * These say how the queue is, not how a descriptor went.  A driver that does
 * not ask for them does not expect to find them in the status, either.
 */
#define AMD_PTDMA_QUEUE_CAUSES  (R_Q_INTERRUPT_QUEUE_STOPPED_MASK | \
                                 R_Q_INTERRUPT_EMPTY_QUEUE_MASK)

/* The ring is aligned to its own size, which is at most the 4 GiB of tail */
static uint32_t amd_ptdma_ring_mask(const AMDPTDMACore *s)
{
    uint64_t descriptors = 2ULL << FIELD_EX32(s->control, Q_CONTROL, SIZE);
    uint64_t size = descriptors * AMD_PTDMA_DESC_SIZE;

    return MIN(size, 1ULL << 32) - 1;
}

void amd_ptdma_update_irq(AMDPTDMACore *s)
{
    bool level = s->interrupt_status & s->int_enable;
    bool rises = level && !s->irq_level;

    /* The message is a write, which may reset this very device: do it last */
    s->irq_level = level;
    if (!rises) {
        return;
    }
    if (s->message_lost_by) {
        s->message_lost_by = 0;
        trace_amd_ptdma_lose_message(s->faults.name, s->interrupt_status);
        return;
    }
    trace_amd_ptdma_notify(s->faults.name, s->interrupt_status);
    s->ops->notify(s->opaque);
}

static void amd_ptdma_raise(AMDPTDMACore *s, uint32_t causes)
{
    s->interrupt_status |= causes;
    s->int_status |= causes;
    amd_ptdma_update_irq(s);
}

/* The order of the checks is ours; the codes are the driver's */
static AMDPTDMAError amd_ptdma_check_desc(const uint32_t *dw)
{
    if (FIELD_EX32(dw[0], DESC_DW0, ENGINE) != AMD_PTDMA_ENGINE_PASSTHRU) {
        return AMD_PTDMA_ILLEGAL_ENGINE;
    }
    if (FIELD_EX32(dw[0], DESC_DW0, BITWISE)) {
        return AMD_PTDMA_ILLEGAL_FUNCTION_TYPE;
    }
    if (FIELD_EX32(dw[0], DESC_DW0, BYTESWAP) ||
        FIELD_EX32(dw[0], DESC_DW0, REFLECT) ||
        FIELD_EX32(dw[3], DESC_DW3, FIXED) ||
        FIELD_EX32(dw[5], DESC_DW5, FIXED)) {
        return AMD_PTDMA_ILLEGAL_FUNCTION_MODE;
    }
    if (FIELD_EX32(dw[0], DESC_DW0, FUNCTION_RSVD)) {
        return AMD_PTDMA_ILLEGAL_FUNCTION_RSVD;
    }
    if (!dw[1]) {
        return AMD_PTDMA_ILLEGAL_BUFFER_LENGTH;
    }
    if (FIELD_EX32(dw[3], DESC_DW3, SRC_MEM) ||
        FIELD_EX32(dw[5], DESC_DW5, DST_MEM)) {
        return AMD_PTDMA_ILLEGAL_MEM_SEL;
    }
    if (FIELD_EX32(dw[3], DESC_DW3, LSB_CTX_ID) > AMD_PTDMA_LSB_CTX_MAX) {
        return AMD_PTDMA_ILLEGAL_CONTEXT_ID;
    }
    return AMD_PTDMA_OK;
}

static AMDPTDMAError amd_ptdma_decode(const uint32_t *dw, AMDDMACopy *copy)
{
    AMDPTDMAError error = amd_ptdma_check_desc(dw);

    copy->size = dw[1];
    copy->source = deposit64(dw[2], 32, 16,
                             FIELD_EX32(dw[3], DESC_DW3, SRC_HI));
    copy->destination = deposit64(dw[4], 32, 16,
                                  FIELD_EX32(dw[5], DESC_DW5, DST_HI));
    if (error == AMD_PTDMA_OK &&
        ((copy->source + (copy->size - 1)) >> AMD_PTDMA_ADDR_BITS ||
         (copy->destination + (copy->size - 1)) >> AMD_PTDMA_ADDR_BITS)) {
        error = AMD_PTDMA_ILLEGAL_MEM_ADDR;
    }
    return error;
}

static AMDPTDMAError amd_ptdma_fetch(AMDPTDMACore *s, uint32_t *dw)
{
    uint64_t address = deposit64(s->head, 32, 16,
                                 FIELD_EX32(s->control, Q_CONTROL, BASE_HI));
    MemTxResult result;

    /* There is no local storage that could hold a ring */
    if (FIELD_EX32(s->control, Q_CONTROL, MEM_LOCATION)) {
        return AMD_PTDMA_ILLEGAL_MEM_SEL;
    }
    result = dma_memory_read(s->as, address, dw, AMD_PTDMA_DESC_SIZE,
                             MEMTXATTRS_UNSPECIFIED);
    switch (amd_dma_status_of_read(result)) {
    case AMD_DMA_DONE:
        break;
    case AMD_DMA_READ_DECODE_ERROR:
        return AMD_PTDMA_IDMA1_DECODE_ERROR;
    default:
        return AMD_PTDMA_IDMA1_SLAVE_ERROR;
    }
    for (int i = 0; i < AMD_PTDMA_DESC_WORDS; i++) {
        dw[i] = le32_to_cpu(dw[i]);
    }
    return AMD_PTDMA_OK;
}

static bool amd_ptdma_may_run(const AMDPTDMACore *s)
{
    return FIELD_EX32(s->control, Q_CONTROL, RUN) &&
           !FIELD_EX32(s->control, Q_CONTROL, HALT);
}

/* Pulled out: nothing of what was under way is left */
static void amd_ptdma_remove(AMDPTDMACore *s, uint32_t fault_id)
{
    trace_amd_ptdma_remove(s->faults.name, fault_id);
    amd_ptdma_core_reset(s);
    s->removed_by = fault_id;
    s->ops->set_present(s->opaque, false);
}

/* Start the descriptor at head if the queue may run and has one */
void amd_ptdma_kick(AMDPTDMACore *s)
{
    uint32_t dw[AMD_PTDMA_DESC_WORDS] = { };
    uint32_t generation = s->channel.generation;
    AMDPTDMAError error;
    AMDDMACopy copy;

    if (s->channel.busy || s->head == s->tail || !amd_ptdma_may_run(s)) {
        return;
    }

    error = amd_ptdma_fetch(s, dw);
    if (generation != s->channel.generation) {
        /* The ring is where a read resets us */
        return;
    }
    if (error == AMD_PTDMA_OK) {
        error = amd_ptdma_decode(dw, &copy);
    }
    trace_amd_ptdma_desc(s->faults.name, s->head, dw[0], error);
    s->head_rewritten = false;
    s->desc_dw0 = dw[0];
    s->desc_error = error;
    s->status = FIELD_DP32(s->status, Q_STATUS, ERROR, AMD_PTDMA_OK);
    if (error != AMD_PTDMA_OK) {
        amd_dma_channel_fail(&s->channel);
        return;
    }
    amd_dma_channel_start(&s->channel, &copy, false);
    if (s->channel.effects.removed_by) {
        amd_ptdma_remove(s, s->channel.effects.removed_by);
    }
}

static AMDPTDMAError amd_ptdma_error_of(AMDPTDMACore *s, AMDDMAStatus status,
                                        const AMDDMAFaultEffects *effects)
{
    switch (status) {
    case AMD_DMA_DONE:
        return s->desc_error;
    case AMD_DMA_READ_SLAVE_ERROR:
        return AMD_PTDMA_IDMA0_SLAVE_ERROR;
    case AMD_DMA_READ_DECODE_ERROR:
        return AMD_PTDMA_IDMA0_DECODE_ERROR;
    case AMD_DMA_WRITE_SLAVE_ERROR:
        return AMD_PTDMA_ODMA0_SLAVE_ERROR;
    case AMD_DMA_WRITE_DECODE_ERROR:
        return AMD_PTDMA_ODMA0_DECODE_ERROR;
    case AMD_DMA_INJECTED_ERROR:
        return effects->code;
    default:
        g_assert_not_reached();
    }
}

/* The queue stops at the failed descriptor */
static uint32_t amd_ptdma_retire_failed(AMDPTDMACore *s, AMDPTDMAError error)
{
    s->stats.errors++;
    s->status = FIELD_DP32(s->status, Q_STATUS, ERROR, error);
    s->control = FIELD_DP32(s->control, Q_CONTROL, RUN, 0);
    s->control = FIELD_DP32(s->control, Q_CONTROL, HALT, 1);
    s->error_halt = true;
    return R_Q_INTERRUPT_ERROR_MASK | R_Q_INTERRUPT_QUEUE_STOPPED_MASK;
}

static uint32_t amd_ptdma_retire_done(AMDPTDMACore *s)
{
    uint32_t mask = amd_ptdma_ring_mask(s);
    uint32_t causes = 0;

    s->stats.descriptors++;
    s->stats.bytes += s->channel.copy.size;
    if (!s->head_rewritten) {
        s->head = (s->head & ~mask) |
                  ((s->head + AMD_PTDMA_DESC_SIZE) & mask);
    }
    if (FIELD_EX32(s->desc_dw0, DESC_DW0, IOC)) {
        causes |= R_Q_INTERRUPT_COMPLETION_MASK;
    }
    if (FIELD_EX32(s->desc_dw0, DESC_DW0, SOC)) {
        s->control = FIELD_DP32(s->control, Q_CONTROL, RUN, 0);
    }
    if (s->head == s->tail) {
        causes |= R_Q_INTERRUPT_EMPTY_QUEUE_MASK;
    }
    if (!amd_ptdma_may_run(s)) {
        causes |= R_Q_INTERRUPT_QUEUE_STOPPED_MASK;
    }
    return causes;
}

void amd_ptdma_echo(void *opaque, const AMDDMAEcho *echo)
{
    AMDPTDMACore *s = opaque;

    if (echo->completion) {
        amd_ptdma_raise(s, R_Q_INTERRUPT_COMPLETION_MASK);
    } else {
        s->ops->notify(s->opaque);
    }
}

static void amd_ptdma_echo_later(AMDPTDMACore *s, int64_t delay_ns,
                                 bool completion)
{
    AMDDMAEcho echo = { .completion = completion };

    amd_dma_echoes_add(&s->echoes, &echo, delay_ns);
}

static void amd_ptdma_retire(void *opaque, AMDDMAStatus status,
                             const AMDDMAFaultEffects *effects)
{
    AMDPTDMACore *s = opaque;
    AMDPTDMAError error = amd_ptdma_error_of(s, status, effects);
    uint32_t causes;

    causes = error ? amd_ptdma_retire_failed(s, error)
                   : amd_ptdma_retire_done(s);
    causes &= s->int_enable | ~AMD_PTDMA_QUEUE_CAUSES;
    trace_amd_ptdma_retire(s->faults.name, s->head, error, causes);
    if (effects->message_lost_by) {
        s->message_lost_by = effects->message_lost_by;
    }
    if (effects->duplicate_ns) {
        amd_ptdma_echo_later(s, effects->duplicate_ns, true);
    }
    if (effects->spurious_ns) {
        amd_ptdma_echo_later(s, effects->spurious_ns, false);
    }
    amd_ptdma_raise(s, causes);
}

static void amd_ptdma_idle(void *opaque)
{
    amd_ptdma_kick(opaque);
}

const AMDDMAChannelOps amd_ptdma_channel_ops = {
    .retire = amd_ptdma_retire,
    .idle = amd_ptdma_idle,
};
