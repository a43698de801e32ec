# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks held against known bugs: what may fail, what may not, and what is gone."""

from __future__ import annotations

from typing import Any

import pytest

from lab.config import LabFile
from lab.experiments import ledger
from lab.experiments.ledger import Deviation
from lab.results import Check

BUG = Deviation(
    "some-bug", "failures", "*-error-*", "(first|last): contents", r"\b1 wrong", bases=("7.3",)
)
CELL = "moves-error-fatal-amd"


def check(*, held: bool, seen: str, name: str = "first: contents") -> Check:
    return Check(name=name, held=held, awaited="0 wrong", seen=seen)


def excused(made: Check, bug: Deviation = BUG, cell: str = CELL, **kernel: Any) -> Check:
    machine = LabFile.model_validate({"kernel": kernel})
    (found,) = ledger.excused([made], [bug], experiment="failures", cell=cell, machine=machine)
    return found


def test_a_bug_that_shows_as_described_holds_and_is_named() -> None:
    found = excused(check(held=False, seen="5 pages, 1 wrong"))
    assert found.held
    assert found.awaited == "known bug some-bug; sound would be: 0 wrong"
    assert ledger.remarks([found]) == ["shows the known bug some-bug, see docs/known-bugs.md"]


def test_another_failure_than_the_known_one_fails() -> None:
    found = excused(check(held=False, seen="5 pages, 11 wrong"))
    assert not found.held
    assert ledger.remarks([found]) == []


def test_a_bug_that_is_gone_fails_and_says_so() -> None:
    found = excused(check(held=True, seen="5 pages, 0 wrong"))
    assert not found.held
    assert "the bug is gone" in found.seen
    assert ledger.remarks([found]) == ["the known bug some-bug did not show: is it fixed?"]


def test_a_bug_that_shows_now_and_then_need_not() -> None:
    now_and_then = Deviation("some-bug", "failures", "*", ".*", "wrong", always=False)
    sound = check(held=True, seen="0 wrong")
    assert excused(sound, now_and_then) == sound
    assert excused(check(held=False, seen="3 wrong"), now_and_then).held


@pytest.mark.parametrize(
    ("made", "cell", "kernel"),
    [
        (check(held=False, seen="1 wrong", name="first: dcbm"), CELL, {}),
        (check(held=False, seen="1 wrong", name="at first: contents"), CELL, {}),
        (check(held=False, seen="1 wrong"), "moves-stall-late", {}),
        (check(held=False, seen="1 wrong"), CELL, {"base": "6.12"}),
        (check(held=False, seen="1 wrong"), CELL, {"driver_fixes": True}),
    ],
)
def test_what_a_deviation_does_not_cover_is_left_alone(
    made: Check, cell: str, kernel: dict[str, Any]
) -> None:
    assert excused(made, cell=cell, **kernel) == made


def test_a_deviation_is_of_one_experiment_and_kind_of_engine() -> None:
    machine = LabFile()
    assert BUG.covers("failures", CELL, machine)
    assert not BUG.covers("matrix", CELL, machine)
    assert not BUG.covers("failures", CELL, LabFile.model_validate({"engine": {"kind": "ae4dma"}}))
