// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Anonymous folios with a reference that the kernel can't account for: they must not
 * migrate, and nothing may happen to them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "anon.h"
#include "cell.h"
#include "disk.h"
#include "kernel_state.h"
#include "region.h"
#include "state.h"
#include "ways.h"

static int pipe_ends[2], ring = -1;
static uint64_t pinned_before;

static void make_in_pipe(struct cell *cell)
{
	struct iovec region;
	ssize_t taken;

	anon_map(cell, 4);
	state_mark(cell);
	if (pipe(pipe_ends) || fcntl(pipe_ends[1], F_SETPIPE_SZ, cell->size_bytes) < 0)
		fail(EXIT_PREMISE, errno, "there is no pipe as large as the region");
	region = (struct iovec){ cell->start, cell->size_bytes };
	taken = vmsplice(pipe_ends[1], &region, 1, SPLICE_F_NONBLOCK);
	if (taken != (ssize_t)cell->size_bytes)
		fail(EXIT_PREMISE, taken < 0 ? errno : 0, "a pipe took %zd bytes", taken);
}

static void prove_in_pipe(struct cell *cell)
{
	int waiting = 0;

	anon_prove(cell);
	if (ioctl(pipe_ends[0], FIONREAD, &waiting) || waiting != (int)cell->size_bytes)
		fail(EXIT_PREMISE, 0, "the pipe holds %d bytes, not the region", waiting);
}

/* The pipe has the pages themselves: what is read is what they hold now. */
static void verify_in_pipe(struct cell *cell, struct verification *verification)
{
	char *copy = malloc(cell->size_bytes);
	size_t done = 0;

	if (!copy)
		fail(EXIT_FAILED, ENOMEM, "no memory for a copy of the region");
	cell->start[0] ^= 1;
	while (done < cell->size_bytes) {
		ssize_t got = read(pipe_ends[0], copy + done, cell->size_bytes - done);

		if (got <= 0)
			fail(EXIT_FAILED, errno, "the pipe can't be read");
		done += (size_t)got;
	}
	if (copy[0] != cell->start[0])
		cell_lose(cell, "the pipe and the mapping have different pages");
	cell->start[0] ^= 1;
	copy[0] ^= 1;
	way_copy(cell, verification, copy, "the pipe");
	free(copy);
	way_child(cell, verification);
}

static uint64_t vmstat_field(const char *name)
{
	static struct vmstat vmstat;
	size_t i;

	/* The counters are kept by each CPU, and added up from time to time. */
	if (!file_write("/proc/sys/vm/stat_refresh", "1"))
		fail(EXIT_PREMISE, errno, "/proc/vmstat can't be brought up to date");
	vmstat_read(&vmstat);
	for (i = 0; i < vmstat.count; i++)
		if (!strcmp(vmstat.fields[i].name, name))
			return vmstat.fields[i].value;
	fail(EXIT_PREMISE, 0, "/proc/vmstat has no %s", name);
}

static uint64_t pinned_pages(void)
{
	return vmstat_field("nr_foll_pin_acquired") - vmstat_field("nr_foll_pin_released");
}

static void make_in_ring(struct cell *cell)
{
	struct io_uring_params parameters = { 0 };
	struct iovec region;

	anon_map(cell, 4);
	state_mark(cell);
	pinned_before = pinned_pages();
	region = (struct iovec){ cell->start, cell->size_bytes };
	ring = (int)syscall(SYS_io_uring_setup, 4, &parameters);
	if (ring < 0)
		fail(EXIT_PREMISE, errno, "there is no io_uring");
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &region, 1))
		fail(EXIT_PREMISE, errno, "the region can't be a fixed buffer");
}

static void prove_in_ring(struct cell *cell)
{
	uint64_t pinned = pinned_pages() - pinned_before;

	anon_prove(cell);
	if (pinned != cell->pages)
		fail(EXIT_PREMISE, 0, "%lu pages are pinned, not %zu", (unsigned long)pinned,
		     cell->pages);
}

static void verify_in_ring(struct cell *cell, struct verification *verification)
{
	uint64_t pinned = pinned_pages() - pinned_before;

	if (pinned != cell->pages)
		cell_lose(cell, "%lu pages are pinned", (unsigned long)pinned);
	way_child(cell, verification);
}

static void release_ring(struct cell *cell)
{
	(void)cell;
	if (syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0))
		fail(EXIT_FAILED, errno, "the buffer can't be taken back");
}

/*
 * A direct read takes longer than any trigger does, during which the disk may write to
 * the folios at any time: null_blk has done so at once, but the kernel doesn't know
 * before it is told. It would give up after 5 s (drivers/block/null_blk/main.c).
 */
static const struct disk slow_disk = {
	.name = "labslow", .mib = 64, .completion_ns = 4ul * 1000 * 1000 * 1000,
};
static aio_context_t requests;

static void make_in_flight(struct cell *cell)
{
	struct iocb request = { .aio_lio_opcode = IOCB_CMD_PREAD }, *list = &request;
	const char *device = disk_device(&slow_disk);
	int fd = open(device, O_RDWR | O_DIRECT | O_CLOEXEC);

	anon_map(cell, 4);
	if (fd < 0)
		fail(EXIT_PREMISE, errno, "%s can't be opened for direct I/O", device);
	if (pwrite(fd, cell->start, cell->size_bytes, 0) != (ssize_t)cell->size_bytes)
		fail(EXIT_PREMISE, errno, "%s can't be written", device);
	/* What is read has to arrive in these folios, or it is lost. */
	memset(cell->start, 0, cell->size_bytes);
	state_mark(cell);
	request.aio_fildes = (uint32_t)fd;
	request.aio_buf = (uintptr_t)cell->start;
	request.aio_nbytes = cell->size_bytes;
	if (syscall(SYS_io_setup, 1, &requests) ||
	    syscall(SYS_io_submit, requests, 1, &list) != 1)
		fail(EXIT_PREMISE, errno, "a direct read can't be started");
}

static long finished(long least)
{
	struct io_event event = { 0 };
	struct timespec none = { 0 };
	long count = syscall(SYS_io_getevents, requests, least, 1l, &event,
			     least ? NULL : &none);

	if (count < 0)
		fail(EXIT_FAILED, errno, "the direct read can't be asked for");
	if (count && event.res < 0)
		fail(EXIT_FAILED, (int)-event.res, "the direct read failed");
	return count;
}

static void prove_in_flight(struct cell *cell)
{
	anon_prove(cell);
	if (finished(0))
		fail(EXIT_PREMISE, 0, "the direct read was over before the migration");
}

static void still_in_flight(struct cell *cell)
{
	(void)cell;
	if (finished(0))
		fail(EXIT_PREMISE, 0, "the direct read was over before the migration was");
}

static void verify_in_flight(struct cell *cell, struct verification *verification)
{
	finished(1);
	way_child(cell, verification);
}

const struct folio_kind pinned_kinds[] = {
	{ .name = "pinned-pipe", .purpose = "anonymous, in a pipe by vmsplice(2)",
	  .make = make_in_pipe, .prove = prove_in_pipe, .verify = verify_in_pipe },
	{ .name = "pinned-uring", .purpose = "anonymous, a fixed buffer of io_uring",
	  .make = make_in_ring, .prove = prove_in_ring, .verify = verify_in_ring,
	  .release = release_ring },
	{ .name = "pinned-direct", .purpose = "anonymous, a direct read in flight",
	  .make = make_in_flight, .prove = prove_in_flight, .still = still_in_flight,
	  .verify = verify_in_flight },
	{ .name = NULL },
};
