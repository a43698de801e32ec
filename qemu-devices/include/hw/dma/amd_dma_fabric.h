/*
 * AMD DMA fabric: a bandwidth limit shared by several DMA functions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_DMA_FABRIC_H
#define HW_DMA_AMD_DMA_FABRIC_H

#include "qom/object.h"

#define TYPE_AMD_DMA_FABRIC "amd-dma-fabric"
OBJECT_DECLARE_SIMPLE_TYPE(AMDDMAFabric, AMD_DMA_FABRIC)

struct AMDDMAFabric {
    Object parent_obj;

    /* bytes per second of QEMU_CLOCK_VIRTUAL, 0: no limit */
    uint64_t bandwidth;
    /* QEMU_CLOCK_VIRTUAL time up to which the fabric is taken */
    int64_t busy_until_ns;
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
 * amd_dma_fabric_reserve: take the fabric for one transfer
 * @fabric: the fabric
 * @now_ns: current QEMU_CLOCK_VIRTUAL time
 * @size: bytes to be moved
 *
 * Transfers pass one after the other, in the order of their reservation.
 *
 * Returns: the QEMU_CLOCK_VIRTUAL time at which the last byte has passed.
 */
int64_t amd_dma_fabric_reserve(AMDDMAFabric *fabric, int64_t now_ns,
                               uint32_t size);

/**
 * amd_dma_fabric_restore: take note of a reservation made before migration
 *
 * The fabric's state is nothing but the latest of the reservations, so each
 * device carries its own one in its migration stream.
 */
void amd_dma_fabric_restore(AMDDMAFabric *fabric, int64_t busy_until_ns);

#endif /* HW_DMA_AMD_DMA_FABRIC_H */
