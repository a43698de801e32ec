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
#include "hw/dma/amd_ptdma.h"
#include "hw/dma/amd_ptdma_regs.h"
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pcie.h"
#include "hw/qdev-properties.h"
#include "trace.h"

#define AMD_PTDMA_EXP_CAP_OFFSET    0x80
#define AMD_PTDMA_VECTOR            0

OBJECT_DECLARE_SIMPLE_TYPE(AMDPTDMAState, AMD_PTDMA)

struct AMDPTDMAState {
    PCIDevice parent_obj;

    AMDPTDMACore core;
    bool msix;
    /* a message waits in the function for its vector to be unmasked */
    bool message_held;
    /* over the MSI-X BAR when a fault has taken the function away */
    MemoryRegion no_msix;
};

static bool amd_ptdma_pci_vector_masked(PCIDevice *pdev)
{
    if (msix_enabled(pdev)) {
        return msix_is_masked(pdev, AMD_PTDMA_VECTOR);
    }
    return msi_is_masked(pdev, AMD_PTDMA_VECTOR);
}

static void amd_ptdma_pci_count_message(AMDPTDMAState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);

    /* A message is a memory write, which needs bus mastership */
    if (pci_get_word(pdev->config + PCI_COMMAND) & PCI_COMMAND_MASTER) {
        s->core.stats.interrupts++;
    }
}

static void amd_ptdma_pci_notify(void *opaque)
{
    AMDPTDMAState *s = opaque;
    PCIDevice *pdev = PCI_DEVICE(s);

    if (!msix_enabled(pdev) && !msi_enabled(pdev)) {
        /* There is no INTx pin */
        return;
    }
    if (amd_ptdma_pci_vector_masked(pdev)) {
        s->message_held = true;
    } else {
        amd_ptdma_pci_count_message(s);
    }
    if (msix_enabled(pdev)) {
        msix_notify(pdev, AMD_PTDMA_VECTOR);
    } else {
        msi_notify(pdev, AMD_PTDMA_VECTOR);
    }
}

/* The PCI core sends a held message when its vector is unmasked; count it */
static void amd_ptdma_pci_unmasked(AMDPTDMAState *s)
{
    if (s->message_held) {
        s->message_held = false;
        amd_ptdma_pci_count_message(s);
    }
}

static int amd_ptdma_pci_msix_use(PCIDevice *pdev, unsigned int vector,
                                  MSIMessage msg)
{
    amd_ptdma_pci_unmasked(AMD_PTDMA(pdev));
    return 0;
}

static void amd_ptdma_pci_msix_release(PCIDevice *pdev, unsigned int vector)
{
}

static uint64_t amd_ptdma_pci_nobody_read(void *opaque, hwaddr offset,
                                          unsigned int size)
{
    return UINT64_MAX;
}

static void amd_ptdma_pci_nobody_write(void *opaque, hwaddr offset,
                                       uint64_t value, unsigned int size)
{
}

static const MemoryRegionOps amd_ptdma_pci_nobody_ops = {
    .read = amd_ptdma_pci_nobody_read,
    .write = amd_ptdma_pci_nobody_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 1,
        .max_access_size = 8,
    },
    .impl = {
        .min_access_size = 1,
        .max_access_size = 8,
    },
};

static void amd_ptdma_pci_set_present(void *opaque, bool present)
{
    AMDPTDMAState *s = opaque;

    if (s->msix) {
        memory_region_set_enabled(&s->no_msix, !present);
    }
    if (present) {
        pci_device_reset(PCI_DEVICE(s));
    }
}

static uint32_t amd_ptdma_pci_config_read(PCIDevice *pdev, uint32_t address,
                                          int len)
{
    if (amd_ptdma_core_is_removed(&AMD_PTDMA(pdev)->core)) {
        return UINT32_MAX >> (32 - 8 * len);
    }
    return pci_default_read_config(pdev, address, len);
}

static void amd_ptdma_pci_config_write(PCIDevice *pdev, uint32_t address,
                                       uint32_t value, int len)
{
    AMDPTDMAState *s = AMD_PTDMA(pdev);

    if (amd_ptdma_core_is_removed(&s->core)) {
        return;
    }
    pci_default_write_config(pdev, address, value, len);
    if (!msix_enabled(pdev) && msi_enabled(pdev) &&
        !msi_is_masked(pdev, AMD_PTDMA_VECTOR)) {
        amd_ptdma_pci_unmasked(s);
    }
    pcie_cap_flr_write_config(pdev, address, value, len);
}

static bool amd_ptdma_pci_msix_init(AMDPTDMAState *s, Error **errp)
{
    PCIDevice *pdev = PCI_DEVICE(s);

    if (!s->msix) {
        return true;
    }
    if (msix_init_exclusive_bar(pdev, 1, AMD_PTDMA_MSIX_BAR, errp) < 0) {
        return false;
    }
    msix_vector_use(pdev, AMD_PTDMA_VECTOR);
    if (msix_set_vector_notifiers(pdev, amd_ptdma_pci_msix_use,
                                  amd_ptdma_pci_msix_release, NULL) < 0) {
        error_setg(errp, "MSI-X vector can't be watched");
        msix_uninit_exclusive_bar(pdev);
        return false;
    }
    memory_region_init_io(&s->no_msix, OBJECT(s), &amd_ptdma_pci_nobody_ops,
                          s, "amd-ptdma-no-msix",
                          memory_region_size(&pdev->msix_exclusive_bar));
    memory_region_set_enabled(&s->no_msix, false);
    memory_region_add_subregion_overlap(&pdev->msix_exclusive_bar, 0,
                                        &s->no_msix, 1);
    return true;
}

