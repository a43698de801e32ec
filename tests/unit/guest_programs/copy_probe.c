// SPDX-License-Identifier: GPL-2.0-or-later
/* Checks copies of a page that was filled at an address where nothing is mapped. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "pattern.h"

#define ORIGINAL 0x7f0000001000ull

int main(void)
{
	uint64_t *copy = aligned_alloc(PATTERN_PAGE_BYTES, PATTERN_PAGE_BYTES);
	struct pattern_mismatch mismatch = { 0 };
	size_t i;
	int rc;

	if (!copy)
		return 1;
	for (i = 0; i < PATTERN_PAGE_BYTES / sizeof(*copy); i++)
		copy[i] = pattern_word(ORIGINAL + i * sizeof(*copy), 3);
	printf("%d\n", pattern_check_copy(copy, ORIGINAL, 3, &mismatch));
	((unsigned char *)copy)[5] ^= 1;
	rc = pattern_check_copy(copy, ORIGINAL, 3, &mismatch);
	printf("%d:%#" PRIx64 ":%zu\n", rc, mismatch.address, mismatch.offset);
	((unsigned char *)copy)[5] ^= 1;
	printf("%d\n", pattern_check_copy(copy, ORIGINAL + PATTERN_PAGE_BYTES, 3, &mismatch));
	free(copy);
	return 0;
}
