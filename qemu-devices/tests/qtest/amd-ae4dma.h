/*
 * AMD AE4DMA: what its qtests share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_AMD_AE4DMA_H
#define TESTS_QTEST_AMD_AE4DMA_H

#include "amd-ptdma.h"
#include "hw/dma/amd_ae4dma_regs.h"

/* As the driver has them */
#define AE4_RING_LENGTH     32
#define AE4_HEADER          2

#define AE4_COMPLETED       AMD_AE4DMA_STATUS_COMPLETED
#define AE4_FAILED          AMD_AE4DMA_STATUS_FAILED

/* Longer than anything takes that is not to take longer */
#define AE4_LONG_NS         (1000 * 1000)

typedef struct AE4Device {
    /* function, registers and buffers; its ring and message are not used */
    PTDMADevice pt;
    uint64_t rings[AMD_AE4DMA_QUEUES_MAX];
    /* a word of RAM for each vector */
    uint64_t messages;
    uint32_t queues;
} AE4Device;

/* Start a machine with one function in slot 4, with these device options */
QOSState *ae4_machine(const char *options);

/*
 * Connect to the function on @devfn as the driver does, with this many queues
 * in use
 */
void ae4_open(AE4Device *d, QOSState *qs, int devfn, PTDMAInterrupt interrupt,
              uint32_t queues);
void ae4_set_up(AE4Device *d);
void ae4_close(AE4Device *d);

/* One machine, one function: both of the above, and both undone */
void ae4_start(AE4Device *d, const char *options, PTDMAInterrupt interrupt,
               uint32_t queues);
void ae4_stop(AE4Device *d);

uint32_t ae4_read(AE4Device *d, unsigned int queue, uint32_t offset);
void ae4_write(AE4Device *d, unsigned int queue, uint32_t offset,
               uint32_t value);

/* A copy descriptor as the driver writes it */
void ae4_fill_desc(uint32_t *dw, uint64_t source, uint64_t destination,
                   uint32_t size);

/* Put a descriptor at the write index and move that on; its index */
uint32_t ae4_push(AE4Device *d, unsigned int queue, const uint32_t *dw);
uint32_t ae4_submit(AE4Device *d, unsigned int queue, uint64_t source,
                    uint64_t destination, uint32_t size);

/* Put in the copy of all of @b */
uint32_t ae4_submit_buffers(AE4Device *d, unsigned int queue, PTDMABuffers *b);

/* Let virtual time pass */
void ae4_step(AE4Device *d, int64_t step_ns);

/* Word 1 of a descriptor is these three */
void ae4_check_desc(AE4Device *d, unsigned int queue, uint32_t index,
                    uint8_t status, uint8_t error);
/* Nothing has been written back yet */
void ae4_check_pending(AE4Device *d, unsigned int queue, uint32_t index);

/* Has vector @vector's message come since the last call? */
bool ae4_message_seen(AE4Device *d, unsigned int vector);

uint64_t ae4_counter(AE4Device *d, const char *name);

void ae4_function_level_reset(AE4Device *d);

#endif /* TESTS_QTEST_AMD_AE4DMA_H */
