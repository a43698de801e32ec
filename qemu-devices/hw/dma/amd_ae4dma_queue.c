/*
 * AMD AE4DMA controller: queues and their interrupts
 *
 * docs/specs/amd-ae4dma.rst describes the device, and says what of it is known
 * from its driver and what is only a model.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/dma/amd_ae4dma.h"
#include "amd_ae4dma_queue.h"
#include "trace.h"

static void amd_ae4dma_raise(AMDAE4DMAQueue *q, bool send)
{
    AMDAE4DMACore *s = q->core;

    q->int_status |= R_AE4_Q_INT_STATUS_COMPLETION_MASK;
    if (!send) {
        trace_amd_ae4dma_lose_message(s->faults.name, q->number);
        return;
    }
    trace_amd_ae4dma_notify(s->faults.name, q->number);
    s->ops->notify(s->opaque, q->number);
}

/* The order of the checks is ours; most of the codes are the driver's */
static AMDAE4DMAError amd_ae4dma_check_desc(const uint32_t *dw)
{
    if (FIELD_EX32(dw[AMD_AE4DMA_DESC_HEADER], AE4_DESC_HEADER,
                   COMMAND_RSVD)) {
        return AMD_AE4DMA_INVALID_HEADER;
    }
    if (FIELD_EX32(dw[AMD_AE4DMA_DESC_STATUS], AE4_DESC_STATUS, STATUS)) {
        return AMD_AE4DMA_INVALID_STATUS;
    }
    if (!dw[AMD_AE4DMA_DESC_LENGTH] ||
        dw[AMD_AE4DMA_DESC_LENGTH] % AMD_AE4DMA_ALIGNMENT) {
        return AMD_AE4DMA_INVALID_LENGTH;
    }
    if (dw[AMD_AE4DMA_DESC_SOURCE_LO] % AMD_AE4DMA_ALIGNMENT) {
        return AMD_AE4DMA_INVALID_SOURCE;
    }
    if (dw[AMD_AE4DMA_DESC_DESTINATION_LO] % AMD_AE4DMA_ALIGNMENT) {
        return AMD_AE4DMA_INVALID_DESTINATION;
    }
    if (dw[AMD_AE4DMA_DESC_RESERVED]) {
        return AMD_AE4DMA_INVALID_DESCRIPTOR;
    }
    return AMD_AE4DMA_OK;
}

static bool amd_ae4dma_is_addressable(uint64_t address, uint32_t size)
{
    return !(address >> AMD_AE4DMA_ADDR_BITS) &&
           !((address + (size - 1)) >> AMD_AE4DMA_ADDR_BITS);
}

static AMDAE4DMAError amd_ae4dma_decode(const uint32_t *dw, AMDDMACopy *copy)
{
    AMDAE4DMAError error = amd_ae4dma_check_desc(dw);

    copy->size = dw[AMD_AE4DMA_DESC_LENGTH];
    copy->source = deposit64(dw[AMD_AE4DMA_DESC_SOURCE_LO], 32, 32,
                             dw[AMD_AE4DMA_DESC_SOURCE_HI]);
    copy->destination = deposit64(dw[AMD_AE4DMA_DESC_DESTINATION_LO], 32, 32,
                                  dw[AMD_AE4DMA_DESC_DESTINATION_HI]);
    if (error == AMD_AE4DMA_OK &&
        (!amd_ae4dma_is_addressable(copy->source, copy->size) ||
         !amd_ae4dma_is_addressable(copy->destination, copy->size))) {
        error = AMD_AE4DMA_ADDRESS_TOO_LARGE;
    }
    return error;
}

