/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent's way to the host: lines out, one message in at each pause.
 *
 * mailbox.c drives the lab-mailbox device. The unit tests link the agent with
 * a transport of their own that has the same four functions.
 */
#ifndef LAB_AGENT_MAILBOX_H
#define LAB_AGENT_MAILBOX_H

#include <stddef.h>

/* Finds and maps the device. NULL if all is well, else what is missing. */
const char *mailbox_open(void);

/* Adds bytes to the line for the host; '\n' ends it. */
void mailbox_send(const char *bytes, size_t length);

/*
 * Stops the machine until the host has put a message in the mailbox, and
 * returns it: malloc'ed, NUL-terminated, `*length` bytes long.
 */
char *mailbox_receive(size_t *length);

/* sends `text` as a JSON string with quotes; any bytes will do. */
void mailbox_send_json_string(const char *text, size_t length);

/* Sends any bytes as a JSON string in base64 (RFC 4648), with quotes. */
void mailbox_send_base64(const char *bytes, size_t length);

/* printf to the mailbox, for text of at most 511 bytes that is JSON already. */
void mailbox_sendf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
