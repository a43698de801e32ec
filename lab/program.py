# SPDX-License-Identifier: GPL-2.0-or-later
"""Running programs of the host: one function for long ones, one for a quick question.

A long program runs under a warden (``lab/warden.py``), so that neither Ctrl-C nor ``kill -9`` of
the lab leaves anything of it behind.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lab.environment import program_environment
from lab.errors import BuildError, HostError, LabError
from lab.progress import Step

# What a progress reader makes of an output line: text to show and the finished share.
Reading = tuple[str, float | None]

_WARDEN = Path(__file__).with_name("warden.py")
_WARDEN_ENDS_S = 15.0
_TAIL_LINES = 400
_ERROR_LINES = 5
# What says what is wrong, and what only says that something is.
_ERROR = re.compile(
    r"(: (fatal )?error: |undefined reference to|multiple definition of|^ERROR: |: ERROR: "
    r"|\bE: |^error: |^patch: \*\*\*|No space left on device)"
)
_FAILURE = re.compile(r"(\*\*\* \S|\bFAILED\b)")
_NINJA = re.compile(r"^\[(\d+)/(\d+)\]\s*(.*)")


class ProgramLost(HostError):
    """Nobody saw a program's end: it, or what it started, may still run and write.

    Of this class whatever ``Program.error`` is, so that nobody takes it for an ordinary failure.
    """


@dataclass(frozen=True)
class Program:
    """A program to run.

    Attributes:
        argv: program and arguments; the program is looked for in PATH.
        awaited: what the run is for, as the error message puts it ("a configured QEMU").
        log: file that gets the command and all its output, appended.
        cwd: working directory.
        env: variables to set on top of `lab.environment.program_environment`.
        timeout_s: host seconds until it is ended.
        error: exception class for every failure.
        hint: what the reader can do after a failure.
    """

    argv: Sequence[str | Path]
    awaited: str
    log: Path
    cwd: Path | None = None
    env: Mapping[str, str] | None = None
    timeout_s: float = 3600.0
    error: type[LabError] = BuildError
    hint: str | None = None

    @property
    def shown(self) -> str:
        """The command as one would type it."""
        return shlex.join(str(part) for part in self.argv)


def read_ninja(line: str) -> Reading | None:
    """Progress from a ``[n/m] …`` line of ninja."""
    found = _NINJA.match(line)
    if found is None:
        return None
    done, total, what = int(found[1]), int(found[2]), found[3]
    return f"[{done}/{total}] {what}", done / max(total, 1)


def first_error(lines: Sequence[str], context: int = _ERROR_LINES) -> str:
    """The first error among output lines with what follows it; the last lines if none shows."""
    for pattern in (_ERROR, _FAILURE):
        for number, line in enumerate(lines):
            if pattern.search(line):
                return "\n".join(lines[number : number + context]).strip()
    return "\n".join(lines[-context:]).strip() or "no output"


def run_program(
    program: Program,
    step: Step | None = None,
    read: Callable[[str], Reading | None] | None = None,
) -> list[str]:
    """Run a program to its end, keep its output in the log, and show how far it is.

    Returns:
        The last output lines, standard output and standard error as they came.

    Raises:
        LabError: of class ``program.error``: it can't be started, exits with a status other than 0
            or passes its deadline; the message holds the first error of its output.
        ProgramLost: its warden died, so that its end is not certain.
    """
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with program.log.open("ab") as log:
        log.write(f"\n$ {program.shown}\n".encode())
        log.flush()
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", _WARDEN, *program.argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=program.cwd,
            env=program_environment(program.env),
            start_new_session=True,
        )
        try:
            tail, late = _follow(process, program, log, step, read)
        finally:
            _end(process, program)
    if late:
        seen = f"still running after {program.timeout_s:.0f} s; last output: {tail[-1:]}"
        raise program.error(program.awaited, seen, log=program.log, hint=program.hint)
    if process.returncode != 0:
        seen = f"exit status {process.returncode} of {program.shown[:200]}\n" + first_error(tail)
        raise program.error(program.awaited, seen, log=program.log, hint=program.hint)
    return tail


def _follow(
    process: subprocess.Popen[bytes],
    program: Program,
    log: BinaryIO,
    step: Step | None,
    read: Callable[[str], Reading | None] | None,
) -> tuple[list[str], bool]:
    """Copy output to the log until it ends; returns the tail and whether the deadline passed."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    first: list[str] = []  # the first error and what follows it, when the tail has lost it
    line_count = 0
    deadline = time.monotonic() + program.timeout_s
    partial = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return [*first, *tail], True
            if not selector.select(min(left_s, 1.0)):
                if process.poll() is not None:
                    break
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            log.write(chunk)
            log.flush()
            *lines, partial = (partial + chunk).split(b"\n")
            for line in lines:
                text = line.decode("utf-8", errors="replace").rstrip()
                line_count += 1
                if (first and len(first) < _ERROR_LINES) or _ERROR.search(text):
                    first += [text] if len(first) < _ERROR_LINES else []
                tail.append(text)
                shown = read(text) if read else (text, None)
                if step is not None and shown is not None:
                    step.update(*shown)
    if partial:
        tail.append(partial.decode("utf-8", errors="replace"))
    while process.poll() is None:
        if time.monotonic() > deadline:
            return [*first, *tail], True
        time.sleep(0.002)
    return [*(first if line_count > _TAIL_LINES else ()), *tail], False


def _end(process: subprocess.Popen[bytes], program: Program) -> None:
    """Have the warden end what still runs, and take its status.

    Raises:
        ProgramLost: the warden was killed, or did not answer and had to be.
    """
    assert process.stdin is not None  # noqa: S101 - it was asked for
    assert process.stdout is not None  # noqa: S101 - it was asked for
    try:
        if process.poll() is None:
            process.stdin.write(b"x")
            process.stdin.flush()
            process.wait(timeout=_WARDEN_ENDS_S)
    except BrokenPipeError:
        process.wait()
    except subprocess.TimeoutExpired:
        # its group, which it leads: most of what a build starts stays in there
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
    # a program's own signal is passed on as 128 + its number
    if process.returncode < 0:
        raise ProgramLost(
            f"the end of {program.shown[:200]}",
            f"its warden was killed by signal {-process.returncode}",
            log=program.log,
            hint="look for processes that it left; what they were building is built anew",
        )


def ask_program(
    argv: Sequence[str | Path],
    *,
    awaited: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
    error: type[LabError] = HostError,
    hint: str | None = None,
) -> str:
    """Standard output of a program that answers at once.

    Its environment is that of `run_program`: what `lab.environment` passes on, with `env` on top.

    Raises:
        LabError: of class `error`: it isn't there, fails, or takes longer than `timeout_s`.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=program_environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise error(awaited, str(problem), hint=hint) from problem
    if done.returncode != 0:
        shown = shlex.join(str(part) for part in argv)
        said = done.stderr.decode("utf-8", errors="replace").strip()[-2000:]
        raise error(awaited, f"exit status {done.returncode} of {shown}\n{said}", hint=hint)
    return done.stdout.decode("utf-8", errors="replace")
