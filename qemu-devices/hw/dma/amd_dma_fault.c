/*
 * AMD DMA engines: fault injection
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/range.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-amd-dma.h"
#include "qapi/qapi-visit-amd-dma.h"
#include "migration/vmstate.h"
#include "hw/dma/amd_dma_channel.h"
#include "hw/dma/amd_dma_fault.h"
#include "hw/qdev-core.h"
#include "trace.h"

/*
 * A test that injects without ever clearing must not eat the host's memory,
 * nor make each descriptor slower.
 */
#define AMD_DMA_FAULTS_MAX  1024

struct AMDDMAFault {
    uint32_t id;
    AmdDmaFaultOptions *options;
    bool any_address;
    Range addresses;
    uint64_t nth;
    uint64_t count;
    uint64_t seen;
    uint64_t hits;
    QTAILQ_ENTRY(AMDDMAFault) next;
};

static void amd_dma_fault_free(AMDDMAFaultSet *set, AMDDMAFault *fault)
{
    QTAILQ_REMOVE(&set->faults, fault, next);
    qapi_free_AmdDmaFaultOptions(fault->options);
    g_free(fault);
}

void amd_dma_faults_init(AMDDMAFaultSet *set, const char *name,
                         uint8_t code_max)
{
    set->name = name;
    set->code_max = code_max;
    set->last_id = 0;
    QTAILQ_INIT(&set->faults);
    QLIST_INIT(&set->channels);
}

void amd_dma_faults_destroy(AMDDMAFaultSet *set)
{
    AMDDMAFault *fault, *next;

    QTAILQ_FOREACH_SAFE(fault, &set->faults, next, next) {
        amd_dma_fault_free(set, fault);
    }
}

/* Descriptors beyond @nth that are still to come */
static bool amd_dma_fault_is_active(const AMDDMAFault *fault)
{
    return !fault->count || fault->seen < fault->nth ||
           fault->seen - (fault->nth - 1) < fault->count;
}

static bool amd_dma_fault_selects(const AMDDMAFault *fault, uint64_t source,
                                  uint64_t destination, uint32_t size)
{
    Range source_range, destination_range;

    if (fault->options->kind == AMD_DMA_FAULT_KIND_FLIP_BYTE &&
        fault->options->u.flip_byte.offset >= size) {
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

static void amd_dma_fault_apply(const AMDDMAFault *fault,
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
            effects->delay_ns = options->u.stall.delay_ns;
        } else {
            effects->stalled_by = fault->id;
        }
        break;
    case AMD_DMA_FAULT_KIND_LOST_INTERRUPT:
        effects->lose_interrupt = true;
        break;
    default:
        g_assert_not_reached();
    }
}

void amd_dma_faults_match(AMDDMAFaultSet *set, uint64_t source,
                          uint64_t destination, uint32_t size,
                          AMDDMAFaultEffects *effects)
{
    AMDDMAFault *fault;

    *effects = (AMDDMAFaultEffects) { };
    QTAILQ_FOREACH(fault, &set->faults, next) {
        if (!amd_dma_fault_is_active(fault) ||
            !amd_dma_fault_selects(fault, source, destination, size)) {
            continue;
        }
        fault->seen++;
        if (fault->seen >= fault->nth) {
            fault->hits++;
            amd_dma_fault_apply(fault, effects);
            trace_amd_dma_fault_hit(set->name, fault->id,
                AmdDmaFaultKind_str(fault->options->kind), fault->hits,
                source, destination, size);
        }
    }
}

static AMDDMAFaultSet *amd_dma_faults_find(const char *device, Error **errp)
{
    Object *obj = object_resolve_path_at(machine_get_container("peripheral"), device);

    if (!obj) {
        error_setg(errp, "Device '%s' not found", device);
        return NULL;
    }
    if (!object_dynamic_cast(obj, TYPE_AMD_DMA_FAULT_TARGET)) {
        error_setg(errp, "Device '%s' is a %s, which takes no DMA faults",
                   device, object_get_typename(obj));
        return NULL;
    }
    return AMD_DMA_FAULT_TARGET_GET_CLASS(obj)->get_faults(obj);
}

