/*
 * AMD PTDMA (pass-through DMA) controller: between registers and queue
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_PTDMA_QUEUE_H
#define HW_DMA_AMD_PTDMA_QUEUE_H

#include "hw/dma/amd_ptdma.h"

extern const AMDDMAChannelOps amd_ptdma_channel_ops;

/**
 * amd_ptdma_kick: start the descriptor at head if the queue may and has one
 */
void amd_ptdma_kick(AMDPTDMACore *s);

/**
 * amd_ptdma_update_irq: causes or their enable bits have changed
 *
 * Sends the message, which may reset or unplug the device: call it last.
 */
void amd_ptdma_update_irq(AMDPTDMACore *s);

/**
 * amd_ptdma_echo: send what a fault has kept for later
 */
void amd_ptdma_echo(void *opaque, const AMDDMAEcho *echo);

#endif /* HW_DMA_AMD_PTDMA_QUEUE_H */
