/*
 * AMD DMA fabric: a bandwidth limit shared by several DMA functions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_DMA_FABRIC_H
#define HW_DMA_AMD_DMA_FABRIC_H

#include "qemu/queue.h"
#include "qom/object.h"

#define TYPE_AMD_DMA_FABRIC "amd-dma-fabric"
OBJECT_DECLARE_SIMPLE_TYPE(AMDDMAFabric, AMD_DMA_FABRIC)

/*
 * One function's turn on a fabric; a function has one at a time.
 *
 * The fabric has no state but the turns of its functions.  They belong to the
 * functions, which migrate them and give them back, so whatever resets,
 * unplugs or loads a function puts the fabric right, too.
 */
typedef struct AMDDMAFabricTurn {
    /* QEMU_CLOCK_VIRTUAL time of its end; in the past: over */
    int64_t until_ns;
    QLIST_ENTRY(AMDDMAFabricTurn) next;
} AMDDMAFabricTurn;

struct AMDDMAFabric {
    Object parent_obj;

    /* bytes per second of QEMU_CLOCK_VIRTUAL, 0: no limit */
    uint64_t bandwidth;
    QLIST_HEAD(, AMDDMAFabricTurn) turns;
};

/**
 * amd_dma_transfer_ns: time that a transfer takes
 * @size: bytes
 * @bandwidth: bytes per second, 0: infinite
 *
 * Returns: nanoseconds, rounded up; saturates at INT64_MAX.
 */
int64_t amd_dma_transfer_ns(uint32_t size, uint64_t bandwidth);

/**
 * amd_dma_time_add: @time_ns + @delta_ns, saturating at INT64_MAX
 */
int64_t amd_dma_time_add(int64_t time_ns, int64_t delta_ns);

/**
 * amd_dma_fabric_join, amd_dma_fabric_leave: connect and disconnect a function
 */
void amd_dma_fabric_join(AMDDMAFabric *fabric, AMDDMAFabricTurn *turn);
void amd_dma_fabric_leave(AMDDMAFabricTurn *turn);

/**
 * amd_dma_fabric_reserve: take the fabric for one transfer
 * @fabric: the fabric
 * @turn: the function's; has joined this fabric
 * @now_ns: current QEMU_CLOCK_VIRTUAL time
 * @size: bytes to be moved
 *
 * Transfers pass one after the other, in the order of their reservation.
 *
 * Returns: the QEMU_CLOCK_VIRTUAL time at which the last byte has passed.
 */
int64_t amd_dma_fabric_reserve(AMDDMAFabric *fabric, AMDDMAFabricTurn *turn,
                               int64_t now_ns, uint32_t size);

/**
 * amd_dma_fabric_release: give a turn back
 *
 * Later transfers do not wait for it.  Those that have their turn already
 * keep it: their end has been settled.
 */
void amd_dma_fabric_release(AMDDMAFabricTurn *turn);

#endif /* HW_DMA_AMD_DMA_FABRIC_H */
