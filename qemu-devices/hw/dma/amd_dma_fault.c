/*
 * AMD DMA engines: fault injection
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/range.h"
#include "migration/vmstate.h"
#include "hw/dma/amd_dma_fabric.h"
#include "hw/dma/amd_dma_fault.h"
#include "amd_dma_fault_list.h"
#include "trace.h"

void amd_dma_fault_free(AMDDMAFaultSet *set, AMDDMAFault *fault)
{
    QTAILQ_REMOVE(&set->faults, fault, next);
    qapi_free_AmdDmaFaultOptions(fault->options);
    g_free(fault);
}

void amd_dma_faults_init(AMDDMAFaultSet *set, const char *name,
                         const AMDDMAFaultLimits *limits,
                         AMDDMAFaultCleared *cleared, void *opaque)
{
    set->name = name;
    set->limits = limits;
    set->cleared = cleared;
    set->opaque = opaque;
    set->last_id = 0;
    QTAILQ_INIT(&set->faults);
}

void amd_dma_faults_destroy(AMDDMAFaultSet *set)
{
    AMDDMAFault *fault, *next;

    QTAILQ_FOREACH_SAFE(fault, &set->faults, next, next) {
        amd_dma_fault_free(set, fault);
    }
}

bool amd_dma_fault_is_active(const AMDDMAFault *fault)
{
    return !fault->count || fault->hits < fault->count;
}

/*
 * Chance decides, by the numbers of a SplitMix64 generator: the same on every
 * host, and in no way connected to those that the guest gets.
 */
static bool amd_dma_fault_draws(AMDDMAFault *fault)
{
    uint64_t number;

    if (!fault->options->has_probability_ppm) {
        return true;
    }
    fault->random += 0x9e3779b97f4a7c15ULL;
    number = fault->random;
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9ULL;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebULL;
    number ^= number >> 31;
    return ((number >> 32) * AMD_DMA_FAULT_CERTAIN_PPM) >> 32 <
           fault->options->probability_ppm;
}

static bool amd_dma_fault_selects(const AMDDMAFault *fault, uint8_t queue,
                                  uint64_t source, uint64_t destination,
                                  uint32_t size)
{
    const AmdDmaFaultOptions *options = fault->options;
    Range source_range, destination_range;

    if (options->has_queue && options->queue != queue) {
        return false;
    }

    if ((options->kind == AMD_DMA_FAULT_KIND_FLIP_BYTE &&
         options->u.flip_byte.offset >= size) ||
        (options->kind == AMD_DMA_FAULT_KIND_PARTIAL_COPY &&
         options->u.partial_copy.copied >= size)) {
        return false;
    }
    if (fault->any_address) {
        return true;
    }
    range_init_nofail(&source_range, source, size);
    range_init_nofail(&destination_range, destination, size);
    return range_overlaps_range(&fault->addresses, &source_range) ||
           range_overlaps_range(&fault->addresses, &destination_range);
}

