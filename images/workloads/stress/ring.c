// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Buffers that are registered with io_uring: pinned for long. They must not move, and
 * whoever wants to move them has to be told so; when they are given back, they move.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "gup.h"
#include "region.h"

#define RING_PAGES 32
#define RING_ENTRIES 4

struct ring {
	int file, disk;
	_Atomic uint32_t *sq_tail, *cq_head, *cq_tail;
	uint32_t sq_mask, cq_mask;
	uint32_t *sq_array;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static void *map_ring(int file, size_t size_bytes, off_t offset)
{
	void *mapping = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_POPULATE, file, offset);

	if (mapping == MAP_FAILED)
		fail(EXIT_FAILED, errno, "a ring can't be mapped");
	return mapping;
}

static void ring_open(struct ring *ring)
{
	struct io_uring_params params = { 0 };
	char *sq, *cq;

	ring->file = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, &params);
	if (ring->file < 0)
		fail(EXIT_PREMISE, errno, "io_uring can't be set up");
	sq = map_ring(ring->file, params.sq_off.array + params.sq_entries * sizeof(uint32_t),
		      IORING_OFF_SQ_RING);
	cq = map_ring(ring->file,
		      params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
		      IORING_OFF_CQ_RING);
	ring->sqes = map_ring(ring->file, params.sq_entries * sizeof(*ring->sqes),
			      IORING_OFF_SQES);
	ring->sq_tail = (void *)(sq + params.sq_off.tail);
	ring->sq_mask = params.sq_entries - 1;
	ring->sq_array = (void *)(sq + params.sq_off.array);
	ring->cq_head = (void *)(cq + params.cq_off.head);
	ring->cq_tail = (void *)(cq + params.cq_off.tail);
	ring->cq_mask = params.cq_entries - 1;
	ring->cqes = (void *)(cq + params.cq_off.cqes);
	ring->disk = gup_open_disk();
}

