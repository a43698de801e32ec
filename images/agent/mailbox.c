// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The lab-mailbox device from user space: its registers are mapped through
 * sysfs, so that the guest kernel needs no driver of ours.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "mailbox.h"

#define PCI_DEVICES "/sys/bus/pci/devices"
#define MAILBOX_VENDOR 0x1234
#define MAILBOX_DEVICE 0xdcb0
#define MAILBOX_SIZE 4096

/* Registers, each 32 bits wide. */
enum {
	MAILBOX_ID = 0x00,
	MAILBOX_TX = 0x04,
	MAILBOX_PAUSE = 0x08,
	MAILBOX_RX_AVAIL = 0x0c,
	MAILBOX_RX = 0x10,
};

#define MAILBOX_ID_VALUE 0x4c41424du

static volatile uint32_t *registers;

static uint32_t mailbox_read(unsigned int offset)
{
	return registers[offset / sizeof(*registers)];
}

static void mailbox_write(unsigned int offset, uint32_t value)
{
	registers[offset / sizeof(*registers)] = value;
}

/* The number in a sysfs attribute of a PCI device; 0 if it can't be read. */
static unsigned long pci_attribute(const char *device, const char *attribute)
{
	char path[512], text[32];
	unsigned long value = 0;
	FILE *file;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", device, attribute);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fgets(text, sizeof(text), file))
		value = strtoul(text, NULL, 0);
	fclose(file);
	return value;
}

static const char *mailbox_map(const char *device)
{
	char path[512];
	void *mapping;
	int fd;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/enable", device);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) != 1)
		return "the mailbox device can't be enabled";
	close(fd);
	snprintf(path, sizeof(path), PCI_DEVICES "/%s/resource0", device);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return "the mailbox device has no BAR 0";
	mapping = mmap(NULL, MAILBOX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (mapping == MAP_FAILED)
		return "BAR 0 of the mailbox device can't be mapped";
	registers = mapping;
	if (mailbox_read(MAILBOX_ID) != MAILBOX_ID_VALUE)
		return "the mailbox device's ID register is wrong";
	return NULL;
}

const char *mailbox_open(void)
{
	const char *problem = "no mailbox device (PCI 1234:dcb0)";
	struct dirent *entry;
	DIR *directory;

	directory = opendir(PCI_DEVICES);
	if (!directory)
		return "no " PCI_DEVICES;
	while ((entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] == '.' ||
		    pci_attribute(entry->d_name, "vendor") != MAILBOX_VENDOR ||
		    pci_attribute(entry->d_name, "device") != MAILBOX_DEVICE)
			continue;
		problem = mailbox_map(entry->d_name);
		break;
	}
	closedir(directory);
	return problem;
}

void mailbox_send(const char *bytes, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		mailbox_write(MAILBOX_TX, (unsigned char)bytes[i]);
}

char *mailbox_receive(size_t *length)
{
	/*
	 * With a thread for each CPU the machine may stop a few instructions
	 * after the write: the message is there when the count says so.
	 */
	const struct timespec moment = { .tv_nsec = 1000000 };
	uint32_t available, i;
	char *message;

	mailbox_write(MAILBOX_PAUSE, 1);
	while ((available = mailbox_read(MAILBOX_RX_AVAIL)) == 0)
		nanosleep(&moment, NULL);
	message = malloc((size_t)available + 1);
	if (!message)
		abort();
	for (i = 0; i < available; i++)
		message[i] = (char)mailbox_read(MAILBOX_RX);
	message[available] = '\0';
	*length = available;
	return message;
}
