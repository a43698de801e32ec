// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pattern_probe: prints as JSON what the pattern says about memory that it
 * spoils in ways given on the command line.
 *   distinct PAGES                 words that are equal to another one, in two generations
 *   flip OFFSET MASK               one byte of a page is changed
 *   other_page | other_generation  the page holds what another page, another time, held
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "report.h"

#define PAGES 1024

static int compare(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

static void print_distinct(char *memory, size_t pages)
{
	size_t words = pages * PATTERN_PAGE_BYTES / sizeof(uint64_t), i, equal = 0;
	uint64_t *all = malloc(2 * words * sizeof(*all));

	pattern_fill(memory, pages * PATTERN_PAGE_BYTES, 0);
	memcpy(all, memory, words * sizeof(*all));
	pattern_fill(memory, pages * PATTERN_PAGE_BYTES, PATTERN_MAX_GENERATION);
	memcpy(all + words, memory, words * sizeof(*all));
	qsort(all, 2 * words, sizeof(*all), compare);
	for (i = 1; i < 2 * words; i++)
		equal += all[i] == all[i - 1];
	printf("{\"words\":%zu,\"equal\":%zu,\"zero\":%d}\n", 2 * words, equal, all[0] == 0);
	free(all);
}

int main(int argc, char **argv)
{
	struct verification verification = { 0 };
	char *memory = mmap(NULL, PAGES * PATTERN_PAGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *page = memory + 3 * PATTERN_PAGE_BYTES;
	size_t i;

	if (memory == MAP_FAILED || argc < 2)
		return 1;
	if (!strcmp(argv[1], "distinct")) {
		print_distinct(memory, PAGES);
		return 0;
	}
	pattern_fill(memory, PAGES * PATTERN_PAGE_BYTES, 1);
	if (!strcmp(argv[1], "flip"))
		page[strtoul(argv[2], NULL, 0)] ^= (char)strtoul(argv[3], NULL, 0);
	else if (!strcmp(argv[1], "other_page"))
		memcpy(page, page + PATTERN_PAGE_BYTES, PATTERN_PAGE_BYTES);
	else if (!strcmp(argv[1], "other_generation"))
		pattern_fill(page, PATTERN_PAGE_BYTES, 0);
	else if (!strcmp(argv[1], "all_wrong"))
		memset(memory, 0, PAGES * PATTERN_PAGE_BYTES);
	for (i = 0; i < PAGES; i++)
		verify_page(&verification, memory + i * PATTERN_PAGE_BYTES, i, 1);
	report("{\"base\":\"%p\",", (void *)memory);
	report_verification(&verification);
	report("}");
	report_end();
	return 0;
}
