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
#include "hw/dma/amd_dma_fabric.h"
#include "hw/dma/amd_dma_fault.h"
#include "hw/qdev-core.h"
#include "system/runstate.h"
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
                         uint8_t code_max, AMDDMAFaultCleared *cleared,
                         void *opaque)
{
    set->name = name;
    set->code_max = code_max;
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

/* Descriptors beyond @nth that are still to come */
static bool amd_dma_fault_is_active(const AMDDMAFault *fault)
{
    return !fault->count || fault->seen < fault->nth ||
           fault->seen - (fault->nth - 1) < fault->count;
}

static bool amd_dma_fault_selects(const AMDDMAFault *fault, uint64_t source,
                                  uint64_t destination, uint32_t size)
{
    const AmdDmaFaultOptions *options = fault->options;
    Range source_range, destination_range;

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
void amd_dma_faults_match(AMDDMAFaultSet *set, uint64_t source,
                          uint64_t destination, uint32_t size,
                          AMDDMAFaultEffects *effects)
{
    bool taken[AMD_DMA_FAULT_KIND__MAX] = { };
    AMDDMAFault *fault;

    *effects = (AMDDMAFaultEffects) { };
    QTAILQ_FOREACH(fault, &set->faults, next) {
        if (!amd_dma_fault_is_active(fault) ||
            !amd_dma_fault_selects(fault, source, destination, size)) {
            continue;
        }
        if (fault->seen + 1 >= fault->nth && taken[fault->options->kind]) {
            continue;
        }
        fault->seen++;
        if (fault->seen >= fault->nth) {
            fault->hits++;
            taken[fault->options->kind] = true;
            amd_dma_fault_apply(fault, size, effects);
            trace_amd_dma_fault_hit(set->name, fault->id,
                AmdDmaFaultKind_str(fault->options->kind), fault->hits,
                source, destination, size);
        }
    }
}

static AMDDMAFaultSet *amd_dma_faults_find(const char *device, Error **errp)
{
    Object *obj = object_resolve_path_at(machine_get_container("peripheral"),
                                         device);

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

static uint64_t amd_dma_fault_delay_ns(const AmdDmaFaultOptions *options)
{
    switch (options->kind) {
    case AMD_DMA_FAULT_KIND_STALL:
        return options->u.stall.delay_ns;
    case AMD_DMA_FAULT_KIND_INTERRUPT_BEFORE_DATA:
        return options->u.interrupt_before_data.delay_ns;
    case AMD_DMA_FAULT_KIND_SPURIOUS_INTERRUPT:
        return options->u.spurious_interrupt.delay_ns;
    case AMD_DMA_FAULT_KIND_DUPLICATE_COMPLETION:
        return options->u.duplicate_completion.delay_ns;
    default:
        return 0;
    }
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
    if (options->kind == AMD_DMA_FAULT_KIND_SLOW_LINK &&
        !options->u.slow_link.bandwidth) {
        error_setg(errp, "'bandwidth' is to be at least 1");
        return false;
    }
    if (amd_dma_fault_delay_ns(options) > INT64_MAX) {
        error_setg(errp, "'delay-ns' is to be at most %" PRId64, INT64_MAX);
        return false;
    }
    return true;
}

static unsigned int amd_dma_faults_number(const AMDDMAFaultSet *set)
{
    unsigned int number = 0;
    AMDDMAFault *fault;

    QTAILQ_FOREACH(fault, &set->faults, next) {
        number++;
    }
    return number;
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
    if (runstate_check(RUN_STATE_INMIGRATE)) {
        /* Its number could be that of a fault which comes with the stream */
        error_setg(errp, "Device '%s' takes faults after the migration",
                   options->device);
        return NULL;
    }
    if (amd_dma_faults_number(set) >= AMD_DMA_FAULTS_MAX) {
        error_setg(errp, "Device '%s' has %d faults; clear some first",
                   options->device, AMD_DMA_FAULTS_MAX);
        return NULL;
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
        amd_dma_fault_free(set, fault);
    }
    if (has_id && !found) {
        error_setg(errp, "Device '%s' has no fault %" PRIu32, device, id);
        return;
    }
    /* All: those too that were injected before a migration */
    set->cleared(set->opaque, has_id ? id : 0);
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
        VMSTATE_INT64(late_data_ns, AMDDMAFaultEffects),
        VMSTATE_UINT32(message_lost_by, AMDDMAFaultEffects),
        VMSTATE_INT64(spurious_ns, AMDDMAFaultEffects),
        VMSTATE_INT64(duplicate_ns, AMDDMAFaultEffects),
        VMSTATE_UINT32(removed_by, AMDDMAFaultEffects),
        VMSTATE_END_OF_LIST()
    },
};