static bool amd_dma_fault_check(const AMDDMAFaultSet *set,
                                const AmdDmaFaultOptions *options,
                                Error **errp)
{
    if (options->has_nth && !options->nth) {
        error_setg(errp, "'nth' counts from 1");
        return false;
    }
    if (options->has_size && !options->has_address) {
        error_setg(errp, "'size' needs 'address'");
        return false;
    }
    if (options->has_size &&
        (!options->size || options->address + (options->size - 1) <
                           options->address)) {
        error_setg(errp, "'address' and 'size' do not give a range");
        return false;
    }
    if (options->kind == AMD_DMA_FAULT_KIND_ERROR &&
        (!options->u.error.code || options->u.error.code > set->code_max)) {
        error_setg(errp, "'code' is to be from 1 to %u", set->code_max);
        return false;
    }
    if (options->kind == AMD_DMA_FAULT_KIND_STALL &&
        options->u.stall.delay_ns > INT64_MAX) {
        error_setg(errp, "'delay-ns' is to be at most %" PRId64, INT64_MAX);
        return false;
    }
    return true;
}

AmdDmaFaultId *qmp_amd_dma_inject_fault(AmdDmaFaultOptions *options,
                                        Error **errp)
{
    AMDDMAFaultSet *set = amd_dma_faults_find(options->device, errp);
    AMDDMAFault *fault;
    AmdDmaFaultId *id;

    if (!set || !amd_dma_fault_check(set, options, errp)) {
        return NULL;
    }
    if (set->last_id >= AMD_DMA_FAULTS_MAX) {
        AMDDMAFault *other;
        unsigned int number = 0;

        QTAILQ_FOREACH(other, &set->faults, next) {
            number++;
        }
        if (number >= AMD_DMA_FAULTS_MAX) {
            error_setg(errp, "Device '%s' has %u faults; clear some first",
                       options->device, number);
            return NULL;
        }
    }

    fault = g_new0(AMDDMAFault, 1);
    fault->id = ++set->last_id;
    fault->options = QAPI_CLONE(AmdDmaFaultOptions, options);
    fault->nth = options->has_nth ? options->nth : 1;
    fault->count = options->has_count ? options->count : 1;
    fault->any_address = !options->has_address;
    if (options->has_address) {
        range_set_bounds(&fault->addresses, options->address,
                         options->address +
                         (options->has_size ? options->size - 1 : 0));
    }
    QTAILQ_INSERT_TAIL(&set->faults, fault, next);
    trace_amd_dma_fault_inject(set->name, fault->id,
                               AmdDmaFaultKind_str(options->kind),
                               fault->nth, fault->count);

    id = g_new0(AmdDmaFaultId, 1);
    id->id = fault->id;
    return id;
}

AmdDmaFaultInfoList *qmp_query_amd_dma_faults(const char *device, Error **errp)
{
    AMDDMAFaultSet *set = amd_dma_faults_find(device, errp);
    AmdDmaFaultInfoList *list = NULL, **tail = &list;
    AMDDMAFault *fault;

    if (!set) {
        return NULL;
    }
    QTAILQ_FOREACH(fault, &set->faults, next) {
        AmdDmaFaultInfo *info = g_new0(AmdDmaFaultInfo, 1);

        info->id = fault->id;
        info->kind = fault->options->kind;
        info->seen = fault->seen;
        info->hits = fault->hits;
        info->active = amd_dma_fault_is_active(fault);
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}

void qmp_amd_dma_clear_faults(const char *device, bool has_id, uint32_t id,
                              Error **errp)
{
    AMDDMAFaultSet *set = amd_dma_faults_find(device, errp);
    AMDDMAFault *fault, *next;
    AMDDMAChannel *ch;
    bool found = false;

    if (!set) {
        return;
    }
    QTAILQ_FOREACH_SAFE(fault, &set->faults, next, next) {
        if (has_id && fault->id != id) {
            continue;
        }
        found = true;
        trace_amd_dma_fault_clear(set->name, fault->id, fault->hits);
        QLIST_FOREACH(ch, &set->channels, next) {
            amd_dma_channel_release(ch, fault->id);
        }
        amd_dma_fault_free(set, fault);
    }
    if (has_id && !found) {
        error_setg(errp, "Device '%s' has no fault %" PRIu32, device, id);
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
        VMSTATE_INT64(delay_ns, AMDDMAFaultEffects),
        VMSTATE_UINT32(stalled_by, AMDDMAFaultEffects),
        VMSTATE_BOOL(lose_interrupt, AMDDMAFaultEffects),
        VMSTATE_END_OF_LIST()
    },
};
