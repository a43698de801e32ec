/*
 * AMD PTDMA: what its qtests share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_QTEST_AMD_PTDMA_H
#define TESTS_QTEST_AMD_PTDMA_H

#include "qemu/units.h"
#include "libqtest.h"
#include "libqos/libqos-pc.h"
#include "libqos/pci.h"
#include "hw/dma/amd_ptdma_regs.h"

/* Descriptors in a ring of the driver's size, SIZE = 4 */
#define PTDMA_RING_SIZE_FIELD   4
#define PTDMA_RING_LENGTH       32

#define PTDMA_MESSAGE           0x5a5a1234u

/* The driver's own dword 0: pass-through, EOM, IOC */
#define PTDMA_DW0               0x00500012u

#define PTDMA_COMPLETION        R_Q_INTERRUPT_COMPLETION_MASK
#define PTDMA_ERROR             R_Q_INTERRUPT_ERROR_MASK
#define PTDMA_STOPPED           R_Q_INTERRUPT_QUEUE_STOPPED_MASK
#define PTDMA_EMPTY             R_Q_INTERRUPT_EMPTY_QUEUE_MASK

typedef enum PTDMAInterrupt {
    PTDMA_POLLED,
    PTDMA_MSI,
    PTDMA_MSIX,
} PTDMAInterrupt;

typedef struct PTDMADevice {
    QOSState *qs;
    QTestState *qts;
    QPCIDevice *pdev;
    QPCIBar regs;
    PTDMAInterrupt interrupt;
    /* a word of RAM that messages are written to */
    uint64_t message;
    uint64_t ring;
    uint32_t size_field;
} PTDMADevice;

/* Start a machine with one function in slot 4, with these device options */
QOSState *ptdma_machine(const char *options);

/* Connect to the function in slot @slot; ring set up, not running */
void ptdma_open(PTDMADevice *d, QOSState *qs, int slot,
                PTDMAInterrupt interrupt);
void ptdma_close(PTDMADevice *d);

/* One machine, one function: both of the above, and both undone */
void ptdma_start(PTDMADevice *d, const char *options,
                 PTDMAInterrupt interrupt);
void ptdma_stop(PTDMADevice *d);

uint32_t ptdma_read(PTDMADevice *d, uint32_t offset);
void ptdma_write(PTDMADevice *d, uint32_t offset, uint32_t value);

/* Give the queue a ring of 2^(@size_field + 1) descriptors at @ring */
void ptdma_set_ring(PTDMADevice *d, uint64_t ring, uint32_t size_field);
uint64_t ptdma_ring_bytes(const PTDMADevice *d);

/* A copy descriptor as the driver writes it */
void ptdma_fill_desc(uint32_t *dw, uint64_t source, uint64_t destination,
                     uint32_t size);

/* Put a descriptor at tail and move tail on; does not set RUN */
void ptdma_push(PTDMADevice *d, const uint32_t *dw);
void ptdma_run(PTDMADevice *d);

/* All of it: put, run */
void ptdma_submit(PTDMADevice *d, uint64_t source, uint64_t destination,
                  uint32_t size);

/*
 * Virtual time of the test's one machine, and its passing.  Opening a
 * function sets it to 0, so all are to be opened before the first step.
 */
int64_t ptdma_now(void);
void ptdma_step(QTestState *qts, int64_t step_ns);

/* Let virtual time pass until the queue is idle; the time that it took */
int64_t ptdma_wait(PTDMADevice *d);

/*
 * Let virtual time pass until the queue has stopped at the descriptor at head
 * with this code, and acknowledge
 */
void ptdma_expect_error(PTDMADevice *d, AMDPTDMAError error);

/* What the driver does after an error: head = tail */
void ptdma_flush(PTDMADevice *d);

/* Has a message come since the last call? */
bool ptdma_message_seen(PTDMADevice *d);

uint64_t ptdma_counter(PTDMADevice *d, const char *id, const char *name);

/* A QMP command that has to work, or has to fail */
QDict *ptdma_qmp(QTestState *qts, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void ptdma_qmp_fails(QTestState *qts, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/* Faults of dma0; @arguments are the command's, in JSON, less the device */
uint32_t ptdma_inject(PTDMADevice *d, const char *arguments);
void ptdma_clear_faults(PTDMADevice *d);
void ptdma_check_fault(PTDMADevice *d, uint32_t id, uint64_t seen,
                       uint64_t hits, bool active);

/* And enable the function again; interrupts and ring are gone */
void ptdma_function_level_reset(PTDMADevice *d);

/*
 * As qtest_memwrite(), but in pieces: QEMU looks for the end of a command from
 * its start again with every 4 KiB that arrive, and a sanitizer reads all of
 * it each time.  One command with 4 MiB takes seconds then.
 */
#define PTDMA_WRITE_PIECE   (8 * KiB)

void ptdma_memwrite(QTestState *qts, uint64_t address, const uint8_t *data,
                    size_t size);

/*
 * A copy with its surroundings: both buffers have guard bytes around them,
 * and no byte of the source equals the destination's one before the copy.
 */
typedef struct PTDMABuffers {
    PTDMADevice *d;
    uint64_t area;
    uint64_t source;
    uint64_t destination;
    uint32_t size;
    uint8_t *before;
} PTDMABuffers;

void ptdma_buffers_init(PTDMABuffers *b, PTDMADevice *d, uint32_t size,
                        uint32_t source_offset, uint32_t destination_offset);
void ptdma_buffers_free(PTDMABuffers *b);

/*
 * Check every byte of both buffers and their guards: the destination holds
 * the source's contents up to @copied and its own ones from there, but for
 * byte @flipped (if not negative), which is inverted.
 */
void ptdma_buffers_check(PTDMABuffers *b, uint32_t copied, int64_t flipped);

/* Put a copy of one byte for each of @b's first three, dword 0 @dw0 first */
void ptdma_push_three(PTDMADevice *d, PTDMABuffers *b, uint32_t dw0);

#endif /* TESTS_QTEST_AMD_PTDMA_H */
