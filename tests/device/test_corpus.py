# SPDX-License-Identifier: GPL-2.0-or-later
"""Every input that fuzzing has kept runs without a finding, and findings are noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.build.qemu import SanitizedQemu
from lab.devices.fuzzing import Fuzzer, FuzzFinding, list_corpus, list_targets

pytestmark = pytest.mark.device

# Of each target, fewer would be a corpus that got lost
INPUTS_AT_LEAST = 20
# What sanitizer_check_fuzz.c does, and what the report calls it
BUGS = {
    "o": "heap-buffer-overflow",
    "f": "heap-use-after-free",
    "l": "detected memory leaks",
    "u": "shift exponent",
    "a": "assertion failed",
    "h": "ALARM: working on the last Unit",
}


@pytest.mark.parametrize("target", list_targets())
def test_corpus(target: str, sanitized: SanitizedQemu, tmp_path: Path) -> None:
    inputs = list_corpus(target)
    assert len(inputs) >= INPUTS_AT_LEAST
    Fuzzer(sanitized.fuzzer).replay(target, inputs, tmp_path / "replay.log")


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_noticed(bug: str, sanitized: SanitizedQemu, tmp_path: Path) -> None:
    log = tmp_path / "replay.log"
    found = tmp_path / "input"
    found.write_text(bug)
    with pytest.raises(FuzzFinding):
        Fuzzer(sanitized.fuzzer, input_timeout_s=2).replay("sanitizer-check", [found], log)
    assert BUGS[bug] in log.read_text(errors="replace")


def test_no_bug_is_no_finding(sanitized: SanitizedQemu, tmp_path: Path) -> None:
    harmless = tmp_path / "input"
    harmless.write_text("x")
    Fuzzer(sanitized.fuzzer).replay("sanitizer-check", [harmless], tmp_path / "replay.log")


@pytest.mark.parametrize("what", ["unknown target", "no inputs"])
def test_what_did_not_run_is_a_finding(what: str, sanitized: SanitizedQemu, tmp_path: Path) -> None:
    there = tmp_path / "input"
    there.write_text("x")
    target = "no-such-target" if what == "unknown target" else "sanitizer-check"
    inputs = [] if what == "no inputs" else [there]
    with pytest.raises(FuzzFinding):
        Fuzzer(sanitized.fuzzer).replay(target, inputs, tmp_path / "replay.log")
