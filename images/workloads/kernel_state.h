/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel says about itself in procfs and sysfs. */
#ifndef LAB_KERNEL_STATE_H
#define LAB_KERNEL_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMSTAT_MAX 512
#define VMSTAT_NAME_BYTES 48

struct vmstat {
	size_t count;
	struct {
		char name[VMSTAT_NAME_BYTES];
		uint64_t value;
	} fields[VMSTAT_MAX];
};

/* Free memory of a node, summed over its zones, in 4 KiB pages. */
struct node_memory {
	uint64_t free_pages;
	uint64_t high_pages;	/* the watermarks above which kswapd sleeps */
	uint64_t order9_blocks;	/* free and at least 2 MiB, counted in 2 MiB */
};

/* A CPU's line of /proc/stat, in clock ticks. */
struct proc_stat {
	uint64_t user, nice, system, idle, iowait, irq, softirq, steal;
};

/* These end the program with a JSON error if the file can't be understood. */
void vmstat_read(struct vmstat *vmstat);
void node_memory_read(struct node_memory *memory, unsigned long node);
void proc_stat_read(struct proc_stat *stat, unsigned long cpu);

/*
 * "vmstat":{…}: the change from `before` to `after` of each field that counts
 * migration, compaction, reclaim or huge pages.
 */
void report_vmstat(const struct vmstat *before, const struct vmstat *after);

/* "proc_stat_ticks":{…} */
void report_proc_stat(const struct proc_stat *before, const struct proc_stat *after);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t monotonic_ns(void);

/* Reads or writes a small file as text; false with errno set if that fails. */
bool file_read(const char *path, char *text, size_t size);
bool file_write(const char *path, const char *text);

#endif
