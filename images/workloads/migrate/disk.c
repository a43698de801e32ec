// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cell.h"
#include "disk.h"
#include "kernel_state.h"

#define CONFIG "/sys/kernel/config"
#define BLOCK_BYTES 4096

void run_program(const char *const argv[])
{
	pid_t child = fork();
	int status, null;

	if (child < 0)
		fail(EXIT_FAILED, errno, "%s can't be started", argv[0]);
	if (!child) {
		null = open("/dev/null", O_WRONLY);
		dup2(null, 1);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	if (waitpid(child, &status, 0) != child || status)
		fail(EXIT_PREMISE, 0, "%s %s ended with status %#x", argv[0],
		     argv[1] ? argv[1] : "", (unsigned int)status);
}

static void set(const struct disk *disk, const char *attribute, unsigned long value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), CONFIG "/nullb/%s/%s", disk->name, attribute);
	snprintf(text, sizeof(text), "%lu", value);
	if (!file_write(path, text))
		fail(EXIT_PREMISE, errno, "%s can't be set to %lu", path, value);
}

/*
 * An image is a list of blocks that are not zero: the number of the block in 8 bytes,
 * and its content (lab/build/filesystems.py writes them).
 */
static void write_image(const char *image, const char *device)
{
	struct {
		uint64_t number;
		char content[BLOCK_BYTES];
	} block;
	int from = open(image, O_RDONLY | O_CLOEXEC), to = open(device, O_WRONLY | O_CLOEXEC);
	ssize_t got;

	if (from < 0 || to < 0)
		fail(EXIT_PREMISE, errno, "%s can't be put on %s", image, device);
	while ((got = read(from, &block, sizeof(block))) == sizeof(block))
		if (pwrite(to, block.content, BLOCK_BYTES, (off_t)(block.number * BLOCK_BYTES)) !=
		    BLOCK_BYTES)
			fail(EXIT_FAILED, errno, "%s can't be written", device);
	if (got)
		fail(EXIT_FAILED, got < 0 ? errno : 0, "%s is cut off", image);
	/* Nothing of it may be in the page cache of the device, for a migration to meet. */
	if (fsync(to))
		fail(EXIT_FAILED, errno, "%s can't be written", device);
	close(from);
	close(to);
}

/* Documentation/block/null_blk.rst */
static void power_on(const struct disk *disk, unsigned long completion_ns)
{
	set(disk, "irqmode", completion_ns ? 2 : 0);
	set(disk, "completion_nsec", completion_ns ? completion_ns : 10000);
	set(disk, "power", 1);
}

const char *disk_device(const struct disk *disk)
{
	static char device[DISK_PATH_BYTES];
	const char *const modprobe[] = { "/bin/busybox", "modprobe", "null_blk", "nr_devices=0",
					 NULL };
	char path[128];

	snprintf(device, sizeof(device), "/dev/%s", disk->name);
	if (!access(device, F_OK))
		return device;
	run_program(modprobe);
	if (mount("configfs", CONFIG, "configfs", 0, NULL) && errno != EBUSY)
		fail(EXIT_PREMISE, errno, CONFIG " can't be mounted");
	snprintf(path, sizeof(path), CONFIG "/nullb/%s", disk->name);
	if (mkdir(path, 0755))
		fail(EXIT_PREMISE, errno, "the disk %s can't be made", disk->name);
	set(disk, "memory_backed", 1);
	set(disk, "size", disk->mib);
	set(disk, "blocksize", 512);
	set(disk, "submit_queues", 1);
	power_on(disk, 0);
	if (disk->image)
		write_image(disk->image, device);
	if (disk->completion_ns) {
		/* A disk keeps what it holds while it is switched off. */
		set(disk, "power", 0);
		power_on(disk, disk->completion_ns);
	}
	return device;
}

const char *disk_mount(const struct disk *disk, unsigned long node)
{
	static char where[DISK_PATH_BYTES];
	const char *device = disk_device(disk);
	int error;

	snprintf(where, sizeof(where), "/run/%s", disk->name);
	if (mkdir(where, 0755) && errno != EEXIST)
		fail(EXIT_FAILED, errno, "%s can't be made", where);
	/* Bound no longer than that: pages of our own must not come from there. */
	cell_bind(node);
	error = mount(device, where, disk->file_system, MS_NOATIME, disk->options) ? errno : 0;
	cell_free_choice();
	if (error && error != EBUSY)
		fail(EXIT_PREMISE, error, "%s on %s can't be mounted", disk->file_system, device);
	return where;
}