static const AMDPTDMACoreOps amd_ptdma_pci_core_ops = {
    .notify = amd_ptdma_pci_notify,
    .set_present = amd_ptdma_pci_set_present,
};

static void amd_ptdma_pci_realize(PCIDevice *pdev, Error **errp)
{
    AMDPTDMAState *s = AMD_PTDMA(pdev);

    if (!amd_dma_timing_realize(&s->core.timing, errp)) {
        return;
    }
    if (pcie_endpoint_cap_init(pdev, AMD_PTDMA_EXP_CAP_OFFSET) < 0) {
        error_setg(errp, "no room for the PCI Express capability");
        return;
    }
    pcie_cap_flr_init(pdev);
    if (msi_init(pdev, 0, 1, true, true, errp) < 0) {
        goto err_pcie;
    }
    /* State, not configuration that has to be the same at both ends */
    pci_set_long(pdev->cmask + pdev->msi_cap + PCI_MSI_PENDING_64, 0);
    if (!amd_ptdma_pci_msix_init(s, errp)) {
        goto err_msi;
    }

    amd_ptdma_core_init(&s->core, DEVICE(pdev), pci_get_address_space(pdev),
                        &amd_ptdma_pci_core_ops, s);
    pci_register_bar(pdev, AMD_PTDMA_REGS_BAR, PCI_BASE_ADDRESS_SPACE_MEMORY,
                     &s->core.regs);
    return;

err_msi:
    msi_uninit(pdev);
err_pcie:
    pcie_cap_exit(pdev);
}

static void amd_ptdma_pci_exit(PCIDevice *pdev)
{
    AMDPTDMAState *s = AMD_PTDMA(pdev);

    amd_ptdma_core_destroy(&s->core);
    if (s->msix) {
        memory_region_del_subregion(&pdev->msix_exclusive_bar, &s->no_msix);
        msix_unset_vector_notifiers(pdev);
        msix_uninit_exclusive_bar(pdev);
    }
    msi_uninit(pdev);
    pcie_cap_exit(pdev);
}

static void amd_ptdma_pci_reset_hold(Object *obj, ResetType type)
{
    AMDPTDMAState *s = AMD_PTDMA(obj);

    amd_ptdma_core_reset(&s->core);
    s->message_held = false;
}

static AMDDMAFaultSet *amd_ptdma_pci_get_faults(Object *obj)
{
    return &AMD_PTDMA(obj)->core.faults;
}

static const Property amd_ptdma_pci_properties[] = {
    DEFINE_PROP_BOOL("msix", AMDPTDMAState, msix, true),
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
        VMSTATE_PCI_DEVICE(parent_obj, AMDPTDMAState),
        VMSTATE_MSIX(parent_obj, AMDPTDMAState),
        VMSTATE_STRUCT(core, AMDPTDMAState, 1, vmstate_amd_ptdma_core,
                       AMDPTDMACore),
        VMSTATE_BOOL(message_held, AMDPTDMAState),
        VMSTATE_END_OF_LIST()
    },
};

static void amd_ptdma_pci_instance_init(Object *obj)
{
    AMDDMAStats *stats = &AMD_PTDMA(obj)->core.stats;

    amd_dma_timing_init(&AMD_PTDMA(obj)->core.timing);
    object_property_add_uint64_ptr(obj, "descriptors", &stats->descriptors,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "bytes", &stats->bytes,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "interrupts", &stats->interrupts,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "errors", &stats->errors,
                                   OBJ_PROP_FLAG_READ);
}

static void amd_ptdma_pci_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);
    AMDDMAFaultTargetClass *fc = AMD_DMA_FAULT_TARGET_CLASS(klass);

    pc->realize = amd_ptdma_pci_realize;
    pc->exit = amd_ptdma_pci_exit;
    pc->config_read = amd_ptdma_pci_config_read;
    pc->config_write = amd_ptdma_pci_config_write;
    pc->vendor_id = PCI_VENDOR_ID_AMD;
    pc->device_id = AMD_PTDMA_PCI_DEVICE_ID;
    pc->class_id = PCI_CLASS_SYSTEM_OTHER;
    rc->phases.hold = amd_ptdma_pci_reset_hold;
    fc->get_faults = amd_ptdma_pci_get_faults;

    dc->desc = "AMD PTDMA pass-through DMA controller";
    dc->vmsd = &vmstate_amd_ptdma_pci;
    device_class_set_props(dc, amd_ptdma_pci_properties);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo amd_ptdma_pci_types[] = {
    {
        .name = TYPE_AMD_PTDMA,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(AMDPTDMAState),
        .instance_init = amd_ptdma_pci_instance_init,
        .class_init = amd_ptdma_pci_class_init,
        .interfaces = (InterfaceInfo[]) {
            { INTERFACE_PCIE_DEVICE },
            { TYPE_AMD_DMA_FAULT_TARGET },
            { },
        },
    },
};

DEFINE_TYPES(amd_ptdma_pci_types)
