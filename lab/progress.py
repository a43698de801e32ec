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

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as LiveDisplay

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


class _LiveStep:
    def __init__(self, display: LiveDisplay, task: TaskID) -> None:
        self._display = display
        self._task = task

    def update(self, text: str, done: float | None = None) -> None:
        """Change the text and the bar of this step."""
        if done is None:
            self._display.update(self._task, what=text)
        else:
            self._display.update(self._task, what=text, total=1.0, completed=min(done, 1.0))


class LiveProgress:
    """Bars for a terminal; every ended step leaves one line behind."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._lock = threading.Lock()
        self._display: LiveDisplay | None = None
        self._open_steps = 0

    def _open(self) -> LiveDisplay:
        with self._lock:
            if self._display is None:
                self._display = LiveDisplay(
                    SpinnerColumn(),
                    TextColumn("{task.description}"),
                    BarColumn(bar_width=24),
                    TimeElapsedColumn(),
                    TextColumn("{task.fields[what]}", style="dim", markup=False),
                    console=self._console,
                    transient=True,
                )
                self._display.start()
            self._open_steps += 1
            return self._display

    def _close(self, display: LiveDisplay, task: TaskID) -> None:
        with self._lock:
            display.remove_task(task)
            self._open_steps -= 1
            if self._open_steps == 0:
                display.stop()
                self._display = None

    @contextmanager
    def step(self, title: str, *, log: Path | None = None) -> Iterator[Step]:
        """Show a bar until the step ends."""
        started = time.monotonic()
        display = self._open()
        task = display.add_task(escape(title), total=None, what=f"log: {log}" if log else "")
        try:
            yield _LiveStep(display, task)
        except BaseException:
            self._close(display, task)
            self._print(f"[red]✗[/red] {escape(title)}", started, log)
            raise
        self._close(display, task)
        self._print(f"[green]✓[/green] {escape(title)}", started, None)

    def _print(self, text: str, started: float, log: Path | None) -> None:
        where = f" [dim](log: {escape(str(log))})[/dim]" if log else ""
        took_s = time.monotonic() - started
        self._console.print(f"{text} [dim]{took_s:.1f} s[/dim]{where}", highlight=False)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(escape(text), highlight=False)

    def warn(self, text: str) -> None:
        """Print a bold line above the bars."""
        self._console.print(f"[bold yellow]warning:[/bold yellow] {escape(text)}", highlight=False)


def open_progress(stream: TextIO | None = None) -> Progress:
    """Bars if `stream` (standard error by default) is a capable terminal, plain lines if not."""
    stream = sys.stderr if stream is None else stream
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and "CI" not in os.environ:
        return LiveProgress(Console(file=stream))
    return PlainProgress(stream)
