/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Command lines of the workloads: every option named, every value checked. */
#ifndef LAB_OPTIONS_H
#define LAB_OPTIONS_H

#include <stdbool.h>

struct option_number {
	const char *name;		/* without the dashes */
	unsigned long *value;
	unsigned long minimum;
	unsigned long maximum;
	bool optional;			/* else it must be given */
};

struct option_flag {
	const char *name;
	bool *value;
};

/*
 * Reads `--name VALUE` and `--name`; both lists end with a NULL name. Anything
 * else, a value out of bounds and an option given twice end the program with
 * EXIT_USAGE, a JSON error on stdout and the usage on stderr.
 */
void options_read(int argc, char **argv, const char *usage,
		  const struct option_number *numbers, const struct option_flag *flags);

/* Binds the calling task to one CPU, or fails. */
void pin_to_cpu(unsigned long cpu);

#endif
