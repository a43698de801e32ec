/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The programs that the agent runs for the host: at most PROGRAMS_MAX at a
 * time, each known by the id that the host gave it.
 */
#ifndef LAB_AGENT_PROGRAMS_H
#define LAB_AGENT_PROGRAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROGRAMS_MAX 32

/* A longer line is forwarded in pieces of at most this many bytes. */
#define LINE_MAX_BYTES 65536

struct stream {
	const char *name;
	int fd;			/* -1 once closed */
	size_t length;		/* bytes of the unfinished line */
	char *line;
};

struct program {
	char *id;		/* NULL: the slot is free */
	pid_t pid;
	bool ready;		/* has printed an object with "event":"ready" */
	bool ended;
	bool bytes;		/* output is forwarded as it comes, not by lines */
	int wait_status;	/* valid once ended */
	struct stream out;
	struct stream err;
};

/* Sets up the notice of ended children. Once, before any program starts. */
void programs_init(void);

/*
 * Starts argv[0] (looked up in PATH) in `directory`, or where the agent is if
 * that is NULL. With `bytes`, its output is forwarded byte by byte as it comes,
 * otherwise by lines. NULL and errno set if it can't be started; EEXIST if the
 * id is in use.
 */
struct program *program_start(const char *id, char *const argv[],
			      const char *directory, bool bytes);

struct program *program_find(const char *id);

/*
 * Sleeps until a program wrote or ended, forwards what was written, and reaps
 * every ended child, orphans included.
 */
void programs_pump(void);

/* Sends the program's end to the host and frees its slot. */
void program_finish(struct program *program);

#endif