static AMDAE4DMAError amd_ae4dma_fetch(AMDAE4DMACore *s, uint64_t address,
                                       uint32_t *dw)
{
    MemTxResult result = dma_memory_read(s->as, address, dw,
                                         AMD_AE4DMA_DESC_SIZE,
                                         MEMTXATTRS_UNSPECIFIED);

    switch (amd_dma_status_of_read(result)) {
    case AMD_DMA_DONE:
        break;
    case AMD_DMA_READ_DECODE_ERROR:
        return AMD_AE4DMA_FETCH_DECODE_ERROR;
    default:
        return AMD_AE4DMA_FETCH_SLAVE_ERROR;
    }
    for (int i = 0; i < AMD_AE4DMA_DESC_WORDS; i++) {
        dw[i] = le32_to_cpu(dw[i]);
    }
    return AMD_AE4DMA_OK;
}

static bool amd_ae4dma_may_run(const AMDAE4DMAQueue *q)
{
    return FIELD_EX32(q->control, AE4_Q_CONTROL, RUN) &&
           q->number < q->core->queues_used;
}

/* By an out-of-order fault */
static bool amd_ae4dma_is_held(const AMDAE4DMASlot *slot)
{
    return slot->channel.busy && slot->channel.effects.held_for &&
           slot->channel.effects.stalled_by;
}

/* Where the next descriptor can go; NULL: it has to wait */
static AMDAE4DMASlot *amd_ae4dma_free_slot(AMDAE4DMAQueue *q)
{
    AMDAE4DMASlot *found = NULL;

    for (int i = 0; i < AMD_AE4DMA_SLOTS; i++) {
        AMDAE4DMASlot *slot = &q->slots[i];

        if (!slot->channel.busy) {
            found = slot;
        } else if (!amd_ae4dma_is_held(slot)) {
            return NULL;
        }
    }
    return found;
}

static AMDAE4DMASlot *amd_ae4dma_held_slot(AMDAE4DMAQueue *q,
                                           const AMDAE4DMASlot *but)
{
    for (int i = 0; i < AMD_AE4DMA_SLOTS; i++) {
        if (&q->slots[i] != but && amd_ae4dma_is_held(&q->slots[i])) {
            return &q->slots[i];
        }
    }
    return NULL;
}

/* Pulled out: nothing of what was under way is left */
static void amd_ae4dma_remove(AMDAE4DMACore *s, uint32_t fault_id)
{
    trace_amd_ae4dma_remove(s->faults.name, fault_id);
    amd_ae4dma_core_reset(s);
    s->removed_by = fault_id;
    s->ops->set_present(s->opaque, false);
}

static void amd_ae4dma_start(AMDAE4DMAQueue *q, AMDAE4DMASlot *slot,
                             const AMDDMACopy *copy)
{
    /* One held at a time, or nothing could pass them */
    amd_dma_channel_start(&slot->channel, copy,
                          !amd_ae4dma_held_slot(q, slot));
    if (slot->channel.effects.removed_by) {
        amd_ae4dma_remove(q->core, slot->channel.effects.removed_by);
        return;
    }
    if (amd_ae4dma_is_held(slot)) {
        slot->later = slot->channel.effects.held_for;
        amd_ae4dma_kick(q);
    }
}

void amd_ae4dma_kick(AMDAE4DMAQueue *q)
{
    uint32_t dw[AMD_AE4DMA_DESC_WORDS] = { };
    AMDAE4DMASlot *slot = amd_ae4dma_free_slot(q);
    AMDAE4DMACore *s = q->core;
    uint32_t generation;
    AMDAE4DMAError error;
    AMDDMACopy copy;

    if (!slot || q->fetch_index == q->write_index || !amd_ae4dma_may_run(q)) {
        return;
    }
    /* What a load that failed has left behind is no place in the ring */
    if (q->fetch_index >= q->max_index || q->write_index >= q->max_index) {
        return;
    }

    generation = slot->channel.generation;
    slot->index = q->fetch_index;
    slot->address = deposit64(q->base_lo, 32, 32, q->base_hi) +
                    (uint64_t)slot->index * AMD_AE4DMA_DESC_SIZE;
    error = amd_ae4dma_fetch(s, slot->address, dw);
    if (generation != slot->channel.generation) {
        /* The ring is where a read resets us */
        return;
    }
    if (error == AMD_AE4DMA_OK) {
        error = amd_ae4dma_decode(dw, &copy);
    }
    trace_amd_ae4dma_desc(s->faults.name, q->number, slot->index,
                          dw[AMD_AE4DMA_DESC_HEADER], error);
    q->fetch_index = (q->fetch_index + 1) % q->max_index;
    slot->header = dw[AMD_AE4DMA_DESC_HEADER];
    slot->error = error;
    slot->passed = false;
    slot->later = 0;
    if (error != AMD_AE4DMA_OK) {
        amd_dma_channel_fail(&slot->channel);
        return;
    }
    amd_ae4dma_start(q, slot, &copy);
}

