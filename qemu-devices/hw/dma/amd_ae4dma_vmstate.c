/*
 * AMD AE4DMA controller: migration
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "migration/vmstate.h"
#include "hw/dma/amd_ae4dma.h"

static int amd_ae4dma_core_pre_save(void *opaque)
{
    AMDAE4DMACore *s = opaque;

    s->last_fault_id = s->faults.last_id;
    return 0;
}

/* The stream is not to be trusted more than the guest */
static bool amd_ae4dma_queue_is_sane(const AMDAE4DMAQueue *q)
{
    uint32_t limit = MAX(q->max_index, 1);

    if (q->max_index > AMD_AE4DMA_MAX_IDX_LIMIT || q->read_index >= limit ||
        q->write_index >= limit || q->fetch_index >= limit) {
        return false;
    }
    for (int i = 0; i < AMD_AE4DMA_SLOTS; i++) {
        const AMDAE4DMASlot *slot = &q->slots[i];

        if (slot->channel.busy && !slot->passed &&
            slot->index >= q->max_index) {
            return false;
        }
    }
    return true;
}

static bool amd_ae4dma_core_is_sane(const AMDAE4DMACore *s)
{
    /* The next fault's number would be 0, which is none */
    if (s->last_fault_id == UINT32_MAX) {
        return false;
    }
    if (s->queues_used > s->queues_number) {
        return false;
    }
    for (int i = 0; i < AMD_AE4DMA_QUEUES_MAX; i++) {
        if (!amd_ae4dma_queue_is_sane(&s->queues[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < s->echoes.number; i++) {
        if (s->echoes.list[i].queue >= s->queues_number) {
            return false;
        }
    }
    return true;
}

static int amd_ae4dma_core_post_load(void *opaque, int version_id)
{
    AMDAE4DMACore *s = opaque;

    if (!amd_ae4dma_core_is_sane(s)) {
        /* A machine may run on after a load that failed */
        amd_ae4dma_core_reset(s);
        s->removed_by = 0;
        s->ops->set_present(s->opaque, true);
        return -EINVAL;
    }
    /* Numbers that the stream refers to are not given out again */
    s->faults.last_id = MAX(s->faults.last_id, s->last_fault_id);
    s->ops->set_present(s->opaque, !s->removed_by);
    return 0;
}

static const VMStateDescription vmstate_amd_ae4dma_slot = {
    .name = "amd-ae4dma-slot",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT(channel, AMDAE4DMASlot, 1, vmstate_amd_dma_channel,
                       AMDDMAChannel),
        VMSTATE_UINT64(address, AMDAE4DMASlot),
        VMSTATE_UINT32(header, AMDAE4DMASlot),
        VMSTATE_UINT16(index, AMDAE4DMASlot),
        VMSTATE_UINT8(error, AMDAE4DMASlot),
        VMSTATE_BOOL(passed, AMDAE4DMASlot),
        VMSTATE_UINT32(later, AMDAE4DMASlot),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_amd_ae4dma_queue = {
    .name = "amd-ae4dma-queue",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(control, AMDAE4DMAQueue),
        VMSTATE_UINT32(max_index, AMDAE4DMAQueue),
        VMSTATE_UINT32(read_index, AMDAE4DMAQueue),
        VMSTATE_UINT32(write_index, AMDAE4DMAQueue),
        VMSTATE_UINT32(int_status, AMDAE4DMAQueue),
        VMSTATE_UINT32(base_lo, AMDAE4DMAQueue),
        VMSTATE_UINT32(base_hi, AMDAE4DMAQueue),
        VMSTATE_UINT32(fetch_index, AMDAE4DMAQueue),
        VMSTATE_STRUCT_ARRAY(slots, AMDAE4DMAQueue, AMD_AE4DMA_SLOTS, 1,
                             vmstate_amd_ae4dma_slot, AMDAE4DMASlot),
        VMSTATE_UINT64(descriptors, AMDAE4DMAQueue),
        VMSTATE_END_OF_LIST()
    },
};

const VMStateDescription vmstate_amd_ae4dma_core = {
    .name = "amd-ae4dma-core",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = amd_ae4dma_core_pre_save,
    .post_load = amd_ae4dma_core_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT8_EQUAL(queues_number, AMDAE4DMACore,
                            "queues is to be the same at both ends"),
        VMSTATE_UINT64(stats.descriptors, AMDAE4DMACore),
        VMSTATE_UINT64(stats.bytes, AMDAE4DMACore),
        VMSTATE_UINT64(stats.interrupts, AMDAE4DMACore),
        VMSTATE_UINT64(stats.errors, AMDAE4DMACore),
        VMSTATE_UINT32(queues_used, AMDAE4DMACore),
        VMSTATE_STRUCT_ARRAY(queues, AMDAE4DMACore, AMD_AE4DMA_QUEUES_MAX, 1,
                             vmstate_amd_ae4dma_queue, AMDAE4DMAQueue),
        VMSTATE_UINT32(last_fault_id, AMDAE4DMACore),
        VMSTATE_UINT32(removed_by, AMDAE4DMACore),
        VMSTATE_STRUCT(echoes, AMDAE4DMACore, 1, vmstate_amd_dma_echoes,
                       AMDDMAEchoes),
        VMSTATE_END_OF_LIST()
    },
};
