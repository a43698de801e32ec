/*
 * AMD PTDMA (pass-through DMA) controller: registers and queue
 *
 * docs/specs/amd-ptdma.rst describes the device, and says what of it is known
 * from its driver and what is only a model.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/log.h"
#include "migration/vmstate.h"
#include "hw/dma/amd_ptdma.h"
#include "hw/dma/amd_ptdma_regs.h"
#include "trace.h"

/* Q_STATUS.ERROR has 6 bits */
#define AMD_PTDMA_ERROR_CODE_MAX    63

/* The ring is aligned to its own size, which is at most the 4 GiB of tail */
static uint32_t amd_ptdma_ring_mask(const AMDPTDMACore *s)
{
    uint64_t descriptors = 2ULL << FIELD_EX32(s->control, Q_CONTROL, SIZE);
    uint64_t size = descriptors * AMD_PTDMA_DESC_SIZE;

    return MIN(size, 1ULL << 32) - 1;
}

static void amd_ptdma_update_irq(AMDPTDMACore *s)
{
    bool level = s->interrupt_status & s->int_enable;
    bool rises = level && !s->irq_level;

    /* The message is a write, which may reset this very device: do it last */
    s->irq_level = level;
    if (!rises) {
        return;
    }
    if (s->lose_message) {
        s->lose_message = false;
        trace_amd_ptdma_lose_message(s->faults.name, s->interrupt_status);
        return;
    }
    trace_amd_ptdma_notify(s->faults.name, s->interrupt_status);
    s->notify(s->opaque);
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
        ((copy->source + copy->size) >> AMD_PTDMA_ADDR_BITS ||
         (copy->destination + copy->size) >> AMD_PTDMA_ADDR_BITS)) {
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
}

/* Start the descriptor at head if the queue may run and has one */
static void amd_ptdma_kick(AMDPTDMACore *s)
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
    amd_dma_channel_start(&s->channel, &copy);
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

static void amd_ptdma_retire(void *opaque, AMDDMAStatus status,
                             const AMDDMAFaultEffects *effects)
{
    AMDPTDMACore *s = opaque;
    AMDPTDMAError error = amd_ptdma_error_of(s, status, effects);
    uint32_t causes;

    causes = error ? amd_ptdma_retire_failed(s, error)
                   : amd_ptdma_retire_done(s);
    trace_amd_ptdma_retire(s->faults.name, s->head, error, causes);
    s->lose_message |= effects->lose_interrupt;
    if (effects->duplicate_ns) {
        timer_mod(s->duplicate_timer,
                  amd_dma_time_add(qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL),
                                   effects->duplicate_ns));
    }
    if (effects->spurious_ns) {
        timer_mod(s->spurious_timer,
                  amd_dma_time_add(qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL),
                                   effects->spurious_ns));
    }
    amd_ptdma_raise(s, causes);
}

static void amd_ptdma_idle(void *opaque)
{
    amd_ptdma_kick(opaque);
}

static const AMDDMAChannelOps amd_ptdma_channel_ops = {
    .retire = amd_ptdma_retire,
    .idle = amd_ptdma_idle,
};

static void amd_ptdma_duplicate(void *opaque)
{
    AMDPTDMACore *s = opaque;

    trace_amd_ptdma_duplicate(s->faults.name);
    amd_ptdma_raise(s, R_Q_INTERRUPT_COMPLETION_MASK);
}

static void amd_ptdma_spurious(void *opaque)
{
    AMDPTDMACore *s = opaque;

    trace_amd_ptdma_spurious(s->faults.name);
    s->notify(s->opaque);
}

static void amd_ptdma_fault_cleared(void *opaque, uint32_t id)
{
    AMDPTDMACore *s = opaque;

    amd_dma_channel_release(&s->channel, id);
    if (s->removed_by && (!id || s->removed_by == id)) {
        s->removed_by = 0;
    }
}

bool amd_ptdma_core_is_removed(const AMDPTDMACore *s)
{
    return s->removed_by;
}

