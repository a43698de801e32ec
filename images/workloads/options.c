// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "report.h"

#define OPTIONS_MAX 32

_Noreturn static void refuse(const char *usage, const char *option, const char *why)
{
	fputs(usage, stderr);
	/* An option of ours may be quoted in JSON; what a user typed may not. */
	if (option)
		fail(EXIT_USAGE, EINVAL, "--%s %s", option, why);
	fail(EXIT_USAGE, EINVAL, "%s", why);
}

static unsigned long parse(const char *usage, const struct option_number *number,
			   const char *text)
{
	unsigned long value;
	char *end;

	if (!text)
		refuse(usage, number->name, "needs a value");
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end)
		refuse(usage, number->name, "needs a decimal number");
	if (value < number->minimum || value > number->maximum)
		refuse(usage, number->name, "is out of bounds");
	return value;
}

static const struct option_number *find_number(const struct option_number *numbers,
					       const char *name)
{
	for (; numbers->name; numbers++)
		if (!strcmp(numbers->name, name))
			return numbers;
	return NULL;
}

static const struct option_flag *find_flag(const struct option_flag *flags, const char *name)
{
	for (; flags->name; flags++)
		if (!strcmp(flags->name, name))
			return flags;
	return NULL;
}

void options_read(int argc, char **argv, const char *usage,
		  const struct option_number *numbers, const struct option_flag *flags)
{
	const struct option_number *number;
	bool given[OPTIONS_MAX] = { false };
	int i;

	for (i = 1; i < argc; i++) {
		const char *name = argv[i] + 2;
		const struct option_flag *flag;

		if (!strcmp(argv[i], "--help")) {
			fputs(usage, stderr);
			exit(0);
		}
		if (strncmp(argv[i], "--", 2))
			refuse(usage, NULL, "an argument is no option");
		flag = find_flag(flags, name);
		number = find_number(numbers, name);
		if (!flag && !number)
			refuse(usage, NULL, "there is no such option");
		if (flag) {
			*flag->value = true;
			continue;
		}
		if (given[number - numbers])
			refuse(usage, number->name, "is given twice");
		given[number - numbers] = true;
		*number->value = parse(usage, number, argv[++i]);
	}
	for (number = numbers; number->name; number++)
		if (!number->optional && !given[number - numbers])
			refuse(usage, number->name, "is missing");
}

void pin_to_cpu(unsigned long cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail(EXIT_FAILED, errno, "can't run on CPU %lu", cpu);
}
