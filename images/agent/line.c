// SPDX-License-Identifier: GPL-2.0-or-later
/* Lines of the mailbox protocol, whatever carries them. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "mailbox.h"

/* U+FFFD, for each byte that belongs to no valid UTF-8 sequence. */
#define REPLACEMENT "\xef\xbf\xbd"

static void send_escaped(unsigned char byte)
{
	switch (byte) {
	case '"':
		mailbox_send("\\\"", 2);
		break;
	case '\\':
		mailbox_send("\\\\", 2);
		break;
	case '\t':
		mailbox_send("\\t", 2);
		break;
	case '\n':
		mailbox_send("\\n", 2);
		break;
	case '\r':
		mailbox_send("\\r", 2);
		break;
	default:
		mailbox_sendf("\\u%04x", byte);
	}
}

void mailbox_send_json_string(const char *text, size_t length)
{
	size_t at = 0, plain = 0;

	mailbox_send("\"", 1);
	while (at < length) {
		unsigned char byte = (unsigned char)text[at];
		size_t sequence = utf8_sequence_length(text + at, length - at);

		if (sequence && byte >= 0x20 && byte != 0x7f && byte != '"' && byte != '\\') {
			at += sequence;
			continue;
		}
		mailbox_send(text + plain, at - plain);
		if (sequence)
			send_escaped(byte);
		else
			mailbox_send(REPLACEMENT, sizeof(REPLACEMENT) - 1);
		plain = ++at;
	}
	mailbox_send(text + plain, at - plain);
	mailbox_send("\"", 1);
}

void mailbox_send_base64(const char *bytes, size_t length)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t at, have;

	mailbox_send("\"", 1);
	for (at = 0; at < length; at += have) {
		unsigned int bits = 0, i;
		char text[4] = "====";

		have = length - at < 3 ? length - at : 3;
		for (i = 0; i < 3; i++)
			bits = bits << 8 | (i < have ? (unsigned char)bytes[at + i] : 0u);
		for (i = 0; i <= have; i++)
			text[i] = digits[bits >> (18 - 6 * i) & 63];
		mailbox_send(text, sizeof(text));
	}
	mailbox_send("\"", 1);
}

void mailbox_sendf(const char *format, ...)
{
	char text[512];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	/* A cut line would break the protocol: every format is known to fit. */
	if (length < 0 || (size_t)length >= sizeof(text))
		abort();
	mailbox_send(text, (size_t)length);
}
