// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "page_flags.h"
#include "report.h"

size_t page_flags_read(uint64_t frame, size_t count, uint64_t *flags)
{
	static int file = -1;
	size_t size = count * sizeof(*flags), there;
	ssize_t got;

	if (file < 0)
		file = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (file < 0)
		fail(EXIT_FAILED, errno, "/proc/kpageflags can't be opened");
	got = pread(file, flags, size, (off_t)(frame * sizeof(*flags)));
	if (got < 0)
		fail(EXIT_FAILED, errno, "/proc/kpageflags can't be read");
	there = (size_t)got / sizeof(*flags);
	memset(flags + there, 0, size - there * sizeof(*flags));
	return there;
}
