# SPDX-License-Identifier: GPL-2.0-or-later
"""Running one of our qtest programs and judging what it says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.environment import program_environment

# Of a whole program: its slowest case copies 4 GiB, under sanitizers
TIMEOUT_S = 240.0
_RESULT = re.compile(r"^(ok|not ok) \d+ (\S+)(.*)$", re.MULTILINE)
_PLAN = re.compile(r"^1\.\.(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class QtestRun:
    """What a qtest program did.

    Attributes:
        cases: names of the cases that ran.
        problems: all that is wrong, skips included; empty: every planned case passed.
        output: standard output and standard error.
    """

    cases: tuple[str, ...]
    problems: tuple[str, ...]
    output: str


def judge(stdout: str, stderr: str, status: int) -> QtestRun:
    """Judge the TAP output of a qtest program and its exit status."""
    results = _RESULT.findall(stdout)
    planned = _PLAN.search(stdout)
    problems = [f"{case}: {verdict}" for verdict, case, _ in results if verdict != "ok"]
    problems += [
        f"{case}: skipped, which proves nothing"
        for _, case, rest in results
        if "SKIP" in rest.upper()
    ]
    if planned is None:
        problems.append("no TAP plan")
    elif not len(results) == int(planned[1]) > 0:
        problems.append(f"{len(results)} of {planned[1]} cases ran")
    if status:
        problems.append(f"exit status {status}")
    cases = tuple(case for _, case, _ in results)
    return QtestRun(cases, tuple(problems), f"{stdout}\n{stderr}")


def run_qtest(
    program: Path, binary: Path, cwd: Path, environment: Mapping[str, str] | None = None
) -> QtestRun:
    """Run a qtest program against a QEMU binary.

    Args:
        program: the qtest.
        binary: QEMU, installed beside its firmware.
        cwd: where QEMU leaves what it leaves.
        environment: further variables, for QEMU above all.
    """
    variables = {
        "QTEST_QEMU_BINARY": str(binary),
        "QTEST_QEMU_IMG": "/bin/false",
        "G_TEST_DBUS_DAEMON": "/bin/false",
        **(environment or {}),
    }
    try:
        done = subprocess.run(
            [program, "--tap", "-k"],
            cwd=cwd,
            env=program_environment(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        output = "\n".join(_text(part) for part in (late.stdout, late.stderr))
        return QtestRun((), (f"still running after {TIMEOUT_S:.0f} s",), output)
    return judge(done.stdout, done.stderr, done.returncode)


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
