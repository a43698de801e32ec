/*
 * AMD AE4DMA controller: between registers and queues
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_AE4DMA_QUEUE_H
#define HW_DMA_AMD_AE4DMA_QUEUE_H

#include "hw/dma/amd_ae4dma.h"

extern const AMDDMAChannelOps amd_ae4dma_channel_ops;

/**
 * amd_ae4dma_kick: start the next descriptor if the queue may and has one
 */
void amd_ae4dma_kick(AMDAE4DMAQueue *q);

/**
 * amd_ae4dma_queue_reset: registers as after power-on, nothing under way
 */
void amd_ae4dma_queue_reset(AMDAE4DMAQueue *q);

/**
 * amd_ae4dma_set_max_index: the ring has another length
 *
 * It starts again from its first descriptor.  What is under way completes, and
 * no longer counts for the read index.
 */
void amd_ae4dma_set_max_index(AMDAE4DMAQueue *q, uint32_t max_index);

/**
 * amd_ae4dma_echo: send what a fault has kept for later
 */
void amd_ae4dma_echo(void *opaque, const AMDDMAEcho *echo);

#endif /* HW_DMA_AMD_AE4DMA_QUEUE_H */
