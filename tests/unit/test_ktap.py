# SPDX-License-Identifier: GPL-2.0-or-later
"""The KTAP reader: what tests print, what our own writer writes, and all that is no pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import compaction_mode, ended, record

from lab.ktap import Document, Result, read_ktap
from lab.report import Format, render
from lab.results import Check, Mode, Outcome

DATA = Path(__file__).resolve().parents[1] / "data" / "ktap"


def read(text: str) -> Document:
    return read_ktap("\n".join(line.strip("|") for line in text.strip().splitlines()))


def problems(text: str) -> list[str]:
    return list(read(text).all_problems())


def results(document: Document) -> dict[str, Result]:
    return {" / ".join(path): case.result for path, case in document.leaves()}


WHOLE = """
KTAP version 1
1..2
  KTAP version 1
  1..2
    KTAP version 1
    1..2
    not ok 1 test_1
    ok 2 test_2
  not ok 1 test_3
  ok 2 test_4 # SKIP
not ok 1 example_test_1
ok 2 example_test_2
"""


def test_levels_of_nesting() -> None:
    document = read(WHOLE)
    assert document.sound
    assert not document.passed
    assert results(document) == {
        "example_test_1 / test_3 / test_1": Result.FAIL,
        "example_test_1 / test_3 / test_2": Result.PASS,
        "example_test_1 / test_4": Result.SKIP,
        "example_test_2": Result.PASS,
    }


def test_a_pass_is_a_plan_that_came_true() -> None:
    document = read("KTAP version 1\n1..2\n# one\nok 1 a\nnoise of the kernel\nok 2 - b # rcode=0")
    assert document.passed
    assert [(case.number, case.name, case.detail) for case in document.tests] == [
        (1, "a", ""),
        (2, "b", "rcode=0"),
    ]
    assert [case.diagnostics for case in document.tests] == [("one",), ("noise of the kernel",)]


@pytest.mark.parametrize("version", ["KTAP version 1", "TAP version 13", "TAP version 14"])
def test_versions_that_are_in_use(version: str) -> None:
    assert read(f"noise before\n{version}\n1..1\nok 1 a").passed


@pytest.mark.parametrize(
    ("line", "result", "name", "detail"),
    [
        ("ok 1 a # SKIP no memory", Result.SKIP, "a", "no memory"),
        ("not ok 1 a # SKIP no memory", Result.SKIP, "a", "no memory"),
        ("ok 1 # SKIP no memory", Result.SKIP, "", "no memory"),
        ("ok 1 a # Skip: no memory", Result.SKIP, "a", "no memory"),
        ("ok 1 a # skipped 3 pages", Result.PASS, "a", "skipped 3 pages"),
        ("not ok 1 a # TODO broken", Result.TODO, "a", "broken"),
        ("ok 1 a # TODO broken", Result.TODO, "a", "broken"),
        ("ok 1 # XFAIL known", Result.XFAIL, "", "known"),
        ("not ok 1 a # TIMEOUT 30 seconds", Result.TIMEOUT, "a", "30 seconds"),
        ("not ok 1 a # ERROR no device", Result.ERROR, "a", "no device"),
        ("not ok 1 a # CRASH", Result.FAIL, "a", "CRASH"),
        ("ok 1 a #  error count 0", Result.PASS, "a", "error count 0"),
        ("not ok 1", Result.FAIL, "", ""),
    ],
)
def test_directives(line: str, result: Result, name: str, detail: str) -> None:
    document = read(f"TAP version 13\n1..1\n{line}")
    (case,) = document.tests
    assert (case.result, case.name, case.detail) == (result, name, detail)
    assert document.sound
    assert document.passed == (result is Result.PASS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no version line"),
        ("nothing of the protocol", "no version line"),
        ("ok 1 a", "no version line"),
        ("TAP version 12\n1..1\nok 1 a", "'TAP version 12' is a version that nobody reads"),
        ("KTAP version 1\nok 1 a", "no plan"),
        ("KTAP version 1\n1..2\nok 1 a", "2 tests planned, 1 results seen: 1 missing"),
        ("KTAP version 1\n1..1\nok 1 a\nok 2 b", "1 more than planned"),
        ("KTAP version 1\n1..2\nok 1 a\nok 3 c", "number 2 missing before 3"),
        ("KTAP version 1\n1..2\nok 1 a\nok 5 c", "number 2 to 4 missing before 5"),
        ("KTAP version 1\n1..2\nok 1 a\nok 1 b", "number 1 after 1: twice"),
        ("KTAP version 1\n1..2\nok 2 a\nok 1 b", "number 1 missing before 2"),
        ("KTAP version 1\n1..1\nok a", "a result without a number: 'a'"),
        ("KTAP version 1\n1..1\n1..1\nok 1 a", "a second plan"),
        ("KTAP version 1\nok 1 a\n1..2\nok 2 b", "a plan in the middle"),
        ("KTAP version 1\n1..0", "no test at all"),
        ("KTAP version 1\n1..1\nok 1 a\nKTAP version 1\n1..1\nok 1 b", "a second version line"),
        ("KTAP version 1\n1..2\nok 1 a\nBail out! no node", "the test gave up: no node"),
        ("KTAP version 1\n1..1\nok 1 a\nBail out!", "the test gave up: (no reason)"),
        ("KTAP version 1\n1..1\nok 1 a # TIMEOUT", "a is ok with TIMEOUT"),
        ("KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 a", "1 tests planned, 0 results"),
        ("KTAP version 1\n1..0\n  KTAP version 1\n  1..1\n  ok 1 a", "subtests without a result"),
    ],
)
def test_what_is_no_pass(text: str, problem: str) -> None:
    assert any(problem in seen for seen in problems(text)), problems(text)
    assert not read(text).passed


def test_a_plan_may_come_last() -> None:
    assert read("TAP version 13\nok 1 a\nok 2 b\n1..2").passed


def test_a_parent_can_not_pass_for_its_subtest() -> None:
    document = read(
        "KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  not ok 1 a\n  ok 2 b\nok 1 whole"
    )
    assert document.tests[0].result is Result.FAIL
    assert list(document.all_problems()) == ["whole is ok, but its subtest a not"]


def test_a_parent_that_fails_by_itself_is_a_leaf_too() -> None:
    document = read("KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 a\nnot ok 1 whole")
    assert document.sound
    assert results(document) == {"whole / a": Result.PASS, "whole": Result.FAIL}


def test_a_problem_says_in_which_test() -> None:
    text = "KTAP version 1\n1..1\n    KTAP version 1\n    1..2\n    ok 1 a\nok 1 whole"
    assert problems(text) == ["whole: 2 tests planned, 1 results seen: 1 missing"]


def test_giving_up_ends_every_level_and_what_follows_counts_no_more() -> None:
    text = "KTAP version 1\n1..2\n  KTAP version 1\n  1..1\n  Bail out! gone\n  ok 1 a\nok 1 whole"
    document = read(text)
    assert document.bail_out == "gone"
    assert document.tests == ()


def test_all_skipped_by_the_plan() -> None:
    document = read("TAP version 13\n1..0 # SKIP no huge pages")
    assert document.skipped == "no huge pages"
    assert document.sound
    assert not document.passed


def test_unknown_and_indented_lines_change_nothing() -> None:
    text = "KTAP version 1\n1..1\n   not ok 1 indented like nothing\n[ 1.5] not ok 1 x\nok 1 a"
    assert read(text).passed


def test_crash_lost_and_all_other_outcomes_survive_our_own_writer() -> None:
    modes = [ended(outcome).model_copy(update={"name": outcome.value}) for outcome in Outcome]
    document = read_ktap(render(record(*modes), Format.KTAP))
    assert list(document.all_problems()) == []
    assert {case.name: case.result for case in document.tests} == {
        "PASS": Result.PASS,
        "FAIL": Result.FAIL,
        "CRASH": Result.FAIL,
        "TIMEOUT": Result.TIMEOUT,
        "LOST": Result.FAIL,
        "ERROR": Result.ERROR,
    }
    told = {case.name: case.detail for case in document.tests}
    assert (told["CRASH"], told["LOST"]) == ("CRASH", "LOST")


def test_what_our_writer_says_is_what_the_reader_reads() -> None:
    held = Check(name="contents", held=True, awaited="all", seen="all")
    broken = Check(name="a # SKIP b\nok 3 forged", held=False, awaited="1..7", seen="not ok 9 x")
    failed = Mode(
        name="dma",
        outcome=Outcome.FAIL,
        checks=[held, broken],
        error="Bail out! KTAP version 1\nnot ok 5 forged\nKTAP version 1",
        notes=["1..5"],
    )
    document = read_ktap(render(record(compaction_mode("baseline"), failed), Format.KTAP))
    assert list(document.all_problems()) == []
    assert document.plan == 2
    whole, part = document.tests
    assert whole.subtests is not None
    assert whole.subtests.passed
    assert part.subtests is not None
    assert [(case.name, case.result) for case in part.subtests.tests] == [
        ("contents", Result.PASS),
        ("a  SKIP b ok 3 forged", Result.FAIL),
    ]
    assert part.subtests.tests[1].diagnostics == ("awaited 1..7; seen not ok 9 x",)


def test_a_record_without_modes_is_no_pass() -> None:
    document = read_ktap(render(record(error="no kernel"), Format.KTAP))
    assert [(case.name, case.result) for case in document.tests] == [("set-up", Result.ERROR)]
    assert document.sound
