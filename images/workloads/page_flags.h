/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The flags of page frames, by /proc/kpageflags (Documentation/admin-guide/mm/pagemap.rst). */
#ifndef LAB_PAGE_FLAGS_H
#define LAB_PAGE_FLAGS_H

#include <stddef.h>
#include <stdint.h>

#include <linux/kernel-page-flags.h>

/* The kernel's own header has these, and doesn't give them to programs. */
#ifndef KPF_RESERVED
#define KPF_RESERVED 32
#endif
#ifndef KPF_MLOCKED
#define KPF_MLOCKED 33
#endif
#ifndef KPF_PRIVATE
#define KPF_PRIVATE 35
#endif

#define FLAG(name) (1ull << KPF_##name)

/*
 * Fills `flags` with those of `count` page frames from `frame` on. Frames after the
 * last one of all memory have none: they are 0. Ends the program if the kernel doesn't
 * tell. Returns how many of them there are.
 */
size_t page_flags_read(uint64_t frame, size_t count, uint64_t *flags);

#endif
