// SPDX-License-Identifier: GPL-2.0-or-later
/* Anonymous folios that are mapped several times: after fork(2), and merged by KSM. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "anon.h"
#include "cell.h"
#include "kernel_state.h"
#include "region.h"
#include "state.h"
#include "ways.h"

#define KSM "/sys/kernel/mm/ksm/"
#define MERGE_TIMEOUT_NS (60ull * 1000 * 1000 * 1000)

/* What the child tells; its verification and frames lie in memory of both. */
struct answer {
	struct verification verification;
	uint64_t frames[];
};

static struct answer *answer;
static pid_t child;
static int orders[2], answers[2];

/* In the child: does what each byte says until its parent is gone. */
static _Noreturn void obey(struct cell *cell)
{
	char order;
	size_t i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(orders[1]);
	close(answers[0]);
	while (read(orders[0], &order, 1) == 1) {
		if (order == 'w') {
			pattern_fill(cell->start + PAGE_BYTES, PAGE_BYTES, cell->generation + 1);
		} else {
			memset(&answer->verification, 0, sizeof(answer->verification));
			for (i = 0; i < cell->pages; i++)
				verify_page(&answer->verification, cell->start + i * PAGE_BYTES,
					    i, cell->generation);
			region_frames(cell->start, cell->pages, answer->frames);
		}
		if (write(answers[1], &order, 1) != 1)
			_exit(EXIT_FAILED);
	}
	_exit(0);
}

static void order(char what)
{
	if (write(orders[1], &what, 1) != 1 || read(answers[0], &what, 1) != 1)
		fail(EXIT_FAILED, errno, "the child doesn't answer");
}

static void make_forked(struct cell *cell)
{
	size_t size_bytes;

	anon_map(cell, 4);
	state_mark(cell);
	size_bytes = sizeof(*answer) + cell->pages * sizeof(answer->frames[0]);
	answer = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (answer == MAP_FAILED || pipe(orders) || pipe(answers))
		fail(EXIT_FAILED, errno, "nothing to talk to a child with");
	child = fork();
	if (child < 0)
		fail(EXIT_FAILED, errno, "no child can be forked");
	if (!child)
		obey(cell);
	/* When the child is gone, to ask it fails, and doesn't wait or end this process. */
	close(orders[0]);
	close(answers[1]);
	signal(SIGPIPE, SIG_IGN);
}

static void prove_forked(struct cell *cell)
{
	anon_prove(cell);
	state_assert_mappings(cell, 2);
}

/* What the child sees, added up; the first `shared_from` pages need not be common. */
static void ask_child(struct cell *cell, struct verification *verification, size_t shared_from)
{
	size_t apart = 0, i;

	order('v');
	verification->pages_verified += answer->verification.pages_verified;
	if (answer->verification.pages_wrong) {
		verification->pages_wrong += answer->verification.pages_wrong;
		cell_lose(cell, "%lu pages are wrong in the child",
			  (unsigned long)answer->verification.pages_wrong);
	}
	for (i = shared_from; i < cell->pages; i++)
		apart += answer->frames[i] != cell->frames_after[i];
	if (apart)
		cell_lose(cell, "%zu pages are no longer shared with the child", apart);
}

static void verify_forked(struct cell *cell, struct verification *verification)
{
	ask_child(cell, verification, 0);
	/* Still copied on write, in both directions? */
	pattern_fill(cell->start, PAGE_BYTES, cell->generation + 1);
	ask_child(cell, verification, 1);
	order('w');
	verify_page(verification, cell->start + PAGE_BYTES, 1, cell->generation);
}

static void release_forked(struct cell *cell)
{
	(void)cell;
	close(orders[1]);
	waitpid(child, NULL, 0);
}

static char *twin;		/* what the region is merged with */
static char pages_shared[32], pages_sharing[32];

static void write_ksm(const char *file, const char *value)
{
	if (!file_write(file, value))
		fail(EXIT_PREMISE, errno, "%s can't be written", file);
}

static void read_sharing(char *shared, char *sharing, size_t size)
{
	if (!file_read(KSM "pages_shared", shared, size) ||
	    !file_read(KSM "pages_sharing", sharing, size))
		fail(EXIT_FAILED, errno, "KSM doesn't tell what it shares");
}

static void make_merged(struct cell *cell)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
	uint64_t start_ns = monotonic_ns();

	/* Merging takes many more instructions than a migration. */
	cell->mib = 2;
	anon_map(cell, 4);
	twin = region_map(cell->size_bytes, cell->from);
	memcpy(twin, cell->start, cell->size_bytes);
	if (madvise(cell->start, cell->size_bytes, MADV_MERGEABLE) ||
	    madvise(twin, cell->size_bytes, MADV_MERGEABLE))
		fail(EXIT_PREMISE, errno, "merging can't be asked for");
	write_ksm(KSM "smart_scan", "0");
	write_ksm(KSM "pages_to_scan", "100000");
	write_ksm(KSM "sleep_millisecs", "1");
	write_ksm(KSM "run", "1");
	/* Twice each page has to be seen unchanged. */
	while (state_count(cell, FLAG(KSM)) != cell->pages) {
		if (monotonic_ns() - start_ns > MERGE_TIMEOUT_NS)
			fail(EXIT_PREMISE, ETIMEDOUT, "KSM hasn't merged the region");
		nanosleep(&pause, NULL);
	}
	/* A scan under way ends before this returns. */
	write_ksm(KSM "run", "0");
	read_sharing(pages_shared, pages_sharing, sizeof(pages_shared));
}

static void prove_merged(struct cell *cell)
{
	state_assert(cell, FLAG(KSM) | FLAG(ANON), FLAG(THP));
	state_assert_mappings(cell, 2);
	state_assert_smaps(cell, "KSM");
}

static void verify_merged(struct cell *cell, struct verification *verification)
{
	char shared[sizeof(pages_shared)], sharing[sizeof(pages_sharing)];

	read_sharing(shared, sharing, sizeof(shared));
	if (strcmp(shared, pages_shared) || strcmp(sharing, pages_sharing))
		cell_lose(cell, "what KSM shares has changed");
	way_copy(cell, verification, twin, "the other mapping of merged pages");
	/* Still copied on write? */
	pattern_fill(twin, PAGE_BYTES, cell->generation + 1);
	verify_page(verification, cell->start, 0, cell->generation);
	way_child(cell, verification);
}

static void release_merged(struct cell *cell)
{
	region_unmap(cell->start, cell->size_bytes);
	region_unmap(twin, cell->size_bytes);
	write_ksm(KSM "pages_to_scan", "100");
	write_ksm(KSM "sleep_millisecs", "20");
}

const struct folio_kind shared_kinds[] = {
	{ .name = "anon-forked", .purpose = "anonymous, shared with a child until written",
	  .make = make_forked, .prove = prove_forked, .verify = verify_forked,
	  .release = release_forked },
	{ .name = "ksm", .purpose = "anonymous, merged by KSM, mapped twice",
	  .make = make_merged, .prove = prove_merged, .verify = verify_merged,
	  .release = release_merged },
	{ .name = NULL },
};
