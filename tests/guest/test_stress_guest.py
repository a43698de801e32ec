# SPDX-License-Identifier: GPL-2.0-or-later
"""``stress`` in real guests: exact on the virtual clock, races on the host's, red when broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.results import Mode, Outcome, Record

pytestmark = pytest.mark.guest

SMALL = ("--set", "mib=2", "--set", "writers=2", "--jobs", "1")
RUN_TIMEOUT_S = 900


def run_stress(folder: Path, mode: str, *words: str, second_mib: int = 384) -> Mode:
    """Run a mode on a node of 384 MiB and a second one."""
    nodes = [f"topology.nodes.{at}.memory_mib={mib}" for at, mib in enumerate((384, second_mib))]
    argv = [sys.executable, "-m", "lab.cli", "run", "stress", "--mode", mode, *SMALL, *words]
    argv += [word for node in nodes for word in ("--set", node)]
    done = subprocess.run(
        [*argv, "--output", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_TIMEOUT_S,
    )
    assert (folder / "record.json").exists(), done.stderr
    (found,) = Record.read(folder / "record.json").modes
    return found


def unheld(mode: Mode) -> list[str]:
    return [check.name for check in mode.checks if not check.held]


def without_host(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    record.pop("host")
    return record


def test_a_run_is_the_same_each_time_on_the_virtual_clock(tmp_path: Path) -> None:
    for name in ("first", "second"):
        mode = run_stress(tmp_path / name, "writers", "--set", "run_ms=100")
        assert (mode.outcome, unheld(mode)) == (Outcome.PASS, []), mode.error
    assert without_host(tmp_path / "first") == without_host(tmp_path / "second")
    mode = run_stress(tmp_path / "third", "writers", "--set", "run_ms=100", "--set", "seed=2")
    assert mode.outcome is Outcome.PASS, mode.error
    tally = Record.read(tmp_path / "first" / "record.json").modes[0].details["tally"]
    assert mode.details["tally"] != tally


def test_tasks_that_really_run_at_once_lose_no_byte_either(tmp_path: Path) -> None:
    words = ("--clock", "host", "--set", "run_ms=3000")
    mode = run_stress(tmp_path / "run", "ping-pong", *words)
    assert (mode.outcome, unheld(mode)) == (Outcome.PASS, []), mode.error


def test_a_byte_that_the_engine_changes_is_found_by_who_owns_the_page(tmp_path: Path) -> None:
    inject = ("--inject", "dma0:flip-byte:nth=40,offset=5")
    mode = run_stress(tmp_path / "run", "ping-pong", "--set", "run_ms=100", *inject)
    assert mode.outcome is Outcome.FAIL
    assert unheld(mode) == ["contents"]
    (contents,) = [check for check in mode.checks if check.name == "contents"]
    assert "offset 5" in contents.seen
    assert "found by" in contents.seen


def test_blocks_with_holes_are_refused_and_others_go(tmp_path: Path) -> None:
    # A fifth of all memory, at the end of each node, is movable: of this one, two blocks, and the
    # last one of the machine has a hole, because the firmware's tables are there.
    mode = run_stress(tmp_path / "run", "hotplug", "--set", "run_ms=300", second_mib=1024)
    assert (mode.outcome, unheld(mode)) == (Outcome.PASS, []), mode.error
    tally = mode.details["tally"]
    assert tally["blocks_holed"] == 1
    assert tally["blocks_off"] > 0


def test_what_is_written_after_the_copy_is_not_lost(tmp_path: Path) -> None:
    mode = run_stress(tmp_path / "run", "late-write", "--set", "run_ms=100")
    assert (mode.outcome, unheld(mode)) == (Outcome.PASS, []), mode.error
    assert mode.details["tally"]["late_retries"] > 1


def test_a_run_that_is_too_short_for_a_verdict_says_so(tmp_path: Path) -> None:
    words = ("--set", "run_ms=20", "--set", "mib=16")
    mode = run_stress(tmp_path / "run", "fork", *words, "--set", "max_run_ms=20")
    assert mode.outcome is Outcome.ERROR
    assert "run_ms" in str(mode.error)
    assert mode.details["run_ms"] == [20]
    longer = run_stress(tmp_path / "longer", "fork", *words, "--set", "max_run_ms=2000")
    assert (longer.outcome, unheld(longer)) == (Outcome.PASS, []), longer.error
    assert longer.details["run_ms"][:2] == [20, 80]
