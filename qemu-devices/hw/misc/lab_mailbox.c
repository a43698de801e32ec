/*
 * Lab mailbox: a test lab's control channel to its guest, exact in virtual time
 *
 * docs/specs/lab-mailbox.rst describes the device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "chardev/char-fe.h"
#include "hw/core/cpu.h"
#include "hw/pci/pci_device.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "hw/registerfields.h"
#include "migration/vmstate.h"
#include "system/cpus.h"
#include "system/runstate.h"
#include "trace.h"

#define TYPE_LAB_MAILBOX "lab-mailbox"
OBJECT_DECLARE_SIMPLE_TYPE(LabMailboxState, LAB_MAILBOX)

#define LAB_MAILBOX_PCI_DEVICE_ID   0xdcb0
#define LAB_MAILBOX_REGS_SIZE       4096
#define LAB_MAILBOX_ID_VALUE        0x4c41424d
#define LAB_MAILBOX_LINE_SIZE       4096
/* a migration stream that asks for more is broken */
#define LAB_MAILBOX_MESSAGE_MAX     (1 * MiB)

REG32(ID, 0x00)
REG32(TX, 0x04)
REG32(PAUSE, 0x08)
REG32(RX_AVAIL, 0x0c)
REG32(RX, 0x10)

struct LabMailboxState {
    PCIDevice parent_obj;

    MemoryRegion regs;
    CharBackend chr;

    /* what the guest reads; no terminating NUL */
    uint8_t *message;
    uint32_t message_size;
    uint32_t message_read;

    uint32_t line_size;
    uint8_t line[LAB_MAILBOX_LINE_SIZE];

    /* the guest has asked for a pause that has not begun */
    bool pause_pending;
    QEMUBH *pause_bh;
    VMChangeStateEntry *state_change;
};

static void lab_mailbox_flush(LabMailboxState *s)
{
    if (s->line_size) {
        trace_lab_mailbox_flush(s->line_size);
        qemu_chr_fe_write_all(&s->chr, s->line, s->line_size);
        s->line_size = 0;
    }
}

static void lab_mailbox_transmit(LabMailboxState *s, uint8_t byte)
{
    s->line[s->line_size++] = byte;
    if (byte == '\n' || s->line_size == sizeof(s->line)) {
        lab_mailbox_flush(s);
    }
}

static void lab_mailbox_pause_bh(void *opaque)
{
    LabMailboxState *s = opaque;

    if (runstate_is_running()) {
        s->pause_pending = false;
        vm_stop(RUN_STATE_PAUSED);
    } else if (runstate_check(RUN_STATE_PAUSED)) {
        /* Somebody else was faster, and the host can answer now */
        s->pause_pending = false;
    }
    /* Stopped for another reason, for a migration say: pause afterwards */
}

static void lab_mailbox_state_change(void *opaque, bool running,
                                     RunState state)
{
    LabMailboxState *s = opaque;

    if (running && s->pause_pending) {
        qemu_bh_schedule(s->pause_bh);
    }
}

/*
 * Stop here.
 *
 * vm_stop() from a vCPU's thread stops that vCPU alone and leaves the rest to
 * the main loop.  Until that has its turn, a second vCPU of a round-robin
 * machine goes on, and with "-icount sleep=off" the main loop sees an idle
 * machine and moves virtual time on to the next timer.  So take all vCPUs off
 * the guest's code here, and stop the machine in a bottom half: the main loop
 * runs those before it looks at the clock.
 */
static void lab_mailbox_pause(LabMailboxState *s)
{
    CPUState *cpu;

    lab_mailbox_flush(s);
    trace_lab_mailbox_pause();
    s->pause_pending = true;
    qemu_bh_schedule(s->pause_bh);
    if (qemu_in_vcpu_thread()) {
        CPU_FOREACH(cpu) {
            cpu_pause(cpu);
        }
    }
}

/* 0 also when a load has failed half-way */
static uint32_t lab_mailbox_unread(const LabMailboxState *s)
{
    return s->message && s->message_read < s->message_size ?
           s->message_size - s->message_read : 0;
}

static uint64_t lab_mailbox_read(void *opaque, hwaddr offset,
                                 unsigned int size)
{
    LabMailboxState *s = opaque;

    switch (offset) {
    case A_ID:
        return LAB_MAILBOX_ID_VALUE;
    case A_RX_AVAIL:
        return lab_mailbox_unread(s);
    case A_RX:
        if (lab_mailbox_unread(s)) {
            return s->message[s->message_read++];
        }
        return 0;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "%s: write-only or no register at 0x%"
                      HWADDR_PRIx "\n", __func__, offset);
        return 0;
    }
}

static void lab_mailbox_write(void *opaque, hwaddr offset, uint64_t value,
                              unsigned int size)
{
    LabMailboxState *s = opaque;

    switch (offset) {
    case A_TX:
        lab_mailbox_transmit(s, value);
        break;
    case A_PAUSE:
        lab_mailbox_pause(s);
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "%s: read-only or no register at 0x%"
                      HWADDR_PRIx "\n", __func__, offset);
        break;
    }
}

static const MemoryRegionOps lab_mailbox_ops = {
    .read = lab_mailbox_read,
    .write = lab_mailbox_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 4,
        .max_access_size = 4,
    },
    .impl = {
        .min_access_size = 4,
        .max_access_size = 4,
    },
};

static char *lab_mailbox_get_message(Object *obj, Error **errp)
{
    LabMailboxState *s = LAB_MAILBOX(obj);

    return g_strndup((const char *)s->message, s->message_size);
}

