# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person sees while the lab works: live bars on a terminal, time-stamped lines elsewhere.

Progress goes to standard error; results own standard output.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TextIO

PLAIN_UPDATE_PERIOD_S = 15.0


class Step(Protocol):
    """A step in progress."""

    def update(self, text: str, done: float | None = None) -> None:
        """Say what is being done now; `done` is the finished share of the step, 0 to 1."""


class Progress(Protocol):
    """Where the lab says what it is doing."""

    def step(self, title: str, *, log: Path | None = None) -> AbstractContextManager[Step]:
        """Announce a step; leaving the context ends it, as failed when an exception passes."""

    def note(self, text: str) -> None:
        """Say something that stays on the screen."""

    def warn(self, text: str) -> None:
        """Say something that nobody may miss."""


class _SilentStep:
    def update(self, text: str, done: float | None = None) -> None:
        """Say nothing."""


class SilentProgress:
    """Says nothing but warnings; for library use and tests.

    Attributes:
        warnings: every warning so far, in order.
        notes: every note so far, in order.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []

    @contextmanager
    def step(self, title: str, *, log: Path | None = None) -> Iterator[Step]:
        """Run a step in silence."""
        del title, log
        yield _SilentStep()

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.warnings.append(text)


class _PlainStep:
    def __init__(self, progress: PlainProgress, title: str) -> None:
        self._progress = progress
        self._title = title
        self._said_at = time.monotonic()

    def update(self, text: str, done: float | None = None) -> None:
        """Print a line, but not more often than every PLAIN_UPDATE_PERIOD_S seconds."""
        now = time.monotonic()
        if now - self._said_at < PLAIN_UPDATE_PERIOD_S:
            return
        self._said_at = now
        share = "" if done is None else f" {done:4.0%}"
        self._progress.line(f"{self._title}:{share} {text}")


class PlainProgress:
    """Time-stamped lines for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Print one line with the time of day."""
        with self._lock:
            print(f"{time.strftime('%H:%M:%S')} {text}", file=self._stream, flush=True)

    @contextmanager
    def step(self, title: str, *, log: Path | None = None) -> Iterator[Step]:
        """Print a line at the start and one with the duration at the end."""
        started = time.monotonic()
        self.line(f"{title} …" + (f" (log: {log})" if log else ""))
        try:
            yield _PlainStep(self, title)
        except BaseException:
            self.line(f"{title}: did not finish, after {time.monotonic() - started:.1f} s")
            raise
        self.line(f"{title}: done in {time.monotonic() - started:.1f} s")

    def note(self, text: str) -> None:
        """Print a line."""
        self.line(text)

    def warn(self, text: str) -> None:
        """Print a line that is marked as a warning."""
        self.line(f"WARNING: {text}")


def open_progress(stream: TextIO | None = None) -> Progress:
    """Bars if `stream` (standard error by default) is a capable terminal, plain lines if not."""
    stream = sys.stderr if stream is None else stream
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and "CI" not in os.environ:
        from rich.console import Console

        from lab.live_progress import LiveProgress

        return LiveProgress(Console(file=stream))
    return PlainProgress(stream)
