/*
 * AMD DMA engines: one channel, which executes one copy at a time
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "migration/vmstate.h"
#include "hw/dma/amd_dma_channel.h"
#include "amd_dma_copy.h"
#include "trace.h"

AMDDMAStatus amd_dma_status_of_read(MemTxResult result)
{
    if (result == MEMTX_OK) {
        return AMD_DMA_DONE;
    }
    return result & MEMTX_DECODE_ERROR ? AMD_DMA_READ_DECODE_ERROR
                                       : AMD_DMA_READ_SLAVE_ERROR;
}

AMDDMAStatus amd_dma_status_of_write(MemTxResult result)
{
    if (result == MEMTX_OK) {
        return AMD_DMA_DONE;
    }
    return result & MEMTX_DECODE_ERROR ? AMD_DMA_WRITE_DECODE_ERROR
                                       : AMD_DMA_WRITE_SLAVE_ERROR;
}

/*
 * Even an instant engine takes 1 ns.  A timer that expires now would run in
 * the same pass over the timer list, so a guest that never runs out of
 * descriptors would keep the main loop there forever.
 */
static void amd_dma_channel_arm(AMDDMAChannel *ch, int64_t expire_ns)
{
    int64_t now_ns = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);

    timer_mod(ch->timer, MAX(expire_ns, amd_dma_time_add(now_ns, 1)));
}

/* The owner's message to the guest can have side effects like any write */
static void amd_dma_channel_retire(AMDDMAChannel *ch, AMDDMAStatus status)
{
    AMDDMAFaultEffects effects = ch->effects;

    trace_amd_dma_channel_retire(ch->faults->name, status, ch->copied);
    ch->ops->retire(ch->opaque, status, &effects);
}

static void amd_dma_channel_step(void *opaque)
{
    AMDDMAChannel *ch = opaque;
    uint32_t generation = ch->generation;
    AMDDMAStatus status;

    /* A copy that fails has no data that could be late */
    if (ch->effects.late_data_ns && !ch->effects.code && !ch->retired) {
        ch->retired = true;
        amd_dma_channel_retire(ch, AMD_DMA_DONE);
        if (generation == ch->generation) {
            amd_dma_channel_arm(ch, amd_dma_time_add(
                qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL),
                ch->effects.late_data_ns));
        }
        return;
    }

    status = ch->effects.code ? AMD_DMA_INJECTED_ERROR
                              : amd_dma_copy_slice(ch);
    if (generation != ch->generation) {
        return;
    }
    if (status == AMD_DMA_DONE && ch->copied < amd_dma_copy_size(ch)) {
        amd_dma_channel_arm(ch, 0);
        return;
    }

    ch->busy = false;
    if (!ch->retired) {
        amd_dma_channel_retire(ch, status);
    }
    if (generation == ch->generation) {
        ch->ops->idle(ch->opaque);
    }
}

void amd_dma_run_guarded(DeviceState *dev, void (*act)(void *opaque),
                         void *opaque)
{
    MemReentrancyGuard *guard = &dev->mem_reentrancy_guard;
    bool was_engaged = guard->engaged_in_io;

    object_ref(OBJECT(dev));
    guard->engaged_in_io = true;
    act(opaque);
    guard->engaged_in_io = was_engaged;
    object_unref(OBJECT(dev));
}

static void amd_dma_channel_timer(void *opaque)
{
    AMDDMAChannel *ch = opaque;

    amd_dma_run_guarded(ch->dev, amd_dma_channel_step, ch);
}

static void amd_dma_channel_begin(AMDDMAChannel *ch, int64_t done_ns)
{
    ch->busy = true;
    ch->retired = false;
    ch->copied = 0;
    if (!ch->effects.stalled_by) {
        amd_dma_channel_arm(ch, amd_dma_time_add(done_ns,
                                                 ch->effects.delay_ns));
    }
}

void amd_dma_channel_start(AMDDMAChannel *ch, const AMDDMACopy *copy,
                           bool may_hold)
{
    int64_t now_ns = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    int64_t done_ns = amd_dma_time_add(now_ns, ch->timing->latency_ns);

    assert(!ch->busy && copy->size);
    ch->copy = *copy;
    amd_dma_faults_match(ch->faults, ch->queue, copy->source,
                         copy->destination, copy->size, &ch->effects);
    if (!may_hold && ch->effects.held_for) {
        ch->effects.stalled_by = 0;
        ch->effects.held_for = 0;
    }

    done_ns = amd_dma_time_add(done_ns,
                               amd_dma_transfer_ns(copy->size,
                                                   ch->timing->bandwidth));
    if (ch->timing->fabric) {
        done_ns = MAX(done_ns,
                      amd_dma_fabric_reserve(ch->timing->fabric, &ch->turn,
                                             ch->as, copy->source,
                                             copy->destination, now_ns,
                                             copy->size));
    }
    trace_amd_dma_channel_start(ch->faults->name, copy->source,
                                copy->destination, copy->size, done_ns);
    amd_dma_channel_begin(ch, done_ns);
}

