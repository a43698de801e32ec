// SPDX-License-Identifier: GPL-2.0-or-later
#include "pattern.h"

#define PAGE_WORDS (PATTERN_PAGE_BYTES / sizeof(uint64_t))

/*
 * Multiplication by an odd number is a bijection of the 64-bit words, so that
 * distinct keys stay distinct. This one (2^64 divided by the golden ratio)
 * spreads neighbours over all bits. The word after a word is one addition away.
 */
#define STEP 0x9e3779b97f4a7c15ull
#define STEP_INVERSE 0xf1de83e19937733dull

/*
 * Keys of two generations never meet: addresses in words stay below 2^45 even
 * with a generation added. Adding it as well spreads it over all bytes.
 */
#define GENERATION ((1ull << 45) + 1)

uint64_t pattern_word(uint64_t address, uint32_t generation)
{
	return (address / sizeof(uint64_t) + generation * GENERATION) * STEP;
}

int pattern_generation(uint64_t address, uint64_t word, uint32_t *generation)
{
	uint64_t times = word * STEP_INVERSE - address / sizeof(uint64_t);

	/* The lower bits of GENERATION are 1: up to 2^45 the product is its factor there. */
	*generation = (uint32_t)(times & PATTERN_MAX_GENERATION);
	return times == *generation * GENERATION ? 0 : -1;
}

void pattern_fill(void *start, size_t size_bytes, uint32_t generation)
{
	pattern_fill_for(start, (uintptr_t)start, size_bytes, generation);
}

void pattern_fill_for(void *buffer, uint64_t address, size_t size_bytes, uint32_t generation)
{
	uint64_t word = pattern_word(address, generation);
	uint64_t *words = buffer;
	size_t i;

	/* Most of a guest's instructions are spent here and in the comparison below. */
#pragma GCC unroll 8
	for (i = 0; i < size_bytes / sizeof(*words); i++, word += STEP)
		words[i] = word;
}

static void describe(const uint64_t *words, uint64_t address, uint32_t generation,
		     struct pattern_mismatch *mismatch)
{
	size_t i, byte;

	mismatch->bytes_wrong = 0;
	for (i = 0; i < PAGE_WORDS; i++) {
		uint64_t expected = pattern_word(address + i * sizeof(*words), generation);
		uint64_t difference = words[i] ^ expected;

		/* Little endian: the lowest byte has the lowest address. */
		for (byte = 0; byte < sizeof(difference); byte++) {
			if (!((difference >> (8 * byte)) & 0xff))
				continue;
			if (mismatch->bytes_wrong++)
				continue;
			mismatch->offset = i * sizeof(*words) + byte;
			mismatch->address = address + mismatch->offset;
			mismatch->expected = expected;
			mismatch->seen = words[i];
		}
	}
}

int pattern_check_copy(const void *copy, uint64_t address, uint32_t generation,
		       struct pattern_mismatch *mismatch)
{
	uint64_t word = pattern_word(address, generation);
	const uint64_t *words = copy;
	uint64_t difference = 0;
	size_t i;

#pragma GCC unroll 8
	for (i = 0; i < PAGE_WORDS; i++, word += STEP)
		difference |= words[i] ^ word;
	if (!difference)
		return 0;
	describe(words, address, generation, mismatch);
	return 1;
}

int pattern_check_page(const void *page, uint32_t generation,
		       struct pattern_mismatch *mismatch)
{
	return pattern_check_copy(page, (uintptr_t)page, generation, mismatch);
}
