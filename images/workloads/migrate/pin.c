// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A long-term pin of memory that is movable by its zone, which has to leave the
 * zone first: reason longterm_pin. Pinned as buffers that io_uring may use.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cell.h"
#include "clean_block.h"
#include "memory_block.h"

static int ring = -1;

static void prepare(struct cell *cell)
{
	struct io_uring_params parameters;

	clean_blocks_only(cell);
	memset(&parameters, 0, sizeof(parameters));
	ring = (int)syscall(SYS_io_uring_setup, 1, &parameters);
	if (ring < 0)
		fail(EXIT_PREMISE, errno, "io_uring can't be set up");
}

static int pull(struct cell *cell)
{
	struct iovec buffer = { cell->start, cell->size_bytes };

	memory_blocks_assert_movable(cell);
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1))
		return errno;
	if (syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0))
		fail(EXIT_FAILED, errno, "buffers can't be unregistered");
	return 0;
}

static void restore(struct cell *cell)
{
	(void)cell;
	close(ring);
}

const struct trigger pin_triggers[] = {
	{ .name = "longterm_pin", .purpose = "buffers registered with io_uring, in ZONE_MOVABLE",
	  .prepare = prepare, .pull = pull, .restore = restore },
	{ 0 },
};