static uint64_t amd_ptdma_read(void *opaque, hwaddr offset, unsigned int size)
{
    AMDPTDMACore *s = opaque;
    uint32_t value = 0;

    if (amd_ptdma_core_is_removed(s)) {
        return UINT32_MAX;
    }
    switch (offset) {
    case A_QUEUE_PRIO:
        value = s->queue_prio;
        break;
    case A_REQID_CONFIG:
        value = s->reqid_config;
        break;
    case A_TIMEOUT:
        value = s->timeout;
        break;
    case A_VERSION:
        value = FIELD_DP32(value, VERSION, NUMBER, 5);
        value = FIELD_DP32(value, VERSION, NUM_VQM, 1);
        break;
    case A_CONFIG:
        value = s->config;
        break;
    case A_CLK_GATE_CTL:
        value = s->clk_gate_ctl;
        break;
    case A_Q_CONTROL:
        value = s->control;
        break;
    case A_Q_TAIL_LO:
        value = s->tail;
        break;
    case A_Q_HEAD_LO:
        value = s->head;
        break;
    case A_Q_INT_ENABLE:
        value = s->int_enable;
        break;
    case A_Q_INTERRUPT_STATUS:
        value = s->interrupt_status;
        break;
    case A_Q_STATUS:
        value = s->status;
        break;
    case A_Q_INT_STATUS:
        value = s->int_status;
        s->int_status = 0;
        break;
    case A_Q_DMA_STATUS:
    case A_Q_DMA_READ_STATUS:
    case A_Q_DMA_WRITE_STATUS:
    case A_Q_ABORT:
        break;
    case A_Q_AX_CACHE:
        value = s->ax_cache;
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "%s: no register at 0x%" HWADDR_PRIx
                      "\n", __func__, offset);
        break;
    }
    trace_amd_ptdma_read(s->faults.name, offset, value);
    return value;
}

static void amd_ptdma_write_control(AMDPTDMACore *s, uint32_t value)
{
    s->control = value & (R_Q_CONTROL_RUN_MASK | R_Q_CONTROL_HALT_MASK |
                          R_Q_CONTROL_MEM_LOCATION_MASK |
                          R_Q_CONTROL_SIZE_MASK | R_Q_CONTROL_BASE_HI_MASK);
    s->error_halt = false;
    amd_ptdma_kick(s);
}

/* Rewriting head ends the halt that an error caused */
static void amd_ptdma_write_head(AMDPTDMACore *s, uint32_t value)
{
    s->head = QEMU_ALIGN_DOWN(value, AMD_PTDMA_DESC_SIZE);
    s->head_rewritten = true;
    if (s->error_halt) {
        s->error_halt = false;
        s->control = FIELD_DP32(s->control, Q_CONTROL, HALT, 0);
    }
    amd_ptdma_kick(s);
}

static void amd_ptdma_write(void *opaque, hwaddr offset, uint64_t value,
                            unsigned int size)
{
    AMDPTDMACore *s = opaque;

    trace_amd_ptdma_write(s->faults.name, offset, value);
    if (amd_ptdma_core_is_removed(s)) {
        return;
    }
    switch (offset) {
    case A_QUEUE_PRIO:
        s->queue_prio = value & R_QUEUE_PRIO_PRIO_MASK;
        break;
    case A_REQID_CONFIG:
        s->reqid_config = value;
        break;
    case A_TIMEOUT:
        s->timeout = value;
        if (value) {
            qemu_log_mask(LOG_UNIMP, "%s: command timeout\n", __func__);
        }
        break;
    case A_CONFIG:
        s->config = value & R_CONFIG_VHB_EN_MASK;
        break;
    case A_CLK_GATE_CTL:
        s->clk_gate_ctl = value & (R_CLK_GATE_CTL_DYN_GATING_EN_MASK |
                                   R_CLK_GATE_CTL_DELAY_MASK);
        break;
    case A_Q_CONTROL:
        amd_ptdma_write_control(s, value);
        break;
    case A_Q_TAIL_LO:
        s->tail = QEMU_ALIGN_DOWN((uint32_t)value, AMD_PTDMA_DESC_SIZE);
        amd_ptdma_kick(s);
        break;
    case A_Q_HEAD_LO:
        amd_ptdma_write_head(s, value);
        break;
    case A_Q_INT_ENABLE:
        s->int_enable = value & R_Q_INTERRUPT_MASK;
        amd_ptdma_update_irq(s);
        break;
    case A_Q_INTERRUPT_STATUS:
        s->interrupt_status &= ~value;
        amd_ptdma_update_irq(s);
        break;
    case A_Q_ABORT:
        qemu_log_mask(LOG_UNIMP, "%s: queue abort\n", __func__);
        break;
    case A_Q_AX_CACHE:
        s->ax_cache = value;
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "%s: read-only or no register at 0x%"
                      HWADDR_PRIx "\n", __func__, offset);
        break;
    }
}

