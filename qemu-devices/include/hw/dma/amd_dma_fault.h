/*
 * AMD DMA engines: fault injection
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_DMA_FAULT_H
#define HW_DMA_AMD_DMA_FAULT_H

#include "qapi/qapi-types-amd-dma.h"
#include "qemu/queue.h"
#include "qom/object.h"

typedef struct AMDDMAFault AMDDMAFault;

/* What is asked of one copy; the sum of all faults that apply to it */
typedef struct AMDDMAFaultEffects {
    /* non-zero: the copy fails with this code and moves nothing */
    uint8_t code;
    bool flip;
    uint32_t flip_offset;
    /* copy only so many bytes */
    bool partial;
    uint32_t partial_size;
    /* added to the destination */
    int64_t displacement;
    /* extra time until completion */
    int64_t delay_ns;
    /* non-zero: held until the fault of this number is cleared */
    uint32_t stalled_by;
    /* non-zero: or until so many later ones of its queue have ended */
    uint32_t held_for;
    /* non-zero: the data come so long after the completion */
    int64_t late_data_ns;
    /* non-zero: the message is not sent, because of this fault */
    uint32_t message_lost_by;
    /* non-zero: a message, or a completion, so long after the completion */
    int64_t spurious_ns;
    int64_t duplicate_ns;
    /* non-zero: gone until the fault of this number is cleared */
    uint32_t removed_by;
} AMDDMAFaultEffects;

extern const VMStateDescription vmstate_amd_dma_fault_effects;

/**
 * AMDDMAFaultCleared: a fault has been cleared
 * @opaque: as given to amd_dma_faults_init()
 * @id: its number, which effects may refer to; 0: any number
 */
typedef void AMDDMAFaultCleared(void *opaque, uint32_t id);

/**
 * AMDDMAFaultLimits: what a kind of device can be asked for
 * @code_max: largest error code
 * @queues: number of queues
 * @reorders: completes descriptors in another order than that of the ring
 */
typedef struct AMDDMAFaultLimits {
    uint8_t code_max;
    uint8_t queues;
    bool reorders;
} AMDDMAFaultLimits;

/* The faults of one device */
typedef struct AMDDMAFaultSet {
    const char *name;
    const AMDDMAFaultLimits *limits;
    AMDDMAFaultCleared *cleared;
    void *opaque;
    uint32_t last_id;
    QTAILQ_HEAD(, AMDDMAFault) faults;
} AMDDMAFaultSet;

/* A device that takes faults */
#define TYPE_AMD_DMA_FAULT_TARGET "amd-dma-fault-target"
typedef struct AMDDMAFaultTargetClass AMDDMAFaultTargetClass;
DECLARE_CLASS_CHECKERS(AMDDMAFaultTargetClass, AMD_DMA_FAULT_TARGET,
                       TYPE_AMD_DMA_FAULT_TARGET)

struct AMDDMAFaultTargetClass {
    InterfaceClass parent_class;

    AMDDMAFaultSet *(*get_faults)(Object *obj);
};

/**
 * amd_dma_faults_init: make an empty set
 * @set: the set
 * @name: the device's name in traces; not copied
 * @limits: what the device can be asked for; not copied
 * @cleared: ends what a fault keeps up
 * @opaque: for @cleared
 */
void amd_dma_faults_init(AMDDMAFaultSet *set, const char *name,
                         const AMDDMAFaultLimits *limits,
                         AMDDMAFaultCleared *cleared, void *opaque);

/**
 * amd_dma_faults_destroy: drop all faults, ending nothing
 */
void amd_dma_faults_destroy(AMDDMAFaultSet *set);

/**
 * amd_dma_faults_match: a copy starts; which faults apply to it?
 * @set: the device's faults
 * @queue: number of the copy's queue
 * @source: bus address
 * @destination: bus address
 * @size: bytes, not 0
 * @effects: filled in
 */
void amd_dma_faults_match(AMDDMAFaultSet *set, uint8_t queue, uint64_t source,
                          uint64_t destination, uint32_t size,
                          AMDDMAFaultEffects *effects);

#endif /* HW_DMA_AMD_DMA_FAULT_H */
