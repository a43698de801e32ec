/*
 * AMD DMA engines: what faults send some time after a descriptor's end
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "migration/vmstate.h"
#include "hw/dma/amd_dma_channel.h"
#include "hw/dma/amd_dma_echo.h"
#include "trace.h"

/* The timer runs at the earliest echo */
static void amd_dma_echoes_arm(AMDDMAEchoes *echoes)
{
    int64_t first_ns = INT64_MAX;

    for (uint32_t i = 0; i < echoes->number; i++) {
        first_ns = MIN(first_ns, echoes->list[i].due_ns);
    }
    if (echoes->number) {
        timer_mod(echoes->timer, first_ns);
    } else {
        timer_del(echoes->timer);
    }
}

void amd_dma_echoes_add(AMDDMAEchoes *echoes, const AMDDMAEcho *echo,
                        int64_t delay_ns)
{
    int64_t now_ns = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);

    if (echoes->number == AMD_DMA_ECHOES_MAX) {
        trace_amd_dma_echoes_add_dropped(echoes->name, echo->queue,
                                         echo->completion);
        return;
    }
    echoes->list[echoes->number] = *echo;
    echoes->list[echoes->number++].due_ns = amd_dma_time_add(now_ns, delay_ns);
    amd_dma_echoes_arm(echoes);
}

/* Take out the one that is due longest */
static bool amd_dma_echoes_take(AMDDMAEchoes *echoes, AMDDMAEcho *echo)
{
    int64_t now_ns = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    uint32_t first = 0;

    for (uint32_t i = 1; i < echoes->number; i++) {
        if (echoes->list[i].due_ns < echoes->list[first].due_ns) {
            first = i;
        }
    }
    if (!echoes->number || echoes->list[first].due_ns > now_ns) {
        return false;
    }
    *echo = echoes->list[first];
    echoes->number--;
    memmove(&echoes->list[first], &echoes->list[first + 1],
            (echoes->number - first) * sizeof(*echo));
    return true;
}

static void amd_dma_echoes_run(void *opaque)
{
    AMDDMAEchoes *echoes = opaque;
    uint32_t generation = echoes->generation;
    AMDDMAEcho echo;

    while (generation == echoes->generation &&
           amd_dma_echoes_take(echoes, &echo)) {
        trace_amd_dma_echoes_run(echoes->name, echo.queue, echo.completion);
        echoes->send(echoes->opaque, &echo);
    }
    if (generation == echoes->generation) {
        amd_dma_echoes_arm(echoes);
    }
}

static void amd_dma_echoes_timer(void *opaque)
{
    AMDDMAEchoes *echoes = opaque;

    amd_dma_run_guarded(echoes->dev, amd_dma_echoes_run, echoes);
}

void amd_dma_echoes_clear(AMDDMAEchoes *echoes)
{
    echoes->generation++;
    echoes->number = 0;
    timer_del(echoes->timer);
}

void amd_dma_echoes_init(AMDDMAEchoes *echoes, DeviceState *dev,
                         const char *name, AMDDMAEchoSend *send, void *opaque)
{
    echoes->dev = dev;
    echoes->name = name;
    echoes->send = send;
    echoes->opaque = opaque;
    echoes->number = 0;
    echoes->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, amd_dma_echoes_timer,
                                 echoes);
}

void amd_dma_echoes_destroy(AMDDMAEchoes *echoes)
{
    amd_dma_echoes_clear(echoes);
    timer_free(echoes->timer);
    echoes->timer = NULL;
}

static int amd_dma_echoes_post_load(void *opaque, int version_id)
{
    amd_dma_echoes_arm(opaque);
    return 0;
}

/* A machine may run on after a load that failed, so leave nothing bad */
static bool amd_dma_echoes_fit(void *opaque, int version_id)
{
    AMDDMAEchoes *echoes = opaque;

    if (echoes->number > AMD_DMA_ECHOES_MAX) {
        echoes->number = 0;
        return false;
    }
    return true;
}

static const VMStateDescription vmstate_amd_dma_echo = {
    .name = "amd-dma-echo",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_INT64(due_ns, AMDDMAEcho),
        VMSTATE_BOOL(completion, AMDDMAEcho),
        VMSTATE_UINT8(queue, AMDDMAEcho),
        VMSTATE_UINT64(address, AMDDMAEcho),
        VMSTATE_UINT32(word, AMDDMAEcho),
        VMSTATE_END_OF_LIST()
    },
};

const VMStateDescription vmstate_amd_dma_echoes = {
    .name = "amd-dma-echoes",
    .version_id = 1,
    .minimum_version_id = 1,
    .post_load = amd_dma_echoes_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(number, AMDDMAEchoes),
        VMSTATE_VALIDATE("number of echoes", amd_dma_echoes_fit),
        VMSTATE_STRUCT_VARRAY_UINT32(list, AMDDMAEchoes, number, 1,
                                     vmstate_amd_dma_echo, AMDDMAEcho),
        VMSTATE_END_OF_LIST()
    },
};
