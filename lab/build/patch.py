# SPDX-License-Identifier: GPL-2.0-or-later
"""A patch: the diff in a mail or file, taken apart so that damage is found before it is applied.

A diff is bytes: kernel sources aren't all UTF-8. Its hunks are read by the counts in their headers,
as git reads them, so that a signature or a list's footer behind the diff doesn't matter.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from lab.build.git import patch_id
from lab.errors import ConfigError

_HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_START = re.compile(rb"^(?:diff --git |--- [^\n]*\n\+\+\+ )", re.MULTILINE)
_BINARY = (b"GIT binary patch", b"Binary files ")
_EXTENDED = (
    *(b"index ", b"old mode ", b"new mode ", b"deleted file mode ", b"new file mode "),
    *(b"similarity index ", b"dissimilarity index ", b"rename ", b"copy "),
)
_NAMED = (b"rename from ", b"rename to ", b"copy from ", b"copy to ")
_SUBMODULE = re.compile(rb"(?:(?:old|new|new file|deleted file) mode |index \S+ )160000$", re.M)
_HINT = "get the patch again from where it was published, as raw text (b4, or a mail's raw form)"


@dataclass(frozen=True)
class Hunk:
    """Where a hunk stands: its number in the file's diff, its first old line, its header."""

    number: int
    old_start: int
    header: str


@dataclass(frozen=True)
class FileChange:
    """What a patch says about one file, or about two if it renames.

    Attributes:
        paths: the file's path before and after, without repetition.
        hunks: its hunks.
    """

    paths: tuple[str, ...]
    hunks: tuple[Hunk, ...]


