# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress as live bars on a terminal; `lab.progress` chooses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from lab.progress import Step


class _LiveStep:
    def __init__(self, display: Progress, task: TaskID) -> None:
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

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._display: Progress | None = None
        self._open_steps = 0

    def _open(self) -> Progress:
        with self._lock:
            if self._display is None:
                self._display = Progress(
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

    def _close(self, display: Progress, task: TaskID) -> None:
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
