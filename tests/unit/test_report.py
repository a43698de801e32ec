# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from records import compaction_mode, ended, record, sweep_mode
from rich.console import Console

from lab.report import Format, render
from lab.report.console import plain_text, print_record
from lab.report.figures import tables
from lab.results import Check, KernelReport, Mode, Outcome, Record

JUNIT_ELEMENT = {
    Outcome.PASS: None,
    Outcome.FAIL: ("failure", "FAIL"),
    Outcome.CRASH: ("error", "CRASH"),
    Outcome.TIMEOUT: ("error", "TIMEOUT"),
    Outcome.LOST: ("error", "LOST"),
    Outcome.ERROR: ("error", "ERROR"),
}
KTAP_LINE = {
    Outcome.PASS: "ok 1 dma",
    Outcome.FAIL: "not ok 1 dma",
    Outcome.CRASH: "not ok 1 dma # CRASH",
    Outcome.TIMEOUT: "not ok 1 dma # TIMEOUT",
    Outcome.LOST: "not ok 1 dma # LOST",
    Outcome.ERROR: "not ok 1 dma # ERROR",
}
EXIT_CODE = {
    Outcome.PASS: 0,
    Outcome.FAIL: 1,
    Outcome.ERROR: 3,
    Outcome.CRASH: 4,
    Outcome.TIMEOUT: 5,
    Outcome.LOST: 6,
}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_outcome_has_its_own_exit_code_element_and_line(outcome: Outcome) -> None:
    run = record(ended(outcome))
    assert run.outcome.exit_code == EXIT_CODE[outcome]
    case = ElementTree.fromstring(render(run, Format.JUNIT).encode()).find(".//testcase")  # noqa: S314
    assert case is not None
    found = [(item.tag, item.get("type")) for item in case if item.tag in {"failure", "error"}]
    expected = JUNIT_ELEMENT[outcome]
    assert found == ([] if expected is None else [expected])
    lines = render(run, Format.KTAP).splitlines()
    assert [line for line in lines if line.startswith(("ok ", "not ok "))] == [KTAP_LINE[outcome]]


def test_no_two_outcomes_look_alike() -> None:
    assert len(set(KTAP_LINE.values())) == len(Outcome)
    assert len(set(JUNIT_ELEMENT.values())) == len(Outcome)
    assert len(set(EXIT_CODE.values())) == len(Outcome)


@pytest.mark.parametrize("outcome", [item for item in Outcome if item is not Outcome.PASS])
def test_every_format_names_what_went_wrong(outcome: Outcome) -> None:
    run = record(compaction_mode(), ended(outcome))
    wanted = "page 17 at 0x7f0011000 offset 5" if outcome is Outcome.FAIL else outcome.value.lower()
    # What shows one part of a record says nothing of the others.
    for form in set(Format) - {Format.COVERAGE}:
        assert wanted in render(run, form), form


def test_junit_counts_every_kind() -> None:
    run = record(*(ended(outcome, outcome.value) for outcome in Outcome))
    suite = ElementTree.fromstring(render(run, Format.JUNIT).encode()).find("testsuite")  # noqa: S314
    assert suite is not None
    counts = (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("time"))
    assert counts == ("6", "1", "4", "12.5")


def test_run_without_a_mode_is_an_error_everywhere() -> None:
    run = record(error="awaited: an engine\nseen:    engine.count is 0")
    assert run.outcome is Outcome.ERROR
    error = ElementTree.fromstring(render(run, Format.JUNIT).encode()).find(".//error")  # noqa: S314
    assert error is not None
    assert error.get("type") == "ERROR"
    assert "not ok 1 set-up # ERROR" in render(run, Format.KTAP)
    for form in set(Format) - {Format.COVERAGE}:
        assert "engine.count is 0" in render(run, form), form


def test_table_has_the_published_columns_and_the_proof() -> None:
    text = plain_text(record(compaction_mode()))
    header, row = text.splitlines()[1], text.splitlines()[3]
    wanted = ["Wall time(ms)", "Migrated", "DMA_Copy", "Hog_Iters", "User%", "Sys%", "Idle%"]
    at = [header.index(name) for name in ["Mode", *wanted, "Verified", "Wrong", "Verdict"]]
    assert at == sorted(at)
    figures = ["123.457", "27123", "27130", "66022189744", "56.32%", "42.97%", "0.06%"]
    assert row.split()[1:8] == figures
    assert row.split()[8:] == ["0.60%", "190000", "0", "27130", "111124480", "PASS"]
    assert "says nothing about EPYC" in text


def test_sweep_has_the_published_shape() -> None:
    run = record(sweep_mode("baseline", 0), sweep_mode("dma-16", 16), experiment="move-pages")
    throughput, proof, _verdicts = tables(run)
    assert throughput.columns == ("Mode", "4K", "2M")
    assert throughput.rows == (
        ("baseline", "0.04±0.25", "20.48±0.25"),
        ("dma-16", "16.04±0.25", "36.48±0.25"),
    )
    assert proof.rows[1] == ("dma-16", "131072/16", "256/16")


