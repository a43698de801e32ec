// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cell.h"
#include "region.h"
#include "ways.h"

static void *map_anonymous(size_t size_bytes, int flags)
{
	void *mapping = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS,
			     -1, 0);

	if (mapping == MAP_FAILED)
		fail(EXIT_FAILED, errno, "%zu bytes can't be mapped", size_bytes);
	return mapping;
}

void way_copy(struct cell *cell, struct verification *verification, const char *start,
	      const char *name)
{
	uint64_t wrong_before = verification->pages_wrong;
	size_t i;

	for (i = 0; i < cell->pages; i++)
		verify_copy(verification, start + i * PAGE_BYTES,
			    (uintptr_t)cell->start + i * PAGE_BYTES, i, cell->generation);
	if (verification->pages_wrong != wrong_before)
		cell_lose(cell, "%" PRIu64 " pages are wrong through %s",
			  verification->pages_wrong - wrong_before, name);
}

/* Adds what another process has found. */
static void add(struct verification *sum, const struct verification *found)
{
	uint64_t i, listed = found->pages_wrong;

	if (listed > REPORT_MAX_WRONG)
		listed = REPORT_MAX_WRONG;
	for (i = 0; i < listed && sum->pages_wrong + i < REPORT_MAX_WRONG; i++)
		sum->wrong[sum->pages_wrong + i] = found->wrong[i];
	sum->pages_verified += found->pages_verified;
	sum->pages_wrong += found->pages_wrong;
}

void way_child(struct cell *cell, struct verification *verification)
{
	struct verification *found = map_anonymous(sizeof(*found), MAP_SHARED);
	pid_t child = fork();
	size_t i;
	int status;

	if (child < 0)
		fail(EXIT_FAILED, errno, "no child can be forked");
	if (!child) {
		for (i = 0; i < cell->pages; i++)
			verify_page(found, cell->start + i * PAGE_BYTES, i, cell->generation);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || status)
		fail(EXIT_FAILED, 0, "the child ended with status %#x", (unsigned int)status);
	add(verification, found);
	if (found->pages_wrong)
		cell_lose(cell, "%" PRIu64 " pages are wrong in a child", found->pages_wrong);
	munmap(found, sizeof(*found));
}

void way_mapping(struct cell *cell, struct verification *verification, int fd)
{
	size_t size_bytes = cell->pages * PAGE_BYTES;
	char *mapping = mmap(NULL, size_bytes, PROT_READ, MAP_SHARED, fd, 0);

	if (mapping == MAP_FAILED)
		fail(EXIT_FAILED, errno, "the file can't be mapped once more");
	way_copy(cell, verification, mapping, "another mapping");
	munmap(mapping, size_bytes);
}

static void read_and_verify(struct cell *cell, struct verification *verification, int fd,
			    const char *name)
{
	size_t size_bytes = cell->pages * PAGE_BYTES, done = 0;
	char *copy = map_anonymous(size_bytes, MAP_PRIVATE);

	while (done < size_bytes) {
		ssize_t got = pread(fd, copy + done, size_bytes - done, (off_t)done);

		if (got <= 0)
			fail(EXIT_FAILED, got ? errno : 0, "no %s of the file at %zu", name,
			     done);
		done += (size_t)got;
	}
	way_copy(cell, verification, copy, name);
	munmap(copy, size_bytes);
}

void way_read(struct cell *cell, struct verification *verification, int fd)
{
	read_and_verify(cell, verification, fd, "read(2)");
}

void way_direct(struct cell *cell, struct verification *verification, int fd, const char *path)
{
	int direct;

	if (fsync(fd))
		fail(EXIT_FAILED, errno, "the file can't be written to its disk");
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (direct < 0)
		fail(EXIT_FAILED, errno, "%s can't be opened for direct I/O", path);
	read_and_verify(cell, verification, direct, "direct I/O");
	close(direct);
}
