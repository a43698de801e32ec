/*
 * AMD AE4DMA controller: PCI function
 *
 * docs/specs/amd-ae4dma.rst describes the device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "migration/vmstate.h"
#include "hw/dma/amd_ae4dma.h"
#include "hw/dma/amd_dma_pci.h"
#include "hw/qdev-properties.h"

OBJECT_DECLARE_SIMPLE_TYPE(AMDAE4DMAState, AMD_AE4DMA)

struct AMDAE4DMAState {
    AMDDMAPCIState parent_obj;

    AMDAE4DMACore core;
};

/* A queue's number is that of its vector */
static void amd_ae4dma_pci_notify(void *opaque, unsigned int queue)
{
    amd_dma_pci_notify(opaque, queue);
}

static void amd_ae4dma_pci_set_present(void *opaque, bool present)
{
    amd_dma_pci_set_present(opaque, present);
}

static void amd_ae4dma_pci_power_on(void *opaque)
{
    pci_device_reset(opaque);
}

static const AMDAE4DMACoreOps amd_ae4dma_pci_core_ops = {
    .notify = amd_ae4dma_pci_notify,
    .set_present = amd_ae4dma_pci_set_present,
    .power_on = amd_ae4dma_pci_power_on,
};

static bool amd_ae4dma_pci_core_check(AMDDMAPCIState *d, Error **errp)
{
    AMDAE4DMACore *core = &AMD_AE4DMA(d)->core;

    if (!core->queues_number || core->queues_number > AMD_AE4DMA_QUEUES_MAX) {
        error_setg(errp, "queues is to be from 1 to %d",
                   AMD_AE4DMA_QUEUES_MAX);
        return false;
    }
    return amd_dma_timing_realize(&core->timing, errp);
}

static MemoryRegion *amd_ae4dma_pci_core_init(AMDDMAPCIState *d)
{
    AMDAE4DMACore *core = &AMD_AE4DMA(d)->core;

    amd_ae4dma_core_init(core, DEVICE(d),
                         pci_get_address_space(PCI_DEVICE(d)),
                         &amd_ae4dma_pci_core_ops, d);
    return &core->regs;
}

static void amd_ae4dma_pci_core_destroy(AMDDMAPCIState *d)
{
    amd_ae4dma_core_destroy(&AMD_AE4DMA(d)->core);
}

static void amd_ae4dma_pci_core_reset(AMDDMAPCIState *d)
{
    amd_ae4dma_core_reset(&AMD_AE4DMA(d)->core);
}

static bool amd_ae4dma_pci_core_is_removed(AMDDMAPCIState *d)
{
    return amd_ae4dma_core_is_removed(&AMD_AE4DMA(d)->core);
}

static AMDDMAStats *amd_ae4dma_pci_get_stats(AMDDMAPCIState *d)
{
    return &AMD_AE4DMA(d)->core.stats;
}

static AMDDMAFaultSet *amd_ae4dma_pci_get_faults(AMDDMAPCIState *d)
{
    return &AMD_AE4DMA(d)->core.faults;
}

static const Property amd_ae4dma_pci_properties[] = {
    DEFINE_PROP_UINT8("queues", AMDAE4DMAState, core.queues_number,
                      AMD_AE4DMA_QUEUES_MAX),
    DEFINE_PROP_AMD_DMA_PROFILE("profile", AMDAE4DMAState,
                                core.timing.profile),
    DEFINE_PROP_AMD_DMA_LATENCY("latency-ns", AMDAE4DMAState,
                                core.timing.latency_ns),
    DEFINE_PROP_AMD_DMA_BANDWIDTH("bandwidth", AMDAE4DMAState,
                                  core.timing.bandwidth),
    DEFINE_PROP_LINK("fabric", AMDAE4DMAState, core.timing.fabric,
                     TYPE_AMD_DMA_FABRIC, AMDDMAFabric *),
};

static const VMStateDescription vmstate_amd_ae4dma_pci = {
    .name = TYPE_AMD_AE4DMA,
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT(parent_obj, AMDAE4DMAState, 1, vmstate_amd_dma_pci,
                       AMDDMAPCIState),
        VMSTATE_STRUCT(core, AMDAE4DMAState, 1, vmstate_amd_ae4dma_core,
                       AMDAE4DMACore),
        VMSTATE_END_OF_LIST()
    },
};

static void amd_ae4dma_pci_instance_init(Object *obj)
{
    AMDAE4DMACore *core = &AMD_AE4DMA(obj)->core;

    amd_dma_timing_init(&core->timing);
    for (int i = 0; i < AMD_AE4DMA_QUEUES_MAX; i++) {
        g_autofree char *name = g_strdup_printf("queue%d-descriptors", i);

        object_property_add_uint64_ptr(obj, name,
                                       &core->queues[i].descriptors,
                                       OBJ_PROP_FLAG_READ);
    }
}

static void amd_ae4dma_pci_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);
    AMDDMAPCIClass *adc = AMD_DMA_PCI_CLASS(klass);

    pc->device_id = AMD_AE4DMA_PCI_DEVICE_ID;
    adc->vectors = AMD_AE4DMA_QUEUES_MAX;
    adc->regs_bar = AMD_AE4DMA_REGS_BAR;
    adc->msix_bar = AMD_AE4DMA_MSIX_BAR;
    adc->core_check = amd_ae4dma_pci_core_check;
    adc->core_init = amd_ae4dma_pci_core_init;
    adc->core_destroy = amd_ae4dma_pci_core_destroy;
    adc->core_reset = amd_ae4dma_pci_core_reset;
    adc->core_is_removed = amd_ae4dma_pci_core_is_removed;
    adc->get_stats = amd_ae4dma_pci_get_stats;
    adc->get_faults = amd_ae4dma_pci_get_faults;

    dc->desc = "AMD AE4DMA multi-queue DMA controller";
    dc->vmsd = &vmstate_amd_ae4dma_pci;
    device_class_set_props(dc, amd_ae4dma_pci_properties);
}

static const TypeInfo amd_ae4dma_pci_types[] = {
    {
        .name = TYPE_AMD_AE4DMA,
        .parent = TYPE_AMD_DMA_PCI,
        .instance_size = sizeof(AMDAE4DMAState),
        .instance_init = amd_ae4dma_pci_instance_init,
        .class_init = amd_ae4dma_pci_class_init,
    },
};

DEFINE_TYPES(amd_ae4dma_pci_types)
