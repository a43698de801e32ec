/*
 * AMD AE4DMA controller: registers
 *
 * docs/specs/amd-ae4dma.rst describes the device, and says what of it is known
 * from its driver and what is only a model.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "migration/vmstate.h"
#include "hw/dma/amd_ae4dma.h"
#include "amd_ae4dma_queue.h"
#include "trace.h"

static void amd_ae4dma_fault_cleared(void *opaque, uint32_t id)
{
    AMDAE4DMACore *s = opaque;

    for (int i = 0; i < AMD_AE4DMA_QUEUES_MAX; i++) {
        for (int j = 0; j < AMD_AE4DMA_SLOTS; j++) {
            amd_dma_channel_release(&s->queues[i].slots[j].channel, id);
        }
    }
    if (s->removed_by && (!id || s->removed_by == id)) {
        s->removed_by = 0;
        s->ops->set_present(s->opaque, true);
        s->ops->power_on(s->opaque);
    }
}

bool amd_ae4dma_core_is_removed(const AMDAE4DMACore *s)
{
    /*
     * A vCPU that was about to access us while we were unplugged still gets
     * here, and finds nobody.
     */
    return s->dead || s->removed_by;
}

/* NULL: there is no queue at this offset */
static AMDAE4DMAQueue *amd_ae4dma_queue_at(AMDAE4DMACore *s, hwaddr offset)
{
    hwaddr block = offset / AMD_AE4DMA_QUEUE_SIZE;

    return block && block <= s->queues_number ? &s->queues[block - 1] : NULL;
}

static bool amd_ae4dma_queue_read(AMDAE4DMAQueue *q, hwaddr offset,
                                  uint32_t *value)
{
    switch (offset) {
    case A_AE4_Q_CONTROL:
        *value = q->control;
        return true;
    case A_AE4_Q_INT_ENABLE:
        *value = R_AE4_Q_INT_ENABLE_COMPLETION_MASK;
        return true;
    case A_AE4_Q_MAX_IDX:
        *value = q->max_index;
        return true;
    case A_AE4_Q_READ_IDX:
        *value = q->read_index;
        return true;
    case A_AE4_Q_WRITE_IDX:
        *value = q->write_index;
        return true;
    case A_AE4_Q_INT_STATUS:
        *value = q->int_status;
        return true;
    case A_AE4_Q_BASE_LO:
        *value = q->base_lo;
        return true;
    case A_AE4_Q_BASE_HI:
        *value = q->base_hi;
        return true;
    default:
        return false;
    }
}

static bool amd_ae4dma_global_read(AMDAE4DMACore *s, hwaddr offset,
                                   uint32_t *value)
{
    switch (offset) {
    case A_AE4_QUEUES:
        *value = s->queues_used;
        return true;
    case A_AE4_VERSION:
        *value = FIELD_DP32(0, AE4_VERSION, NUMBER, AMD_AE4DMA_VERSION);
        /* The field can't hold 16 */
        *value = FIELD_DP32(*value, AE4_VERSION, NUM_VQM,
                            MIN(s->queues_number, 15));
        return true;
    default:
        return false;
    }
}

static uint64_t amd_ae4dma_read(void *opaque, hwaddr offset, unsigned int size)
{
    AMDAE4DMACore *s = opaque;
    AMDAE4DMAQueue *q = amd_ae4dma_queue_at(s, offset);
    uint32_t value = 0;
    bool known;

    if (amd_ae4dma_core_is_removed(s)) {
        return UINT32_MAX;
    }
    if (q) {
        known = amd_ae4dma_queue_read(q, offset % AMD_AE4DMA_QUEUE_SIZE,
                                      &value);
    } else {
        known = amd_ae4dma_global_read(s, offset, &value);
    }
    if (!known) {
        qemu_log_mask(LOG_GUEST_ERROR, "%s: no register at 0x%" HWADDR_PRIx
                      "\n", __func__, offset);
    }
    trace_amd_ae4dma_read(s->faults.name, offset, value);
    return value;
}

/*
 * The driver writes this once, when it is loaded, and from then on takes all
 * indices to be 0 and the queues to run.  So this is where they start.
 */
static void amd_ae4dma_write_queues(AMDAE4DMACore *s, uint32_t value)
{
    if (value > s->queues_number) {
        qemu_log_mask(LOG_GUEST_ERROR, "%s: %" PRIu32 " queues of %u\n",
                      __func__, value, s->queues_number);
        value = s->queues_number;
    }
    amd_dma_echoes_clear(&s->echoes);
    s->queues_used = value;
    for (int i = 0; i < s->queues_number; i++) {
        amd_ae4dma_queue_reset(&s->queues[i]);
        s->queues[i].control = FIELD_DP32(0, AE4_Q_CONTROL, RUN, i < value);
    }
}

static void amd_ae4dma_write_max_index(AMDAE4DMAQueue *q, uint32_t value)
{
    if (value > AMD_AE4DMA_MAX_IDX_LIMIT) {
        qemu_log_mask(LOG_GUEST_ERROR, "%s: a ring of %" PRIu32
                      " descriptors\n", __func__, value);
        /* No ring is better than half of one */
        value = 0;
    }
    amd_ae4dma_set_max_index(q, value);
}

