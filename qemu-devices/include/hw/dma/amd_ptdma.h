/*
 * AMD PTDMA (pass-through DMA) controller: the core, without its bus
 *
 * docs/specs/amd-ptdma.rst describes the device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_PTDMA_H
#define HW_DMA_AMD_PTDMA_H

#include "exec/memory.h"
#include "hw/dma/amd_dma_channel.h"
#include "hw/dma/amd_dma_echo.h"

#define TYPE_AMD_PTDMA "amd-ptdma"

/**
 * AMDPTDMACoreOps: what the function around the core does
 * @notify: send the one interrupt message
 * @set_present: a fault takes the function away, or gives it back
 * @power_on: the function is as after power-on
 */
typedef struct AMDPTDMACoreOps {
    void (*notify)(void *opaque);
    void (*set_present)(void *opaque, bool present);
    void (*power_on)(void *opaque);
} AMDPTDMACoreOps;

typedef struct AMDPTDMACore {
    MemoryRegion regs;
    DeviceState *dev;
    AddressSpace *as;
    const AMDPTDMACoreOps *ops;
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
    uint32_t message_lost_by;
    uint32_t removed_by;
    AMDDMAEchoes echoes;
    /* faults.last_id on its way through a migration */
    uint32_t last_fault_id;

    /* unplugged; timers and faults are gone */
    bool dead;
} AMDPTDMACore;

extern const VMStateDescription vmstate_amd_ptdma_core;

/**
 * amd_ptdma_core_init: make the registers and the engine
 * @s: the core; timing is set
 * @dev: the device that it belongs to
 * @as: address space of descriptors and data
 * @ops: what the function does for the core
 * @opaque: for @ops
 */
void amd_ptdma_core_init(AMDPTDMACore *s, DeviceState *dev, AddressSpace *as,
                         const AMDPTDMACoreOps *ops, void *opaque);
void amd_ptdma_core_destroy(AMDPTDMACore *s);

/**
 * amd_ptdma_core_reset: registers and queue as after power-on
 *
 * Configuration, counters and faults stay.
 */
void amd_ptdma_core_reset(AMDPTDMACore *s);

/**
 * amd_ptdma_core_is_removed: has a fault, or an unplug, taken the device away?
 */
bool amd_ptdma_core_is_removed(const AMDPTDMACore *s);

#endif /* HW_DMA_AMD_PTDMA_H */
