/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks in memory (null_blk), and file systems on them. */
#ifndef LAB_DISK_H
#define LAB_DISK_H

#define DISK_PATH_BYTES 64

struct disk {
	const char *name;		/* also of its device in /dev */
	unsigned long mib;
	unsigned long completion_ns;	/* how long a request takes; 0: no time at all */
	const char *file_system;	/* type; NULL: none */
	const char *image;		/* what the disk holds at first; NULL: zeros */
	const char *options;		/* of mount; NULL: none */
};

/* /dev/NAME. Makes the disk at its first use in a boot. */
const char *disk_device(const struct disk *disk);

/*
 * Where its file system is mounted, until the guest is powered off. What the file
 * system keeps in the page cache comes from `node`.
 */
const char *disk_mount(const struct disk *disk, unsigned long node);

/* Runs a program to its end, its standard output thrown away, or fails the program. */
void run_program(const char *const argv[]);

#endif
