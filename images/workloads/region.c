// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "region.h"
#include "report.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_FRAME ((1ull << 55) - 1)

char *region_map(size_t size_bytes, unsigned long node)
{
	unsigned long mask = 1ul << node;
	char *mapping, *start, *end;

	mapping = mmap(NULL, size_bytes + REGION_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapping == MAP_FAILED)
		fail(EXIT_FAILED, errno, "%zu bytes can't be mapped", size_bytes);
	start = (char *)(((uintptr_t)mapping + REGION_BYTES - 1) & ~(REGION_BYTES - 1));
	end = start + size_bytes;
	if (start != mapping)
		munmap(mapping, (size_t)(start - mapping));
	if (end != mapping + size_bytes + REGION_BYTES)
		munmap(end, (size_t)(mapping + size_bytes + REGION_BYTES - end));
	if (syscall(SYS_mbind, start, size_bytes, MPOL_BIND, &mask, sizeof(mask) * 8, 0))
		fail(EXIT_FAILED, errno, "memory can't be bound to node %lu", node);
	return start;
}

void region_unmap(char *start, size_t size_bytes)
{
	if (munmap(start, size_bytes))
		fail(EXIT_FAILED, errno, "a region can't be unmapped");
}

int region_populate(char *start, size_t size_bytes)
{
	return madvise(start, size_bytes, MADV_POPULATE_WRITE) ? errno : 0;
}

void region_frames(const char *start, size_t count, uint64_t *frames)
{
	static int pagemap = -1;
	static pid_t whose;
	size_t done = 0, i;

	/* An open one is that of the process which has opened it, and not of a child. */
	if (whose != getpid())
		pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	whose = getpid();
	if (pagemap < 0)
		fail(EXIT_FAILED, errno, "/proc/self/pagemap can't be opened");
	while (done < count * sizeof(*frames)) {
		off_t offset = (off_t)((uintptr_t)start / PAGE_BYTES * sizeof(*frames) + done);
		ssize_t got = pread(pagemap, (char *)frames + done,
				    count * sizeof(*frames) - done, offset);

		if (got <= 0)
			fail(EXIT_FAILED, got ? errno : 0, "/proc/self/pagemap can't be read");
		done += (size_t)got;
	}
	for (i = 0; i < count; i++) {
		if (!(frames[i] & PAGEMAP_PRESENT))
			frames[i] = 0;
		else if (!(frames[i] &= PAGEMAP_FRAME))
			fail(EXIT_FAILED, EPERM, "/proc/self/pagemap hides frame numbers");
	}
}