@dataclass(frozen=True)
class Patch:
    """A patch that is whole.

    Attributes:
        name: how messages call it: number and subject, or a file's name.
        subject: its subject without ``[PATCH …]``.
        diff: the diff alone.
        changes: the diff, file by file.
        patch_id: ``git patch-id --stable``.
        remark: what may explain why it doesn't apply, such as a mail that flows its lines.
        message: what stood before the diff; it builds nothing, so it makes no difference.
        author: who sent it, as a mail's From has it; None if nobody knows. Neither does that.
    """

    name: str
    subject: str
    diff: bytes
    changes: tuple[FileChange, ...]
    patch_id: str
    remark: str | None = None
    message: bytes = field(default=b"", compare=False, repr=False)
    author: str | None = field(default=None, compare=False, repr=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that it names."""
        return tuple(dict.fromkeys(path for change in self.changes for path in change.paths))


def _line(number: int) -> str:
    return f"line {number}"


def has_diff(text: bytes) -> bool:
    """Whether there is a diff in a text; a quoted one doesn't count."""
    return _START.search(text) is not None


def make_patch(
    name: str,
    subject: str,
    text: bytes,
    remark: str | None = None,
    *,
    author: str | None = None,
    place_of: Callable[[int], str] = _line,
) -> Patch:
    """The patch in `text`, which may have a message before the diff and a signature after it.

    `place_of` says where a line of `text` is found, for who has to correct it.

    Raises:
        ConfigError: there is no diff, it is damaged, or it changes a binary file.
    """
    reader = _Reader(name, text, remark, place_of)
    changes = reader.read()
    diff = b"".join(reader.kept)
    message = b"".join(reader.lines[: reader.starts_at])
    return Patch(name, subject, diff, changes, patch_id(diff), remark, message, author)


def read_diff(
    name: str,
    text: bytes,
    remark: str | None = None,
    *,
    place_of: Callable[[int], str] = _line,
) -> bytes:
    """The diff alone in a text, as `make_patch` finds it.

    Raises:
        ConfigError: there is no diff, it is damaged, or it changes a binary file.
    """
    reader = _Reader(name, text, remark, place_of)
    reader.read()
    return b"".join(reader.kept)


class _Reader:
    """Reads a diff line by line and keeps the lines that belong to it."""

    def __init__(
        self, name: str, text: bytes, remark: str | None, place_of: Callable[[int], str]
    ) -> None:
        self.name = name
        self.place_of = place_of
        self.remark = remark
        self.lines = [line + b"\n" for line in text.split(b"\n")]
        self.at = 0
        self.starts_at = 0
        self.kept: list[bytes] = []

    def read(self) -> tuple[FileChange, ...]:
        changes: list[FileChange] = []
        while self.at < len(self.lines):
            line = self._line()
            if line.startswith(b"diff --git ") or self._is_file_header():
                self.starts_at = self.starts_at if changes else self.at
                changes.append(self._read_file())
            elif changes and _HUNK.match(line):
                self._refuse("a hunk without the file that it belongs to", line)
            else:
                self.at += 1
        if not changes:
            raise ConfigError(f"a diff in {self.name}", "none", hint=_HINT)
        return tuple(changes)

    def _line(self, offset: int = 0) -> bytes:
        at = self.at + offset
        return self.lines[at] if at < len(self.lines) else b""

    def _take(self) -> bytes:
        line = self.lines[self.at]
        self.kept.append(line)
        self.at += 1
        return line

    def _is_file_header(self) -> bool:
        return self._line().startswith(b"--- ") and self._line(1).startswith(b"+++ ")

    def _read_file(self) -> FileChange:
        paths: list[str] = []
        if self._line().startswith(b"diff --git "):
            first = self._take()
            while self._line().startswith((*_EXTENDED, *_BINARY)):
                line = self._line()
                if line.startswith(_BINARY):
                    self._refuse_binary(first)
                if _SUBMODULE.match(line):
                    self._refuse_submodule(first)
                if line.startswith(_NAMED):
                    paths.append(_unquote(line.split(b" ", 2)[2]))
                self._take()
            if not self._is_file_header() and not paths:
                paths += _paths_of_command(first)
        if self._is_file_header():
            for _ in range(2):
                path = _stripped(self._take()[4:])
                paths += [path] if path is not None else []
        for path in paths:
            if path.startswith("/") or ".." in path.split("/") or path.split("/")[0] == ".git":
                self._refuse(f"the path {path!r}, which leads out of the tree", self._line())
        hunks: list[Hunk] = []
        while _HUNK.match(self._line()) or self._line().startswith(b"@@ "):
            hunks.append(self._read_hunk(paths, len(hunks) + 1))
        return FileChange(tuple(dict.fromkeys(paths)), tuple(hunks))

    def _read_hunk(self, paths: list[str], number: int) -> Hunk:
        where = f"hunk {number} of {paths[-1] if paths else '?'}"
        found = _HUNK.match(self._line())
        if found is None:
            self._refuse(f"{where} without counts", self._line())
        header = _shown(self._take())
        old, new = (int(found[group] or 1) for group in (2, 4))
        left = {b" ": 0, b"-": old, b"+": new}
        while left[b"-"] > 0 or left[b"+"] > 0:
            line = self._line()
            kind = b" " if line == b"\n" else line[:1]  # mailers drop a lonely space
            if kind in {b" ", b"-"}:
                left[b"-"] -= 1
            if kind in {b" ", b"+"}:
                left[b"+"] -= 1
            ends = self.at >= len(self.lines) - 1 and line == b"\n"
            if (kind not in left and kind != b"\\") or ends or min(left.values()) < 0:
                seen = "the end" if ends or not line else repr(_shown(line))
                self._refuse(
                    f"{where} ({header}): its header counts {old} old and {new} new lines, "
                    f"which don't end where {seen} stands",
                    line,
                )
            self._take()
        if self._line().startswith(b"\\"):
            self._take()
        line = self._line()
        if line[:1] in {b"+", b"-", b" "} and not line.startswith(b"--"):
            self._refuse(f"{where} ({header}): more lines than its header counts", line)
        return Hunk(number, int(found[1]), header)

    def _refuse(self, seen: str, line: bytes) -> NoReturn:
        del line
        remark = f"; {self.remark}" if self.remark else ""
        raise ConfigError(
            f"an undamaged diff in {self.name}",
            f"{self.place_of(self.at + 1)}: {seen}{remark}",
            hint=_HINT,
        )

    def _refuse_binary(self, command: bytes) -> NoReturn:
        paths = _paths_of_command(command)
        raise ConfigError(
            f"text changes alone in {self.name}",
            f"a binary change of {paths[-1] if paths else _shown(command)}",
            hint="leave that file out of the series, or give a tree that has it (--tree)",
        )

    def _refuse_submodule(self, command: bytes) -> NoReturn:
        paths = _paths_of_command(command)
        raise ConfigError(
            f"changes of files alone in {self.name}",
            f"a submodule: {paths[-1] if paths else _shown(command)}",
            hint="leave it out of the series: no kernel is built from submodules",
        )


def _shown(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip()[:100]


def _unquote(name: bytes) -> str:
    """A path as git writes it: with C escapes in quotes if it has odd characters."""
    name = name.rstrip(b"\r\n")
    if name.startswith(b'"') and name.endswith(b'"'):
        name = codecs.escape_decode(name[1:-1])[0]
    return name.decode("utf-8", errors="surrogateescape")


def _stripped(name: bytes) -> str | None:
    """Path of a ``---`` or ``+++`` line without its first part; None for ``/dev/null``."""
    path = _unquote(name.split(b"\t")[0])
    if path == "/dev/null":
        return None
    return path.partition("/")[2] or path


def _paths_of_command(line: bytes) -> list[str]:
    """Paths of a ``diff --git a/x b/x`` line, which says them twice where it is needed."""
    rest = line[len(b"diff --git ") :].rstrip(b"\r\n")
    if rest.startswith(b'"'):
        return [
            path
            for word in rest.split(b'" "')
            if (path := _stripped(b'"' + word.strip(b'"') + b'"'))
        ]
    half = (len(rest) - 1) // 2
    return [_unquote(rest[:half]).partition("/")[2]] if rest[half : half + 1] == b" " else []
