/*
 * AMD DMA fabric: bandwidth limits that DMA functions share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qom/object_interfaces.h"
#include "hw/boards.h"
#include "hw/dma/amd_dma_fabric.h"
#include "hw/dma/amd_dma_timing.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "system/hostmem.h"
#include "system/numa.h"
#include "trace.h"

int64_t amd_dma_time_add(int64_t time_ns, int64_t delta_ns)
{
    int64_t sum_ns;

    if (sadd64_overflow(time_ns, delta_ns, &sum_ns)) {
        return INT64_MAX;
    }
    return sum_ns;
}

int64_t amd_dma_transfer_ns(uint64_t size, uint64_t bandwidth)
{
    if (!bandwidth) {
        return 0;
    }
    /* 2^33 * 10^9 fits in 63 bits; DIV_ROUND_UP() could overflow in its sum */
    uint64_t scaled = size * NANOSECONDS_PER_SECOND;

    return scaled / bandwidth + !!(scaled % bandwidth);
}

static int amd_dma_fabric_node_of_device(DeviceState *dev)
{
    PCIDevice *pdev = (PCIDevice *)object_dynamic_cast(OBJECT(dev),
                                                       TYPE_PCI_DEVICE);
    PCIBus *bus;

    if (!pdev) {
        return NUMA_NODE_UNASSIGNED;
    }
    for (bus = pci_get_bus(pdev); !pci_bus_is_root(bus);
         bus = pci_get_bus(pci_bridge_get_device(bus))) {
        /* up to the host bridge */
    }
    return pci_bus_numa_node(bus);
}

/*
 * What an IOMMU translates is not looked up, because looking would count as
 * an access.  It has no node, like another device's registers.
 */
static int amd_dma_fabric_node_of_address(AddressSpace *as, uint64_t address)
{
    MachineState *ms = MACHINE(qdev_get_machine());
    MemoryRegionSection section = memory_region_find(as->root, address, 1);
    int node = NUMA_NODE_UNASSIGNED;

    for (int i = 0; ms->numa_state && i < ms->numa_state->num_nodes; i++) {
        HostMemoryBackend *backend = ms->numa_state->nodes[i].node_memdev;

        if (backend && section.mr &&
            host_memory_backend_get_memory(backend) == section.mr) {
            node = i;
        }
    }
    memory_region_unref(section.mr);
    return node;
}

/* Bytes that go over the link */
static uint64_t amd_dma_fabric_link_size(const AMDDMAFabricTurn *turn,
                                         AddressSpace *as, uint64_t source,
                                         uint64_t destination, uint32_t size)
{
    const uint64_t sides[] = { source, destination };
    uint64_t link_size = 0;

    if (turn->node == NUMA_NODE_UNASSIGNED) {
        return 0;
    }
    for (int i = 0; i < ARRAY_SIZE(sides); i++) {
        int node = amd_dma_fabric_node_of_address(as, sides[i]);

        if (node != NUMA_NODE_UNASSIGNED && node != turn->node) {
            link_size += size;
        }
    }
    return link_size;
}

void amd_dma_fabric_join(AMDDMAFabric *fabric, AMDDMAFabricTurn *turn,
                         DeviceState *dev)
{
    amd_dma_fabric_release(turn);
    turn->node = amd_dma_fabric_node_of_device(dev);
    QLIST_INSERT_HEAD(&fabric->turns, turn, next);
}

void amd_dma_fabric_leave(AMDDMAFabricTurn *turn)
{
    QLIST_REMOVE(turn, next);
}

int64_t amd_dma_fabric_reserve(AMDDMAFabric *fabric, AMDDMAFabricTurn *turn,
                               AddressSpace *as, uint64_t source,
                               uint64_t destination, int64_t now_ns,
                               uint32_t size)
{
    int64_t start_ns = now_ns;
    int64_t link_start_ns = now_ns;
    uint64_t link_size = 0;
    AMDDMAFabricTurn *other;

    QLIST_FOREACH(other, &fabric->turns, next) {
        if (other->node == turn->node) {
            start_ns = MAX(start_ns, other->until_ns);
        }
        link_start_ns = MAX(link_start_ns, other->link_until_ns);
    }
    turn->until_ns = amd_dma_time_add(start_ns,
                                      amd_dma_transfer_ns(size,
                                                          fabric->bandwidth));
    turn->link_until_ns = 0;
    if (fabric->link_bandwidth) {
        link_size = amd_dma_fabric_link_size(turn, as, source, destination,
                                             size);
    }
    if (link_size) {
        turn->link_until_ns = amd_dma_time_add(link_start_ns,
            amd_dma_transfer_ns(link_size, fabric->link_bandwidth));
    }
    trace_amd_dma_fabric_reserve(turn->node, size, start_ns, turn->until_ns,
                                 link_size, turn->link_until_ns);
    return MAX(turn->until_ns, turn->link_until_ns);
}