static void lab_mailbox_set_message(Object *obj, const char *value,
                                    Error **errp)
{
    LabMailboxState *s = LAB_MAILBOX(obj);
    size_t size = strlen(value);

    if (size > LAB_MAILBOX_MESSAGE_MAX) {
        error_setg(errp, "message has %zu bytes, more than %zu", size,
                   (size_t)LAB_MAILBOX_MESSAGE_MAX);
        return;
    }
    g_free(s->message);
    s->message = g_memdup2(value, size);
    s->message_size = size;
    s->message_read = 0;
    trace_lab_mailbox_message(size);
}

static void lab_mailbox_realize(PCIDevice *pdev, Error **errp)
{
    LabMailboxState *s = LAB_MAILBOX(pdev);

    if (!qemu_chr_fe_backend_connected(&s->chr)) {
        error_setg(errp, "property 'chardev' is needed");
        return;
    }
    memory_region_init_io(&s->regs, OBJECT(pdev), &lab_mailbox_ops, s,
                          TYPE_LAB_MAILBOX, LAB_MAILBOX_REGS_SIZE);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->regs);
    s->state_change =
        qemu_add_vm_change_state_handler(lab_mailbox_state_change, s);
}

static void lab_mailbox_exit(PCIDevice *pdev)
{
    LabMailboxState *s = LAB_MAILBOX(pdev);

    lab_mailbox_flush(s);
    qemu_del_vm_change_state_handler(s->state_change);
    s->state_change = NULL;
    qemu_bh_cancel(s->pause_bh);
    s->pause_pending = false;
}

/* The message is the host's: a guest reads it again after a reset */
static void lab_mailbox_reset_hold(Object *obj, ResetType type)
{
    LabMailboxState *s = LAB_MAILBOX(obj);

    lab_mailbox_flush(s);
    s->message_read = 0;
    s->pause_pending = false;
}

/*
 * The stream is not to be trusted more than the guest.  A machine may run on
 * after a load that failed, so these leave nothing bad behind.
 */
static bool lab_mailbox_message_fits(void *opaque, int version_id)
{
    LabMailboxState *s = opaque;

    if (s->message_size > LAB_MAILBOX_MESSAGE_MAX) {
        s->message_size = 0;
        return false;
    }
    return true;
}

static bool lab_mailbox_read_fits(void *opaque, int version_id)
{
    LabMailboxState *s = opaque;

    if (s->message_read > s->message_size) {
        s->message_read = s->message_size;
        return false;
    }
    return true;
}

static bool lab_mailbox_line_fits(void *opaque, int version_id)
{
    LabMailboxState *s = opaque;

    if (s->line_size >= sizeof(s->line)) {
        s->line_size = 0;
        return false;
    }
    return true;
}

static int lab_mailbox_pre_load(void *opaque)
{
    LabMailboxState *s = opaque;

    g_free(s->message);
    s->message = NULL;
    s->message_size = 0;
    s->message_read = 0;
    return 0;
}

static const VMStateDescription vmstate_lab_mailbox = {
    .name = TYPE_LAB_MAILBOX,
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_load = lab_mailbox_pre_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, LabMailboxState),
        VMSTATE_UINT32(message_size, LabMailboxState),
        VMSTATE_VALIDATE("message size", lab_mailbox_message_fits),
        VMSTATE_VBUFFER_ALLOC_UINT32(message, LabMailboxState, 0, NULL,
                                     message_size),
        VMSTATE_UINT32(message_read, LabMailboxState),
        VMSTATE_VALIDATE("bytes read", lab_mailbox_read_fits),
        VMSTATE_UINT32(line_size, LabMailboxState),
        VMSTATE_VALIDATE("line size", lab_mailbox_line_fits),
        VMSTATE_UINT8_ARRAY(line, LabMailboxState, LAB_MAILBOX_LINE_SIZE),
        VMSTATE_BOOL(pause_pending, LabMailboxState),
        VMSTATE_END_OF_LIST()
    },
};

static const Property lab_mailbox_properties[] = {
    DEFINE_PROP_CHR("chardev", LabMailboxState, chr),
};

/* A vCPU may be on its way to our registers while we are unplugged */
static void lab_mailbox_instance_init(Object *obj)
{
    LabMailboxState *s = LAB_MAILBOX(obj);

    s->pause_bh = qemu_bh_new_guarded(lab_mailbox_pause_bh, s,
                                      &DEVICE(obj)->mem_reentrancy_guard);
}

static void lab_mailbox_instance_finalize(Object *obj)
{
    LabMailboxState *s = LAB_MAILBOX(obj);

    qemu_bh_delete(s->pause_bh);
    g_free(s->message);
}

static void lab_mailbox_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);

    pc->realize = lab_mailbox_realize;
    pc->exit = lab_mailbox_exit;
    pc->vendor_id = PCI_VENDOR_ID_QEMU;
    pc->device_id = LAB_MAILBOX_PCI_DEVICE_ID;
    pc->class_id = PCI_CLASS_OTHERS;
    rc->phases.hold = lab_mailbox_reset_hold;

    dc->desc = "Control channel of a test lab";
    dc->vmsd = &vmstate_lab_mailbox;
    device_class_set_props(dc, lab_mailbox_properties);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);

    object_class_property_add_str(klass, "message", lab_mailbox_get_message,
                                  lab_mailbox_set_message);
    object_class_property_set_description(klass, "message",
        "what the guest reads next; setting it rewinds");
}

static const TypeInfo lab_mailbox_types[] = {
    {
        .name = TYPE_LAB_MAILBOX,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(LabMailboxState),
        .instance_init = lab_mailbox_instance_init,
        .instance_finalize = lab_mailbox_instance_finalize,
        .class_init = lab_mailbox_class_init,
        .interfaces = (InterfaceInfo[]) {
            { INTERFACE_CONVENTIONAL_PCI_DEVICE },
            { },
        },
    },
};

DEFINE_TYPES(lab_mailbox_types)
