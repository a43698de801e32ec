// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pack-changed DIRECTORY SINCE LIMIT: what is new or changed below DIRECTORY
 * since the file SINCE was, as a cpio archive ("newc") on standard output.
 *
 * The time of a change of status (ctime) tells, because no program can set it
 * back. What changed in the very tick of SINCE comes too: the host compares.
 * Files of more than LIMIT bytes in all are not packed, nor is anything else
 * then. Exit status: 0 done, 1 failed, 2 wrong usage, 4 more than LIMIT.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRAILER "TRAILER!!!"

enum { PACK_DONE = 0, PACK_FAILED = 1, PACK_USAGE = 2, PACK_TOO_MUCH = 4 };

struct pack {
	struct timespec since;
	size_t root_length;		/* of the path's part that is no name in the archive */
	unsigned long long bytes;
	bool count_only;
};

static void die(const char *what, const char *path)
{
	fprintf(stderr, "pack-changed: %s %s: %s\n", what, path, strerror(errno));
	exit(PACK_FAILED);
}

static void put(const void *bytes, size_t length)
{
	if (length && fwrite(bytes, 1, length, stdout) != length)
		die("writing", "standard output");
}

static void pad(unsigned long long written)
{
	put("\0\0\0", (size_t)(-written & 3));
}

/* inode, mode, uid, gid, nlink, mtime, size, four device numbers, name size, check */
static void put_head(const char *name, unsigned int mode, unsigned long long size)
{
	char head[120];
	size_t length = strlen(name) + 1;
	int written = snprintf(head, sizeof(head), "070701%08x%08x%08x%08x%08x%08x%08x"
			       "%08x%08x%08x%08x%08x%08x", 0u, mode, 0u, 0u, 1u, 0u,
			       (unsigned int)size, 0u, 0u, 0u, 0u, (unsigned int)length, 0u);

	put(head, (size_t)written);
	put(name, length);
	pad((unsigned long long)written + length);
}

static void put_file(const char *path, const char *name, const struct stat *info)
{
	unsigned long long left = (unsigned long long)info->st_size;
	char bytes[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		die("opening", path);
	put_head(name, info->st_mode, left);
	while (left) {
		ssize_t got = read(fd, bytes, left < sizeof(bytes) ? (size_t)left : sizeof(bytes));

		if (got == 0)
			errno = EIO;	/* it shrank: somebody is writing it */
		if (got <= 0)
			die("reading", path);
		put(bytes, (size_t)got);
		left -= (unsigned long long)got;
	}
	close(fd);
	pad((unsigned long long)info->st_size);
}

static void put_link(const char *path, const char *name, const struct stat *info)
{
	char target[PATH_MAX];
	ssize_t length = readlink(path, target, sizeof(target));

	if (length < 0)
		die("reading the link", path);
	put_head(name, info->st_mode, (unsigned long long)length);
	put(target, (size_t)length);
	pad((unsigned long long)length);
}

static void pack_one(struct pack *pack, const char *path, const struct stat *info)
{
	const char *name = path + pack->root_length;

	if (info->st_ctim.tv_sec < pack->since.tv_sec ||
	    (info->st_ctim.tv_sec == pack->since.tv_sec &&
	     info->st_ctim.tv_nsec < pack->since.tv_nsec))
		return;
	if (S_ISREG(info->st_mode))
		pack->bytes += (unsigned long long)info->st_size;
	if (pack->count_only)
		return;
	if (S_ISREG(info->st_mode))
		put_file(path, name, info);
	else if (S_ISLNK(info->st_mode))
		put_link(path, name, info);
	else if (S_ISDIR(info->st_mode))
		put_head(name, info->st_mode, 0);
	else
		fprintf(stderr, "pack-changed: left out, no file, link or directory: %s\n", path);
}

static void walk(struct pack *pack, const char *directory)
{
	struct dirent **names;
	int count = scandir(directory, &names, NULL, alphasort), i;

	if (count < 0)
		die("listing", directory);
	for (i = 0; i < count; i++) {
		const char *name = names[i]->d_name;
		char path[PATH_MAX];
		struct stat info;

		if (strcmp(name, ".") && strcmp(name, "..")) {
			if (snprintf(path, sizeof(path), "%s/%s", directory, name) >=
			    (int)sizeof(path)) {
				errno = ENAMETOOLONG;
				die("a path below", directory);
			}
			if (lstat(path, &info))
				die("looking at", path);
			pack_one(pack, path, &info);
			if (S_ISDIR(info.st_mode))
				walk(pack, path);
		}
		free(names[i]);
	}
	free(names);
}

int main(int argc, char *argv[])
{
	struct pack pack = { .count_only = true };
	unsigned long long limit;
	struct stat info;
	char *end;

	if (argc != 4 || !*argv[3]) {
		fprintf(stderr, "usage: pack-changed DIRECTORY SINCE LIMIT\n");
		return PACK_USAGE;
	}
	limit = strtoull(argv[3], &end, 10);
	/* The format has 32 bits for a file's size. */
	if (*end || limit > UINT_MAX) {
		fprintf(stderr, "pack-changed: no number of bytes: %s\n", argv[3]);
		return PACK_USAGE;
	}
	if (stat(argv[2], &info))
		die("looking at", argv[2]);
	pack.since = info.st_ctim;
	pack.root_length = strlen(argv[1]) + 1;
	walk(&pack, argv[1]);
	if (pack.bytes > limit) {
		fprintf(stderr, "pack-changed: %llu bytes are new or changed\n", pack.bytes);
		return PACK_TOO_MUCH;
	}
	pack.count_only = false;
	walk(&pack, argv[1]);
	put_head(TRAILER, 0, 0);
	if (fflush(stdout))
		die("writing", "standard output");
	return PACK_DONE;
}