static void amd_dma_fault_apply(const AMDDMAFault *fault, uint32_t size,
                                AMDDMAFaultEffects *effects)
{
    const AmdDmaFaultOptions *options = fault->options;

    switch (options->kind) {
    case AMD_DMA_FAULT_KIND_ERROR:
        effects->code = options->u.error.code;
        break;
    case AMD_DMA_FAULT_KIND_FLIP_BYTE:
        effects->flip = true;
        effects->flip_offset = options->u.flip_byte.offset;
        break;
    case AMD_DMA_FAULT_KIND_STALL:
        if (options->u.stall.delay_ns) {
            effects->delay_ns = amd_dma_time_add(effects->delay_ns,
                                                 options->u.stall.delay_ns);
        } else {
            effects->stalled_by = fault->id;
            effects->held_for = 0;
        }
        break;
    case AMD_DMA_FAULT_KIND_OUT_OF_ORDER:
        /* A descriptor that is held for good has no place in an order */
        if (!effects->stalled_by) {
            effects->stalled_by = fault->id;
            effects->held_for = options->u.out_of_order.later;
        }
        break;
    case AMD_DMA_FAULT_KIND_SLOW_LINK:
        effects->delay_ns = amd_dma_time_add(effects->delay_ns,
            amd_dma_transfer_ns(size, options->u.slow_link.bandwidth));
        break;
    case AMD_DMA_FAULT_KIND_PARTIAL_COPY:
        effects->partial = true;
        effects->partial_size = options->u.partial_copy.copied;
        break;
    case AMD_DMA_FAULT_KIND_WRONG_ADDRESS:
        effects->displacement = options->u.wrong_address.displacement;
        break;
    case AMD_DMA_FAULT_KIND_INTERRUPT_BEFORE_DATA:
        effects->late_data_ns =
            MAX(1, options->u.interrupt_before_data.delay_ns);
        break;
    case AMD_DMA_FAULT_KIND_LOST_INTERRUPT:
        effects->message_lost_by = fault->id;
        break;
    case AMD_DMA_FAULT_KIND_SPURIOUS_INTERRUPT:
        effects->spurious_ns = MAX(1, options->u.spurious_interrupt.delay_ns);
        break;
    case AMD_DMA_FAULT_KIND_DUPLICATE_COMPLETION:
        effects->duplicate_ns =
            MAX(1, options->u.duplicate_completion.delay_ns);
        break;
    case AMD_DMA_FAULT_KIND_ALL_ONES:
        effects->removed_by = fault->id;
        break;
    default:
        g_assert_not_reached();
    }
}

/*
 * A copy takes one fault of each kind.  Two of a kind would hide each other;
 * the later one waits for the next copy instead.
 */
void amd_dma_faults_match(AMDDMAFaultSet *set, uint8_t queue, uint64_t source,
                          uint64_t destination, uint32_t size,
                          AMDDMAFaultEffects *effects)
{
    bool taken[AMD_DMA_FAULT_KIND__MAX] = { };
    AMDDMAFault *fault;

    *effects = (AMDDMAFaultEffects) { };
    QTAILQ_FOREACH(fault, &set->faults, next) {
        if (!amd_dma_fault_is_active(fault) ||
            !amd_dma_fault_selects(fault, queue, source, destination, size)) {
            continue;
        }
        if (fault->seen + 1 >= fault->nth && taken[fault->options->kind]) {
            continue;
        }
        fault->seen++;
        if (fault->seen >= fault->nth && amd_dma_fault_draws(fault)) {
            fault->hits++;
            taken[fault->options->kind] = true;
            amd_dma_fault_apply(fault, size, effects);
            trace_amd_dma_fault_hit(set->name, fault->id,
                AmdDmaFaultKind_str(fault->options->kind), fault->hits,
                source, destination, size);
        }
    }
}

static const TypeInfo amd_dma_fault_types[] = {
    {
        .name = TYPE_AMD_DMA_FAULT_TARGET,
        .parent = TYPE_INTERFACE,
        .class_size = sizeof(AMDDMAFaultTargetClass),
    },
};

DEFINE_TYPES(amd_dma_fault_types)

const VMStateDescription vmstate_amd_dma_fault_effects = {
    .name = "amd-dma-fault-effects",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT8(code, AMDDMAFaultEffects),
        VMSTATE_BOOL(flip, AMDDMAFaultEffects),
        VMSTATE_UINT32(flip_offset, AMDDMAFaultEffects),
        VMSTATE_BOOL(partial, AMDDMAFaultEffects),
        VMSTATE_UINT32(partial_size, AMDDMAFaultEffects),
        VMSTATE_INT64(displacement, AMDDMAFaultEffects),
        VMSTATE_INT64(delay_ns, AMDDMAFaultEffects),
        VMSTATE_UINT32(stalled_by, AMDDMAFaultEffects),
        VMSTATE_UINT32(held_for, AMDDMAFaultEffects),
        VMSTATE_INT64(late_data_ns, AMDDMAFaultEffects),
        VMSTATE_UINT32(message_lost_by, AMDDMAFaultEffects),
        VMSTATE_INT64(spurious_ns, AMDDMAFaultEffects),
        VMSTATE_INT64(duplicate_ns, AMDDMAFaultEffects),
        VMSTATE_UINT32(removed_by, AMDDMAFaultEffects),
        VMSTATE_END_OF_LIST()
    },
};
