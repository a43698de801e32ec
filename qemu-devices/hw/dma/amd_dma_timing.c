/*
 * AMD DMA engines: how long copies take
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-qom.h"
#include "hw/dma/amd_dma_timing.h"

/*
 * What a profile says of the machine that it is taken from, in that machine's
 * time, and how many times slower than it a CPU of the virtual clock is.
 */
typedef struct AMDDMAProfileSource {
    uint64_t latency_ns;
    uint64_t bandwidth;
    uint64_t socket_bandwidth;
    uint64_t link_bandwidth;
    uint32_t slowdown_permille;
} AMDDMAProfileSource;

static const AMDDMAProfileSource amd_dma_profiles[AMD_DMA_PROFILE__MAX] = {
    [AMD_DMA_PROFILE_INSTANT] = {
        .slowdown_permille = 1000,
    },
    [AMD_DMA_PROFILE_SLOW] = {
        .latency_ns = 100000,
        .bandwidth = 100000000,
        .slowdown_permille = 1000,
    },
    /* Fitted, see docs/specs/amd-ptdma.rst; a program checks these lines */
    [AMD_DMA_PROFILE_ZEN3] = {
        .latency_ns = 208,
        .bandwidth = 8090000000,
        .socket_bandwidth = 115000000000,
        .link_bandwidth = 115000000000,
        .slowdown_permille = 4460,
    },
};

static uint64_t amd_dma_profile_slow_down(const AMDDMAProfileSource *source,
                                          uint64_t bandwidth)
{
    return bandwidth * 1000 / source->slowdown_permille;
}

AMDDMAProfile amd_dma_profile_get(AmdDmaProfile name)
{
    const AMDDMAProfileSource *source = &amd_dma_profiles[name];

    assert(source->slowdown_permille);
    return (AMDDMAProfile) {
        .latency_ns = source->latency_ns * source->slowdown_permille / 1000,
        .bandwidth = amd_dma_profile_slow_down(source, source->bandwidth),
        .socket_bandwidth =
            amd_dma_profile_slow_down(source, source->socket_bandwidth),
        .link_bandwidth =
            amd_dma_profile_slow_down(source, source->link_bandwidth),
    };
}

void amd_dma_profile_resolve(AmdDmaProfile *name, bool given)
{
    if (*name == AMD_DMA_PROFILE_AUTO) {
        *name = given ? AMD_DMA_PROFILE_CUSTOM : AMD_DMA_PROFILE_INSTANT;
    }
}

void amd_dma_timing_init(AMDDMATiming *timing)
{
    timing->latency_ns = AMD_DMA_TIMING_UNSET;
    timing->bandwidth = AMD_DMA_TIMING_UNSET;
}

static bool amd_dma_timing_is(uint64_t value, uint64_t wanted)
{
    return value == AMD_DMA_TIMING_UNSET || value == wanted;
}

bool amd_dma_timing_realize(AMDDMATiming *timing, Error **errp)
{
    AMDDMAProfile profile;

    amd_dma_profile_resolve(&timing->profile,
                            timing->latency_ns != AMD_DMA_TIMING_UNSET ||
                            timing->bandwidth != AMD_DMA_TIMING_UNSET);
    if (timing->profile == AMD_DMA_PROFILE_CUSTOM) {
        profile = (AMDDMAProfile) { };
        if (timing->latency_ns != AMD_DMA_TIMING_UNSET) {
            profile.latency_ns = timing->latency_ns;
        }
        if (timing->bandwidth != AMD_DMA_TIMING_UNSET) {
            profile.bandwidth = timing->bandwidth;
        }
    } else {
        profile = amd_dma_profile_get(timing->profile);
        /* Those that an earlier, failed attempt filled in are no news */
        if (!amd_dma_timing_is(timing->latency_ns, profile.latency_ns) ||
            !amd_dma_timing_is(timing->bandwidth, profile.bandwidth)) {
            error_setg(errp, "latency-ns and bandwidth need profile=custom, "
                       "but it is profile=%s",
                       AmdDmaProfile_str(timing->profile));
            return false;
        }
    }
    if (profile.latency_ns > INT64_MAX) {
        error_setg(errp, "latency-ns is to be at most %" PRId64, INT64_MAX);
        return false;
    }
    timing->latency_ns = profile.latency_ns;
    timing->bandwidth = profile.bandwidth;
    return true;
}

static void amd_dma_prop_get_profile(Object *obj, Visitor *v, const char *name,
                                     void *opaque, Error **errp)
{
    visit_type_AmdDmaProfile(v, name, object_field_prop_ptr(obj, opaque),
                             errp);
}

static void amd_dma_prop_set_profile(Object *obj, Visitor *v, const char *name,
                                     void *opaque, Error **errp)
{
    visit_type_AmdDmaProfile(v, name, object_field_prop_ptr(obj, opaque),
                             errp);
}

static void amd_dma_prop_set_default_profile(ObjectProperty *op,
                                             const Property *prop)
{
    object_property_set_default_str(op, AmdDmaProfile_str(prop->defval.i));
}

const PropertyInfo amd_dma_prop_profile = {
    .type = "AmdDmaProfile",
    .description = "auto/custom/instant/slow/zen3",
    .enum_table = &AmdDmaProfile_lookup,
    .get = amd_dma_prop_get_profile,
    .set = amd_dma_prop_set_profile,
    .set_default_value = amd_dma_prop_set_default_profile,
};
