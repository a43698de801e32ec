/*
 * AMD DMA engines: the commands that inject faults
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-amd-dma.h"
#include "qapi/qapi-visit-amd-dma.h"
#include "hw/dma/amd_dma_fault.h"
#include "hw/qdev-core.h"
#include "system/runstate.h"
#include "amd_dma_fault_list.h"
#include "trace.h"

/*
 * A test that injects without ever clearing must not eat the host's memory,
 * nor make each descriptor slower.
 */
#define AMD_DMA_FAULTS_MAX  1024

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

static bool amd_dma_fault_check_chance(const AmdDmaFaultOptions *options,
                                       Error **errp)
{
    if (options->has_probability_ppm &&
        (!options->probability_ppm ||
         options->probability_ppm > AMD_DMA_FAULT_CERTAIN_PPM)) {
        error_setg(errp, "'probability-ppm' is to be from 1 to %d",
                   AMD_DMA_FAULT_CERTAIN_PPM);
        return false;
    }
    if (options->has_seed && !options->has_probability_ppm) {
        error_setg(errp, "'seed' needs 'probability-ppm'");
        return false;
    }
    return true;
}

static bool amd_dma_fault_check_kind(const AMDDMAFaultSet *set,
                                     const AmdDmaFaultOptions *options,
                                     Error **errp)
{
    if (options->kind == AMD_DMA_FAULT_KIND_ERROR &&
        (!options->u.error.code ||
         options->u.error.code > set->limits->code_max)) {
        error_setg(errp, "'code' is to be from 1 to %u",
                   set->limits->code_max);
        return false;
    }
    if (options->kind == AMD_DMA_FAULT_KIND_OUT_OF_ORDER) {
        if (!set->limits->reorders) {
            error_setg(errp, "Device '%s' tells how far it got by a place in "
                       "the ring only, so it has no other order",
                       options->device);
            return false;
        }
        if (!options->u.out_of_order.later) {
            error_setg(errp, "'later' is to be at least 1");
            return false;
        }
    }
    if (options->kind == AMD_DMA_FAULT_KIND_SLOW_LINK &&
        !options->u.slow_link.bandwidth) {
        error_setg(errp, "'bandwidth' is to be at least 1");
        return false;
    }
    return true;
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
    if (options->has_queue && options->queue >= set->limits->queues) {
        error_setg(errp, "'queue' is to be from 0 to %u",
                   set->limits->queues - 1);
        return false;
    }
    if (!amd_dma_fault_check_chance(options, errp) ||
        !amd_dma_fault_check_kind(set, options, errp)) {
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

    if (set->last_id >= UINT32_MAX - 1) {
        /* A stream with a larger one is refused: the next would be 0 */
        error_setg(errp, "Device '%s' has no number left for a fault",
                   options->device);
        return NULL;
    }

    fault = g_new0(AMDDMAFault, 1);
    fault->id = ++set->last_id;
    fault->options = QAPI_CLONE(AmdDmaFaultOptions, options);
    fault->nth = options->has_nth ? options->nth : 1;
    fault->count = options->has_count ? options->count : 1;
    fault->random = options->has_seed ? options->seed : 0;
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
