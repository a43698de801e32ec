/*
 * AMD DMA engines: what faults send some time after a descriptor's end
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_DMA_ECHO_H
#define HW_DMA_AMD_DMA_ECHO_H

#include "hw/qdev-core.h"
#include "qemu/timer.h"

/* As many can wait */
#define AMD_DMA_ECHOES_MAX  1024

typedef struct AMDDMAEcho {
    int64_t due_ns;
    /* the completion once more; otherwise the message alone */
    bool completion;
    /* for the owner: where it belongs to, and what was reported */
    uint8_t queue;
    uint64_t address;
    uint32_t word;
} AMDDMAEcho;

/**
 * AMDDMAEchoSend: an echo's time has come
 *
 * Called from a timer.  May have any side effect, a reset or an unplug of the
 * device included.
 */
typedef void AMDDMAEchoSend(void *opaque, const AMDDMAEcho *echo);

typedef struct AMDDMAEchoes {
    DeviceState *dev;
    const char *name;
    AMDDMAEchoSend *send;
    void *opaque;
    QEMUTimer *timer;
    /* changes whenever all are dropped */
    uint32_t generation;

    /* migrated */
    uint32_t number;
    AMDDMAEcho list[AMD_DMA_ECHOES_MAX];
} AMDDMAEchoes;

extern const VMStateDescription vmstate_amd_dma_echoes;

/**
 * amd_dma_echoes_init: make an empty list
 * @echoes: the list
 * @dev: the device
 * @name: the device's name in traces; not copied
 * @send: called for each echo
 * @opaque: for @send
 */
void amd_dma_echoes_init(AMDDMAEchoes *echoes, DeviceState *dev,
                         const char *name, AMDDMAEchoSend *send,
                         void *opaque);

/**
 * amd_dma_echoes_destroy: drop all, and take no more
 */
void amd_dma_echoes_destroy(AMDDMAEchoes *echoes);

/**
 * amd_dma_echoes_clear: drop all
 */
void amd_dma_echoes_clear(AMDDMAEchoes *echoes);

/**
 * amd_dma_echoes_add: send @echo after @delay_ns of QEMU_CLOCK_VIRTUAL
 *
 * Dropped, with a trace event, where AMD_DMA_ECHOES_MAX wait already.
 */
void amd_dma_echoes_add(AMDDMAEchoes *echoes, const AMDDMAEcho *echo,
                        int64_t delay_ns);

#endif /* HW_DMA_AMD_DMA_ECHO_H */
