# SPDX-License-Identifier: GPL-2.0-or-later
"""A tethered program dies with its parent, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.machine import tether

PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1], str(os.getpid()), "--",
                          "/bin/sleep", "600"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def gone(pid: int, timeout_s: float = 10.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def becomes_sleep(pid: int, timeout_s: float = 10.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == "sleep":
            return True
        time.sleep(0.02)
    return False


def test_it_dies_with_a_killed_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tether.__file__], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert becomes_sleep(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert gone(child)
    finally:
        parent.kill()
        parent.stdout.close()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", tether.__file__, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_it_becomes_the_program() -> None:
    done = run(str(os.getpid()), "--", "/bin/sh", "-c", "echo $0 $1; exit 7", "a", "b c")
    assert (done.returncode, done.stdout) == (7, "a b c\n")


def test_a_parent_that_is_gone_already_starts_nothing() -> None:
    done = run("1", "--", "/bin/echo", "started")
    assert done.returncode == 125
    assert done.stdout == ""
    assert "the parent is gone" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("1",), ("1", "--"), ("1", "x", "/bin/true")])
def test_usage(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).returncode == 2


def test_a_program_that_is_not_there() -> None:
    done = run(str(os.getpid()), "--", "/no/such/program")
    assert done.returncode == 127
    assert "/no/such/program" in done.stderr
