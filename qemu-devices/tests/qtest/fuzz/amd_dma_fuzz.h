/*
 * Fuzzing of the AMD DMA engines: a hostile guest, a hostile host
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_FUZZ_AMD_DMA_FUZZ_H
#define TESTS_QTEST_FUZZ_AMD_DMA_FUZZ_H

#include "tests/qtest/libqtest.h"
#include "device_fuzz.h"
#include "fuzz.h"

/* Two functions of a kind, which may copy to each other's registers */
#define DMA_FUZZ_FUNCTIONS      2

/* RAM that rings and data are in; there is a little more before it */
#define DMA_FUZZ_RAM            0x100000ULL
#define DMA_FUZZ_RAM_END        0x400000ULL
#define DMA_FUZZ_RING           0x180000ULL

typedef struct DMAFuzz DMAFuzz;

/*
 * One kind of engine
 *
 * @type: of the device
 * @options: of each function; they share the object "fab", a fabric
 * @regs_bar, @msix_bar: numbers of BARs
 * @regs_size: bytes in the first of them
 * @registers: worth to be written
 * @submit: make a ring of descriptors, and run it
 */
typedef struct DMAFuzzModel {
    const char *type;
    const char *options[DMA_FUZZ_FUNCTIONS];
    unsigned int regs_bar;
    unsigned int msix_bar;
    uint32_t regs_size;
    const uint32_t *registers;
    unsigned int registers_number;
    void (*submit)(DMAFuzz *f);
} DMAFuzzModel;

struct DMAFuzz {
    const DMAFuzzModel *model;
    QTestState *qts;
    FuzzInput in;
    /* the function that operations go to */
    unsigned int function;
};

/* Take an address that is likely to matter from the input */
uint64_t dma_fuzz_take_address(DMAFuzz *f);
/* Take a length, most of them short */
uint32_t dma_fuzz_take_size(DMAFuzz *f);

/* ID of the function that operations go to */
const char *dma_fuzz_id(const DMAFuzz *f);

/* Operations: inject a fault; clear one, or all */
void dma_fuzz_inject(DMAFuzz *f);
void dma_fuzz_clear(DMAFuzz *f);

void dma_fuzz_write_register(DMAFuzz *f, uint32_t offset, uint32_t value);
uint32_t dma_fuzz_read_register(DMAFuzz *f, uint32_t offset);

/* To be called by the target of each kind */
GString *dma_fuzz_command_line(const DMAFuzzModel *model);
void dma_fuzz_run(const DMAFuzzModel *model, QTestState *qts,
                  const unsigned char *data, size_t size);

#endif /* TESTS_QTEST_FUZZ_AMD_DMA_FUZZ_H */
