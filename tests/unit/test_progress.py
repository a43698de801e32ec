# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress on a terminal and in a log."""

from __future__ import annotations

import io
import re
import threading

import pytest
from rich.console import Console

from lab import progress as progress_module
from lab.live_progress import LiveProgress
from lab.progress import PlainProgress, open_progress


def live() -> tuple[LiveProgress, io.StringIO]:
    screen = io.StringIO()
    return LiveProgress(Console(file=screen, force_terminal=True, width=120)), screen


def test_plain_lines_say_what_started_and_how_it_ended() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream)
    with progress.step("building QEMU"):
        pass
    with pytest.raises(ValueError, match="x"), progress.step("building a kernel"):
        raise ValueError("x")
    progress.warn("old pin")
    lines = stream.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    # How long it took is the host's affair.
    assert [re.sub(r"\d+\.\d s$", "T s", line[9:]) for line in lines] == [
        "building QEMU …",
        "building QEMU: done in T s",
        "building a kernel …",
        "building a kernel: did not finish, after T s",
        "WARNING: old pin",
    ]


def test_plain_updates_dont_flood_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with PlainProgress(stream).step("x") as step:
        for number in range(1000):
            step.update(f"file {number}", number / 1000)
        assert "file" not in stream.getvalue()
        monkeypatch.setattr(progress_module, "PLAIN_UPDATE_PERIOD_S", 0)
        step.update("file 1000", 0.5)
    assert stream.getvalue().count("file") == 1
    assert " 50% file 1000" in stream.getvalue()


def test_a_terminal_keeps_one_line_for_each_step() -> None:
    progress, screen = live()
    with progress.step("building [bold]QEMU[/bold]") as step:
        step.update("[1/2] [red]a.c", 0.5)
    progress.warn("old pin")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"✓ building \[bold\]QEMU\[/bold\] \d+\.\d s", shown)
    assert "warning: old pin" in shown


def test_a_failed_step_names_its_log(tmp_path: object) -> None:
    progress, screen = live()
    log = progress_module.Path("/somewhere/log")
    with pytest.raises(ValueError, match="x"), progress.step("building", log=log):
        raise ValueError("x")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "✗ building" in shown
    assert "/somewhere/log" in shown


def test_steps_of_several_threads_share_a_terminal() -> None:
    progress, screen = live()

    def work(name: str) -> None:
        for number in range(20):
            with progress.step(f"{name} {number}") as step:
                step.update("half", 0.5)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert screen.getvalue().count("✓") == 60


def test_what_is_no_terminal_gets_plain_lines() -> None:
    assert isinstance(open_progress(io.StringIO()), PlainProgress)
