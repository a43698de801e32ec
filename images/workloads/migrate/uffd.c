// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Anonymous folios of a region that is registered with userfaultfd(2), for missing
 * pages or for writes to protected ones. Faults come as SIGBUS, so that no second
 * thread is needed to see them (Documentation/admin-guide/mm/userfaultfd.rst).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "anon.h"
#include "cell.h"
#include "region.h"
#include "state.h"
#include "ways.h"

static sigjmp_buf on_fault;
static int uffd;

static void jump_back(int number)
{
	(void)number;
	siglongjmp(on_fault, 1);
}

static void register_region(const struct cell *cell, unsigned long long mode)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_SIGBUS };
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)cell->start, .len = cell->size_bytes },
		.mode = mode,
	};
	struct sigaction action = { .sa_handler = jump_back };

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &range))
		fail(EXIT_PREMISE, errno, "the region can't be registered with userfaultfd");
	sigaction(SIGBUS, &action, NULL);
}

/* Does a write to this page fault? If not, it is written and right as before. */
static int write_faults(const struct cell *cell, size_t page)
{
	volatile uint64_t *word = (volatile uint64_t *)(void *)(cell->start + page * PAGE_BYTES);

	if (sigsetjmp(on_fault, 1))
		return 1;
	*word = pattern_word((uintptr_t)word, cell->generation);
	return 0;
}

/* Every second page, so that a migration can mix them up. */
static void make_protected(struct cell *cell)
{
	size_t i;

	anon_map(cell, 4);
	state_mark(cell);
	register_region(cell, UFFDIO_REGISTER_MODE_WP);
	for (i = 0; i < cell->pages; i += 2) {
		struct uffdio_writeprotect one = {
			.range = { .start = (uintptr_t)cell->start + i * PAGE_BYTES,
				   .len = PAGE_BYTES },
			.mode = UFFDIO_WRITEPROTECT_MODE_WP,
		};

		if (ioctl(uffd, UFFDIO_WRITEPROTECT, &one))
			fail(EXIT_PREMISE, errno, "a page can't be write-protected");
	}
}

static void prove_protected(struct cell *cell)
{
	size_t i, wrong = 0;

	anon_prove(cell);
	/* Only protected pages may be tried: a write to the others would mark them. */
	for (i = 0; i < cell->pages; i += 2)
		wrong += !write_faults(cell, i);
	if (wrong)
		fail(EXIT_PREMISE, 0, "%zu pages are not write-protected", wrong);
}

static void verify_protected(struct cell *cell, struct verification *verification)
{
	size_t i, wrong = 0;

	for (i = 0; i < cell->pages; i++)
		wrong += write_faults(cell, i) != (i % 2 == 0);
	if (wrong)
		cell_lose(cell, "write protection of %zu pages is not as it was", wrong);
	way_child(cell, verification);
}

static void make_registered(struct cell *cell)
{
	anon_map(cell, 4);
	state_mark(cell);
	register_region(cell, UFFDIO_REGISTER_MODE_MISSING);
}

static void verify_registered(struct cell *cell, struct verification *verification)
{
	way_child(cell, verification);
	if (madvise(cell->start, PAGE_BYTES, MADV_DONTNEED))
		fail(EXIT_FAILED, errno, "a page can't be dropped");
	if (!write_faults(cell, 0))
		cell_lose(cell, "a missing page doesn't fault any more");
	if (write_faults(cell, 1))
		cell_lose(cell, "a page that is there faults");
}

const struct folio_kind uffd_kinds[] = {
	{ .name = "uffd-wp", .purpose = "anonymous, every second page write-protected",
	  .make = make_protected, .prove = prove_protected, .verify = verify_protected },
	{ .name = "uffd-missing", .purpose = "anonymous, registered for missing pages",
	  .make = make_registered, .prove = anon_prove, .verify = verify_registered },
	{ .name = NULL },
};
