/*
 * AMD DMA engines: what their PCI functions have in common
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "migration/vmstate.h"
#include "hw/dma/amd_dma_pci.h"
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "hw/pci/pcie.h"
#include "hw/qdev-properties.h"

#define AMD_DMA_PCI_EXP_CAP_OFFSET  0x80

static bool amd_dma_pci_is_removed(AMDDMAPCIState *s)
{
    return AMD_DMA_PCI_GET_CLASS(s)->core_is_removed(s);
}

static void amd_dma_pci_count_message(AMDDMAPCIState *s)
{
    PCIDevice *pdev = PCI_DEVICE(s);

    /* A message is a memory write, which needs bus mastership */
    if (pci_get_word(pdev->config + PCI_COMMAND) & PCI_COMMAND_MASTER) {
        AMD_DMA_PCI_GET_CLASS(s)->get_stats(s)->interrupts++;
    }
}

void amd_dma_pci_notify(AMDDMAPCIState *s, unsigned int vector)
{
    PCIDevice *pdev = PCI_DEVICE(s);

    /* There is no INTx pin */
    if (msix_enabled(pdev)) {
        if (msix_is_masked(pdev, vector)) {
            s->messages_held |= BIT(vector);
        } else {
            amd_dma_pci_count_message(s);
        }
        msix_notify(pdev, vector);
    } else if (msi_enabled(pdev)) {
        if (!msi_is_masked(pdev, 0)) {
            amd_dma_pci_count_message(s);
        }
        msi_notify(pdev, 0);
    }
}

/* A message of MSI, which the PCI core sends when it is unmasked */
static bool amd_dma_pci_msi_waits(PCIDevice *pdev)
{
    return pci_get_long(pdev->config + pdev->msi_cap + PCI_MSI_PENDING_64);
}

/* The PCI core sends a held message when its vector is unmasked; count it */
static void amd_dma_pci_unmasked(AMDDMAPCIState *s, unsigned int vector)
{
    if (s->messages_held & BIT(vector)) {
        s->messages_held &= ~BIT(vector);
        amd_dma_pci_count_message(s);
    }
}

static int amd_dma_pci_msix_use(PCIDevice *pdev, unsigned int vector,
                                MSIMessage msg)
{
    amd_dma_pci_unmasked(AMD_DMA_PCI(pdev), vector);
    return 0;
}

static void amd_dma_pci_msix_release(PCIDevice *pdev, unsigned int vector)
{
}

static uint64_t amd_dma_pci_nobody_read(void *opaque, hwaddr offset,
                                        unsigned int size)
{
    return UINT64_MAX;
}

static void amd_dma_pci_nobody_write(void *opaque, hwaddr offset,
                                     uint64_t value, unsigned int size)
{
}

