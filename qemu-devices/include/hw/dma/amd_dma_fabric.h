/*
 * AMD DMA fabric: bandwidth limits that DMA functions share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_DMA_FABRIC_H
#define HW_DMA_AMD_DMA_FABRIC_H

#include "exec/memory.h"
#include "hw/qdev-core.h"
#include "qapi/qapi-types-qom.h"
#include "qemu/queue.h"
#include "qom/object.h"

#define TYPE_AMD_DMA_FABRIC "amd-dma-fabric"
OBJECT_DECLARE_SIMPLE_TYPE(AMDDMAFabric, AMD_DMA_FABRIC)

/*
 * One channel's turn on a fabric; a channel has one at a time.
 *
 * The fabric has no state but the turns of its channels.  They belong to the
 * channels, which migrate them and give them back, so whatever resets,
 * unplugs or loads a function puts the fabric right, too.
 */
typedef struct AMDDMAFabricTurn {
    /* QEMU_CLOCK_VIRTUAL time of its end in the socket; in the past: over */
    int64_t until_ns;
    /* the same on the link between the sockets */
    int64_t link_until_ns;
    /* NUMA node that the channel belongs to, or NUMA_NODE_UNASSIGNED */
    int node;
    QLIST_ENTRY(AMDDMAFabricTurn) next;
} AMDDMAFabricTurn;

struct AMDDMAFabric {
    Object parent_obj;

    AmdDmaProfile profile;
    /*
     * Bytes per second of QEMU_CLOCK_VIRTUAL, 0: no limit.  Of all channels of
     * a NUMA node, and of what goes to or comes from other nodes' memory.
     */
    uint64_t bandwidth;
    uint64_t link_bandwidth;
    QLIST_HEAD(, AMDDMAFabricTurn) turns;
};

/**
 * amd_dma_transfer_ns: time that a transfer takes
 * @size: bytes, at most 2^33
 * @bandwidth: bytes per second, 0: infinite
 *
 * Returns: nanoseconds, rounded up; saturates at INT64_MAX.
 */
int64_t amd_dma_transfer_ns(uint64_t size, uint64_t bandwidth);

/**
 * amd_dma_time_add: @time_ns + @delta_ns, saturating at INT64_MAX
 */
int64_t amd_dma_time_add(int64_t time_ns, int64_t delta_ns);

/**
 * amd_dma_fabric_join: connect a channel
 * @fabric: the fabric
 * @turn: the channel's
 * @dev: the device that the channel belongs to.  A PCI function has the NUMA
 *       node of its host bridge.
 */
void amd_dma_fabric_join(AMDDMAFabric *fabric, AMDDMAFabricTurn *turn,
                         DeviceState *dev);
void amd_dma_fabric_leave(AMDDMAFabricTurn *turn);

/**
 * amd_dma_fabric_reserve: take the fabric for one transfer
 * @fabric: the fabric
 * @turn: the channel's; has joined this fabric
 * @as: the channel's address space
 * @source, @destination: bus addresses in @as
 * @now_ns: current QEMU_CLOCK_VIRTUAL time
 * @size: bytes to be moved
 *
 * Transfers pass one after the other, in the order of their reservation: on
 * the path that the channels of a NUMA node share, and on the link between the
 * nodes if they go there.  They cross it for each side that is memory of
 * another node.
 *
 * Returns: the QEMU_CLOCK_VIRTUAL time at which the last byte has passed.
 */
int64_t amd_dma_fabric_reserve(AMDDMAFabric *fabric, AMDDMAFabricTurn *turn,
                               AddressSpace *as, uint64_t source,
                               uint64_t destination, int64_t now_ns,
                               uint32_t size);

/**
 * amd_dma_fabric_release: give a turn back
 *
 * Later transfers do not wait for it.  Those that have their turn already
 * keep it: their end has been settled.
 */
void amd_dma_fabric_release(AMDDMAFabricTurn *turn);

#endif /* HW_DMA_AMD_DMA_FABRIC_H */
