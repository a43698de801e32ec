/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every page of a workload contains: each 8-byte word is a function of
 * its own virtual address and of a generation, and no two words are equal.
 *
 * A page whose contents did not arrive shows whatever its frame held before.
 * If that was the same page in an earlier life (moved away and back), the
 * address alone would not tell: write a new generation before each move.
 */
#ifndef LAB_PATTERN_H
#define LAB_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#define PATTERN_PAGE_BYTES 4096

/* Generations are distinct up to this one. */
#define PATTERN_MAX_GENERATION ((1u << 16) - 1)

/* One page that is not as it should be. */
struct pattern_mismatch {
	uint64_t address;	/* virtual, of the first wrong byte */
	size_t offset;		/* of that byte in its page */
	uint64_t expected;	/* the aligned word around it */
	uint64_t seen;
	size_t bytes_wrong;	/* in the whole page */
};

/* The word at this virtual address, a multiple of 8 below 2^48. */
uint64_t pattern_word(uint64_t address, uint32_t generation);

/*
 * The generation of which `word` is the word at this address. Returns 0 and sets
 * `generation`, or -1 if it is the word of none up to PATTERN_MAX_GENERATION.
 */
int pattern_generation(uint64_t address, uint64_t word, uint32_t *generation);

/* Writes the words of `size_bytes` (whole pages) at `start`. */
void pattern_fill(void *start, size_t size_bytes, uint32_t generation);

/* Writes to `buffer` what belongs to `address`: content on its way there. */
void pattern_fill_for(void *buffer, uint64_t address, size_t size_bytes, uint32_t generation);

/*
 * Compares one page, every word of it. Returns 0 if all is well, else 1 with
 * `mismatch` filled in.
 */
int pattern_check_page(const void *page, uint32_t generation,
		       struct pattern_mismatch *mismatch);

/*
 * The same for a copy of a page that was filled at `address`: what a file, another
 * mapping or another process has of it. `mismatch` names the original's address.
 */
int pattern_check_copy(const void *copy, uint64_t address, uint32_t generation,
		       struct pattern_mismatch *mismatch);

#endif
