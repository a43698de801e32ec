/*
 * What the fuzz targets of single devices share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "hw/resettable.h"
#include "io/channel-buffer.h"
#include "migration/qemu-file.h"
#include "migration/savevm.h"
#include "migration/vmstate.h"
#include "qom/object.h"
#include "system/cpu-timers.h"
#include "system/runstate.h"
#include "../migration/savevm.h"
#include "device_fuzz.h"

uint8_t fuzz_take8(FuzzInput *in)
{
    if (!in->left) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

uint16_t fuzz_take16(FuzzInput *in)
{
    uint16_t low = fuzz_take8(in);

    return low | fuzz_take8(in) << 8;
}

uint32_t fuzz_take32(FuzzInput *in)
{
    uint32_t low = fuzz_take16(in);

    return low | (uint32_t)fuzz_take16(in) << 16;
}

uint64_t fuzz_take64(FuzzInput *in)
{
    uint64_t low = fuzz_take32(in);

    return low | (uint64_t)fuzz_take32(in) << 32;
}

void fuzz_unblock_alarm(QTestState *qts)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    g_assert_cmpint(pthread_sigmask(SIG_UNBLOCK, &set, NULL), ==, 0);
}

DeviceState *fuzz_find_device(const char *id)
{
    Object *obj = object_resolve_path_at(machine_get_container("peripheral"),
                                         id);

    return obj ? DEVICE(obj) : NULL;
}

void fuzz_step(int64_t step_ns)
{
    int64_t now_ns = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);

    qemu_clock_advance_virtual_time(now_ns + step_ns);
}

void fuzz_step_next(int64_t limit_ns)
{
    int64_t next_ns = qemu_clock_deadline_ns_all(QEMU_CLOCK_VIRTUAL,
                                                 QEMU_TIMER_ATTR_ALL);

    if (next_ns >= 0 && next_ns <= limit_ns) {
        fuzz_step(next_ns);
    }
}

/* A load has failed since the last reset of the machine */
static bool damaged;

void fuzz_begin_again(void)
{
    damaged = false;
    qemu_system_reset(SHUTDOWN_CAUSE_GUEST_RESET);
    cpus_set_virtual_clock(0);
}

static GByteArray *fuzz_save(DeviceState *dev)
{
    QIOChannelBuffer *channel = qio_channel_buffer_new(4096);
    QEMUFile *file = qemu_file_new_output(QIO_CHANNEL(channel));
    GByteArray *stream = g_byte_array_new();
    const uint8_t footer = QEMU_VM_SECTION_FOOTER;
    int ret;

    ret = vmstate_save_state(file, qdev_get_vmsd(dev), dev, NULL);
    g_assert_cmpint(ret, ==, 0);
    /* The end of the last section is found by what comes behind it */
    qemu_put_byte(file, QEMU_VM_EOF);
    g_assert_cmpint(qemu_fflush(file), ==, 0);
    g_byte_array_append(stream, channel->data, channel->usage);
    /* Something always follows: who looks for a subsection would miss it */
    g_byte_array_append(stream, &footer, 1);
    qemu_fclose(file);
    object_unref(OBJECT(channel));
    return stream;
}

static int fuzz_load(DeviceState *dev, const GByteArray *stream)
{
    QIOChannelBuffer *channel = qio_channel_buffer_new(stream->len);
    const VMStateDescription *vmsd = qdev_get_vmsd(dev);
    QEMUFile *file;
    int ret;

    qio_channel_write_all(QIO_CHANNEL(channel), (const char *)stream->data,
                          stream->len, &error_abort);
    qio_channel_io_seek(QIO_CHANNEL(channel), 0, SEEK_SET, &error_abort);
    file = qemu_file_new_input(QIO_CHANNEL(channel));
    ret = vmstate_load_state(file, vmsd, dev, vmsd->version_id);
    qemu_fclose(file);
    object_unref(OBJECT(channel));
    return ret;
}

void fuzz_migrate(DeviceState *dev, FuzzInput *in)
{
    unsigned int replaced = fuzz_take8(in) % 8;
    g_autoptr(GByteArray) stream = fuzz_save(dev);

    for (unsigned int i = 0; i < replaced; i++) {
        uint16_t offset = fuzz_take16(in);

        stream->data[offset % stream->len] = fuzz_take8(in);
    }

    /* The other end is a device that has just been powered on */
    device_cold_reset(dev);
    if (replaced) {
        /* Refused or not: whatever it leaves behind has to be safe */
        damaged |= fuzz_load(dev, stream) != 0;
    } else if (damaged) {
        fuzz_load(dev, stream);
    } else {
        g_autoptr(GByteArray) again = NULL;

        g_assert_cmpint(fuzz_load(dev, stream), ==, 0);
        again = fuzz_save(dev);
        g_assert_cmpmem(stream->data, stream->len, again->data, again->len);
    }
}