void amd_dma_channel_fail(AMDDMAChannel *ch)
{
    int64_t now_ns = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);

    assert(!ch->busy);
    ch->copy = (AMDDMACopy) { };
    ch->effects = (AMDDMAFaultEffects) { };
    amd_dma_channel_begin(ch, amd_dma_time_add(now_ns,
                                               ch->timing->latency_ns));
}

void amd_dma_channel_abort(AMDDMAChannel *ch)
{
    if (ch->busy) {
        trace_amd_dma_channel_abort(ch->faults->name, ch->copied);
    }
    ch->generation++;
    ch->busy = false;
    /* Also what a load that failed has left */
    ch->copied = 0;
    timer_del(ch->timer);
    amd_dma_fabric_release(&ch->turn);
}

void amd_dma_channel_release(AMDDMAChannel *ch, uint32_t id)
{
    if (ch->busy && ch->effects.stalled_by &&
        (!id || ch->effects.stalled_by == id)) {
        ch->effects.stalled_by = 0;
        amd_dma_channel_arm(ch, 0);
    }
}

void amd_dma_channel_init(AMDDMAChannel *ch, DeviceState *dev,
                          AddressSpace *as, const AMDDMATiming *timing,
                          AMDDMAFaultSet *faults, const AMDDMAChannelOps *ops,
                          void *opaque)
{
    ch->dev = dev;
    ch->as = as;
    ch->timing = timing;
    ch->faults = faults;
    ch->ops = ops;
    ch->opaque = opaque;
    ch->timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, amd_dma_channel_timer, ch);
    if (timing->fabric) {
        amd_dma_fabric_join(timing->fabric, &ch->turn, dev);
    }
}

void amd_dma_channel_destroy(AMDDMAChannel *ch)
{
    amd_dma_channel_abort(ch);
    if (ch->timing->fabric) {
        amd_dma_fabric_leave(&ch->turn);
    }
    timer_free(ch->timer);
    ch->timer = NULL;
}

static int amd_dma_channel_post_load(void *opaque, int version_id)
{
    AMDDMAChannel *ch = opaque;

    /*
     * The stream is not to be trusted more than the guest, and a machine may
     * run on after a load that failed.
     */
    if (ch->copied > amd_dma_copy_size(ch) ||
        (timer_pending(ch->timer) && !ch->busy)) {
        amd_dma_channel_abort(ch);
        return -EINVAL;
    }
    return 0;
}

static const VMStateDescription vmstate_amd_dma_copy = {
    .name = "amd-dma-copy",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(source, AMDDMACopy),
        VMSTATE_UINT64(destination, AMDDMACopy),
        VMSTATE_UINT32(size, AMDDMACopy),
        VMSTATE_END_OF_LIST()
    },
};

static bool amd_dma_channel_link_needed(void *opaque)
{
    AMDDMAChannel *ch = opaque;

    return ch->turn.link_until_ns;
}

static const VMStateDescription vmstate_amd_dma_channel_link = {
    .name = "amd-dma-channel/link",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = amd_dma_channel_link_needed,
    .fields = (const VMStateField[]) {
        VMSTATE_INT64(turn.link_until_ns, AMDDMAChannel),
        VMSTATE_END_OF_LIST()
    },
};

const VMStateDescription vmstate_amd_dma_channel = {
    .name = "amd-dma-channel",
    .version_id = 1,
    .minimum_version_id = 1,
    .post_load = amd_dma_channel_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_BOOL(busy, AMDDMAChannel),
        VMSTATE_BOOL(retired, AMDDMAChannel),
        VMSTATE_STRUCT(copy, AMDDMAChannel, 1, vmstate_amd_dma_copy,
                       AMDDMACopy),
        VMSTATE_UINT32(copied, AMDDMAChannel),
        VMSTATE_INT64(turn.until_ns, AMDDMAChannel),
        VMSTATE_STRUCT(effects, AMDDMAChannel, 1,
                       vmstate_amd_dma_fault_effects, AMDDMAFaultEffects),
        VMSTATE_TIMER_PTR(timer, AMDDMAChannel),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription * const []) {
        &vmstate_amd_dma_channel_link,
        NULL
    },
};
