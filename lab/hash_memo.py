# SPDX-License-Identifier: GPL-2.0-or-later
"""Remembers the hashes of files, so that what has not changed is not hashed again."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A file that was changed later than this may change again within the same time stamp.
_SETTLED_NS = 2_000_000_000


class HashMemo:
    """Hashes by path, each with what the file system said of the file when it was hashed.

    A file counts as unchanged while device, inode, size and both times are the same: the second
    one, ctime, can't be set. Damage below the file system stays unseen until somebody hashes.

    The memo is kept in one file. Of two labs that save at once one wins; what the other has learned
    is hashed again. An unusable memo is as good as none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Any]] | None = None
        self._changed = False
        self._lock = threading.Lock()

    def hash(self, path: Path, compute: Callable[[Path], str]) -> str:
        """The hash of a file: the known one, or what ``compute(path)`` gives.

        Raises:
            OSError: the file can't be read.
        """
        signature = _signature(path)
        name = f"{compute.__name__} {path.absolute()}"
        with self._lock:
            known = self._load().get(name)
        if known is not None and known[:-1] == signature:
            return str(known[-1])
        digest = compute(path)
        # Not of a file that has changed meanwhile, or only just.
        settled = time.time_ns() - max(signature[3], signature[4]) > _SETTLED_NS
        if settled and _signature(path) == signature:
            with self._lock:
                self._load()[name] = [*signature, digest]
                self._changed = True
        return digest

    def save(self) -> None:
        """Keep what was learned; without room for it the files are hashed again next time."""
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            known = self._of_files_that_exist()
            partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            with contextlib.suppress(OSError):
                try:
                    partial.write_text(json.dumps(known, indent=0), encoding="utf-8")
                    partial.replace(self._path)
                finally:
                    partial.unlink(missing_ok=True)

    def forget_lost(self) -> None:
        """Drop what is known of files that are gone; a memo that knows nothing has no file."""
        with self._lock:
            known = self._of_files_that_exist()
            self._changed |= len(known) < len(self._load())
            self._known = known
            if not known:
                self._changed = False
                with contextlib.suppress(OSError):
                    self._path.unlink(missing_ok=True)
        self.save()

    def _of_files_that_exist(self) -> dict[str, list[Any]]:
        return {
            name: entry
            for name, entry in self._load().items()
            if Path(name.partition(" ")[2]).exists()
        }

    def _load(self) -> dict[str, list[Any]]:
        if self._known is None:
            try:
                found = json.loads(self._path.read_text(encoding="utf-8"))
                self._known = {
                    str(name): entry for name, entry in found.items() if _is_entry(entry)
                }
            except (OSError, ValueError, AttributeError):
                self._known = {}
        return self._known


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) != 6:  # noqa: PLR2004 - signature and hash
        return False
    *numbers, digest = entry
    return all(isinstance(number, int) for number in numbers) and isinstance(digest, str)


def _signature(path: Path) -> list[int]:
    info = path.stat()
    return [info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]
