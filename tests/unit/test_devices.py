# SPDX-License-Identifier: GPL-2.0-or-later
"""How results of the device models' tests are judged and counted; nothing of QEMU runs here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.build.flavour import PLAIN, SANITIZED
from lab.checkout import QEMU_DEVICES
from lab.devices.__main__ import main as devices_main
from lab.devices.coverage import FileCoverage, percent, read_lcov, show
from lab.devices.fuzzing import Fuzzer, FuzzFinding, list_corpus, list_targets, merge
from lab.devices.qtest import judge

GOOD = "1..2\nok 1 /a/b\nok 2 /a/c\n"


@pytest.mark.parametrize(
    ("stdout", "status", "problem"),
    [
        (GOOD, 0, None),
        (GOOD, -6, "exit status -6"),
        (GOOD.replace("ok 2", "not ok 2"), 1, "/a/c: not ok"),
        (GOOD.replace("/a/c", "/a/c # SKIP why"), 0, "/a/c: skipped"),
        (GOOD.replace("1..2", "1..3"), 0, "2 of 3 cases ran"),
        (GOOD.replace("1..2\n", ""), 0, "no TAP plan"),
        ("1..0\n", 0, "0 of 0 cases ran"),
        ("", 0, "no TAP plan"),
    ],
)
def test_a_qtest_is_judged(stdout: str, status: int, problem: str | None) -> None:
    done = judge(stdout, "", status)
    assert (not done.problems) == (problem is None)
    assert problem is None or any(problem in text for text in done.problems)


LCOV = """SF:/some/where/build/../source/hw/dma/amd_b.c
DA:3,0
DA:4,7
DA:5,0
end_of_record
SF:/some/where/source/hw/dma/amd_a.c
DA:1,1
DA:2,1
end_of_record
SF:/usr/include/glib.h
DA:1,0
end_of_record
SF:/some/where/source/hw/dma/amd_b.c
DA:3,2
end_of_record
"""


def test_coverage_is_counted_by_line() -> None:
    files = read_lcov(LCOV)
    assert [(file.name, file.missed) for file in files] == [
        ("hw/dma/amd_a.c", []),
        ("hw/dma/amd_b.c", [5]),
    ]
    assert percent(files) == pytest.approx(80.0)
    assert percent([]) == 0.0


def test_the_last_line_is_the_share() -> None:
    text = show([FileCoverage("hw/dma/amd_a.c", dict.fromkeys([1, 2, 3, 7, 9], 0) | {4: 1})])
    assert text.splitlines()[-1] == "16.7%"
    assert text.splitlines()[1].endswith("1-3, 7, 9")


def test_every_target_of_ours_is_listed() -> None:
    sources = (QEMU_DEVICES / "tests" / "qtest" / "fuzz").glob("*_fuzz.c")
    named = {path.stem.removesuffix("_fuzz").replace("_", "-") for path in sources}
    assert named - {"amd-dma", "device", "sanitizer-check"} >= set(list_targets())
    assert {"amd-ptdma", "lab-mailbox"} <= set(list_targets())


@pytest.mark.parametrize("target", list_targets())
def test_the_corpus_is_small_and_named_after_its_content(target: str) -> None:
    inputs = list_corpus(target)
    assert inputs
    assert sum(path.stat().st_size for path in inputs) < 300_000
    names = subprocess.run(["sha1sum", *inputs], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in names.stdout.splitlines()] == [p.name for p in inputs]


def test_a_flavour_is_part_of_the_name() -> None:
    assert PLAIN.identity != SANITIZED.identity
    assert "clang" in SANITIZED.identity
    assert "amd_*" in SANITIZED.identity


def script(tmp_path: Path, body: str) -> Fuzzer:
    """A program in the place of the fuzzer."""
    at = tmp_path / "fuzzer"
    at.write_text(f"#!/bin/sh\n{body}\n")
    at.chmod(0o755)
    return Fuzzer(at)


def test_an_input_that_did_not_run_is_a_finding(tmp_path: Path) -> None:
    inputs = [tmp_path / "a", tmp_path / "b"]
    log = tmp_path / "log"
    script(
        tmp_path, f"echo Executed {inputs[0]} in 1 ms; echo Executed {inputs[1]} in 1 ms"
    ).replay("x", inputs, log)
    with pytest.raises(FuzzFinding, match=r"2 inputs of x run(.|\n)*1"):
        script(tmp_path, f"echo Executed {inputs[0]} in 1 ms").replay("x", inputs, log)
    with pytest.raises(FuzzFinding, match="exit status 77"):
        script(tmp_path, "exit 77").replay("x", inputs, log)


def test_a_merge_that_keeps_nothing_leaves_the_corpus_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "old").write_text("old")
    with pytest.raises(FuzzFinding):
        merge(script(tmp_path, "exit 0"), "x", kept, [], tmp_path / "log")
    assert (kept / "old").exists()
    merge(script(tmp_path, 'echo new >"$3/new"'), "x", kept, [], tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["kept"]
    assert [path.name for path in kept.iterdir()] == ["new"]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "x"])
def test_a_wrong_time_is_one_clear_error(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    with pytest.raises(SystemExit) as ended:
        devices_main(["fuzz", f"--seconds={seconds}"])
    assert ended.value.code == 2
    assert "--seconds" in capsys.readouterr().err
