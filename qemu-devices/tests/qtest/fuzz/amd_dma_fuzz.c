/*
 * Fuzzing of the AMD DMA engines: a hostile guest, a hostile host
 *
 * An input is a list of operations on two functions of a kind: register and
 * configuration accesses, rings of descriptors, interrupts, resets, unplugs,
 * faults, migrations, and the passing of time.  Addresses are mostly those
 * where something happens: RAM and its end, the functions' own registers, the
 * register that resets a function, the one that unplugs it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-amd-dma.h"
#include "qobject/qdict.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "hw/dma/amd_dma_fault.h"
#include "hw/pci/pci_regs.h"
#include "monitor/qdev.h"
#include "amd_dma_fuzz.h"

/* Q35 host bridge: where configuration space is mapped; 64 buses */
#define MCH_PCIEXBAR_ADDRESS    0x80000060u
#define ECAM_BASE               0xb0000000u
#define ECAM_ENABLE_64M         5

/* Function 0 is behind a root port, function 1 on the root bus */
#define PORT_CONFIG             (ECAM_BASE + (3 << 15))
#define NOWHERE                 0x200000000ULL
#define MSI_ADDRESS             0xfee00000ULL

#define STEP_NEXT_LIMIT_NS      (1000 * 1000 * 1000LL)

static const struct {
    const char *id;
    const char *place;
    uint32_t config;
    uint32_t regs;
    uint32_t msix;
} functions[DMA_FUZZ_FUNCTIONS] = {
    { "dma0", "bus=rp", ECAM_BASE + (1 << 20), 0xe0000000, 0xe0010000 },
    { "dma1", "addr=05.0", ECAM_BASE + (5 << 15), 0xe1000000, 0xe1010000 },
};

static uint32_t find_capability(QTestState *qts, uint32_t config, uint8_t id)
{
    uint8_t offset = qtest_readb(qts, config + PCI_CAPABILITY_LIST);

    /* A guest sees nothing there when the function is gone */
    for (int i = 0; i < 48 && offset && offset != 0xff; i++) {
        if (qtest_readb(qts, config + offset) == id) {
            return config + offset;
        }
        offset = qtest_readb(qts, config + offset + PCI_CAP_LIST_NEXT);
    }
    return config;
}

