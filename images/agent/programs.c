// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Starting programs, forwarding what they print, and reaping them.
 *
 * The end of a program is noticed through a self-pipe that the SIGCHLD handler
 * writes to, so that one poll() waits for output and ends alike.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "json.h"
#include "mailbox.h"
#include "programs.h"

#define READ_BYTES 16384

static struct program programs[PROGRAMS_MAX];
static int child_pipe[2];

static void on_child(int number)
{
	int saved = errno;
	ssize_t ignored = write(child_pipe[1], "", 1);

	/* A full pipe has woken poll() already. */
	(void)ignored;
	(void)number;
	errno = saved;
}

void programs_init(void)
{
	struct sigaction action = { .sa_handler = on_child, .sa_flags = SA_RESTART };

	if (pipe2(child_pipe, O_CLOEXEC | O_NONBLOCK))
		abort();
	sigaction(SIGCHLD, &action, NULL);
}

struct program *program_find(const char *id)
{
	size_t i;

	for (i = 0; i < PROGRAMS_MAX; i++)
		if (programs[i].id && !strcmp(programs[i].id, id))
			return &programs[i];
	return NULL;
}

/* A "ready" event: {"event": "ready"…, as the workloads print it. */
static bool announces_ready(const char *line, size_t length)
{
	static const char key[] = "\"event\"", value[] = "\"ready\"";
	const char *at = memmem(line, length, key, sizeof(key) - 1);
	const char *end = line + length;

	if (!at)
		return false;
	at += sizeof(key) - 1;
	while (at < end && (*at == ' ' || *at == '\t' || *at == ':'))
		at++;
	return (size_t)(end - at) >= sizeof(value) - 1 &&
	       !memcmp(at, value, sizeof(value) - 1);
}

static void forward(struct program *program, struct stream *stream, size_t length)
{
	bool result = stream == &program->out && json_is_object(stream->line, length);

	mailbox_sendf("{\"type\":\"%s\",\"id\":", result ? "result" : "output");
	mailbox_send_json_string(program->id, strlen(program->id));
	if (result) {
		mailbox_sendf(",\"data\":");
		mailbox_send(stream->line, length);
		program->ready |= announces_ready(stream->line, length);
	} else {
		mailbox_sendf(",\"stream\":\"%s\",\"data\":", stream->name);
		mailbox_send_json_string(stream->line, length);
	}
	mailbox_sendf("}\n");
}

/* Forwards the first `length` bytes and drops `dropped` of them. */
static void forward_and_drop(struct program *program, struct stream *stream,
			     size_t length, size_t dropped)
{
	forward(program, stream, length);
	stream->length -= dropped;
	memmove(stream->line, stream->line + dropped, stream->length);
}

static void forward_lines(struct program *program, struct stream *stream)
{
	char *newline;

	while ((newline = memchr(stream->line, '\n', stream->length)) != NULL) {
		size_t length = (size_t)(newline - stream->line);

		forward_and_drop(program, stream, length, length + 1);
	}
	if (stream->length == LINE_MAX_BYTES) {
		size_t cut = utf8_whole_prefix(stream->line, stream->length);

		forward_and_drop(program, stream, cut, cut);
	}
}

static void stream_close(struct program *program, struct stream *stream)
{
	if (stream->fd < 0)
		return;
	if (stream->length)
		forward_and_drop(program, stream, stream->length, stream->length);
	close(stream->fd);
	stream->fd = -1;
	free(stream->line);
	stream->line = NULL;
}

static void forward_bytes(struct program *program, struct stream *stream)
{
	mailbox_sendf("{\"type\":\"bytes\",\"id\":");
	mailbox_send_json_string(program->id, strlen(program->id));
	mailbox_sendf(",\"stream\":\"%s\",\"data\":", stream->name);
	mailbox_send_base64(stream->line, stream->length);
	mailbox_sendf("}\n");
	stream->length = 0;
}

/* One read. False if there is nothing to read at the moment, or nothing more. */
static bool stream_read(struct program *program, struct stream *stream)
{
	size_t room = LINE_MAX_BYTES - stream->length;
	ssize_t got;

	if (stream->fd < 0)
		return false;
	got = read(stream->fd, stream->line + stream->length,
		   room < READ_BYTES ? room : READ_BYTES);
	if (got < 0)
		return errno == EINTR;
	if (!got) {
		stream_close(program, stream);
		return false;
	}
	stream->length += (size_t)got;
	if (program->bytes)
		forward_bytes(program, stream);
	else
		forward_lines(program, stream);
	return true;
}