static AMDAE4DMAError amd_ae4dma_error_of(const AMDAE4DMASlot *slot,
                                          AMDDMAStatus status,
                                          const AMDDMAFaultEffects *effects)
{
    switch (status) {
    case AMD_DMA_DONE:
        return slot->error;
    case AMD_DMA_READ_SLAVE_ERROR:
        return AMD_AE4DMA_READ_SLAVE_ERROR;
    case AMD_DMA_READ_DECODE_ERROR:
        return AMD_AE4DMA_READ_DECODE_ERROR;
    case AMD_DMA_WRITE_SLAVE_ERROR:
        return AMD_AE4DMA_WRITE_SLAVE_ERROR;
    case AMD_DMA_WRITE_DECODE_ERROR:
        return AMD_AE4DMA_WRITE_DECODE_ERROR;
    case AMD_DMA_INJECTED_ERROR:
        return effects->code;
    default:
        g_assert_not_reached();
    }
}

/* A descriptor has ended; does one that is held get its turn? */
static void amd_ae4dma_count_for_held(AMDAE4DMAQueue *q, AMDAE4DMASlot *slot)
{
    AMDAE4DMASlot *other = &q->slots[slot == &q->slots[0]];
    AMDAE4DMASlot *held = amd_ae4dma_held_slot(q, slot);

    /* Passed even if its fault was cleared while this one was under way */
    if (other->channel.busy && other->later) {
        other->passed = true;
    }
    if (!held) {
        return;
    }
    if (!--held->later) {
        trace_amd_ae4dma_release(q->core->faults.name, q->number, held->index);
        amd_dma_channel_release(&held->channel, 0);
    }
}

/*
 * Tell the ring how a descriptor went.
 *
 * Returns: false if that has reset us, or worse.
 */
static bool amd_ae4dma_write_back(AMDAE4DMACore *s, uint64_t address,
                                  uint32_t word)
{
    uint32_t generation = s->echoes.generation;
    uint32_t word_le = cpu_to_le32(word);
    MemTxResult result;

    result = dma_memory_write(s->as, address + AMD_AE4DMA_DESC_STATUS *
                              sizeof(word_le), &word_le, sizeof(word_le),
                              MEMTXATTRS_UNSPECIFIED);
    trace_amd_ae4dma_write_back(s->faults.name, address, word, result);
    if (generation != s->echoes.generation) {
        return false;
    }
    if (result != MEMTX_OK &&
        FIELD_EX32(word, AE4_DESC_STATUS, STATUS) != AMD_AE4DMA_STATUS_FAILED) {
        /* There is no other place to report to; a failure counts anyway */
        s->stats.errors++;
    }
    return true;
}

static void amd_ae4dma_echo_later(AMDAE4DMASlot *slot, int64_t delay_ns,
                                  bool completion, uint32_t word)
{
    AMDDMAEcho echo = {
        .completion = completion,
        .queue = slot->queue->number,
        .address = slot->address,
        .word = word,
    };

    amd_dma_echoes_add(&slot->queue->core->echoes, &echo, delay_ns);
}

