/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a workload tells the host: one JSON object a line on stdout. */
#ifndef LAB_REPORT_H
#define LAB_REPORT_H

#include <stdint.h>

#include "pattern.h"

/* Exit statuses that all workloads share. */
enum {
	EXIT_FAILED = 1,	/* something could not be done */
	EXIT_USAGE = 2,
	EXIT_PREMISE = 3,	/* the result would mean nothing */
};

/* Wrong pages that are described one by one; the rest is only counted. */
#define REPORT_MAX_WRONG 16

struct verification {
	uint64_t pages_verified;
	uint64_t pages_wrong;
	struct {
		uint64_t page;	/* index in the workload's region */
		struct pattern_mismatch mismatch;
	} wrong[REPORT_MAX_WRONG];
};

/* Checks one page against its pattern and counts it. */
void verify_page(struct verification *verification, const void *page,
		 uint64_t index, uint32_t generation);

/* The same for a copy of a page that was filled at `address`. */
void verify_copy(struct verification *verification, const void *copy, uint64_t address,
		 uint64_t index, uint32_t generation);

/* printf to stdout. Values must need no escaping. */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "pages_verified":…,"pages_wrong":…,"wrong":[…], to stand in an object. */
void report_verification(const struct verification *verification);

/* Ends the line and makes sure that it has left. */
void report_end(void);

/*
 * {"event":"error",…} with errno `error` (0: none), then exit(status). `what`
 * must need no escaping.
 */
_Noreturn void fail(int status, int error, const char *what, ...)
	__attribute__((format(printf, 3, 4)));

#endif