static void map_function(DMAFuzz *f, unsigned int i)
{
    uint32_t config = functions[i].config;

    qtest_writel(f->qts, config + PCI_BASE_ADDRESS_0 + 4 * f->model->regs_bar,
                 functions[i].regs);
    qtest_writel(f->qts, config + PCI_BASE_ADDRESS_0 + 4 * f->model->msix_bar,
                 functions[i].msix);
    qtest_writew(f->qts, config + PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* What firmware does */
static void map_all(DMAFuzz *f)
{
    qtest_outl(f->qts, 0xcf8, MCH_PCIEXBAR_ADDRESS);
    qtest_outl(f->qts, 0xcfc, ECAM_BASE | ECAM_ENABLE_64M);
    qtest_writeb(f->qts, PORT_CONFIG + PCI_SECONDARY_BUS, 1);
    qtest_writeb(f->qts, PORT_CONFIG + PCI_SUBORDINATE_BUS, 1);
    qtest_writew(f->qts, PORT_CONFIG + PCI_MEMORY_BASE, 0xe000);
    qtest_writew(f->qts, PORT_CONFIG + PCI_MEMORY_LIMIT, 0xe0f0);
    qtest_writew(f->qts, PORT_CONFIG + PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    for (unsigned int i = 0; i < DMA_FUZZ_FUNCTIONS; i++) {
        map_function(f, i);
    }
}

static uint32_t slot_control(DMAFuzz *f)
{
    return find_capability(f->qts, PORT_CONFIG, PCI_CAP_ID_EXP) +
           PCI_EXP_SLTCTL;
}

static uint32_t device_control(DMAFuzz *f)
{
    return find_capability(f->qts, functions[f->function].config,
                           PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL;
}

uint64_t dma_fuzz_take_address(DMAFuzz *f)
{
    unsigned int kind = fuzz_take8(&f->in) % 16;
    uint16_t offset = fuzz_take16(&f->in);
    unsigned int other = !f->function;

    switch (kind) {
    case 0 ... 3:
        return DMA_FUZZ_RAM + (kind << 12) + offset;
    case 4:
        return DMA_FUZZ_RAM_END - offset;
    case 5:
        return DMA_FUZZ_RING + offset;
    case 6:
        return functions[f->function].regs + offset % f->model->regs_size;
    case 7:
        return functions[other].regs + offset % f->model->regs_size;
    case 8:
        return functions[f->function].msix + offset % 4096;
    case 9:
        return functions[f->function].config + offset % 4096;
    case 10:
        return device_control(f) + offset % 4;
    case 11:
        return slot_control(f) + offset % 2;
    case 12:
        return NOWHERE + offset;
    case 13:
        return (1ULL << 48) - offset;
    case 14:
        return MSI_ADDRESS + offset;
    default:
        return fuzz_take64(&f->in);
    }
}

uint32_t dma_fuzz_take_size(DMAFuzz *f)
{
    uint8_t kind = fuzz_take8(&f->in);

    if (kind < 0xc0) {
        return kind;
    }
    return kind < 0xf8 ? fuzz_take16(&f->in) : fuzz_take32(&f->in);
}

const char *dma_fuzz_id(const DMAFuzz *f)
{
    return functions[f->function].id;
}

void dma_fuzz_write_register(DMAFuzz *f, uint32_t offset, uint32_t value)
{
    qtest_writel(f->qts, functions[f->function].regs + offset, value);
}

uint32_t dma_fuzz_read_register(DMAFuzz *f, uint32_t offset)
{
    return qtest_readl(f->qts, functions[f->function].regs + offset);
}

static void op_function(DMAFuzz *f)
{
    f->function = !f->function;
}

static uint32_t take_register(DMAFuzz *f)
{
    return f->model->registers[fuzz_take8(&f->in) %
                               f->model->registers_number];
}

static void op_register_write(DMAFuzz *f)
{
    uint32_t offset = take_register(f);

    dma_fuzz_write_register(f, offset, fuzz_take32(&f->in));
}

static void op_register_read(DMAFuzz *f)
{
    dma_fuzz_read_register(f, take_register(f));
}

static void access_memory(DMAFuzz *f, uint64_t address, uint8_t how)
{
    uint64_t value = how & 4 ? fuzz_take64(&f->in) : 0;

    switch (how % 8) {
    case 0:
        qtest_readb(f->qts, address);
        break;
    case 1:
        qtest_readw(f->qts, address);
        break;
    case 2:
        qtest_readl(f->qts, address);
        break;
    case 3:
        qtest_readq(f->qts, address);
        break;
    case 4:
        qtest_writeb(f->qts, address, value);
        break;
    case 5:
        qtest_writew(f->qts, address, value);
        break;
    case 6:
        qtest_writel(f->qts, address, value);
        break;
    case 7:
        qtest_writeq(f->qts, address, value);
        break;
    }
}

/* Any size, anywhere: BARs, RAM, MSI-X table, configuration space */
static void op_access(DMAFuzz *f)
{
    uint64_t address = dma_fuzz_take_address(f);

    access_memory(f, address, fuzz_take8(&f->in));
}

static void op_submit(DMAFuzz *f)
{
    f->model->submit(f);
}

static void op_step(DMAFuzz *f)
{
    fuzz_step(fuzz_take8(&f->in));
}

static void op_step_next(DMAFuzz *f)
{
    fuzz_step_next(STEP_NEXT_LIMIT_NS);
}

static void op_function_reset(DMAFuzz *f)
{
    qtest_writew(f->qts, device_control(f), PCI_EXP_DEVCTL_BCR_FLR);
}

/* The guest's driver starts over, as after a function-level reset */
static void op_map(DMAFuzz *f)
{
    map_function(f, f->function);
}

/* Messages go wherever the input says */
static void op_msix(DMAFuzz *f)
{
    uint32_t cap = find_capability(f->qts, functions[f->function].config,
                                   PCI_CAP_ID_MSIX);
    uint64_t address = dma_fuzz_take_address(f);
    uint8_t flags = fuzz_take8(&f->in);
    uint32_t entry = functions[f->function].msix +
                     PCI_MSIX_ENTRY_SIZE * (flags >> 4);

    qtest_writel(f->qts, entry + PCI_MSIX_ENTRY_LOWER_ADDR, address);
    qtest_writel(f->qts, entry + PCI_MSIX_ENTRY_UPPER_ADDR, address >> 32);
    qtest_writel(f->qts, entry + PCI_MSIX_ENTRY_DATA, fuzz_take32(&f->in));
    qtest_writel(f->qts, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, flags & 1);
    qtest_writew(f->qts, cap + PCI_MSIX_FLAGS,
                 (flags & 2 ? PCI_MSIX_FLAGS_ENABLE : 0) |
                 (flags & 4 ? PCI_MSIX_FLAGS_MASKALL : 0));
}

static void op_msi(DMAFuzz *f)
{
    uint32_t cap = find_capability(f->qts, functions[f->function].config,
                                   PCI_CAP_ID_MSI);
    uint64_t address = dma_fuzz_take_address(f);
    uint8_t flags = fuzz_take8(&f->in);

    qtest_writel(f->qts, cap + PCI_MSI_ADDRESS_LO, address);
    qtest_writel(f->qts, cap + PCI_MSI_ADDRESS_HI, address >> 32);
    qtest_writew(f->qts, cap + PCI_MSI_DATA_64, fuzz_take16(&f->in));
    qtest_writel(f->qts, cap + PCI_MSI_MASK_64, flags & 1);
    qtest_writew(f->qts, cap + PCI_MSI_FLAGS,
                 PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT |
                 (flags & 2 ? PCI_MSI_FLAGS_ENABLE : 0));
}

static void op_unplug(DMAFuzz *f)
{
    qtest_writew(f->qts, slot_control(f),
                 PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
}

static void op_migrate(DMAFuzz *f)
{
    DeviceState *dev = fuzz_find_device(functions[f->function].id);

    if (dev) {
        fuzz_migrate(dev, &f->in);
    }
}

static void (*const operations[])(DMAFuzz *f) = {
    op_submit, op_step, op_step_next, op_register_write, op_register_read,
    op_access, dma_fuzz_inject, dma_fuzz_clear, op_function, op_function_reset, op_map,
    op_msix, op_msi, op_unplug, op_migrate, op_submit,
};

static char *function_options(const DMAFuzzModel *model, unsigned int i)
{
    return g_strdup_printf("id=%s,%s,fabric=fab%s", functions[i].id,
                           functions[i].place, model->options[i]);
}

GString *dma_fuzz_command_line(const DMAFuzzModel *model)
{
    GString *line = g_string_new(
        "qemu-fuzz -machine q35,accel=qtest -nodefaults -display none -m 4M "
        "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off "
        "-object amd-dma-fabric,id=fab,bandwidth=1000000000 "
        "-device pcie-root-port,id=rp,addr=03.0,chassis=1");

    for (unsigned int i = 0; i < DMA_FUZZ_FUNCTIONS; i++) {
        g_autofree char *options = function_options(model, i);

        g_string_append_printf(line, " -device %s,%s", model->type, options);
    }
    return line;
}

static void plug_again(const DMAFuzzModel *model)
{
    QDict *options = qdict_new();
    DeviceState *dev;

    /* Memory of the one before is given back with the next grace period */
    drain_call_rcu();
    qdict_put_str(options, "driver", model->type);
    qdict_put_str(options, "id", functions[0].id);
    qdict_put_str(options, "bus", "rp");
    qdict_put_str(options, "fabric", "fab");
    dev = qdev_device_add_from_qdict(options, false, &error_abort);
    object_unref(OBJECT(dev));
    qobject_unref(options);
}

static void begin_again(DMAFuzz *f)
{
    for (unsigned int i = 0; i < DMA_FUZZ_FUNCTIONS; i++) {
        DeviceState *dev = fuzz_find_device(functions[i].id);

        if (dev) {
            qmp_amd_dma_clear_faults(functions[i].id, false, 0, &error_abort);
            /* A changed stream may have used the numbers up */
            AMD_DMA_FAULT_TARGET_GET_CLASS(dev)->get_faults(OBJECT(dev))
                ->last_id = 0;
        }
    }
    flush_events(f->qts);
    fuzz_begin_again();
    if (!fuzz_find_device(functions[0].id)) {
        plug_again(f->model);
    }
    address_space_set(&address_space_memory, DMA_FUZZ_RAM, 0,
                      DMA_FUZZ_RAM_END - DMA_FUZZ_RAM,
                      MEMTXATTRS_UNSPECIFIED);
}

void dma_fuzz_run(const DMAFuzzModel *model, QTestState *qts,
                  const unsigned char *data, size_t size)
{
    DMAFuzz f = {
        .model = model,
        .qts = qts,
        .in = { data, size },
    };

    map_all(&f);
    while (f.in.left) {
        operations[fuzz_take8(&f.in) % ARRAY_SIZE(operations)](&f);
    }
    begin_again(&f);
}
