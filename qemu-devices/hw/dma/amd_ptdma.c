/*
 * AMD PTDMA (pass-through DMA) controller: registers
 *
 * docs/specs/amd-ptdma.rst describes the device, and says what of it is known
 * from its driver and what is only a model.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "migration/vmstate.h"
#include "hw/dma/amd_ptdma.h"
#include "hw/dma/amd_ptdma_regs.h"
#include "amd_ptdma_queue.h"
#include "trace.h"

static const AMDDMAFaultLimits amd_ptdma_fault_limits = {
    /* Q_STATUS.ERROR has 6 bits */
    .code_max = 63,
    .queues = 1,
};

static void amd_ptdma_fault_cleared(void *opaque, uint32_t id)
{
    AMDPTDMACore *s = opaque;

    amd_dma_channel_release(&s->channel, id);
    if (!id || s->message_lost_by == id) {
        s->message_lost_by = 0;
    }
    if (s->removed_by && (!id || s->removed_by == id)) {
        s->removed_by = 0;
        s->ops->set_present(s->opaque, true);
        s->ops->power_on(s->opaque);
    }
}

bool amd_ptdma_core_is_removed(const AMDPTDMACore *s)
{
    /*
     * A vCPU that was about to access us while we were unplugged still gets
     * here, and finds nobody.
     */
    return s->dead || s->removed_by;
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
        if (!s->interrupt_status) {
            /* The message that was to be lost has not become necessary */
            s->message_lost_by = 0;
        }
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
    if (s->dead) {
        return;
    }
    amd_dma_channel_abort(&s->channel);
    amd_dma_echoes_clear(&s->echoes);
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
    s->message_lost_by = 0;
}

void amd_ptdma_core_init(AMDPTDMACore *s, DeviceState *dev, AddressSpace *as,
                         const AMDPTDMACoreOps *ops, void *opaque)
{
    s->dev = dev;
    s->as = as;
    s->ops = ops;
    s->opaque = opaque;
    s->dead = false;
    amd_dma_faults_init(&s->faults, dev->id ?: TYPE_AMD_PTDMA,
                        &amd_ptdma_fault_limits, amd_ptdma_fault_cleared, s);
    amd_dma_channel_init(&s->channel, dev, as, &s->timing, &s->faults,
                         &amd_ptdma_channel_ops, s);
    amd_dma_echoes_init(&s->echoes, dev, s->faults.name, amd_ptdma_echo, s);
    memory_region_init_io(&s->regs, OBJECT(dev), &amd_ptdma_ops, s,
                          TYPE_AMD_PTDMA, AMD_PTDMA_REGS_SIZE);
}

void amd_ptdma_core_destroy(AMDPTDMACore *s)
{
    /* A copy whose write unplugs us must find the queue empty */
    amd_ptdma_core_reset(s);
    s->dead = true;
    amd_dma_echoes_destroy(&s->echoes);
    amd_dma_channel_destroy(&s->channel);
    amd_dma_faults_destroy(&s->faults);
}

static int amd_ptdma_core_pre_save(void *opaque)
{
    AMDPTDMACore *s = opaque;

    s->last_fault_id = s->faults.last_id;
    return 0;
}

static int amd_ptdma_core_post_load(void *opaque, int version_id)
{
    AMDPTDMACore *s = opaque;

    if (s->last_fault_id == UINT32_MAX) {
        /*
         * The next fault's number would be 0, which is none.  A machine may
         * run on after a load that failed.
         */
        amd_ptdma_core_reset(s);
        s->removed_by = 0;
        s->ops->set_present(s->opaque, true);
        return -EINVAL;
    }
    /* Numbers that the stream refers to are not given out again */
    s->faults.last_id = MAX(s->faults.last_id, s->last_fault_id);
    s->ops->set_present(s->opaque, !s->removed_by);
    return 0;
}

const VMStateDescription vmstate_amd_ptdma_core = {
    .name = "amd-ptdma-core",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = amd_ptdma_core_pre_save,
    .post_load = amd_ptdma_core_post_load,
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
        VMSTATE_UINT32(last_fault_id, AMDPTDMACore),
        VMSTATE_UINT32(message_lost_by, AMDPTDMACore),
        VMSTATE_UINT32(removed_by, AMDPTDMACore),
        VMSTATE_STRUCT(echoes, AMDPTDMACore, 1, vmstate_amd_dma_echoes,
                       AMDDMAEchoes),
        VMSTATE_END_OF_LIST()
    },
};
