/*
 * AMD DMA engines: moving the bytes of one copy
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/range.h"
#include "qemu/units.h"
#include "amd_dma_copy.h"
#include "trace.h"

/*
 * The main loop gets its turn once in so many bytes of RAM.  Bytes that a
 * device has to answer for cost more: there is a call for each few of them.
 */
#define AMD_DMA_SLICE_COST      (1 * MiB)
#define AMD_DMA_MMIO_BYTE_COST  64

static uint64_t amd_dma_copy_source(const AMDDMAChannel *ch)
{
    return ch->copy.source + ch->copied;
}

static uint64_t amd_dma_copy_destination(const AMDDMAChannel *ch)
{
    return ch->copy.destination + ch->effects.displacement + ch->copied;
}

uint32_t amd_dma_copy_size(const AMDDMAChannel *ch)
{
    return ch->effects.partial ? MIN(ch->effects.partial_size, ch->copy.size)
                               : ch->copy.size;
}

static uint32_t amd_dma_copy_piece_size(const AMDDMAChannel *ch)
{
    uint64_t source = amd_dma_copy_source(ch);
    uint64_t destination = amd_dma_copy_destination(ch);
    uint32_t left = amd_dma_copy_size(ch) - ch->copied;

    left = MIN(left, AMD_DMA_PIECE_SIZE - source % AMD_DMA_PIECE_SIZE);
    return MIN(left, AMD_DMA_PIECE_SIZE - destination % AMD_DMA_PIECE_SIZE);
}

/* @data: the next @size bytes, as they are or will be at the destination */
static void amd_dma_copy_flip(AMDDMAChannel *ch, uint8_t *data, uint32_t size)
{
    uint32_t offset = ch->effects.flip_offset;

    if (ch->effects.flip && offset >= ch->copied &&
        offset - ch->copied < size) {
        data[offset - ch->copied] ^= 0xff;
        trace_amd_dma_copy_flip(ch->faults->name, offset);
    }
}

/*
 * Map up to *@size bytes of RAM.
 *
 * dma_memory_map() would take anything, by way of a bounce buffer: it would
 * read a device further than the copy may come, and hide errors.  So look
 * first.  It would also look beyond a page that an IOMMU translates, which is
 * an access to the next one; so ask for no more than what has been seen.
 *
 * Returns: NULL if the first byte is not RAM.
 */
static void *amd_dma_copy_map(AMDDMAChannel *ch, uint64_t address,
                              dma_addr_t *size, DMADirection direction)
{
    bool is_write = direction == DMA_DIRECTION_FROM_DEVICE;
    hwaddr offset;
    MemoryRegion *mr;

    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(ch->as, address, &offset, size, is_write,
                                 MEMTXATTRS_UNSPECIFIED);
    if (!memory_access_is_direct(mr, is_write, MEMTXATTRS_UNSPECIFIED)) {
        return NULL;
    }
    return dma_memory_map(ch->as, address, size, direction,
                          MEMTXATTRS_UNSPECIFIED);
}

/*
 * Overlapping bytes are moved in the pieces that they would be copied in
 * through ch->piece, so that both ways have the same result.
 */
static void amd_dma_copy_move(AMDDMAChannel *ch, uint8_t *destination,
                              const uint8_t *source, uint32_t size)
{
    bool overlap = ranges_overlap((uintptr_t)destination, size,
                                  (uintptr_t)source, size);

    while (size) {
        uint32_t piece_size = size;

        if (overlap) {
            piece_size = MIN(size, amd_dma_copy_piece_size(ch));
        }
        memmove(destination, source, piece_size);
        amd_dma_copy_flip(ch, destination, piece_size);
        ch->copied += piece_size;
        destination += piece_size;
        source += piece_size;
        size -= piece_size;
    }
}

/*
 * Copy up to @limit bytes from RAM to RAM.  Nothing else can happen meanwhile.
 *
 * Returns: bytes copied; 0: the next byte of a side is not RAM.
 */
static uint32_t amd_dma_copy_in_place(AMDDMAChannel *ch, uint32_t limit)
{
    dma_addr_t source_size = limit;
    dma_addr_t size;
    void *source, *destination;

    source = amd_dma_copy_map(ch, amd_dma_copy_source(ch), &source_size,
                              DMA_DIRECTION_TO_DEVICE);
    if (!source) {
        return 0;
    }
    size = source_size;
    destination = amd_dma_copy_map(ch, amd_dma_copy_destination(ch),
                                   &size, DMA_DIRECTION_FROM_DEVICE);
    if (destination) {
        amd_dma_copy_move(ch, destination, source, size);
        dma_memory_unmap(ch->as, destination, size, DMA_DIRECTION_FROM_DEVICE,
                         size);
    } else {
        size = 0;
    }
    dma_memory_unmap(ch->as, source, source_size, DMA_DIRECTION_TO_DEVICE,
                     size);
    return size;
}

/*
 * Copy the next piece from anywhere to anywhere.
 *
 * A write can have any side effect, a reset or an unplug of this very device
 * included; then the status is of no interest.
 */
static AMDDMAStatus amd_dma_copy_piece(AMDDMAChannel *ch, uint32_t size)
{
    uint32_t generation = ch->generation;
    MemTxResult result;

    result = dma_memory_read(ch->as, amd_dma_copy_source(ch), ch->piece,
                             size, MEMTXATTRS_UNSPECIFIED);
    if (result != MEMTX_OK || generation != ch->generation) {
        return amd_dma_status_of_read(result);
    }

    amd_dma_copy_flip(ch, ch->piece, size);
    result = dma_memory_write(ch->as, amd_dma_copy_destination(ch),
                              ch->piece, size, MEMTXATTRS_UNSPECIFIED);
    if (result != MEMTX_OK || generation != ch->generation) {
        return amd_dma_status_of_write(result);
    }
    ch->copied += size;
    return AMD_DMA_DONE;
}

AMDDMAStatus amd_dma_copy_slice(AMDDMAChannel *ch)
{
    uint32_t generation = ch->generation;
    AMDDMAStatus status = AMD_DMA_DONE;
    uint32_t cost = 0;

    while (status == AMD_DMA_DONE && generation == ch->generation &&
           ch->copied < amd_dma_copy_size(ch) &&
           cost < AMD_DMA_SLICE_COST) {
        uint32_t left = amd_dma_copy_size(ch) - ch->copied;
        uint32_t size;

        size = amd_dma_copy_in_place(ch, MIN(left, AMD_DMA_SLICE_COST - cost));
        if (size) {
            cost += size;
        } else {
            size = amd_dma_copy_piece_size(ch);
            cost += size * AMD_DMA_MMIO_BYTE_COST;
            status = amd_dma_copy_piece(ch, size);
        }
    }
    return status;
}
