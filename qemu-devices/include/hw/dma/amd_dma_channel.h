/*
 * AMD DMA engines: one channel, which executes one copy at a time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_DMA_CHANNEL_H
#define HW_DMA_AMD_DMA_CHANNEL_H

#include "hw/dma/amd_dma_fault.h"
#include "hw/dma/amd_dma_timing.h"
#include "hw/qdev-core.h"
#include "system/dma.h"

/* A piece never crosses a page boundary on either side */
#define AMD_DMA_PIECE_SIZE  4096

typedef enum AMDDMAStatus {
    AMD_DMA_DONE,
    AMD_DMA_READ_SLAVE_ERROR,
    AMD_DMA_READ_DECODE_ERROR,
    AMD_DMA_WRITE_SLAVE_ERROR,
    AMD_DMA_WRITE_DECODE_ERROR,
    /* the code is in the effects */
    AMD_DMA_INJECTED_ERROR,
} AMDDMAStatus;

typedef struct AMDDMAStats {
    uint64_t descriptors;
    uint64_t bytes;
    uint64_t interrupts;
    uint64_t errors;
} AMDDMAStats;

typedef struct AMDDMACopy {
    uint64_t source;
    uint64_t destination;
    uint32_t size;
} AMDDMACopy;

/**
 * AMDDMAChannelOps: what the channel's owner does
 * @retire: a copy has ended with this status; tell the guest.  The effects
 *          say what the owner has to do wrong.
 * @idle: the channel can take the next copy
 *
 * Both are called from a timer, in this order.  Faults may keep a channel
 * busy with a copy that has already retired.
 */
typedef struct AMDDMAChannelOps {
    void (*retire)(void *opaque, AMDDMAStatus status,
                   const AMDDMAFaultEffects *effects);
    void (*idle)(void *opaque);
} AMDDMAChannelOps;

typedef struct AMDDMAChannel {
    DeviceState *dev;
    AddressSpace *as;
    const AMDDMATiming *timing;
    AMDDMAFaultSet *faults;
    const AMDDMAChannelOps *ops;
    void *opaque;
    QEMUTimer *timer;
    /* number of the owner's queue, for faults that are to hit one only */
    uint8_t queue;

    /* changes whenever the copy under way is taken back */
    uint32_t generation;
    uint8_t piece[AMD_DMA_PIECE_SIZE];

    /* migrated */
    bool busy;
    /* the owner has been told of the end, but data are still to come */
    bool retired;
    AMDDMACopy copy;
    uint32_t copied;
    /* on timing->fabric */
    AMDDMAFabricTurn turn;
    AMDDMAFaultEffects effects;
} AMDDMAChannel;

extern const VMStateDescription vmstate_amd_dma_channel;

/**
 * amd_dma_channel_init: connect a channel
 * @ch: the channel
 * @dev: the device it belongs to
 * @as: where descriptors point to
 * @timing: how long copies take; read at the start of each copy.  A fabric
 *          takes the channel's socket from @dev, if that is a PCI function.
 * @faults: the device's faults
 * @ops: called at the end of each copy, never from amd_dma_channel_start()
 * @opaque: for @ops
 */
void amd_dma_channel_init(AMDDMAChannel *ch, DeviceState *dev,
                          AddressSpace *as, const AMDDMATiming *timing,
                          AMDDMAFaultSet *faults, const AMDDMAChannelOps *ops,
                          void *opaque);

/**
 * amd_dma_run_guarded: let a device act of its own accord
 * @dev: the device
 * @act: what to do, from a timer; may write to where the guest chooses
 * @opaque: for @act
 *
 * Keeps the device off its own registers, and alive if @act unplugs it.
 */
void amd_dma_run_guarded(DeviceState *dev, void (*act)(void *opaque),
                         void *opaque);

/**
 * amd_dma_channel_destroy: drop the copy under way and disconnect
 */
void amd_dma_channel_destroy(AMDDMAChannel *ch);

/**
 * amd_dma_channel_start: start a copy
 * @ch: an idle channel
 * @copy: what to copy; the size is not 0
 * @may_hold: let an out-of-order fault hold it; otherwise one that hits it
 *            changes nothing
 */
void amd_dma_channel_start(AMDDMAChannel *ch, const AMDDMACopy *copy,
                           bool may_hold);

/**
 * amd_dma_channel_fail: end a command that is no copy
 * @ch: an idle channel
 *
 * The owner found the command malformed.  It retires like a copy, after the
 * fixed cost of a descriptor, with AMD_DMA_DONE.
 */
void amd_dma_channel_fail(AMDDMAChannel *ch);

/**
 * amd_dma_channel_abort: drop the copy under way
 *
 * Nothing more is written, the owner is not called, and the fabric is given
 * back.
 */
void amd_dma_channel_abort(AMDDMAChannel *ch);

/**
 * amd_dma_channel_release: fault @id (0: any) was cleared; finish what it held
 */
void amd_dma_channel_release(AMDDMAChannel *ch, uint32_t id);

/**
 * amd_dma_status_of_read, amd_dma_status_of_write: map a transaction's result
 */
AMDDMAStatus amd_dma_status_of_read(MemTxResult result);
AMDDMAStatus amd_dma_status_of_write(MemTxResult result);

#endif /* HW_DMA_AMD_DMA_CHANNEL_H */
