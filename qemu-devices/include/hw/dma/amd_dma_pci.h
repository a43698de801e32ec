/*
 * AMD DMA engines: what their PCI functions have in common
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_DMA_PCI_H
#define HW_DMA_AMD_DMA_PCI_H

#include "hw/dma/amd_dma_channel.h"
#include "hw/pci/pci_device.h"

#define TYPE_AMD_DMA_PCI "amd-dma-pci"
OBJECT_DECLARE_TYPE(AMDDMAPCIState, AMDDMAPCIClass, AMD_DMA_PCI)

/* At most as many messages */
#define AMD_DMA_PCI_VECTORS_MAX     32

struct AMDDMAPCIState {
    PCIDevice parent_obj;

    bool msix;
    /* one bit for each MSI-X message that waits to be unmasked */
    uint32_t messages_held;
    /* over the MSI-X BAR when a fault has taken the function away */
    MemoryRegion no_msix;
};

/**
 * AMDDMAPCIClass: a kind of engine
 * @vectors: messages that it has with MSI-X; with MSI it has one
 * @regs_bar: BAR of its registers
 * @msix_bar: BAR of the MSI-X table
 * @core_check: are the properties good?
 * @core_init: make the engine; the registers
 * @core_destroy: and take it apart
 * @core_reset: as after power-on
 * @core_is_removed: has a fault, or an unplug, taken it away?
 * @get_stats: its counters
 * @get_faults: its faults
 */
struct AMDDMAPCIClass {
    PCIDeviceClass parent_class;

    uint16_t vectors;
    uint8_t regs_bar;
    uint8_t msix_bar;
    bool (*core_check)(AMDDMAPCIState *s, Error **errp);
    MemoryRegion *(*core_init)(AMDDMAPCIState *s);
    void (*core_destroy)(AMDDMAPCIState *s);
    void (*core_reset)(AMDDMAPCIState *s);
    bool (*core_is_removed)(AMDDMAPCIState *s);
    AMDDMAStats *(*get_stats)(AMDDMAPCIState *s);
    AMDDMAFaultSet *(*get_faults)(AMDDMAPCIState *s);
};

extern const VMStateDescription vmstate_amd_dma_pci;

/**
 * amd_dma_pci_notify: send a message
 * @s: the function
 * @vector: which of those that it has with MSI-X; with MSI they are one
 */
void amd_dma_pci_notify(AMDDMAPCIState *s, unsigned int vector);

/**
 * amd_dma_pci_set_present: a fault takes the function away, or gives it back
 */
void amd_dma_pci_set_present(AMDDMAPCIState *s, bool present);

#endif /* HW_DMA_AMD_DMA_PCI_H */
