/*
 * Fuzzing of the AMD DMA engines: fault injection
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/qapi-commands-amd-dma.h"
#include "amd_dma_fuzz.h"

static void take_fault(DMAFuzz *f, AmdDmaFaultOptions *options)
{
    switch (options->kind) {
    case AMD_DMA_FAULT_KIND_ERROR:
        options->u.error.code = fuzz_take8(&f->in);
        break;
    case AMD_DMA_FAULT_KIND_FLIP_BYTE:
        options->u.flip_byte.offset = dma_fuzz_take_size(f);
        break;
    case AMD_DMA_FAULT_KIND_STALL:
        options->u.stall.delay_ns = dma_fuzz_take_size(f);
        break;
    case AMD_DMA_FAULT_KIND_SLOW_LINK:
        options->u.slow_link.bandwidth = dma_fuzz_take_size(f);
        break;
    case AMD_DMA_FAULT_KIND_PARTIAL_COPY:
        options->u.partial_copy.copied = dma_fuzz_take_size(f);
        break;
    case AMD_DMA_FAULT_KIND_WRONG_ADDRESS:
        options->u.wrong_address.displacement = fuzz_take64(&f->in);
        break;
    case AMD_DMA_FAULT_KIND_INTERRUPT_BEFORE_DATA:
        options->u.interrupt_before_data.delay_ns = dma_fuzz_take_size(f);
        break;
    case AMD_DMA_FAULT_KIND_SPURIOUS_INTERRUPT:
        options->u.spurious_interrupt.delay_ns = dma_fuzz_take_size(f);
        break;
    case AMD_DMA_FAULT_KIND_DUPLICATE_COMPLETION:
        options->u.duplicate_completion.delay_ns = dma_fuzz_take_size(f);
        break;
    case AMD_DMA_FAULT_KIND_OUT_OF_ORDER:
        options->u.out_of_order.later = fuzz_take8(&f->in);
        break;
    case AMD_DMA_FAULT_KIND_LOST_INTERRUPT:
    case AMD_DMA_FAULT_KIND_ALL_ONES:
        break;
    default:
        g_assert_not_reached();
    }
}

void dma_fuzz_inject(DMAFuzz *f)
{
    uint8_t flags = fuzz_take8(&f->in);
    AmdDmaFaultOptions options = {
        .device = (char *)dma_fuzz_id(f),
        .kind = fuzz_take8(&f->in) % AMD_DMA_FAULT_KIND__MAX,
        .has_nth = flags & 1,
        .has_count = flags & 2,
        .has_address = flags & 4,
        .has_size = flags & 8,
        .has_queue = flags & 16,
        .has_probability_ppm = flags & 32,
        .has_seed = flags & 64,
    };

    options.nth = options.has_nth ? fuzz_take8(&f->in) : 0;
    options.count = options.has_count ? fuzz_take8(&f->in) : 0;
    options.address = options.has_address ? dma_fuzz_take_address(f) : 0;
    options.size = options.has_size ? fuzz_take64(&f->in) : 0;
    options.queue = options.has_queue ? fuzz_take8(&f->in) % 32 : 0;
    options.probability_ppm =
        options.has_probability_ppm ? fuzz_take32(&f->in) % (1 << 20) : 0;
    options.seed = options.has_seed ? fuzz_take64(&f->in) : 0;
    take_fault(f, &options);
    qapi_free_AmdDmaFaultId(qmp_amd_dma_inject_fault(&options, NULL));
}

void dma_fuzz_clear(DMAFuzz *f)
{
    const char *id = dma_fuzz_id(f);
    AmdDmaFaultInfoList *list = qmp_query_amd_dma_faults(id, NULL);

    if (list && fuzz_take8(&f->in) % 2) {
        qmp_amd_dma_clear_faults(id, true, list->value->id, NULL);
    } else {
        qmp_amd_dma_clear_faults(id, false, 0, NULL);
    }
    qapi_free_AmdDmaFaultInfoList(list);
}
