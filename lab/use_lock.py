# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps the garbage collection away from a cache, or from an entry of it, that somebody uses."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.progress import Progress


class InUse(Exception):
    """Another lab holds the lock."""


class UseLock:
    """A lock that any number of users share, or one collector has alone.

    The kernel drops a user's share when its process ends, however it ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._close: Callable[[], object] | None = None

    def share(self, progress: Progress) -> None:
        """Keep collectors away until `drop`, or this object's end; waits for one that is at work.

        Raises:
            OSError: the lock can't be made.
        """
        if self._file is not None:
            return
        file = self._open()
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                with progress.step("waiting for a garbage collection of the cache"):
                    fcntl.flock(file, fcntl.LOCK_SH)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        self._close = weakref.finalize(self, os.close, file)

    def drop(self) -> None:
        """Give this object's share up, if it has one."""
        if self._close is not None:
            self._close()
        self._file = self._close = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Exclude everybody else, this object's own share aside.

        Raises:
            InUse: somebody has a share; there is no waiting for that.
            OSError: the lock can't be made.
        """
        file = self._open() if self._file is None else self._file
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InUse from error
            yield
        finally:
            if file == self._file:
                fcntl.flock(file, fcntl.LOCK_SH)  # a change that is refused drops the old share
            else:
                os.close(file)

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
