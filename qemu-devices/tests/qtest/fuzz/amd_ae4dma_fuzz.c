/*
 * Fuzzing of AMD AE4DMA
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "hw/dma/amd_ae4dma_regs.h"
#include "amd_dma_fuzz.h"

#define RING_LENGTH     32

/* Global ones, and those of the first queues and of the last one */
static const uint32_t registers[] = {
    A_AE4_QUEUES, A_AE4_VERSION,
    0x20, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x38, 0x3c,
    0x40, 0x44, 0x48, 0x4c, 0x50, 0x54, 0x58, 0x5c,
    0x200, 0x204, 0x208, 0x20c, 0x210, 0x214, 0x218, 0x21c,
    0x220,
};

static void put_descriptor(DMAFuzz *f, uint64_t address)
{
    uint64_t source = dma_fuzz_take_address(f);
    uint64_t destination = dma_fuzz_take_address(f);
    uint32_t size = dma_fuzz_take_size(f);
    uint8_t flags = fuzz_take8(&f->in);
    uint32_t dw[AMD_AE4DMA_DESC_WORDS] = { };

    dw[AMD_AE4DMA_DESC_HEADER] = flags & 3;
    dw[AMD_AE4DMA_DESC_LENGTH] = size;
    dw[AMD_AE4DMA_DESC_SOURCE_LO] = source;
    dw[AMD_AE4DMA_DESC_SOURCE_HI] = source >> 32;
    dw[AMD_AE4DMA_DESC_DESTINATION_LO] = destination;
    dw[AMD_AE4DMA_DESC_DESTINATION_HI] = destination >> 32;
    if (flags & 0x80) {
        /* malformed, in a way that the rest of the flags choose */
        dw[(flags >> 2) % AMD_AE4DMA_DESC_WORDS] ^= fuzz_take32(&f->in);
    } else if (flags & 0x40) {
        /* as the alignment rules want it */
        for (unsigned int i = AMD_AE4DMA_DESC_LENGTH;
             i < AMD_AE4DMA_DESC_WORDS; i++) {
            dw[i] &= ~(AMD_AE4DMA_ALIGNMENT - 1u);
        }
    }
    for (unsigned int i = 0; i < AMD_AE4DMA_DESC_WORDS; i++) {
        qtest_writel(f->qts, address + i * 4, dw[i]);
    }
}

static void submit(DMAFuzz *f)
{
    uint8_t shape = fuzz_take8(&f->in);
    uint8_t queue = fuzz_take8(&f->in);
    uint32_t block = (queue % 16 + 1) * AMD_AE4DMA_QUEUE_SIZE;
    unsigned int first = (shape >> 3) % 8 * 5 % RING_LENGTH;
    unsigned int number = shape % 8;
    uint64_t ring = DMA_FUZZ_RING + (queue % 16) * 0x400;

    if (shape & 0x80) {
        ring = dma_fuzz_take_address(f);
    }
    for (unsigned int i = 0; i < number; i++) {
        put_descriptor(f, ring + (first + i) % RING_LENGTH *
                       AMD_AE4DMA_DESC_SIZE);
    }
    dma_fuzz_write_register(f, A_AE4_QUEUES, fuzz_take8(&f->in));
    dma_fuzz_write_register(f, block + A_AE4_Q_MAX_IDX,
                            shape & 0x40 ? fuzz_take32(&f->in) : RING_LENGTH);
    dma_fuzz_write_register(f, block + A_AE4_Q_BASE_LO, ring);
    dma_fuzz_write_register(f, block + A_AE4_Q_BASE_HI, ring >> 32);
    dma_fuzz_write_register(f, block + A_AE4_Q_READ_IDX, first);
    dma_fuzz_write_register(f, block + A_AE4_Q_INT_ENABLE, queue >> 7);
    dma_fuzz_write_register(f, block + A_AE4_Q_CONTROL,
                            R_AE4_Q_CONTROL_RUN_MASK);
    dma_fuzz_write_register(f, block + A_AE4_Q_WRITE_IDX,
                            (first + number) % RING_LENGTH);
}

/* One of them is instant, the other takes its time */
static const DMAFuzzModel model = {
    .type = "amd-ae4dma",
    .options = { "", ",latency-ns=40,bandwidth=500000000" },
    .regs_bar = AMD_AE4DMA_REGS_BAR,
    .msix_bar = AMD_AE4DMA_MSIX_BAR,
    .regs_size = AMD_AE4DMA_REGS_SIZE,
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
        .name = "amd-ae4dma",
        .description = "AMD AE4DMA: descriptors, faults, resets, migration",
        .get_init_cmdline = get_command_line,
        .pre_fuzz = fuzz_unblock_alarm,
        .fuzz = fuzz,
    });
}

fuzz_target_init(register_target);
