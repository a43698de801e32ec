// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include "stress.h"

/* xorshift64*: never 0, and good enough to choose pages by. */
struct chance chance_of(const struct stress *stress, uint64_t task)
{
	struct chance chance = {
		(stress->seed + 1) * 0x9e3779b97f4a7c15ull ^ (task + 1) * 0xbf58476d1ce4e5b9ull
	};
	int i;

	if (!chance.state)
		chance.state = 1;
	for (i = 0; i < 8; i++)
		chance_below(&chance, 1);
	return chance;
}

uint64_t chance_below(struct chance *chance, uint64_t limit)
{
	chance->state ^= chance->state >> 12;
	chance->state ^= chance->state << 25;
	chance->state ^= chance->state >> 27;
	return ((chance->state * 0x2545f4914f6cdd1dull) >> 32) % limit;
}

struct tally *tally_new(void)
{
	struct tally *tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (tally == MAP_FAILED)
		fail(EXIT_FAILED, errno, "no memory for the tally");
	return tally;
}

void tally_wrong(struct tally *tally, const char *who, uint64_t page,
		 const struct pattern_mismatch *mismatch)
{
	uint32_t slot;

	tally->pages_wrong++;
	slot = tally->nr_wrong++;
	if (slot >= REPORT_MAX_WRONG)
		return;
	tally->wrong[slot].who = who;
	tally->wrong[slot].page = page;
	tally->wrong[slot].mismatch = *mismatch;
	tally->wrong[slot].ready = true;
}

void tally_surprise(struct tally *tally, const char *format, ...)
{
	va_list arguments;
	uint32_t slot;

	tally->surprises++;
	slot = tally->nr_surprise++;
	if (slot >= REPORT_MAX_WRONG)
		return;
	va_start(arguments, format);
	vsnprintf(tally->surprise[slot].text, sizeof(tally->surprise[slot].text), format,
		  arguments);
	va_end(arguments);
	tally->surprise[slot].ready = true;
}

static void report_pages(const struct tally *tally)
{
	struct verification found = {
		.pages_verified = tally->pages_verified,
		.pages_wrong = tally->pages_wrong,
	};
	const char *separator = "";
	size_t i;

	for (i = 0; i < REPORT_MAX_WRONG && tally->wrong[i].ready; i++) {
		found.wrong[i].page = tally->wrong[i].page;
		found.wrong[i].mismatch = tally->wrong[i].mismatch;
	}
	report_verification(&found);
	report(",\"seen_by\":[");
	for (i = 0; i < REPORT_MAX_WRONG && tally->wrong[i].ready; i++) {
		report("%s\"%s\"", separator, tally->wrong[i].who);
		separator = ",";
	}
	report("],\"surprise\":[");
	separator = "";
	for (i = 0; i < REPORT_MAX_WRONG && tally->surprise[i].ready; i++) {
		report("%s\"%s\"", separator, tally->surprise[i].text);
		separator = ",";
	}
	report("]");
}

#define COUNT(field) { #field, &tally->field }

void tally_report(const struct tally *tally)
{
	const struct {
		const char *name;
		const _Atomic uint64_t *value;
	} counts[] = {
		COUNT(writes), COUNT(looks), COUNT(move_calls), COUNT(pages_arrived),
		COUNT(pages_busy), COUNT(pages_absent), COUNT(compactions), COUNT(migrations),
		COUNT(gup_writes), COUNT(direct_reads), COUNT(direct_writes),
		COUNT(ring_copies), COUNT(pins), COUNT(pinned_refused), COUNT(pinned_moved),
		COUNT(unpinned_arrived), COUNT(forks), COUNT(unmaps), COUNT(zaps),
		COUNT(toggles), COUNT(counts), COUNT(masks), COUNT(resets), COUNT(refusals),
		COUNT(unloads), COUNT(unloads_refused), COUNT(rivals), COUNT(cpus_off),
		COUNT(blocks_off), COUNT(blocks_refused), COUNT(blocks_holed),
		COUNT(late_writes), COUNT(late_retries), COUNT(surprises),
	};
	size_t i;

	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		report("\"%s\":%" PRIu64 ",", counts[i].name, *counts[i].value);
	report_pages(tally);
}