static void amd_ae4dma_write_write_index(AMDAE4DMAQueue *q, uint32_t value)
{
    if (value >= q->max_index) {
        qemu_log_mask(LOG_GUEST_ERROR, "%s: index %" PRIu32 " in a ring of %"
                      PRIu32 "\n", __func__, value, q->max_index);
        return;
    }
    q->write_index = value;
    amd_ae4dma_kick(q);
}

static bool amd_ae4dma_queue_write(AMDAE4DMAQueue *q, hwaddr offset,
                                   uint32_t value)
{
    switch (offset) {
    case A_AE4_Q_CONTROL:
        q->control = value & R_AE4_Q_CONTROL_RUN_MASK;
        amd_ae4dma_kick(q);
        return true;
    case A_AE4_Q_MAX_IDX:
        amd_ae4dma_write_max_index(q, value);
        return true;
    case A_AE4_Q_WRITE_IDX:
        amd_ae4dma_write_write_index(q, value);
        return true;
    case A_AE4_Q_INT_STATUS:
        /* The driver writes back what it has read, less the bit */
        q->int_status &= value;
        return true;
    case A_AE4_Q_BASE_LO:
        q->base_lo = QEMU_ALIGN_DOWN(value, AMD_AE4DMA_DESC_SIZE);
        return true;
    case A_AE4_Q_BASE_HI:
        q->base_hi = extract32(value, 0, AMD_AE4DMA_ADDR_BITS - 32);
        return true;
    default:
        return false;
    }
}

static void amd_ae4dma_write(void *opaque, hwaddr offset, uint64_t value,
                             unsigned int size)
{
    AMDAE4DMACore *s = opaque;
    AMDAE4DMAQueue *q = amd_ae4dma_queue_at(s, offset);
    bool known = true;

    trace_amd_ae4dma_write(s->faults.name, offset, value);
    if (amd_ae4dma_core_is_removed(s)) {
        return;
    }
    if (q) {
        known = amd_ae4dma_queue_write(q, offset % AMD_AE4DMA_QUEUE_SIZE,
                                       value);
    } else if (offset == A_AE4_QUEUES) {
        amd_ae4dma_write_queues(s, value);
    } else {
        known = false;
    }
    if (!known) {
        qemu_log_mask(LOG_GUEST_ERROR, "%s: read-only or no register at 0x%"
                      HWADDR_PRIx "\n", __func__, offset);
    }
}

static const MemoryRegionOps amd_ae4dma_ops = {
    .read = amd_ae4dma_read,
    .write = amd_ae4dma_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 4,
        .max_access_size = 4,
    },
    .impl = {
        .min_access_size = 4,
        .max_access_size = 4,
    },
};

void amd_ae4dma_core_reset(AMDAE4DMACore *s)
{
    if (s->dead) {
        return;
    }
    amd_dma_echoes_clear(&s->echoes);
    s->queues_used = 0;
    for (int i = 0; i < AMD_AE4DMA_QUEUES_MAX; i++) {
        amd_ae4dma_queue_reset(&s->queues[i]);
    }
}

static void amd_ae4dma_queue_init(AMDAE4DMACore *s, uint8_t number)
{
    AMDAE4DMAQueue *q = &s->queues[number];

    q->core = s;
    q->number = number;
    for (int i = 0; i < AMD_AE4DMA_SLOTS; i++) {
        AMDAE4DMASlot *slot = &q->slots[i];

        slot->queue = q;
        amd_dma_channel_init(&slot->channel, s->dev, s->as, &s->timing,
                             &s->faults, &amd_ae4dma_channel_ops, slot);
        slot->channel.queue = number;
    }
}

void amd_ae4dma_core_init(AMDAE4DMACore *s, DeviceState *dev, AddressSpace *as,
                          const AMDAE4DMACoreOps *ops, void *opaque)
{
    s->dev = dev;
    s->as = as;
    s->ops = ops;
    s->opaque = opaque;
    s->dead = false;
    s->fault_limits = (AMDDMAFaultLimits) {
        .code_max = UINT8_MAX,
        .queues = s->queues_number,
        .reorders = true,
    };
    amd_dma_faults_init(&s->faults, dev->id ?: TYPE_AMD_AE4DMA,
                        &s->fault_limits, amd_ae4dma_fault_cleared, s);
    for (int i = 0; i < AMD_AE4DMA_QUEUES_MAX; i++) {
        amd_ae4dma_queue_init(s, i);
    }
    amd_dma_echoes_init(&s->echoes, dev, s->faults.name, amd_ae4dma_echo, s);
    memory_region_init_io(&s->regs, OBJECT(dev), &amd_ae4dma_ops, s,
                          TYPE_AMD_AE4DMA, AMD_AE4DMA_REGS_SIZE);
}

void amd_ae4dma_core_destroy(AMDAE4DMACore *s)
{
    /* A copy whose write unplugs us must find the queues empty */
    amd_ae4dma_core_reset(s);
    s->dead = true;
    amd_dma_echoes_destroy(&s->echoes);
    for (int i = 0; i < AMD_AE4DMA_QUEUES_MAX; i++) {
        for (int j = 0; j < AMD_AE4DMA_SLOTS; j++) {
            amd_dma_channel_destroy(&s->queues[i].slots[j].channel);
        }
    }
    amd_dma_faults_destroy(&s->faults);
}
