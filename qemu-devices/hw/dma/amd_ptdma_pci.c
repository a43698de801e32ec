/*
 * AMD PTDMA (pass-through DMA) controller: PCI function
 *
 * docs/specs/amd-ptdma.rst describes the device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "migration/vmstate.h"
#include "hw/dma/amd_dma_pci.h"
#include "hw/dma/amd_ptdma.h"
#include "hw/dma/amd_ptdma_regs.h"
#include "hw/qdev-properties.h"

#define AMD_PTDMA_VECTOR            0

OBJECT_DECLARE_SIMPLE_TYPE(AMDPTDMAState, AMD_PTDMA)

struct AMDPTDMAState {
    AMDDMAPCIState parent_obj;

    AMDPTDMACore core;
};

static void amd_ptdma_pci_notify(void *opaque)
{
    amd_dma_pci_notify(opaque, AMD_PTDMA_VECTOR);
}

static void amd_ptdma_pci_set_present(void *opaque, bool present)
{
    amd_dma_pci_set_present(opaque, present);
}

static void amd_ptdma_pci_power_on(void *opaque)
{
    pci_device_reset(opaque);
}

static const AMDPTDMACoreOps amd_ptdma_pci_core_ops = {
    .notify = amd_ptdma_pci_notify,
    .set_present = amd_ptdma_pci_set_present,
    .power_on = amd_ptdma_pci_power_on,
};

static bool amd_ptdma_pci_core_check(AMDDMAPCIState *d, Error **errp)
{
    return amd_dma_timing_realize(&AMD_PTDMA(d)->core.timing, errp);
}

static MemoryRegion *amd_ptdma_pci_core_init(AMDDMAPCIState *d)
{
    AMDPTDMACore *core = &AMD_PTDMA(d)->core;

    amd_ptdma_core_init(core, DEVICE(d), pci_get_address_space(PCI_DEVICE(d)),
                        &amd_ptdma_pci_core_ops, d);
    return &core->regs;
}

static void amd_ptdma_pci_core_destroy(AMDDMAPCIState *d)
{
    amd_ptdma_core_destroy(&AMD_PTDMA(d)->core);
}

static void amd_ptdma_pci_core_reset(AMDDMAPCIState *d)
{
    amd_ptdma_core_reset(&AMD_PTDMA(d)->core);
}

static bool amd_ptdma_pci_core_is_removed(AMDDMAPCIState *d)
{
    return amd_ptdma_core_is_removed(&AMD_PTDMA(d)->core);
}

static AMDDMAStats *amd_ptdma_pci_get_stats(AMDDMAPCIState *d)
{
    return &AMD_PTDMA(d)->core.stats;
}

static AMDDMAFaultSet *amd_ptdma_pci_get_faults(AMDDMAPCIState *d)
{
    return &AMD_PTDMA(d)->core.faults;
}

static const Property amd_ptdma_pci_properties[] = {
    DEFINE_PROP_AMD_DMA_PROFILE("profile", AMDPTDMAState, core.timing.profile),
    DEFINE_PROP_AMD_DMA_LATENCY("latency-ns", AMDPTDMAState,
                                core.timing.latency_ns),
    DEFINE_PROP_AMD_DMA_BANDWIDTH("bandwidth", AMDPTDMAState,
                                  core.timing.bandwidth),
    DEFINE_PROP_LINK("fabric", AMDPTDMAState, core.timing.fabric,
                     TYPE_AMD_DMA_FABRIC, AMDDMAFabric *),
};

static const VMStateDescription vmstate_amd_ptdma_pci = {
    .name = TYPE_AMD_PTDMA,
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT(parent_obj, AMDPTDMAState, 1, vmstate_amd_dma_pci,
                       AMDDMAPCIState),
        VMSTATE_STRUCT(core, AMDPTDMAState, 1, vmstate_amd_ptdma_core,
                       AMDPTDMACore),
        VMSTATE_END_OF_LIST()
    },
};

static void amd_ptdma_pci_instance_init(Object *obj)
{
    amd_dma_timing_init(&AMD_PTDMA(obj)->core.timing);
}

static void amd_ptdma_pci_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);
    AMDDMAPCIClass *adc = AMD_DMA_PCI_CLASS(klass);

    pc->device_id = AMD_PTDMA_PCI_DEVICE_ID;
    adc->vectors = 1;
    adc->regs_bar = AMD_PTDMA_REGS_BAR;
    adc->msix_bar = AMD_PTDMA_MSIX_BAR;
    adc->core_check = amd_ptdma_pci_core_check;
    adc->core_init = amd_ptdma_pci_core_init;
    adc->core_destroy = amd_ptdma_pci_core_destroy;
    adc->core_reset = amd_ptdma_pci_core_reset;
    adc->core_is_removed = amd_ptdma_pci_core_is_removed;
    adc->get_stats = amd_ptdma_pci_get_stats;
    adc->get_faults = amd_ptdma_pci_get_faults;

    dc->desc = "AMD PTDMA pass-through DMA controller";
    dc->vmsd = &vmstate_amd_ptdma_pci;
    device_class_set_props(dc, amd_ptdma_pci_properties);
}

static const TypeInfo amd_ptdma_pci_types[] = {
    {
        .name = TYPE_AMD_PTDMA,
        .parent = TYPE_AMD_DMA_PCI,
        .instance_size = sizeof(AMDPTDMAState),
        .instance_init = amd_ptdma_pci_instance_init,
        .class_init = amd_ptdma_pci_class_init,
    },
};

DEFINE_TYPES(amd_ptdma_pci_types)
