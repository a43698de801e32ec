/*
 * Fuzzing of AMD PTDMA
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "hw/dma/amd_ptdma_regs.h"
#include "amd_dma_fuzz.h"

static const uint32_t registers[] = {
    A_QUEUE_PRIO, A_REQID_CONFIG, A_TIMEOUT, A_VERSION, A_CONFIG,
    A_CLK_GATE_CTL, A_Q_CONTROL, A_Q_TAIL_LO, A_Q_HEAD_LO, A_Q_INT_ENABLE,
    A_Q_INTERRUPT_STATUS, A_Q_STATUS, A_Q_INT_STATUS, A_Q_DMA_STATUS,
    A_Q_DMA_READ_STATUS, A_Q_DMA_WRITE_STATUS, A_Q_ABORT, A_Q_AX_CACHE,
    A_Q_DMA_STATUS + 0x20,
};

static void put_descriptor(DMAFuzz *f, uint64_t address)
{
    uint64_t source = dma_fuzz_take_address(f);
    uint64_t destination = dma_fuzz_take_address(f);
    uint32_t size = dma_fuzz_take_size(f);
    uint8_t flags = fuzz_take8(&f->in);
    uint32_t dw[AMD_PTDMA_DESC_WORDS] = { };

    dw[0] = FIELD_DP32(dw[0], DESC_DW0, ENGINE, AMD_PTDMA_ENGINE_PASSTHRU);
    dw[0] = FIELD_DP32(dw[0], DESC_DW0, SOC, flags);
    dw[0] = FIELD_DP32(dw[0], DESC_DW0, IOC, flags >> 1);
    dw[1] = size;
    dw[2] = source;
    dw[3] = FIELD_DP32(dw[3], DESC_DW3, SRC_HI, source >> 32);
    dw[4] = destination;
    dw[5] = FIELD_DP32(dw[5], DESC_DW5, DST_HI, destination >> 32);
    if (flags & 0x80) {
        /* malformed, in a way that the rest of the flags choose */
        dw[(flags >> 2) % AMD_PTDMA_DESC_WORDS] ^= fuzz_take32(&f->in);
    }
    for (unsigned int i = 0; i < AMD_PTDMA_DESC_WORDS; i++) {
        qtest_writel(f->qts, address + i * 4, dw[i]);
    }
}

static void submit(DMAFuzz *f)
{
    uint8_t shape = fuzz_take8(&f->in);
    unsigned int number = shape % 8;
    uint32_t control = R_Q_CONTROL_RUN_MASK;
    uint64_t ring = DMA_FUZZ_RING;

    if (shape & 0x80) {
        ring = dma_fuzz_take_address(f);
    }
    for (unsigned int i = 0; i < number; i++) {
        put_descriptor(f, ring + i * AMD_PTDMA_DESC_SIZE);
    }
    control = FIELD_DP32(control, Q_CONTROL, SIZE, shape >> 3);
    control = FIELD_DP32(control, Q_CONTROL, BASE_HI, ring >> 32);
    dma_fuzz_write_register(f, A_Q_INT_ENABLE, fuzz_take8(&f->in));
    dma_fuzz_write_register(f, A_Q_HEAD_LO, ring);
    dma_fuzz_write_register(f, A_Q_TAIL_LO,
                            ring + number * AMD_PTDMA_DESC_SIZE);
    dma_fuzz_write_register(f, A_Q_CONTROL, control);
}

/* One of them is instant, the other takes its time */
static const DMAFuzzModel model = {
    .type = "amd-ptdma",
    .options = { "", ",latency-ns=40,bandwidth=500000000" },
    .regs_bar = AMD_PTDMA_REGS_BAR,
    .msix_bar = AMD_PTDMA_MSIX_BAR,
    .regs_size = AMD_PTDMA_REGS_SIZE,
    .registers = registers,
    .registers_number = ARRAY_SIZE(registers),
    .submit = submit,
};

static GString *get_command_line(FuzzTarget *target)
{
    return dma_fuzz_command_line(&model);
}

static void fuzz(QTestState *qts, const unsigned char *data, size_t size)
{
    dma_fuzz_run(&model, qts, data, size);
}

static void register_target(void)
{
    fuzz_add_target(&(FuzzTarget) {
        .name = "amd-ptdma",
        .description = "AMD PTDMA: descriptors, faults, resets, migration",
        .get_init_cmdline = get_command_line,
        .pre_fuzz = fuzz_unblock_alarm,
        .fuzz = fuzz,
    });
}

fuzz_target_init(register_target);
