/*
 * AMD DMA engines: moving the bytes of one copy
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_DMA_COPY_H
#define HW_DMA_AMD_DMA_COPY_H

#include "hw/dma/amd_dma_channel.h"

/**
 * amd_dma_copy_size: bytes that the copy under way is to move
 */
uint32_t amd_dma_copy_size(const AMDDMAChannel *ch);

/**
 * amd_dma_copy_slice: move the next bytes of the copy under way
 * @ch: a busy channel
 *
 * As many as the main loop can wait for.
 *
 * Returns: how it went; AMD_DMA_DONE with copied < size: there is more.  Of no
 * interest if the channel's generation has changed.
 */
AMDDMAStatus amd_dma_copy_slice(AMDDMAChannel *ch);

#endif /* HW_DMA_AMD_DMA_COPY_H */
