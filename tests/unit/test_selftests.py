# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's selftests: what their programs say, judged; recorded output is in data/ktap."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from test_ktap import DATA

from lab.config import Clock, LabFile
from lab.errors import ConfigError
from lab.experiments.selftests import EXPERIMENT, TESTS, Selftest, judge, plan
from lab.guest_files import GuestSelftests
from lab.ktap import read_ktap
from lab.machine.jobs import JobResult

TEST = Selftest("mremap")
WHOLE = "TAP version 13\n1..2\nok 1 a\nok 2 b\n"


def ended(status: int | None = 0, signal: int | None = None) -> JobResult:
    return JobResult(("mremap",), status, signal, [], [], [])


def failing(text: str, result: JobResult | None = None) -> list[str]:
    found = judge(TEST, read_ktap(text), result or ended())
    return [check.name for check in found.checks if not check.held]


def test_each_test_is_a_check_beside_those_of_the_program() -> None:
    found = judge(TEST, read_ktap(WHOLE), ended())
    assert [check.name for check in found.checks] == [
        "mremap: protocol",
        "mremap: a",
        "mremap: b",
        "mremap: exit status",
    ]
    assert all(check.held for check in found.checks)
    assert (found.skipped, found.unproven) == ((), ())


@pytest.mark.parametrize(
    ("text", "result", "names"),
    [
        (WHOLE.replace("ok 2", "not ok 2"), ended(1), ["b", "exit status"]),
        (WHOLE.replace("ok 2", "not ok 2"), ended(0), ["b"]),
        (WHOLE, ended(1), ["exit status"]),
        (WHOLE, ended(None, 11), ["exit status"]),
        (WHOLE.replace("ok 2 b\n", ""), ended(), ["protocol"]),
        (WHOLE.replace("ok 2 b", "ok 2 b # XFAIL known"), ended(), ["b"]),
        (WHOLE.replace("ok 2 b", "Bail out! no memory"), ended(1), ["protocol", "exit status"]),
        ("", ended(), ["protocol"]),
        ("Segmentation fault\n", ended(None, 11), ["protocol", "exit status"]),
    ],
)
def test_what_is_no_pass(text: str, result: JobResult, names: list[str]) -> None:
    assert failing(text, result) == [f"mremap: {name}" for name in names]


def test_a_skip_is_no_check_but_unproven() -> None:
    found = judge(TEST, read_ktap(WHOLE.replace("ok 2 b", "ok 2 b # SKIP no node")), ended())
    assert found.unproven == ("mremap: b was skipped: no node",)
    assert "mremap: b" not in [check.name for check in found.checks]


def test_a_skip_that_is_known_is_a_note() -> None:
    known = dataclasses.replace(TEST, skips={"b": "no such hardware"})
    found = judge(known, read_ktap(WHOLE.replace("ok 2 b", "ok 2 b # SKIP no X")), ended())
    assert found.unproven == ()
    assert found.skipped == ("mremap: b was skipped (no X), as awaited: no such hardware",)


def test_all_skipped_is_unproven() -> None:
    found = judge(TEST, read_ktap("TAP version 13\n1..0 # SKIP no huge pages\n"), ended(4))
    assert found.unproven == ("mremap skipped everything: no huge pages",)
    assert all(check.held for check in found.checks)


def test_the_plan() -> None:
    modes = plan(LabFile(), EXPERIMENT.choose({}))
    assert [mode.name for mode in modes] == ["off", "dcbm", "real-time-off", "real-time-dcbm"]
    assert [mode.machine.clock for mode in modes] == [Clock.VIRTUAL] * 2 + [Clock.HOST] * 2
    assert [mode.offload for mode in modes] == [False, True] * 2
    assert all(mode.patched for mode in modes)
    assert all(node.cpus >= 2 for mode in modes for node in mode.machine.topology.nodes)
    (files,) = modes[2].files
    assert files == GuestSelftests("mm", ("migration",))
    run = [test for mode in modes[::2] for test in mode.tests]
    assert sorted(test.name for test in run) == sorted(test.name for test in TESTS)
    assert len(plan(LabFile(), EXPERIMENT.choose({}, quick=True))) == 2


@pytest.mark.parametrize("tests", [(), ("no_such",), ("migration", "migration")])
def test_tests_that_there_are_not(tests: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        EXPERIMENT.choose({"tests": tests})


RECORDED = {path.stem: path for path in sorted(DATA.glob("*.txt"))}


def test_there_are_records() -> None:
    assert len(RECORDED) >= 2
    assert all(isinstance(path, Path) for path in RECORDED.values())


@pytest.mark.parametrize("name", list(RECORDED))
def test_recorded_output_of_real_programs_is_understood(name: str) -> None:
    document = read_ktap(RECORDED[name].read_text(encoding="utf-8"))
    assert list(document.all_problems()) == []
    assert len(document.tests) == document.plan
