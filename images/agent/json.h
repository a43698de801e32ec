/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON as the agent needs it: is a line one well-formed object, and how is any
 * sequence of bytes written as a string.
 */
#ifndef LAB_AGENT_JSON_H
#define LAB_AGENT_JSON_H

#include <stdbool.h>
#include <stddef.h>

/* Deeper nesting is refused: the host's parser has a limit as well. */
#define JSON_MAX_DEPTH 32

/* Characters of a number. */
#define JSON_MAX_NUMBER 64

/*
 * True if the bytes are exactly one JSON object (RFC 8259) in valid UTF-8, with
 * nothing but blanks around it. Line feeds and carriage returns are never
 * accepted, not even as blanks: the object is going to be part of a line.
 */
bool json_is_object(const char *text, size_t length);

/* Length of the valid UTF-8 sequence at `text`, 0 if there is none. */
size_t utf8_sequence_length(const char *text, size_t length);

/*
 * The longest prefix of the bytes that does not end inside a UTF-8 sequence:
 * where a stream of bytes can be cut without damage.
 */
size_t utf8_whole_prefix(const char *text, size_t length);

#endif