def test_terminal_and_pipe_show_the_same_figures() -> None:
    run = record(compaction_mode(), ended(Outcome.FAIL))
    seen = {}
    for name, terminal in (("terminal", True), ("pipe", False)):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=terminal, width=250, color_system=None)
        print_record(run, console)
        seen[name] = stream.getvalue()
    assert seen["pipe"] == plain_text(run)
    cells = [cell for table in tables(run) for row in table.rows for cell in row]
    for name, text in seen.items():
        words = text.replace("│", " ").split()
        assert all(words.count(cell) >= cells.count(cell) for cell in cells), name


def test_narrow_terminal_gets_plain_text_rather_than_cut_figures() -> None:
    stream = io.StringIO()
    print_record(record(compaction_mode()), Console(file=stream, force_terminal=True, width=60))
    assert stream.getvalue() == plain_text(record(compaction_mode()))


def test_guest_console_cannot_steer_the_terminal() -> None:
    text = plain_text(record(ended(Outcome.CRASH)))
    assert "kernel NULL pointer" in text
    assert "\x1b" not in text
    assert "\x07" not in text


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_html_is_self_contained_and_escapes_the_guest() -> None:
    mode = Mode(name="<script>alert(1)</script>", outcome=Outcome.ERROR, error="<img src=x>")
    parsed = _Tags()
    parsed.feed(render(record(mode, compaction_mode()), Format.HTML))
    assert "script" not in parsed.tags
    assert "img" not in parsed.tags
    assert parsed.outside == []
    assert parsed.tags.count("table") == 2


def test_ktap_plan_matches_its_lines_and_names_hold_no_directive() -> None:
    mode = compaction_mode("a # SKIP\nok 2 forged")
    lines = render(record(mode, ended(Outcome.FAIL)), Format.KTAP).splitlines()
    assert lines[0] == "KTAP version 1"
    assert "1..2" in lines
    top = [line for line in lines if line.startswith(("ok ", "not ok "))]
    assert top == ["ok 1 a  SKIP ok 2 forged", "not ok 2 dma"]


def test_json_is_the_record() -> None:
    run = record(compaction_mode(), sweep_mode("dma-4", 4), ended(Outcome.CRASH))
    assert Record.model_validate_json(render(run, Format.JSON)) == run


def test_an_experiment_with_device_counters_alone_shows_them() -> None:
    whole = compaction_mode("16-msi")
    mode = Mode(name="16-msi", outcome=Outcome.PASS, device=whole.device, checks=whole.checks)
    (table,) = tables(record(mode, experiment="dmatest"))
    assert table.rows == (("16-msi", "1/1", "27130", "111124480", "27130", "0", "PASS"),)


def test_what_kept_every_mode_from_running_is_said_once() -> None:
    told = "awaited: a kernel\nseen:    a compiler's complaint"
    modes = [Mode(name=name, outcome=Outcome.ERROR, error=told) for name in ("one", "two")]
    text = plain_text(record(*modes, error=told))
    assert text.count("a compiler's complaint") == 1
    assert text.count("ERROR") == 4


def warned_mode() -> Mode:
    told = [
        KernelReport(
            kind="warning", title="WARNING: mm/x.c:3\x1b[2J", time_s=1.5, excerpt="<WHOLE>"
        ),
        KernelReport(kind="oops", title="Oops: there", fatal=True, excerpt="oops"),
    ]
    whole = compaction_mode("dma")
    return whole.model_copy(update={"kernel_reports": told, "notes": ["it never struck"]})


@pytest.mark.parametrize("form", [Format.TABLE, Format.HTML, Format.JUNIT, Format.KTAP])
def test_kernel_warnings_and_notes_are_seen_on_a_pass(form: Format) -> None:
    text = render(record(warned_mode(), compaction_mode("quiet")), form)
    assert "dma: kernel warnings: 1" in text
    assert "at 1.500000 s: WARNING: mm/x.c:3\ufffd[2J" in text
    assert "dma: note: it never struck" in text
    assert "Oops: there" not in text
    assert "quiet: kernel" not in text
    if form is not Format.TABLE and form is not Format.KTAP:
        assert "&lt;WHOLE&gt;" in text
    if form is not Format.JUNIT:
        assert "kernel warnings: 1, notes: 1" in text
    silent = render(record(compaction_mode()), form)
    assert "note:" not in silent
    assert "dma: kernel warnings" not in silent


def test_a_terminal_shows_warnings_too() -> None:
    stream = io.StringIO()
    print_record(record(warned_mode()), Console(file=stream, force_terminal=True, width=250))
    assert "dma: kernel warnings: 1" in stream.getvalue()
    assert "dma: note: it never struck" in stream.getvalue()


@pytest.mark.parametrize("form", [item for item in Format if item is not Format.JSON])
def test_no_part_of_a_record_can_steer_a_terminal(form: Format) -> None:
    evil = "x\x1b[2J\x9b1m\x07y"
    check = Check(name=evil, held=False, awaited=evil, seen=evil)
    modes = [
        Mode(name=evil, outcome=Outcome.FAIL, checks=[check], notes=[evil]),
        Mode(name=evil, outcome=Outcome.CRASH, error=evil, excerpt=evil),
    ]
    whole = record(*modes, error=evil, experiment=evil).model_copy(update={"clock": evil})
    text = render(whole, form)
    assert not set(text) & {"\x1b", "\x9b", "\x07"}
    assert "\ufffd[2J" in text
