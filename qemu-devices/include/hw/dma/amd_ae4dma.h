/*
 * AMD AE4DMA controller: the core, without its bus
 *
 * docs/specs/amd-ae4dma.rst describes the device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_AE4DMA_H
#define HW_DMA_AMD_AE4DMA_H

#include "exec/memory.h"
#include "hw/dma/amd_ae4dma_regs.h"
#include "hw/dma/amd_dma_channel.h"
#include "hw/dma/amd_dma_echo.h"

#define TYPE_AMD_AE4DMA "amd-ae4dma"

/* One descriptor under way, and one that a fault holds meanwhile */
#define AMD_AE4DMA_SLOTS    2

/**
 * AMDAE4DMACoreOps: what the function around the core does
 * @notify: send a queue's interrupt message
 * @set_present: a fault takes the function away, or gives it back
 * @power_on: the function is as after power-on
 */
typedef struct AMDAE4DMACoreOps {
    void (*notify)(void *opaque, unsigned int queue);
    void (*set_present)(void *opaque, bool present);
    void (*power_on)(void *opaque);
} AMDAE4DMACoreOps;

typedef struct AMDAE4DMACore AMDAE4DMACore;
typedef struct AMDAE4DMAQueue AMDAE4DMAQueue;

/* A descriptor under way, if channel.busy */
typedef struct AMDAE4DMASlot {
    AMDAE4DMAQueue *queue;
    AMDDMAChannel channel;
    /* of the descriptor */
    uint64_t address;
    uint32_t header;
    uint16_t index;
    uint8_t error;
    /* the read index is no longer this descriptor's business */
    bool passed;
    /* a fault holds it, or held it, until so many later ones have ended */
    uint32_t later;
} AMDAE4DMASlot;

struct AMDAE4DMAQueue {
    AMDAE4DMACore *core;
    uint8_t number;

    /* registers */
    uint32_t control;
    uint32_t max_index;
    uint32_t read_index;
    uint32_t write_index;
    uint32_t int_status;
    uint32_t base_lo;
    uint32_t base_hi;

    /* the next descriptor to be fetched */
    uint32_t fetch_index;
    AMDAE4DMASlot slots[AMD_AE4DMA_SLOTS];

    /* completed without an error; not touched by reset */
    uint64_t descriptors;
};

struct AMDAE4DMACore {
    MemoryRegion regs;
    DeviceState *dev;
    AddressSpace *as;
    const AMDAE4DMACoreOps *ops;
    void *opaque;

    /* configuration */
    uint8_t queues_number;
    AMDDMATiming timing;
    /* not touched by reset: hosts compare readings across guest reboots */
    AMDDMAStats stats;
    AMDDMAFaultLimits fault_limits;
    AMDDMAFaultSet faults;

    /* how many queues the driver uses, from the first on */
    uint32_t queues_used;
    AMDAE4DMAQueue queues[AMD_AE4DMA_QUEUES_MAX];

    /* what faults have left behind */
    uint32_t removed_by;
    AMDDMAEchoes echoes;
    /* faults.last_id on its way through a migration */
    uint32_t last_fault_id;

    /* unplugged; timers and faults are gone */
    bool dead;
};

extern const VMStateDescription vmstate_amd_ae4dma_core;

/**
 * amd_ae4dma_core_init: make the registers and the engine
 * @s: the core; timing and number of queues are set
 * @dev: the device that it belongs to
 * @as: address space of descriptors and data
 * @ops: what the function does for the core
 * @opaque: for @ops
 */
void amd_ae4dma_core_init(AMDAE4DMACore *s, DeviceState *dev, AddressSpace *as,
                          const AMDAE4DMACoreOps *ops, void *opaque);
void amd_ae4dma_core_destroy(AMDAE4DMACore *s);

/**
 * amd_ae4dma_core_reset: registers and queues as after power-on
 *
 * Configuration, counters and faults stay.
 */
void amd_ae4dma_core_reset(AMDAE4DMACore *s);

/**
 * amd_ae4dma_core_is_removed: has a fault, or an unplug, taken the device away?
 */
bool amd_ae4dma_core_is_removed(const AMDAE4DMACore *s);

#endif /* HW_DMA_AMD_AE4DMA_H */
