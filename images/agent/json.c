// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A JSON well-formedness scanner. It builds nothing: what it accepts is
 * forwarded byte for byte, so it must accept nothing that a strict parser on
 * the other side refuses.
 */
#include <string.h>

#include "json.h"

struct scanner {
	const char *at;
	const char *end;
	unsigned int depth;
};

static bool scan_value(struct scanner *scanner);

static bool scan_is(struct scanner *scanner, char expected)
{
	if (scanner->at == scanner->end || *scanner->at != expected)
		return false;
	scanner->at++;
	return true;
}

static void scan_blanks(struct scanner *scanner)
{
	while (scanner->at < scanner->end &&
	       (*scanner->at == ' ' || *scanner->at == '\t'))
		scanner->at++;
}

static bool is_continuation(const char *text)
{
	return ((unsigned char)*text & 0xc0) == 0x80;
}

size_t utf8_sequence_length(const char *text, size_t length)
{
	unsigned char first, second;
	size_t wanted, i;

	if (!length)
		return 0;
	first = (unsigned char)text[0];
	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		wanted = 2;
	else if (first >= 0xe0 && first <= 0xef)
		wanted = 3;
	else if (first >= 0xf0 && first <= 0xf4)
		wanted = 4;
	else
		return 0;
	if (length < wanted)
		return 0;
	for (i = 1; i < wanted; i++)
		if (!is_continuation(text + i))
			return 0;
	/* Overlong forms, surrogates and what lies beyond U+10FFFF. */
	second = (unsigned char)text[1];
	if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
	    (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
		return 0;
	return wanted;
}

size_t utf8_whole_prefix(const char *text, size_t length)
{
	size_t back;

	for (back = 1; back <= 3 && back <= length; back++) {
		unsigned char byte = (unsigned char)text[length - back];
		size_t wanted;

		if (byte < 0x80)
			break;
		if (byte < 0xc0)
			continue;
		wanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
		return wanted > back ? length - back : length;
	}
	return length;
}

/* Four hexadecimal digits, or -1. */
static long scan_hex4(struct scanner *scanner)
{
	long value = 0;
	int i;

	for (i = 0; i < 4; i++, scanner->at++) {
		char c;

		if (scanner->at == scanner->end)
			return -1;
		c = *scanner->at;
		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			value = value * 16 + (c - 'A' + 10);
		else
			return -1;
	}
	return value;
}

/*
 * A lone surrogate is well-formed by the grammar, but becomes a string that
 * can't be encoded again on the host: refused.
 */
static bool scan_unicode_escape(struct scanner *scanner)
{
	long code = scan_hex4(scanner);

	if (code < 0 || (code >= 0xdc00 && code <= 0xdfff))
		return false;
	if (code < 0xd800 || code > 0xdbff)
		return true;
	if (!scan_is(scanner, '\\') || !scan_is(scanner, 'u'))
		return false;
	code = scan_hex4(scanner);
	return code >= 0xdc00 && code <= 0xdfff;
}

static bool scan_escape(struct scanner *scanner)
{
	char c;

	if (scanner->at == scanner->end)
		return false;
	c = *scanner->at++;
	if (c == 'u')
		return scan_unicode_escape(scanner);
	return c && strchr("\"\\/bfnrt", c);
}

static bool scan_string(struct scanner *scanner)
{
	if (!scan_is(scanner, '"'))
		return false;
	while (scanner->at < scanner->end) {
		size_t length;

		if ((unsigned char)*scanner->at < 0x20)
			return false;
		if (scan_is(scanner, '"'))
			return true;
		if (scan_is(scanner, '\\')) {
			if (!scan_escape(scanner))
				return false;
			continue;
		}
		length = utf8_sequence_length(scanner->at,
					      (size_t)(scanner->end - scanner->at));
		if (!length)
			return false;
		scanner->at += length;
	}
	return false;
}

static size_t scan_digits(struct scanner *scanner)
{
	const char *start = scanner->at;

	while (scanner->at < scanner->end && *scanner->at >= '0' && *scanner->at <= '9')
		scanner->at++;
	return (size_t)(scanner->at - start);
}

/*
 * The grammar sets no limit to a number's length, but parsers do: Python's gives
 * up on integers of more than 4300 digits.
 */
static bool scan_number(struct scanner *scanner)
{
	const char *start = scanner->at;

	scan_is(scanner, '-');
	if (!scan_is(scanner, '0') && !scan_digits(scanner))
		return false;
	if (scan_is(scanner, '.') && !scan_digits(scanner))
		return false;
	if (scan_is(scanner, 'e') || scan_is(scanner, 'E')) {
		if (!scan_is(scanner, '+'))
			scan_is(scanner, '-');
		if (!scan_digits(scanner))
			return false;
	}
	return scanner->at - start <= JSON_MAX_NUMBER;
}

static bool scan_word(struct scanner *scanner, const char *word)
{
	size_t length = strlen(word);

	if ((size_t)(scanner->end - scanner->at) < length ||
	    memcmp(scanner->at, word, length))
		return false;
	scanner->at += length;
	return true;
}

static bool scan_member(struct scanner *scanner)
{
	scan_blanks(scanner);
	if (!scan_string(scanner))
		return false;
	scan_blanks(scanner);
	return scan_is(scanner, ':') && scan_value(scanner);
}

static bool scan_list(struct scanner *scanner, char close,
		      bool (*scan_element)(struct scanner *scanner))
{
	bool closed;

	if (++scanner->depth > JSON_MAX_DEPTH)
		return false;
	scan_blanks(scanner);
	closed = scan_is(scanner, close);
	while (!closed) {
		if (!scan_element(scanner))
			return false;
		scan_blanks(scanner);
		closed = scan_is(scanner, close);
		if (!closed && !scan_is(scanner, ','))
			return false;
	}
	scanner->depth--;
	return true;
}

static bool scan_value(struct scanner *scanner)
{
	scan_blanks(scanner);
	if (scanner->at == scanner->end)
		return false;
	switch (*scanner->at) {
	case '{':
		scanner->at++;
		return scan_list(scanner, '}', scan_member);
	case '[':
		scanner->at++;
		return scan_list(scanner, ']', scan_value);
	case '"':
		return scan_string(scanner);
	case 't':
		return scan_word(scanner, "true");
	case 'f':
		return scan_word(scanner, "false");
	case 'n':
		return scan_word(scanner, "null");
	default:
		return scan_number(scanner);
	}
}

bool json_is_object(const char *text, size_t length)
{
	struct scanner scanner = { .at = text, .end = text + length };

	scan_blanks(&scanner);
	if (scanner.at == scanner.end || *scanner.at != '{')
		return false;
	if (!scan_value(&scanner))
		return false;
	scan_blanks(&scanner);
	return scanner.at == scanner.end;
}