static const MemoryRegionOps amd_dma_pci_nobody_ops = {
    .read = amd_dma_pci_nobody_read,
    .write = amd_dma_pci_nobody_write,
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

void amd_dma_pci_set_present(AMDDMAPCIState *s, bool present)
{
    if (s->msix) {
        memory_region_set_enabled(&s->no_msix, !present);
    }
}

static uint32_t amd_dma_pci_config_read(PCIDevice *pdev, uint32_t address,
                                        int len)
{
    if (amd_dma_pci_is_removed(AMD_DMA_PCI(pdev))) {
        return UINT32_MAX >> (32 - 8 * len);
    }
    return pci_default_read_config(pdev, address, len);
}

static void amd_dma_pci_config_write(PCIDevice *pdev, uint32_t address,
                                     uint32_t value, int len)
{
    AMDDMAPCIState *s = AMD_DMA_PCI(pdev);
    bool waited = amd_dma_pci_msi_waits(pdev);

    if (amd_dma_pci_is_removed(s)) {
        return;
    }
    pci_default_write_config(pdev, address, value, len);
    if (waited && !amd_dma_pci_msi_waits(pdev)) {
        amd_dma_pci_count_message(s);
    }
    pcie_cap_flr_write_config(pdev, address, value, len);
}

static bool amd_dma_pci_msix_init(AMDDMAPCIState *s, Error **errp)
{
    AMDDMAPCIClass *dc = AMD_DMA_PCI_GET_CLASS(s);
    PCIDevice *pdev = PCI_DEVICE(s);
    g_autofree char *name = NULL;

    if (!s->msix) {
        return true;
    }
    if (msix_init_exclusive_bar(pdev, dc->vectors, dc->msix_bar, errp) < 0) {
        return false;
    }
    for (unsigned int i = 0; i < dc->vectors; i++) {
        msix_vector_use(pdev, i);
    }
    if (msix_set_vector_notifiers(pdev, amd_dma_pci_msix_use,
                                  amd_dma_pci_msix_release, NULL) < 0) {
        error_setg(errp, "MSI-X vectors can't be watched");
        msix_uninit_exclusive_bar(pdev);
        return false;
    }
    name = g_strdup_printf("%s-no-msix", object_get_typename(OBJECT(s)));
    memory_region_init_io(&s->no_msix, OBJECT(s), &amd_dma_pci_nobody_ops, s,
                          name, memory_region_size(&pdev->msix_exclusive_bar));
    memory_region_set_enabled(&s->no_msix, false);
    memory_region_add_subregion_overlap(&pdev->msix_exclusive_bar, 0,
                                        &s->no_msix, 1);
    return true;
}

static void amd_dma_pci_realize(PCIDevice *pdev, Error **errp)
{
    AMDDMAPCIState *s = AMD_DMA_PCI(pdev);
    AMDDMAPCIClass *dc = AMD_DMA_PCI_GET_CLASS(s);

    assert(dc->vectors <= AMD_DMA_PCI_VECTORS_MAX);
    if (!dc->core_check(s, errp)) {
        return;
    }
    if (pcie_endpoint_cap_init(pdev, AMD_DMA_PCI_EXP_CAP_OFFSET) < 0) {
        error_setg(errp, "no room for the PCI Express capability");
        return;
    }
    pcie_cap_flr_init(pdev);
    if (msi_init(pdev, 0, 1, true, true, errp) < 0) {
        goto err_pcie;
    }
    /* State, not configuration that has to be the same at both ends */
    pci_set_long(pdev->cmask + pdev->msi_cap + PCI_MSI_PENDING_64, 0);
    if (!amd_dma_pci_msix_init(s, errp)) {
        goto err_msi;
    }
    pci_register_bar(pdev, dc->regs_bar, PCI_BASE_ADDRESS_SPACE_MEMORY,
                     dc->core_init(s));
    return;

err_msi:
    msi_uninit(pdev);
err_pcie:
    pcie_cap_exit(pdev);
}

static void amd_dma_pci_exit(PCIDevice *pdev)
{
    AMDDMAPCIState *s = AMD_DMA_PCI(pdev);

    AMD_DMA_PCI_GET_CLASS(s)->core_destroy(s);
    if (s->msix) {
        memory_region_del_subregion(&pdev->msix_exclusive_bar, &s->no_msix);
        msix_unset_vector_notifiers(pdev);
        msix_uninit_exclusive_bar(pdev);
    }
    msi_uninit(pdev);
    pcie_cap_exit(pdev);
}

static void amd_dma_pci_reset_hold(Object *obj, ResetType type)
{
    AMDDMAPCIState *s = AMD_DMA_PCI(obj);

    AMD_DMA_PCI_GET_CLASS(s)->core_reset(s);
    s->messages_held = 0;
}

static AMDDMAFaultSet *amd_dma_pci_get_faults(Object *obj)
{
    return AMD_DMA_PCI_GET_CLASS(obj)->get_faults(AMD_DMA_PCI(obj));
}

static const Property amd_dma_pci_properties[] = {
    DEFINE_PROP_BOOL("msix", AMDDMAPCIState, msix, true),
};

const VMStateDescription vmstate_amd_dma_pci = {
    .name = TYPE_AMD_DMA_PCI,
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, AMDDMAPCIState),
        VMSTATE_MSIX(parent_obj, AMDDMAPCIState),
        VMSTATE_UINT32(messages_held, AMDDMAPCIState),
        VMSTATE_END_OF_LIST()
    },
};

static void amd_dma_pci_instance_init(Object *obj)
{
    AMDDMAStats *stats =
        AMD_DMA_PCI_GET_CLASS(obj)->get_stats(AMD_DMA_PCI(obj));

    object_property_add_uint64_ptr(obj, "descriptors", &stats->descriptors,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "bytes", &stats->bytes,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "interrupts", &stats->interrupts,
                                   OBJ_PROP_FLAG_READ);
    object_property_add_uint64_ptr(obj, "errors", &stats->errors,
                                   OBJ_PROP_FLAG_READ);
}

static void amd_dma_pci_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);
    AMDDMAFaultTargetClass *fc = AMD_DMA_FAULT_TARGET_CLASS(klass);

    pc->realize = amd_dma_pci_realize;
    pc->exit = amd_dma_pci_exit;
    pc->config_read = amd_dma_pci_config_read;
    pc->config_write = amd_dma_pci_config_write;
    pc->vendor_id = PCI_VENDOR_ID_AMD;
    pc->class_id = PCI_CLASS_SYSTEM_OTHER;
    rc->phases.hold = amd_dma_pci_reset_hold;
    fc->get_faults = amd_dma_pci_get_faults;

    device_class_set_props(dc, amd_dma_pci_properties);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo amd_dma_pci_types[] = {
    {
        .name = TYPE_AMD_DMA_PCI,
        .parent = TYPE_PCI_DEVICE,
        .abstract = true,
        .instance_size = sizeof(AMDDMAPCIState),
        .instance_init = amd_dma_pci_instance_init,
        .class_size = sizeof(AMDDMAPCIClass),
        .class_init = amd_dma_pci_class_init,
        .interfaces = (InterfaceInfo[]) {
            { INTERFACE_PCIE_DEVICE },
            { TYPE_AMD_DMA_FAULT_TARGET },
            { },
        },
    },
};

DEFINE_TYPES(amd_dma_pci_types)
