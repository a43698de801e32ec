# SPDX-License-Identifier: GPL-2.0-or-later
"""Running programs: logged, with a deadline, and nothing left behind whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from lab.errors import BuildError, HostError, SourceError
from lab.program import Program, ProgramLost, ask_program, first_error, read_ninja, run_program
from lab.progress import SilentProgress


def alive(mark: str) -> list[int]:
    """Processes that have `mark` in their command line, but not this test's own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        pid = int(path.parent.name)
        if mark.encode() in text and pid != os.getpid():
            found.append(pid)
    return found


def wait_until_gone(mark: str, timeout_s: float = 8.0) -> list[int]:
    deadline = time.monotonic() + timeout_s
    while (left := alive(mark)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def test_output_is_logged_and_returned(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "log"
    tail = run_program(Program(["sh", "-c", "echo out; echo err >&2"], awaited="words", log=log))
    assert tail == ["out", "err"]
    assert log.read_text().endswith("out\nerr\n")
    assert "$ sh -c" in log.read_text()


def test_the_first_error_is_shown(tmp_path: Path) -> None:
    script = "echo 'mm/x.c:3:1: error: no semicolon'; seq 2000; exit 3"
    with pytest.raises(BuildError) as caught:
        run_program(Program(["sh", "-c", script], awaited="a build", log=tmp_path / "log"))
    assert "exit status 3" in caught.value.seen
    assert "mm/x.c:3:1: error: no semicolon\n1\n2" in caught.value.seen
    assert caught.value.log == tmp_path / "log"


def test_a_missing_program_is_an_error_of_the_given_class(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        run_program(
            Program(["/no/such/program"], awaited="x", log=tmp_path / "log", error=SourceError)
        )


def test_a_program_killed_by_a_signal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="exit status 137"):
        run_program(Program(["sh", "-c", "kill -9 $$"], awaited="x", log=tmp_path / "log"))


def test_standard_input_is_empty(tmp_path: Path) -> None:
    assert run_program(Program(["cat"], awaited="x", log=tmp_path / "log", timeout_s=5)) == []


def test_the_deadline_ends_the_program_and_its_children(tmp_path: Path) -> None:
    mark = f"mark-{uuid.uuid4()}"
    script = f"setsid sh -c 'sleep 300; : {mark}' & sleep 300; : {mark}"
    started = time.monotonic()
    with pytest.raises(BuildError, match="still running after 0 s"):
        run_program(Program(["sh", "-c", script], awaited="x", log=tmp_path / "log", timeout_s=0.4))
    assert time.monotonic() - started < 8
    assert alive(mark) == []


def test_children_of_a_program_that_ended_are_ended(tmp_path: Path) -> None:
    mark = f"mark-{uuid.uuid4()}"
    script = f"setsid sh -c 'sleep 300; : {mark}' >/dev/null 2>&1 & : {mark}"
    run_program(Program(["sh", "-c", script], awaited="x", log=tmp_path / "log"))
    assert wait_until_gone(mark) == []


RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
from pathlib import Path
from lab.program import Program, run_program
run_program(Program(["sh", "-c", sys.argv[1]], awaited="x", log=Path(sys.argv[2])))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_survives_the_lab(tmp_path: Path, number: signal.Signals) -> None:
    mark = f"mark-{uuid.uuid4()}"
    ready = tmp_path / "ready"
    script = (
        f"setsid sh -c 'trap : TERM; sleep 300; : {mark}' & "
        f"trap 'echo polite > {tmp_path}/polite; exit 1' TERM; "
        f"touch {ready}; while :; do sleep 0.05; done; : {mark}"
    )
    lab = subprocess.Popen(
        [sys.executable, "-c", RUN, script, str(tmp_path / "log")],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not ready.exists():
        time.sleep(0.02)
    assert len(alive(mark)) >= 3  # the lab, its warden and what they run
    if number == signal.SIGINT:
        os.killpg(lab.pid, number)  # as a terminal does
    else:
        lab.send_signal(number)
    lab.wait(timeout=10)
    assert wait_until_gone(mark) == []
    # with the lab alive, tools may remove half-written files first
    assert (tmp_path / "polite").exists() == (number == signal.SIGINT)


def test_a_dead_warden_takes_the_program_along(tmp_path: Path) -> None:
    mark = f"mark-{uuid.uuid4()}"
    script = f"kill -9 $PPID; sleep 1; touch {tmp_path}/went-on; : {mark}"
    with pytest.raises(ProgramLost, match="killed by signal 9"):
        run_program(Program(["sh", "-c", script], awaited="x", log=tmp_path / "log"))
    time.sleep(1.5)
    assert alive(mark) == []
    assert not (tmp_path / "went-on").exists()


PASSED = ("http_proxy", "HTTPS_PROXY", "SSL_CERT_FILE", "PIP_INDEX_URL", "APT_CONFIG", "TMPDIR")
NOT_PASSED = ("KCFLAGS", "CFLAGS", "CPATH", "LOCALVERSION", "LLVM", "KBUILD_VERBOSE", "PYTHONPATH")


@pytest.mark.parametrize("how", ["run", "ask"])
def test_only_named_variables_reach_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    for name in (*PASSED, *NOT_PASSED):
        monkeypatch.setenv(name, f"/of-the-caller/{name}")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    extra = {"CFLAGS": "-O1"}
    if how == "run":
        lines = run_program(Program(["env"], awaited="x", log=tmp_path / "log", env=extra))
    else:
        lines = ask_program(["env"], awaited="x", env=extra).splitlines()
    got = dict(line.split("=", 1) for line in lines if "=" in line)
    assert {name: got.get(name) for name in PASSED} == {
        name: f"/of-the-caller/{name}" for name in PASSED
    }
    assert got["CFLAGS"] == "-O1"
    assert got["LC_ALL"] == "C"
    assert [name for name in got if name in NOT_PASSED] == ["CFLAGS"]


def test_progress_is_read_from_the_output(tmp_path: Path) -> None:
    seen: list[tuple[str, float | None]] = []

    class Step:
        def update(self, text: str, done: float | None = None) -> None:
            seen.append((text, done))

    script = "echo '[1/4] Compiling a.c'; echo noise; echo '[4/4] Linking'"
    program = Program(["sh", "-c", script], awaited="x", log=tmp_path / "log")
    with SilentProgress().step("x"):
        run_program(program, Step(), read_ninja)
    assert seen == [("[1/4] Compiling a.c", 0.25), ("[4/4] Linking", 1.0)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["CC a.o", "a.c:1:2: error: x", "note"], "a.c:1:2: error: x\nnote"),
        (["ld: a.o: undefined reference to `f'"], "ld: a.o: undefined reference to `f'"),
        (
            ["../meson.build:3:1: ERROR: Dependency", "end"],
            "../meson.build:3:1: ERROR: Dependency\nend",
        ),
        (["make: *** [Makefile:2: all] Error 2"], "make: *** [Makefile:2: all] Error 2"),
        (["E: Unable to locate package x"], "E: Unable to locate package x"),
        (["FAILED: a.o", "gcc -c a.c", "a.c:1:2: error: x"], "a.c:1:2: error: x"),
        (["Hunk #1 FAILED at 1.", "1 out of 1"], "Hunk #1 FAILED at 1.\n1 out of 1"),
        (["one", "two"], "one\ntwo"),
        ([], "no output"),
    ],
)
def test_first_error(lines: list[str], expected: str) -> None:
    assert first_error(lines) == expected


def test_asking_a_program() -> None:
    assert ask_program(["echo", "x"], awaited="x") == "x\n"
    with pytest.raises(HostError, match="exit status 1"):
        ask_program(["false"], awaited="x")
    with pytest.raises(HostError, match="No such file"):
        ask_program(["/no/such/program"], awaited="x", hint="y")
    with pytest.raises(HostError, match="timed out"):
        ask_program(["sleep", "5"], awaited="x", timeout_s=0.1)