/* One transfer between the registered buffer and the disk, waited for. */
static void ring_transfer(struct ring *ring, bool out, void *buffer, size_t page, size_t count)
{
	uint32_t tail = *ring->sq_tail, head = *ring->cq_head;
	struct io_uring_sqe *sqe = &ring->sqes[tail & ring->sq_mask];
	int32_t seen;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = out ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
	sqe->fd = ring->disk;
	sqe->addr = (uintptr_t)buffer;
	sqe->len = (uint32_t)(count * PAGE_BYTES);
	sqe->off = page * PAGE_BYTES;
	ring->sq_array[tail & ring->sq_mask] = tail & ring->sq_mask;
	atomic_store_explicit(ring->sq_tail, tail + 1, memory_order_release);
	if (syscall(SYS_io_uring_enter, ring->file, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		fail(EXIT_FAILED, errno, "a transfer can't be submitted");
	while (atomic_load_explicit(ring->cq_tail, memory_order_acquire) == head)
		if (syscall(SYS_io_uring_enter, ring->file, 0, 1, IORING_ENTER_GETEVENTS, NULL,
			    0) < 0 && errno != EINTR)
			fail(EXIT_FAILED, errno, "a transfer can't be waited for");
	seen = ring->cqes[head & ring->cq_mask].res;
	atomic_store_explicit(ring->cq_head, head + 1, memory_order_release);
	if (seen != (int32_t)(count * PAGE_BYTES))
		fail(EXIT_FAILED, seen < 0 ? -seen : 0, "a transfer of %zu pages fell short",
		     count);
}

/* To the node where each page is not. Only what the kernel refuses is left in place. */
static void try_to_move(struct stress *stress, char *run, size_t count, int *status)
{
	int nodes[RING_PAGES];
	void *addresses[RING_PAGES];
	size_t i;

	for (i = 0; i < count; i++)
		addresses[i] = run + i * PAGE_BYTES;
	if (syscall(SYS_move_pages, 0, count, addresses, NULL, nodes, 0))
		fail(EXIT_FAILED, errno, "the pages' nodes can't be asked for");
	for (i = 0; i < count; i++)
		nodes[i] = nodes[i] == (int)stress->to ? (int)stress->from : (int)stress->to;
	move_pages_of(stress, 0, run, count, nodes, status);
	for (i = 0; i < count; i++)
		status[i] = status[i] == nodes[i] ? 0 : -EBUSY;
}

/* As long as they are registered, neither this task nor any mover may get them. */
static void assert_pinned(struct stress *stress, char *run, size_t count,
			  const uint64_t *frames)
{
	uint64_t after[RING_PAGES];
	int status[RING_PAGES];
	size_t i;

	try_to_move(stress, run, count, status);
	region_frames(run, count, after);
	for (i = 0; i < count; i++) {
		if (status[i] && after[i] == frames[i])
			stress->tally->pinned_refused++;
		else
			stress->tally->pinned_moved++;
	}
}

static void use_registered(struct stress *stress, struct ring *ring, struct chance *chance,
			   void *buffer, size_t first, size_t count)
{
	struct pages *pages = &stress->pages;
	char *run = pages->start + first * PAGE_BYTES;
	uint64_t frames[RING_PAGES];
	size_t i;

	region_frames(run, count, frames);
	/* In: from the disk, which this thread has filled from a buffer of its own. */
	gup_fill(pages, buffer, first, count);
	if (pwrite(ring->disk, buffer, count * PAGE_BYTES, (off_t)(first * PAGE_BYTES)) !=
	    (ssize_t)(count * PAGE_BYTES))
		fail(EXIT_FAILED, errno, "the disk can't be written");
	ring_transfer(ring, false, run, first, count);
	gup_written(pages, first, count);
	assert_pinned(stress, run, count, frames);
	gup_check(stress, first, count, "a registered buffer");
	/* Out, after the CPU has written. */
	for (i = 0; i < count; i++)
		pages_write(stress, pages, first + i);
	task_sleep_us(chance_below(chance, 2000));
	ring_transfer(ring, true, run, first, count);
	assert_pinned(stress, run, count, frames);
	if (pread(ring->disk, buffer, count * PAGE_BYTES, (off_t)(first * PAGE_BYTES)) !=
	    (ssize_t)(count * PAGE_BYTES))
		fail(EXIT_FAILED, errno, "the disk can't be read");
	gup_check_copy(stress, buffer, first, count, "the disk behind a registered buffer");
	stress->tally->ring_copies += 2 * count;
}

void *gup_use_ring(void *argument)
{
	struct stress *stress = argument;
	struct chance chance = chance_of(stress, 5000);
	void *buffer = gup_buffer(RING_PAGES);
	struct ring ring;
	int status[RING_PAGES];
	size_t i;

	ring_open(&ring);
	while (!over(stress)) {
		size_t count = 1 + chance_below(&chance, RING_PAGES);
		size_t first = gup_choose(stress, &chance, GUP_RING, count);
		char *run = stress->pages.start + first * PAGE_BYTES;
		struct iovec registered = { run, count * PAGE_BYTES };

		if (syscall(SYS_io_uring_register, ring.file, IORING_REGISTER_BUFFERS,
			    &registered, 1))
			fail(EXIT_FAILED, errno, "%zu pages can't be registered", count);
		stress->tally->pins += count;
		use_registered(stress, &ring, &chance, buffer, first, count);
		if (syscall(SYS_io_uring_register, ring.file, IORING_UNREGISTER_BUFFERS, NULL, 0))
			fail(EXIT_FAILED, errno, "buffers can't be given back");
		/* Once they are free they move, unless a mover has them just now. */
		try_to_move(stress, run, count, status);
		for (i = 0; i < count; i++)
			stress->tally->unpinned_arrived += !status[i];
		gup_check(stress, first, count, "a buffer given back");
	}
	close(ring.disk);
	close(ring.file);
	return NULL;
}
