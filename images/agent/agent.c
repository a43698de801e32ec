// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The lab's agent: the guest's first and only process besides the workloads.
 *
 * It mounts the kernel's file systems, greets the host, and then serves one
 * request after another. Between two requests the machine stands still, so
 * that on the virtual clock the host's speed leaves no trace. Nothing here
 * may depend on anything that varies from run to run.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "boot.h"
#include "json.h"
#include "mailbox.h"
#include "programs.h"

#define FIELDS_MAX 256
#define FILE_MAX_BYTES (16u << 20)

static void send_id(const char *type, const char *id)
{
	mailbox_sendf("{\"type\":\"%s\",\"id\":", type);
	mailbox_send_json_string(id, strlen(id));
}

static void send_error(const char *id, int number, const char *message)
{
	send_id("error", id);
	mailbox_sendf(",\"errno\":%d,\"message\":", number);
	mailbox_send_json_string(message, strlen(message));
	mailbox_sendf("}\n");
}

static void send_file(const char *id, int number, const char *data, size_t length)
{
	send_id("file", id);
	mailbox_sendf(",\"errno\":%d,\"data\":", number);
	mailbox_send_json_string(data, length);
	mailbox_sendf("}\n");
}

static void await_end(struct program *program)
{
	while (!program->ended)
		programs_pump();
	program_finish(program);
}

static void send_no_start(const char *id, const char *name)
{
	char message[300];
	int number = errno;

	snprintf(message, sizeof(message), "can't start %.200s", name);
	send_error(id, number, message);
}

static void start(const char *id, char *const argv[], bool background)
{
	struct program *program = program_start(id, argv, NULL, false);

	if (!program) {
		send_no_start(id, argv[0]);
		return;
	}
	if (!background) {
		await_end(program);
		return;
	}
	while (!program->ready && !program->ended)
		programs_pump();
	if (program->ready) {
		send_id("ready", id);
		mailbox_sendf("}\n");
	} else {
		program_finish(program);
	}
}

/* In place: \n becomes the line feed that no field can hold, and \\ a backslash. */
static bool unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (*text == '\\') {
			text++;
			if (*text != 'n' && *text != '\\')
				return false;
			*to++ = *text == 'n' ? '\n' : '\\';
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
	return true;
}

/* A program of the user's: any arguments, a directory, and every byte of output. */
static void stream(const char *id, char *fields[])
{
	struct program *program;
	size_t i;

	for (i = 0; fields[i]; i++) {
		if (!unescape(fields[i])) {
			send_error(id, EINVAL, "a backslash that escapes nothing");
			return;
		}
	}
	program = program_start(id, fields + 1, fields[0], true);
	if (program)
		await_end(program);
	else
		send_no_start(id, fields[1]);
}

static void signal_program(const char *id, const char *text)
{
	struct program *program = program_find(id);
	char *end;
	long number = strtol(text, &end, 10);

	if (!*text || *end || number < 1 || number > SIGRTMAX)
		send_error(id, EINVAL, "no such signal");
	else if (!program || program->ended)
		send_error(id, ESRCH, "no such program, or it has ended");
	else if (kill(program->pid, (int)number))
		send_error(id, errno, strerror(errno));
}

static void wait_program(const char *id)
{
	struct program *program = program_find(id);

	if (program)
		await_end(program);
	else
		send_error(id, ESRCH, "no such program, or its end has been told");
}

/* The whole file; procfs and sysfs files have no size that could be asked for. */
static int read_whole(int fd, char **data, size_t *length)
{
	size_t room = 4096;
	char *bytes = malloc(room);

	*length = 0;
	if (!bytes)
		abort();
	for (;;) {
		ssize_t got = read(fd, bytes + *length, room - *length);
		int number = got < 0 ? errno : 0;

		if (got == 0) {
			*data = bytes;
			return 0;
		}
		if (got > 0)
			*length += (size_t)got;
		if (*length == room)
			room *= 2;
		if (room > FILE_MAX_BYTES)
			number = EFBIG;
		if (number) {
			free(bytes);
			return number;
		}
		bytes = realloc(bytes, room);
		if (!bytes)
			abort();
	}
}

static void read_file(const char *id, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int number = fd < 0 ? errno : 0;
	size_t length = 0;
	char *data = NULL;

	if (fd >= 0) {
		number = read_whole(fd, &data, &length);
		close(fd);
	}
	if (number)
		send_file(id, number, "", 0);
	else
		send_file(id, 0, data, length);
	free(number ? NULL : data);
}

/* One write(2), as sysfs wants it. A file of our own that is new is created. */
static void write_file(const char *id, const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_CREAT | O_TRUNC, 0644);
	size_t length = strlen(text);
	ssize_t written;
	int number = 0;

	if (fd < 0) {
		send_file(id, errno, "", 0);
		return;
	}
	written = write(fd, text, length);
	if (written < 0)
		number = errno;
	else if ((size_t)written != length)
		number = EIO;
	/* Some files tell a failure only now. */
	if (close(fd) && !number)
		number = errno;
	send_file(id, number, "", 0);
}

/* Splits the message into its fields, in place. 0 if there are too many. */
static size_t split(char *message, char *fields[FIELDS_MAX])
{
	size_t count = 0;

	for (;;) {
		if (count == FIELDS_MAX - 1)
			return 0;
		fields[count++] = message;
		message = strchr(message, '\n');
		if (!message)
			break;
		*message++ = '\0';
	}
	fields[count] = NULL;
	return count;
}

static void serve(char *fields[], size_t count)
{
	const char *verb = count ? fields[0] : "";
	const char *id = count > 1 ? fields[1] : "";

	if (!strcmp(verb, "poweroff") && count == 1)
		boot_power_off();
	else if (!strcmp(verb, "run") && count >= 3)
		start(id, fields + 2, false);
	else if (!strcmp(verb, "spawn") && count >= 3)
		start(id, fields + 2, true);
	else if (!strcmp(verb, "stream") && count >= 4)
		stream(id, fields + 2);
	else if (!strcmp(verb, "signal") && count == 3)
		signal_program(id, fields[2]);
	else if (!strcmp(verb, "wait") && count == 2)
		wait_program(id);
	else if (!strcmp(verb, "read") && count == 3)
		read_file(id, fields[2]);
	else if (!strcmp(verb, "write") && count == 4)
		write_file(id, fields[2], fields[3]);
	else
		send_error(id, EINVAL, "no such request, or its fields are wrong");
}

int main(void)
{
	const char *problem = boot_mount();
	struct utsname names;

	if (!problem)
		problem = mailbox_open();
	if (problem)
		boot_give_up(problem);
	programs_init();
	uname(&names);
	mailbox_sendf("{\"type\":\"hello\",\"protocol\":1,\"kernel\":");
	mailbox_send_json_string(names.release, strlen(names.release));
	mailbox_sendf("}\n");
	for (;;) {
		char *fields[FIELDS_MAX], *message;
		size_t length;

		mailbox_sendf("{\"type\":\"idle\"}\n");
		message = mailbox_receive(&length);
		/* A NUL inside would hide the rest of the message. */
		if (strlen(message) != length)
			send_error("", EINVAL, "the message contains a NUL byte");
		else
			serve(fields, split(message, fields));
		free(message);
	}
}
