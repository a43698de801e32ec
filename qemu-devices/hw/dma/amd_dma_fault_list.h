/*
 * AMD DMA engines: between fault injection and its commands
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_DMA_FAULT_LIST_H
#define HW_DMA_AMD_DMA_FAULT_LIST_H

#include "hw/dma/amd_dma_fault.h"
#include "qemu/range.h"

#define AMD_DMA_FAULT_CERTAIN_PPM   1000000

struct AMDDMAFault {
    uint32_t id;
    AmdDmaFaultOptions *options;
    bool any_address;
    Range addresses;
    uint64_t nth;
    uint64_t count;
    uint64_t seen;
    uint64_t hits;
    /* of the generator that decides about a descriptor */
    uint64_t random;
    QTAILQ_ENTRY(AMDDMAFault) next;
};

/**
 * amd_dma_fault_is_active: has it not been used up?
 */
bool amd_dma_fault_is_active(const AMDDMAFault *fault);

/**
 * amd_dma_fault_free: take a fault out of its set
 */
void amd_dma_fault_free(AMDDMAFaultSet *set, AMDDMAFault *fault);

#endif /* HW_DMA_AMD_DMA_FAULT_LIST_H */