static const MemoryRegionOps amd_ptdma_ops = {
    .read = amd_ptdma_read,
    .write = amd_ptdma_write,
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

void amd_ptdma_core_reset(AMDPTDMACore *s)
{
    amd_dma_channel_abort(&s->channel);
    timer_del(s->duplicate_timer);
    timer_del(s->spurious_timer);
    s->queue_prio = 0;
    s->reqid_config = 0;
    s->timeout = 0;
    s->config = 0;
    s->clk_gate_ctl = 0;
    s->control = 0;
    s->tail = 0;
    s->head = 0;
    s->int_enable = 0;
    s->interrupt_status = 0;
    s->int_status = 0;
    s->status = 0;
    s->ax_cache = 0;
    s->desc_dw0 = 0;
    s->desc_error = AMD_PTDMA_OK;
    s->head_rewritten = false;
    s->error_halt = false;
    s->irq_level = false;
    s->lose_message = false;
}

void amd_ptdma_core_init(AMDPTDMACore *s, DeviceState *dev, AddressSpace *as,
                         AMDPTDMANotify *notify, void *opaque)
{
    s->dev = dev;
    s->as = as;
    s->notify = notify;
    s->opaque = opaque;
    amd_dma_faults_init(&s->faults, dev->id ?: TYPE_AMD_PTDMA,
                        AMD_PTDMA_ERROR_CODE_MAX, amd_ptdma_fault_cleared, s);
    amd_dma_channel_init(&s->channel, dev, as, &s->timing, &s->faults,
                         &amd_ptdma_channel_ops, s);
    s->duplicate_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, amd_ptdma_duplicate,
                                      s);
    s->spurious_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, amd_ptdma_spurious,
                                     s);
    memory_region_init_io(&s->regs, OBJECT(dev), &amd_ptdma_ops, s,
                          TYPE_AMD_PTDMA, AMD_PTDMA_REGS_SIZE);
}

void amd_ptdma_core_destroy(AMDPTDMACore *s)
{
    /* A copy whose write unplugs us must find the queue empty */
    amd_ptdma_core_reset(s);
    timer_free(s->duplicate_timer);
    timer_free(s->spurious_timer);
    amd_dma_channel_destroy(&s->channel);
    amd_dma_faults_destroy(&s->faults);
}

const VMStateDescription vmstate_amd_ptdma_core = {
    .name = "amd-ptdma-core",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(stats.descriptors, AMDPTDMACore),
        VMSTATE_UINT64(stats.bytes, AMDPTDMACore),
        VMSTATE_UINT64(stats.interrupts, AMDPTDMACore),
        VMSTATE_UINT64(stats.errors, AMDPTDMACore),
        VMSTATE_UINT32(queue_prio, AMDPTDMACore),
        VMSTATE_UINT32(reqid_config, AMDPTDMACore),
        VMSTATE_UINT32(timeout, AMDPTDMACore),
        VMSTATE_UINT32(config, AMDPTDMACore),
        VMSTATE_UINT32(clk_gate_ctl, AMDPTDMACore),
        VMSTATE_UINT32(control, AMDPTDMACore),
        VMSTATE_UINT32(tail, AMDPTDMACore),
        VMSTATE_UINT32(head, AMDPTDMACore),
        VMSTATE_UINT32(int_enable, AMDPTDMACore),
        VMSTATE_UINT32(interrupt_status, AMDPTDMACore),
        VMSTATE_UINT32(int_status, AMDPTDMACore),
        VMSTATE_UINT32(status, AMDPTDMACore),
        VMSTATE_UINT32(ax_cache, AMDPTDMACore),
        VMSTATE_UINT32(desc_dw0, AMDPTDMACore),
        VMSTATE_UINT8(desc_error, AMDPTDMACore),
        VMSTATE_BOOL(head_rewritten, AMDPTDMACore),
        VMSTATE_STRUCT(channel, AMDPTDMACore, 1, vmstate_amd_dma_channel,
                       AMDDMAChannel),
        VMSTATE_BOOL(error_halt, AMDPTDMACore),
        VMSTATE_BOOL(irq_level, AMDPTDMACore),
        VMSTATE_BOOL(lose_message, AMDPTDMACore),
        VMSTATE_UINT32(removed_by, AMDPTDMACore),
        VMSTATE_TIMER_PTR(duplicate_timer, AMDPTDMACore),
        VMSTATE_TIMER_PTR(spurious_timer, AMDPTDMACore),
        VMSTATE_END_OF_LIST()
    },
};
