/*
 * AMD AE4DMA: register map and descriptor layout
 *
 * Shared by the device model and its qtest, so that the map is declared once.
 * docs/specs/amd-ae4dma.rst says where each definition comes from.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_AE4DMA_REGS_H
#define HW_DMA_AMD_AE4DMA_REGS_H

#include "hw/registerfields.h"

#define AMD_AE4DMA_PCI_DEVICE_ID    0x149b

#define AMD_AE4DMA_REGS_BAR         0
#define AMD_AE4DMA_REGS_SIZE        0x1000
#define AMD_AE4DMA_MSIX_BAR         4
#define AMD_AE4DMA_QUEUES_MAX       16

/* Global registers */
REG32(AE4_QUEUES, 0x00)
REG32(AE4_VERSION, 0x10)
    FIELD(AE4_VERSION, NUMBER, 0, 6)
    FIELD(AE4_VERSION, NUM_VQM, 15, 4)

#define AMD_AE4DMA_VERSION          4

/* A queue's block; the first one is at 0x20, and they are as far apart */
#define AMD_AE4DMA_QUEUE_SIZE       0x20
REG32(AE4_Q_CONTROL, 0x00)
    FIELD(AE4_Q_CONTROL, RUN, 0, 1)
REG32(AE4_Q_INT_ENABLE, 0x04)
    FIELD(AE4_Q_INT_ENABLE, COMPLETION, 0, 1)
REG32(AE4_Q_MAX_IDX, 0x08)
REG32(AE4_Q_READ_IDX, 0x0c)
REG32(AE4_Q_WRITE_IDX, 0x10)
REG32(AE4_Q_INT_STATUS, 0x14)
    FIELD(AE4_Q_INT_STATUS, COMPLETION, 0, 1)
REG32(AE4_Q_BASE_LO, 0x18)
REG32(AE4_Q_BASE_HI, 0x1c)

/* Indices have 16 bits, as the descriptor's id has */
#define AMD_AE4DMA_MAX_IDX_LIMIT    0x10000

/* Descriptor: eight little-endian 32-bit words */
#define AMD_AE4DMA_DESC_SIZE        32
#define AMD_AE4DMA_DESC_WORDS       8
#define AMD_AE4DMA_ADDR_BITS        48
#define AMD_AE4DMA_ALIGNMENT        4

/* As the driver fills them, whatever its structure calls them */
enum {
    AMD_AE4DMA_DESC_HEADER = 0,
    AMD_AE4DMA_DESC_STATUS = 1,
    AMD_AE4DMA_DESC_LENGTH = 2,
    AMD_AE4DMA_DESC_RESERVED = 3,
    AMD_AE4DMA_DESC_SOURCE_LO = 4,
    AMD_AE4DMA_DESC_SOURCE_HI = 5,
    AMD_AE4DMA_DESC_DESTINATION_LO = 6,
    AMD_AE4DMA_DESC_DESTINATION_HI = 7,
};

FIELD(AE4_DESC_HEADER, SOC, 0, 1)
FIELD(AE4_DESC_HEADER, IOC, 1, 1)
FIELD(AE4_DESC_HEADER, COMMAND_RSVD, 2, 14)
FIELD(AE4_DESC_HEADER, TIMESTAMP, 16, 16)
FIELD(AE4_DESC_STATUS, STATUS, 0, 8)
FIELD(AE4_DESC_STATUS, ERROR, 8, 8)
FIELD(AE4_DESC_STATUS, ID, 16, 16)

#define AMD_AE4DMA_STATUS_COMPLETED 3
#define AMD_AE4DMA_STATUS_FAILED    4

/* Error codes, as seen in a descriptor */
typedef enum AMDAE4DMAError {
    AMD_AE4DMA_OK = 0,
    AMD_AE4DMA_INVALID_HEADER = 1,
    AMD_AE4DMA_INVALID_STATUS = 2,
    AMD_AE4DMA_INVALID_LENGTH = 3,
    AMD_AE4DMA_INVALID_SOURCE = 4,
    AMD_AE4DMA_INVALID_DESTINATION = 5,
    AMD_AE4DMA_INVALID_ALIGNMENT = 6,
    AMD_AE4DMA_INVALID_DESCRIPTOR = 7,
    /* 8 to 15: the descriptor; 16 to 31: firmware; 32 to 63: fatal */
    AMD_AE4DMA_ADDRESS_TOO_LARGE = 8,
    /* 64 to 255: an address that can't be accessed */
    AMD_AE4DMA_FETCH_DECODE_ERROR = 64,
    AMD_AE4DMA_FETCH_SLAVE_ERROR = 65,
    AMD_AE4DMA_READ_DECODE_ERROR = 66,
    AMD_AE4DMA_READ_SLAVE_ERROR = 67,
    AMD_AE4DMA_WRITE_DECODE_ERROR = 68,
    AMD_AE4DMA_WRITE_SLAVE_ERROR = 69,
} AMDAE4DMAError;

#endif /* HW_DMA_AMD_AE4DMA_REGS_H */
