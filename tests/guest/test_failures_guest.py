# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults under real migrations: what the kernel makes of them, and that the lab sees the damage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.results import Mode, Outcome, Record

pytestmark = pytest.mark.guest


def run_failures(folder: Path, mode: str, *words: str) -> tuple[int, Mode]:
    """Run one mode; its exit status and what the record says about it."""
    argv = ["run", "failures", "--mode", mode, "--output", str(folder), *words]
    done = subprocess.run(
        [sys.executable, "-m", "lab.cli", *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert (folder / "record.json").exists(), done.stderr
    (found,) = Record.read(folder / "record.json").modes
    return done.returncode, found


def failed(mode: Mode) -> list[str]:
    return [check.name for check in mode.checks if not check.held]


@pytest.mark.parametrize(
    "name",
    [
        "moves-error-illegal-length",
        "moves-flip-byte",
        "moves-stall-given-up",
        "moves-all-ones",
        "moves-unbind-busy",
        "moves-one-of-four",
        "moves-bounce-buffers-full-swiotlb",
        "compaction-error-illegal-length",
        "compaction-stall-given-up",
    ],
)
def test_migrations_survive_as_the_ledger_says(name: str, tmp_path: Path) -> None:
    status, mode = run_failures(tmp_path / "run", name)
    assert failed(mode) == [], [check.seen for check in mode.checks if not check.held]
    assert (status, mode.outcome) == (0, Outcome.PASS), mode.error


def test_an_error_told_as_success_is_red_where_sound_is_asked_for(tmp_path: Path) -> None:
    words = ("--set", "expect=sound")
    status, mode = run_failures(tmp_path / "run", "moves-error-illegal-length", *words)
    assert (status, mode.outcome) == (1, Outcome.FAIL)
    assert {"first: contents", "middle: dcbm", "last: contents"} <= set(failed(mode))
    assert not any(name.startswith("later") for name in failed(mode))


def test_with_driver_fixes_the_cpu_copies_what_the_engine_refused(tmp_path: Path) -> None:
    words = ("--with-driver-fixes", "--set", "expect=sound")
    status, mode = run_failures(tmp_path / "run", "moves-error-illegal-length", *words)
    assert (status, mode.outcome, failed(mode)) == (0, Outcome.PASS, [])
    assert mode.details["attempts"]["middle"]["folios_failures"] == 1


def test_late_writes_hit_memory_that_belongs_to_nobody(tmp_path: Path) -> None:
    _status, mode = run_failures(tmp_path / "run", "moves-stall-given-up")
    late = [check.name for check in mode.checks if check.name.startswith("late writes")]
    # Into memory that was free, and into pages that were moved again and stay in use.
    assert len([name for name in late if "in use" in name]) == 3
    assert len(late) == 6
    # The engine did go on: what it had left was completed before the next migration.
    given_up = mode.details["attempts"]
    assert given_up["first"]["folios_failures"] == given_up["first"]["folios"] // 2
