// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For each case on stdin (4 bytes of length, little endian, then the bytes)
 * says '1' if the agent takes it for a JSON object, else '0', then where its
 * bytes could be cut for UTF-8's sake, and a newline.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"

int main(void)
{
	uint32_t length;

	while (fread(&length, sizeof(length), 1, stdin) == 1) {
		/* Exactly as large as needed, so that a sanitizer sees any step beyond. */
		char *text = malloc(length ? length : 1);

		if (!text || fread(text, 1, length, stdin) != length)
			return 1;
		printf("%d %zu\n", json_is_object(text, length), utf8_whole_prefix(text, length));
		free(text);
	}
	return 0;
}
