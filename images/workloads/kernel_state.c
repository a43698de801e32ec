// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernel_state.h"
#include "report.h"

#define FIRST_LARGE_ORDER 9

static FILE *open_or_fail(const char *path)
{
	FILE *file = fopen(path, "re");

	if (!file)
		fail(EXIT_FAILED, errno, "%s can't be read", path);
	return file;
}

void vmstat_read(struct vmstat *vmstat)
{
	FILE *file = open_or_fail("/proc/vmstat");

	vmstat->count = 0;
	while (fscanf(file, "%47s %" SCNu64, vmstat->fields[vmstat->count].name,
		      &vmstat->fields[vmstat->count].value) == 2)
		if (++vmstat->count == VMSTAT_MAX)
			fail(EXIT_FAILED, 0, "/proc/vmstat has too many fields");
	fclose(file);
	if (!vmstat->count)
		fail(EXIT_FAILED, 0, "/proc/vmstat is empty");
}

void report_vmstat(const struct vmstat *before, const struct vmstat *after)
{
	static const char *const prefixes[] = {
		"pgmigrate_", "compact_", "thp_migration_", "thp_split_page", "allocstall_",
		"pgscan_", "pgsteal_", "kswapd_", "numa_pages_migrated", "oom_kill",
	};
	const char *separator = "";
	size_t i, j;

	report("\"vmstat\":{");
	for (i = 0; i < after->count; i++) {
		/* Both come from one kernel: the same fields in the same order. */
		for (j = 0; j < sizeof(prefixes) / sizeof(prefixes[0]); j++) {
			if (strncmp(after->fields[i].name, prefixes[j], strlen(prefixes[j])))
				continue;
			report("%s\"%s\":%" PRId64, separator, after->fields[i].name,
			       (int64_t)(after->fields[i].value - before->fields[i].value));
			separator = ",";
			break;
		}
	}
	report("}");
}

/*
 * /proc/zoneinfo: "Node 1, zone    DMA32" heads a zone's lines, among them
 * "  pages free     1234" and "        high     567". The per-CPU lists at a
 * zone's end have fields called "high:", with a colon.
 */
static void read_zoneinfo(struct node_memory *memory, unsigned long node)
{
	FILE *file = open_or_fail("/proc/zoneinfo");
	bool ours = false, seen = false;
	unsigned long number;
	char line[256];
	uint64_t value;

	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Node %lu, zone", &number) == 1) {
			ours = number == node;
			seen |= ours;
		} else if (ours && sscanf(line, " pages free %" SCNu64, &value) == 1) {
			memory->free_pages += value;
		} else if (ours && sscanf(line, " high %" SCNu64, &value) == 1) {
			memory->high_pages += value;
		}
	}
	fclose(file);
	if (!seen)
		fail(EXIT_FAILED, ENODEV, "node %lu has no memory", node);
}

/* /proc/buddyinfo: "Node 1, zone    DMA32  n0 n1 … n10", blocks of each order. */
static void read_buddyinfo(struct node_memory *memory, unsigned long node)
{
	FILE *file = open_or_fail("/proc/buddyinfo");
	unsigned long number, blocks;
	char line[512];

	while (fgets(line, sizeof(line), file)) {
		unsigned int order = 0;
		int used = 0, step;
		char *at = line;

		if (sscanf(line, "Node %lu, zone %*s%n", &number, &used) != 1 || !used)
			fail(EXIT_FAILED, 0, "/proc/buddyinfo can't be understood");
		if (number != node)
			continue;
		for (at += used; sscanf(at, "%lu%n", &blocks, &step) == 1; at += step, order++)
			if (order >= FIRST_LARGE_ORDER)
				memory->order9_blocks +=
					(uint64_t)blocks << (order - FIRST_LARGE_ORDER);
	}
	fclose(file);
}

void node_memory_read(struct node_memory *memory, unsigned long node)
{
	memset(memory, 0, sizeof(*memory));
	read_zoneinfo(memory, node);
	read_buddyinfo(memory, node);
}

void proc_stat_read(struct proc_stat *stat, unsigned long cpu)
{
	FILE *file = open_or_fail("/proc/stat");
	bool found = false;
	unsigned long number;
	char line[512];

	/* The sum's line is "cpu  …": its first number is no CPU. */
	while (!found && fgets(line, sizeof(line), file))
		found = !strncmp(line, "cpu", 3) && line[3] != ' ' &&
			sscanf(line,
			       "cpu%lu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
			       " %" SCNu64 " %" SCNu64 " %" SCNu64,
			       &number, &stat->user, &stat->nice, &stat->system, &stat->idle,
			       &stat->iowait, &stat->irq, &stat->softirq, &stat->steal) == 9 &&
			number == cpu;
	fclose(file);
	if (!found)
		fail(EXIT_FAILED, 0, "/proc/stat has no CPU %lu", cpu);
}

void report_proc_stat(const struct proc_stat *before, const struct proc_stat *after)
{
	report("\"proc_stat_ticks\":{\"user\":%" PRIu64 ",\"nice\":%" PRIu64
	       ",\"system\":%" PRIu64 ",\"idle\":%" PRIu64 ",\"iowait\":%" PRIu64
	       ",\"irq\":%" PRIu64 ",\"softirq\":%" PRIu64 ",\"steal\":%" PRIu64 "}",
	       after->user - before->user, after->nice - before->nice,
	       after->system - before->system, after->idle - before->idle,
	       after->iowait - before->iowait, after->irq - before->irq,
	       after->softirq - before->softirq, after->steal - before->steal);
}

uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool file_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;
	int error;

	if (fd < 0)
		return false;
	got = read(fd, text, size - 1);
	error = errno;
	close(fd);
	errno = error;
	if (got < 0)
		return false;
	text[got] = '\0';
	return true;
}

bool file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t length = strlen(text);
	ssize_t written;
	int error;

	if (fd < 0)
		return false;
	written = write(fd, text, length);
	error = written < 0 ? errno : EIO;
	close(fd);
	errno = error;
	return written >= 0 && (size_t)written == length;
}
