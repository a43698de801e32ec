/*
 * AMD DMA engines: how long copies take
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_AMD_DMA_TIMING_H
#define HW_DMA_AMD_DMA_TIMING_H

#include "hw/dma/amd_dma_fabric.h"
#include "hw/qdev-properties.h"
#include "qapi/qapi-types-qom.h"

/* All of it in QEMU_CLOCK_VIRTUAL time and bytes per second of it */
typedef struct AMDDMAProfile {
    /* fixed cost of a descriptor */
    uint64_t latency_ns;
    /* of one channel; here and below 0 is no limit */
    uint64_t bandwidth;
    /* of all channels of a socket */
    uint64_t socket_bandwidth;
    /* of all that crosses from one socket to another */
    uint64_t link_bandwidth;
} AMDDMAProfile;

/**
 * amd_dma_profile_get: numbers of a named profile
 * @name: not "auto", not "custom"
 */
AMDDMAProfile amd_dma_profile_get(AmdDmaProfile name);

/* The value of a number that has not been given */
#define AMD_DMA_TIMING_UNSET    UINT64_MAX

/**
 * amd_dma_profile_resolve: make a profile out of what a user gave
 * @name: changed from "auto" to the one that applies
 * @given: some number is not AMD_DMA_TIMING_UNSET
 */
void amd_dma_profile_resolve(AmdDmaProfile *name, bool given);

/* How long a copy takes, in QEMU_CLOCK_VIRTUAL time */
typedef struct AMDDMATiming {
    AmdDmaProfile profile;
    uint64_t latency_ns;
    /* bytes per second, 0: infinite */
    uint64_t bandwidth;
    /* may be NULL */
    AMDDMAFabric *fabric;
} AMDDMATiming;

extern const PropertyInfo amd_dma_prop_profile;

/*
 * A device with an AMDDMATiming has four properties: these three, and a link
 * to its fabric.
 */
#define DEFINE_PROP_AMD_DMA_PROFILE(_name, _state, _field)              \
    DEFINE_PROP(_name, _state, _field, amd_dma_prop_profile,            \
                AmdDmaProfile, .set_default = true,                     \
                .defval.i = AMD_DMA_PROFILE_AUTO)
#define DEFINE_PROP_AMD_DMA_LATENCY(_name, _state, _field)              \
    DEFINE_PROP_UNSIGNED_NODEFAULT(_name, _state, _field,               \
                                   qdev_prop_uint64, uint64_t)
#define DEFINE_PROP_AMD_DMA_BANDWIDTH(_name, _state, _field)            \
    DEFINE_PROP_UNSIGNED_NODEFAULT(_name, _state, _field,               \
                                   qdev_prop_size, uint64_t)

/**
 * amd_dma_timing_init: for instance_init; nothing has been given yet
 */
void amd_dma_timing_init(AMDDMATiming *timing);

/**
 * amd_dma_timing_realize: check the properties, and fill in those that the
 *                         profile says
 *
 * Returns: false with @errp set if they contradict each other.
 */
bool amd_dma_timing_realize(AMDDMATiming *timing, Error **errp);

#endif /* HW_DMA_AMD_DMA_TIMING_H */
