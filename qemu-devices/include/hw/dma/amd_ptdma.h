/*
 * AMD PTDMA (pass-through DMA) controller: registers and queue
 *
 * docs/specs/amd-ptdma.rst describes the device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_PTDMA_H
#define HW_DMA_AMD_PTDMA_H

#include "exec/memory.h"
#include "hw/dma/amd_dma_channel.h"

#define TYPE_AMD_PTDMA "amd-ptdma"

/**
 * AMDPTDMANotify: send the function's one interrupt message
 */
typedef void AMDPTDMANotify(void *opaque);

typedef struct AMDPTDMACore {
    MemoryRegion regs;
    DeviceState *dev;
    AddressSpace *as;
    AMDPTDMANotify *notify;
    void *opaque;

    /* configuration */
    AMDDMATiming timing;
    /* not touched by reset: hosts compare readings across guest reboots */
    AMDDMAStats stats;
    AMDDMAFaultSet faults;

    /* registers */
    uint32_t queue_prio;
    uint32_t reqid_config;
    uint32_t timeout;
    uint32_t config;
    uint32_t clk_gate_ctl;
    uint32_t control;
    uint32_t tail;
    uint32_t head;
    uint32_t int_enable;
    uint32_t interrupt_status;
    uint32_t int_status;
    uint32_t status;
    uint32_t ax_cache;

    /* the descriptor under way, if channel.busy */
    uint32_t desc_dw0;
    uint8_t desc_error;
    bool head_rewritten;
    AMDDMAChannel channel;

    /* HALT is an error's doing, not the guest's */
    bool error_halt;
    /* enabled causes were pending when last looked at */
    bool irq_level;

    /* what faults have left behind */
    bool lose_message;
    uint32_t removed_by;
    QEMUTimer *duplicate_timer;
    QEMUTimer *spurious_timer;
} AMDPTDMACore;

extern const VMStateDescription vmstate_amd_ptdma_core;

/**
 * amd_ptdma_core_init: make the registers and the engine
 * @s: the core; timing is set
 * @dev: the device that it belongs to
 * @as: address space of descriptors and data
 * @notify: sends an interrupt message
 * @opaque: for @notify
 */
void amd_ptdma_core_init(AMDPTDMACore *s, DeviceState *dev, AddressSpace *as,
                         AMDPTDMANotify *notify, void *opaque);
void amd_ptdma_core_destroy(AMDPTDMACore *s);

/**
 * amd_ptdma_core_reset: registers and queue as after power-on
 *
 * Configuration, counters and faults stay.
 */
void amd_ptdma_core_reset(AMDPTDMACore *s);

/**
 * amd_ptdma_core_is_removed: has a fault taken the device away?
 */
bool amd_ptdma_core_is_removed(const AMDPTDMACore *s);

#endif /* HW_DMA_AMD_PTDMA_H */