void amd_dma_fabric_release(AMDDMAFabricTurn *turn)
{
    turn->until_ns = 0;
    turn->link_until_ns = 0;
}

/* @opaque: offset of the field */
static uint64_t *amd_dma_fabric_size_field(Object *obj, void *opaque)
{
    return (void *)AMD_DMA_FABRIC(obj) + (uintptr_t)opaque;
}

static void amd_dma_fabric_get_size(Object *obj, Visitor *v, const char *name,
                                    void *opaque, Error **errp)
{
    uint64_t value = *amd_dma_fabric_size_field(obj, opaque);

    visit_type_size(v, name, &value, errp);
}

static void amd_dma_fabric_set_size(Object *obj, Visitor *v, const char *name,
                                    void *opaque, Error **errp)
{
    uint64_t value;

    if (visit_type_size(v, name, &value, errp)) {
        *amd_dma_fabric_size_field(obj, opaque) = value;
    }
}

static int amd_dma_fabric_get_profile(Object *obj, Error **errp)
{
    return AMD_DMA_FABRIC(obj)->profile;
}

static void amd_dma_fabric_set_profile(Object *obj, int value, Error **errp)
{
    AMD_DMA_FABRIC(obj)->profile = value;
}

static void amd_dma_fabric_instance_init(Object *obj)
{
    AMDDMAFabric *fabric = AMD_DMA_FABRIC(obj);

    fabric->profile = AMD_DMA_PROFILE_AUTO;
    fabric->bandwidth = AMD_DMA_TIMING_UNSET;
    fabric->link_bandwidth = AMD_DMA_TIMING_UNSET;
}

static void amd_dma_fabric_complete(UserCreatable *uc, Error **errp)
{
    AMDDMAFabric *fabric = AMD_DMA_FABRIC(uc);
    bool given = fabric->bandwidth != AMD_DMA_TIMING_UNSET ||
                 fabric->link_bandwidth != AMD_DMA_TIMING_UNSET;
    AMDDMAProfile profile;

    amd_dma_profile_resolve(&fabric->profile, given);
    if (fabric->profile != AMD_DMA_PROFILE_CUSTOM) {
        if (given) {
            error_setg(errp, "bandwidth and link-bandwidth need "
                       "profile=custom, but it is profile=%s",
                       AmdDmaProfile_str(fabric->profile));
            return;
        }
        profile = amd_dma_profile_get(fabric->profile);
        fabric->bandwidth = profile.socket_bandwidth;
        fabric->link_bandwidth = profile.link_bandwidth;
    }
    if (fabric->bandwidth == AMD_DMA_TIMING_UNSET) {
        fabric->bandwidth = 0;
    }
    if (fabric->link_bandwidth == AMD_DMA_TIMING_UNSET) {
        fabric->link_bandwidth = 0;
    }
}

static void amd_dma_fabric_class_init(ObjectClass *klass, void *data)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(klass);

    ucc->complete = amd_dma_fabric_complete;
    object_class_property_add_enum(klass, "profile", "AmdDmaProfile",
                                   &AmdDmaProfile_lookup,
                                   amd_dma_fabric_get_profile,
                                   amd_dma_fabric_set_profile);
    object_class_property_set_description(klass, "profile",
        "where the limits are from: auto/custom/instant/slow/zen3");
    object_class_property_add(klass, "bandwidth", "size",
        amd_dma_fabric_get_size, amd_dma_fabric_set_size, NULL,
        (void *)offsetof(AMDDMAFabric, bandwidth));
    object_class_property_set_description(klass, "bandwidth",
        "bytes per second of virtual time, shared by all functions "
        "of a NUMA node; 0 is no limit");
    object_class_property_add(klass, "link-bandwidth", "size",
        amd_dma_fabric_get_size, amd_dma_fabric_set_size, NULL,
        (void *)offsetof(AMDDMAFabric, link_bandwidth));
    object_class_property_set_description(klass, "link-bandwidth",
        "bytes per second of virtual time, shared by all that crosses "
        "from one NUMA node to another; 0 is no limit");
}

static const TypeInfo amd_dma_fabric_types[] = {
    {
        .name = TYPE_AMD_DMA_FABRIC,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(AMDDMAFabric),
        .instance_init = amd_dma_fabric_instance_init,
        .class_init = amd_dma_fabric_class_init,
        .interfaces = (InterfaceInfo[]) {
            { TYPE_USER_CREATABLE },
            { },
        },
    },
};

DEFINE_TYPES(amd_dma_fabric_types)
