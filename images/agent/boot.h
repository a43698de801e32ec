/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the first process owes the machine: file systems, and its end. */
#ifndef LAB_AGENT_BOOT_H
#define LAB_AGENT_BOOT_H

/* Mounts what the workloads need. NULL if all is well, else what failed. */
const char *boot_mount(void);

/* Says goodbye and switches the machine off. */
_Noreturn void boot_power_off(void);

/* Tells the console why there will be no session, and switches off. */
_Noreturn void boot_give_up(const char *problem);

#endif
