/*
 * AMD DMA fabric: a bandwidth limit shared by several DMA functions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qom/object_interfaces.h"
#include "hw/dma/amd_dma_fabric.h"
#include "trace.h"

int64_t amd_dma_time_add(int64_t time_ns, int64_t delta_ns)
{
    int64_t sum_ns;

    if (sadd64_overflow(time_ns, delta_ns, &sum_ns)) {
        return INT64_MAX;
    }
    return sum_ns;
}

int64_t amd_dma_transfer_ns(uint32_t size, uint64_t bandwidth)
{
    if (!bandwidth) {
        return 0;
    }
    /* 2^32 * 10^9 fits in 63 bits; DIV_ROUND_UP() could overflow in its sum */
    uint64_t scaled = (uint64_t)size * NANOSECONDS_PER_SECOND;

    return scaled / bandwidth + !!(scaled % bandwidth);
}

void amd_dma_fabric_join(AMDDMAFabric *fabric, AMDDMAFabricTurn *turn)
{
    turn->until_ns = 0;
    QLIST_INSERT_HEAD(&fabric->turns, turn, next);
}

void amd_dma_fabric_leave(AMDDMAFabricTurn *turn)
{
    QLIST_REMOVE(turn, next);
}

int64_t amd_dma_fabric_reserve(AMDDMAFabric *fabric, AMDDMAFabricTurn *turn,
                               int64_t now_ns, uint32_t size)
{
    int64_t start_ns = now_ns;
    AMDDMAFabricTurn *other;

    QLIST_FOREACH(other, &fabric->turns, next) {
        start_ns = MAX(start_ns, other->until_ns);
    }
    turn->until_ns = amd_dma_time_add(start_ns,
                                      amd_dma_transfer_ns(size,
                                                          fabric->bandwidth));
    trace_amd_dma_fabric_reserve(size, start_ns, turn->until_ns);
    return turn->until_ns;
}

void amd_dma_fabric_release(AMDDMAFabricTurn *turn)
{
    turn->until_ns = 0;
}

static void amd_dma_fabric_get_bandwidth(Object *obj, Visitor *v,
                                         const char *name, void *opaque,
                                         Error **errp)
{
    uint64_t value = AMD_DMA_FABRIC(obj)->bandwidth;

    visit_type_size(v, name, &value, errp);
}

static void amd_dma_fabric_set_bandwidth(Object *obj, Visitor *v,
                                         const char *name, void *opaque,
                                         Error **errp)
{
    uint64_t value;

    if (visit_type_size(v, name, &value, errp)) {
        AMD_DMA_FABRIC(obj)->bandwidth = value;
    }
}

static void amd_dma_fabric_class_init(ObjectClass *klass, void *data)
{
    object_class_property_add(klass, "bandwidth", "size",
                              amd_dma_fabric_get_bandwidth,
                              amd_dma_fabric_set_bandwidth, NULL, NULL);
    object_class_property_set_description(klass, "bandwidth",
        "bytes per second of virtual time, shared by all functions "
        "of this fabric; 0 is no limit");
}

static const TypeInfo amd_dma_fabric_types[] = {
    {
        .name = TYPE_AMD_DMA_FABRIC,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(AMDDMAFabric),
        .class_init = amd_dma_fabric_class_init,
        .interfaces = (InterfaceInfo[]) {
            { TYPE_USER_CREATABLE },
            { },
        },
    },
};

DEFINE_TYPES(amd_dma_fabric_types)
