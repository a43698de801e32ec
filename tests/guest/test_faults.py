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


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_the_stock_driver_does_what_is_known_of_it(name: str, tmp_path: Path) -> None:
    status, mode = run_faults(tmp_path / "run", "--mode", name)
    assert failed(mode) == [], [check.seen for check in mode.checks]
    assert (status, mode.outcome) == (0, Outcome.PASS), mode.error
    (scenario,) = [scenario for scenario in SCENARIOS if scenario.name == name]
    bugs = {bug.bug for bug in known_bugs("ptdma", name).values()}
    shown = {bug for bug in bugs if any(f"known bug {bug};" in c.awaited for c in mode.checks)}
    assert shown == bugs
    if mode.details["crash"] is None:
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


def test_a_corrected_driver_passes_where_it_is_corrected(tmp_path: Path) -> None:
    fixed = ("--mode", "error-illegal-length", "--set", "kernel.driver_fixes=true")
    status, mode = run_faults(tmp_path / "run", *fixed, "--set", "expect=sound")
    assert (status, mode.outcome, failed(mode)) == (0, Outcome.PASS, [])
    assert mode.details["copies"][1]["told"] == "aborted"
    assert "ILLEGAL_BUFFER_LENGTH" in mode.details["driver_lines"][0]