void amd_ae4dma_echo(void *opaque, const AMDDMAEcho *echo)
{
    AMDAE4DMACore *s = opaque;

    if (!echo->completion) {
        s->ops->notify(s->opaque, echo->queue);
    } else if (amd_ae4dma_write_back(s, echo->address, echo->word)) {
        amd_ae4dma_raise(&s->queues[echo->queue], true);
    }
}

/* Status first, then the index, then the message: as the driver reads them */
static void amd_ae4dma_retire(void *opaque, AMDDMAStatus status,
                              const AMDDMAFaultEffects *effects)
{
    AMDAE4DMASlot *slot = opaque;
    AMDAE4DMAQueue *q = slot->queue;
    AMDAE4DMACore *s = q->core;
    AMDAE4DMAError error = amd_ae4dma_error_of(slot, status, effects);
    uint32_t generation = slot->channel.generation;
    uint32_t word = 0;

    word = FIELD_DP32(word, AE4_DESC_STATUS, STATUS,
                      error ? AMD_AE4DMA_STATUS_FAILED
                            : AMD_AE4DMA_STATUS_COMPLETED);
    word = FIELD_DP32(word, AE4_DESC_STATUS, ERROR, error);
    word = FIELD_DP32(word, AE4_DESC_STATUS, ID, slot->index);
    if (!amd_ae4dma_write_back(s, slot->address, word) ||
        generation != slot->channel.generation) {
        return;
    }

    if (error) {
        s->stats.errors++;
    } else {
        s->stats.descriptors++;
        s->stats.bytes += slot->channel.copy.size;
        q->descriptors++;
    }
    /* A load that failed can leave a descriptor without a ring */
    if (!slot->passed && q->max_index) {
        q->read_index = (slot->index + 1) % q->max_index;
    }
    amd_ae4dma_count_for_held(q, slot);
    trace_amd_ae4dma_retire(s->faults.name, q->number, slot->index, error,
                            q->read_index);

    if (FIELD_EX32(slot->header, AE4_DESC_HEADER, SOC)) {
        q->control = FIELD_DP32(q->control, AE4_Q_CONTROL, RUN, 0);
    }
    if (effects->duplicate_ns) {
        amd_ae4dma_echo_later(slot, effects->duplicate_ns, true, word);
    }
    if (effects->spurious_ns) {
        amd_ae4dma_echo_later(slot, effects->spurious_ns, false, word);
    }
    /* What can't be asked whether it wants a message gets one */
    if (FIELD_EX32(slot->header, AE4_DESC_HEADER, IOC) || error) {
        amd_ae4dma_raise(q, !effects->message_lost_by);
    }
}

static void amd_ae4dma_idle(void *opaque)
{
    AMDAE4DMASlot *slot = opaque;

    amd_ae4dma_kick(slot->queue);
}

const AMDDMAChannelOps amd_ae4dma_channel_ops = {
    .retire = amd_ae4dma_retire,
    .idle = amd_ae4dma_idle,
};

void amd_ae4dma_set_max_index(AMDAE4DMAQueue *q, uint32_t max_index)
{
    q->max_index = max_index;
    q->read_index = 0;
    q->write_index = 0;
    q->fetch_index = 0;
    for (int i = 0; i < AMD_AE4DMA_SLOTS; i++) {
        q->slots[i].passed = true;
    }
}

void amd_ae4dma_queue_reset(AMDAE4DMAQueue *q)
{
    for (int i = 0; i < AMD_AE4DMA_SLOTS; i++) {
        AMDAE4DMASlot *slot = &q->slots[i];

        amd_dma_channel_abort(&slot->channel);
        slot->address = 0;
        slot->header = 0;
        slot->index = 0;
        slot->error = AMD_AE4DMA_OK;
        slot->later = 0;
    }
    q->control = 0;
    amd_ae4dma_set_max_index(q, 0);
    q->int_status = 0;
    q->base_lo = 0;
    q->base_hi = 0;
}