static void reap(void)
{
	char drain[64];
	int status;
	size_t i;
	pid_t pid;

	while (read(child_pipe[0], drain, sizeof(drain)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (i = 0; i < PROGRAMS_MAX; i++) {
			if (!programs[i].id || programs[i].ended || programs[i].pid != pid)
				continue;
			programs[i].ended = true;
			programs[i].wait_status = status;
		}
	}
}

void programs_pump(void)
{
	struct pollfd polls[2 * PROGRAMS_MAX + 1];
	nfds_t count = 0;
	size_t i;

	polls[count++] = (struct pollfd){ .fd = child_pipe[0], .events = POLLIN };
	for (i = 0; i < PROGRAMS_MAX; i++) {
		if (!programs[i].id)
			continue;
		/* poll() skips negative descriptors. */
		polls[count++] = (struct pollfd){ .fd = programs[i].out.fd, .events = POLLIN };
		polls[count++] = (struct pollfd){ .fd = programs[i].err.fd, .events = POLLIN };
	}
	if (poll(polls, count, -1) < 0 && errno != EINTR)
		abort();
	reap();
	for (i = 0; i < PROGRAMS_MAX; i++) {
		if (!programs[i].id)
			continue;
		stream_read(&programs[i], &programs[i].out);
		stream_read(&programs[i], &programs[i].err);
	}
}

static bool stream_open(struct stream *stream, const char *name, int *write_fd)
{
	int ends[2];

	stream->line = malloc(LINE_MAX_BYTES);
	if (!stream->line || pipe2(ends, O_CLOEXEC))
		return false;
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	stream->name = name;
	stream->fd = ends[0];
	stream->length = 0;
	*write_fd = ends[1];
	return true;
}

static void stream_discard(struct stream *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	free(stream->line);
}

/* In the child: becomes the program, or says through `failure` why not. */
static void become(char *const argv[], const char *directory, int out, int err, int failure)
{
	struct sigaction action = { .sa_handler = SIG_DFL };
	int null = open("/dev/null", O_RDONLY);
	int number;

	sigaction(SIGCHLD, &action, NULL);
	setpgid(0, 0);
	if (null >= 0 && dup2(null, 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2 &&
	    (!directory || !chdir(directory))) {
		if (null > 2)
			close(null);
		execvp(argv[0], argv);
	}
	number = errno;
	if (write(failure, &number, sizeof(number)) < 0)
		_exit(126);
	_exit(127);
}

/* 0, or the errno with which the child failed to become the program. */
static int fork_program(struct program *program, char *const argv[], const char *directory,
			int out, int err)
{
	int failure[2], number = 0;

	if (pipe2(failure, O_CLOEXEC))
		return errno;
	program->pid = fork();
	if (program->pid == 0)
		become(argv, directory, out, err, failure[1]);
	if (program->pid < 0)
		number = errno;
	close(failure[1]);
	/* End of file: exec closed the pipe. A failed child is reaped with the orphans. */
	if (program->pid > 0 && read(failure[0], &number, sizeof(number)) < 0)
		number = errno;
	close(failure[0]);
	return number;
}

struct program *program_start(const char *id, char *const argv[],
			      const char *directory, bool bytes)
{
	struct program *program = NULL;
	int out = -1, err = -1, number;
	size_t i;

	if (program_find(id)) {
		errno = EEXIST;
		return NULL;
	}
	for (i = 0; i < PROGRAMS_MAX && !program; i++)
		if (!programs[i].id)
			program = &programs[i];
	if (!program) {
		errno = EAGAIN;
		return NULL;
	}
	*program = (struct program){ .out.fd = -1, .err.fd = -1, .bytes = bytes };
	if (stream_open(&program->out, "stdout", &out) &&
	    stream_open(&program->err, "stderr", &err))
		number = fork_program(program, argv, directory, out, err);
	else
		number = errno;
	if (out >= 0)
		close(out);
	if (err >= 0)
		close(err);
	if (!number) {
		program->id = strdup(id);
		if (!program->id)
			abort();
	}
	if (number) {
		stream_discard(&program->out);
		stream_discard(&program->err);
		errno = number;
		return NULL;
	}
	return program;
}

/*
 * What the program wrote before its end is in the pipe. Descendants that still
 * hold it open are not waited for, nor can they keep us here: a pipe holds 64 KiB.
 */
static void stream_drain(struct program *program, struct stream *stream)
{
	int reads = 64;

	while (reads-- && stream_read(program, stream))
		;
	stream_close(program, stream);
}

void program_finish(struct program *program)
{
	int status = program->wait_status;

	stream_drain(program, &program->out);
	stream_drain(program, &program->err);
	mailbox_sendf("{\"type\":\"exit\",\"id\":");
	mailbox_send_json_string(program->id, strlen(program->id));
	if (WIFSIGNALED(status))
		mailbox_sendf(",\"signal\":%d}\n", WTERMSIG(status));
	else
		mailbox_sendf(",\"status\":%d}\n", WEXITSTATUS(status));
	free(program->id);
	program->id = NULL;
}
