# SPDX-License-Identifier: GPL-2.0-or-later
"""Each fault on the stock driver, for real: what it tells its client, and what is true."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.experiments.fault_ledger import known_bugs
from lab.experiments.fault_scenarios import SCENARIOS
from lab.results import Mode, Outcome, Record

pytestmark = pytest.mark.guest

SMALL = (
    *("--set", "topology.nodes.0.memory_mib=256"),
    *("--set", "topology.nodes.1.memory_mib=256"),
)
NEVER_STRIKES = Path(__file__).parent / "never_strikes.py"
NEVER_RETURNS = Path(__file__).parent / "never_returns.py"


def run_faults(folder: Path, *words: object, experiment: object = "faults") -> tuple[int, Mode]:
    """Run one mode; its exit status and what the record says about it."""
    argv = ["run", experiment, *SMALL, "--output", folder, *words]
    done = subprocess.run(
        [sys.executable, "-m", "lab.cli", *(str(word) for word in argv)],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert (folder / "record.json").exists(), done.stderr
    (mode,) = Record.read(folder / "record.json").modes
    return done.returncode, mode


def failed(mode: Mode) -> list[str]:
    return [check.name for check in mode.checks if not check.held]


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, scenario.name) for scenario in SCENARIOS for kind in scenario.kinds]
)
def test_the_stock_driver_does_what_is_known_of_it(kind: str, name: str, tmp_path: Path) -> None:
    words = ("--mode", name, "--set", f"engine.kind={kind}")
    status, mode = run_faults(tmp_path / "run", *words)
    assert failed(mode) == [], [check.seen for check in mode.checks]
    assert (status, mode.outcome) == (0, Outcome.PASS), mode.error
    (scenario,) = [scenario for scenario in SCENARIOS if scenario.name == name]
    bugs = {bug.bug for bug in known_bugs(kind, name).values() if bug.always}
    shown = {bug for bug in bugs if any(f"known bug {bug};" in c.awaited for c in mode.checks)}
    if mode.details["crash"] is None or len(bugs) == 1:
        assert shown == bugs
    if mode.details["crash"] is None or mode.details["struck"]:
        assert [fault["hits"] for fault in mode.details["struck"]] == [1] * len(scenario.faults)


def test_an_error_told_as_success_fails_where_sound_is_asked_for(tmp_path: Path) -> None:
    words = ("--mode", "error-illegal-length", "--set", "expect=sound")
    status, mode = run_faults(tmp_path / "run", *words)
    assert (status, mode.outcome) == (1, Outcome.FAIL)
    assert failed(mode) == ["faulted copy", "error's name"]


def test_a_known_crash_is_a_crash_where_sound_is_asked_for(tmp_path: Path) -> None:
    words = ("--mode", "interrupt-descriptor", "--set", "expect=sound")
    status, mode = run_faults(tmp_path / "run", *words)
    assert (status, mode.outcome) == (4, Outcome.CRASH)
    assert "pt_cmd_callback" in (mode.excerpt or "")


def test_a_fault_that_never_strikes_is_an_error(tmp_path: Path) -> None:
    status, mode = run_faults(tmp_path / "run", experiment=NEVER_STRIKES)
    assert (status, mode.outcome) == (3, Outcome.ERROR)
    assert "flip-byte 0 times" in (mode.error or "")


@pytest.mark.parametrize(
    ("name", "told", "line"),
    [
        ("error-illegal-length", "aborted", "ILLEGAL_BUFFER_LENGTH"),
        ("error-write-decode", "write failed", "ODMA0_AXI_DECERR"),
        ("error-twice", "nothing", "IDMA0_AXI_DECERR"),
        ("all-ones", "aborted", "unknown (0x3f)"),
    ],
)
def test_a_corrected_driver_passes_where_it_is_corrected(
    name: str, told: str, line: str, tmp_path: Path
) -> None:
    fixed = ("--mode", name, "--set", "kernel.driver_fixes=true", "--set", "expect=sound")
    status, mode = run_faults(tmp_path / "run", *fixed)
    assert (status, mode.outcome, failed(mode)) == (0, Outcome.PASS, [])
    assert mode.details["copies"][1]["told"] == told
    assert line in mode.details["driver_lines"][0]


def test_a_corrected_driver_is_known_for_what_is_left(tmp_path: Path) -> None:
    words = ("--mode", "stall-never", "--set", "kernel.driver_fixes=true")
    status, mode = run_faults(tmp_path / "run", *words)
    assert (status, mode.outcome, failed(mode)) == (0, Outcome.PASS, [])
    assert mode.details["crash"] is None


def test_ae4dma_gets_one_descriptor_at_a_time_and_so_keeps_their_order(tmp_path: Path) -> None:
    words = ("--mode", "out-of-order", "--set", "engine.kind=ae4dma")
    _status, mode = run_faults(tmp_path / "run", *words)
    held, behind = mode.details["marks"]["waited"][1:3]
    # The engine holds the first until a second one ends; the driver never starts a second one.
    assert [(fault["kind"], fault["hits"]) for fault in mode.details["struck"]] == [
        ("out-of-order", 1)
    ]
    assert (held["told"], held["unwritten"]) == ("nothing", held["length"])
    assert (behind["told"], behind["unwritten"]) == ("nothing", behind["length"])
    assert mode.details["copies"][1]["told"] == "success"
    assert mode.details["copies"][1]["wrong_when_told"] == 0


def test_an_ae4dma_client_that_gives_up_on_a_held_copy_is_a_crash(tmp_path: Path) -> None:
    words = ("--mode", "out-of-order-given-up", "--set", "engine.kind=ae4dma")
    status, mode = run_faults(tmp_path / "run", *words, "--set", "expect=sound")
    assert (status, mode.outcome) == (4, Outcome.CRASH)
    assert "ae4_pending_work" in (mode.excerpt or "")


def test_a_next_copy_on_ae4dma_never_returns_after_a_lost_interrupt(tmp_path: Path) -> None:
    status, mode = run_faults(tmp_path / "run", experiment=NEVER_RETURNS)
    assert (status, mode.outcome) == (5, Outcome.TIMEOUT)
    assert "command issue" in (mode.error or "")
