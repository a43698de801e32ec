// SPDX-License-Identifier: GPL-2.0-or-later
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "report.h"

void verify_copy(struct verification *verification, const void *copy, uint64_t address,
		 uint64_t index, uint32_t generation)
{
	struct pattern_mismatch mismatch;
	uint64_t number;

	verification->pages_verified++;
	if (!pattern_check_copy(copy, address, generation, &mismatch))
		return;
	number = verification->pages_wrong++;
	if (number < REPORT_MAX_WRONG) {
		verification->wrong[number].page = index;
		verification->wrong[number].mismatch = mismatch;
	}
}

void verify_page(struct verification *verification, const void *page,
		 uint64_t index, uint32_t generation)
{
	verify_copy(verification, page, (uintptr_t)page, index, generation);
}

void report(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
}

void report_verification(const struct verification *verification)
{
	uint64_t i, listed = verification->pages_wrong;

	if (listed > REPORT_MAX_WRONG)
		listed = REPORT_MAX_WRONG;
	report("\"pages_verified\":%" PRIu64 ",\"pages_wrong\":%" PRIu64 ",\"wrong\":[",
	       verification->pages_verified, verification->pages_wrong);
	for (i = 0; i < listed; i++) {
		const struct pattern_mismatch *mismatch = &verification->wrong[i].mismatch;

		report("%s{\"address\":\"%#" PRIx64 "\",\"page\":%" PRIu64 ",\"offset\":%zu,"
		       "\"bytes_wrong\":%zu,\"expected\":\"%#018" PRIx64 "\","
		       "\"seen\":\"%#018" PRIx64 "\"}",
		       i ? "," : "", mismatch->address, verification->wrong[i].page,
		       mismatch->offset, mismatch->bytes_wrong, mismatch->expected,
		       mismatch->seen);
	}
	report("]");
}

void report_end(void)
{
	putchar('\n');
	/* A result that nobody hears of is no result. */
	if (fflush(stdout))
		_Exit(EXIT_FAILED);
}

_Noreturn void fail(int status, int error, const char *what, ...)
{
	va_list arguments;

	report("{\"event\":\"error\",\"what\":\"");
	va_start(arguments, what);
	vprintf(what, arguments);
	va_end(arguments);
	report("\",\"errno\":%d}", error);
	report_end();
	exit(status);
}
