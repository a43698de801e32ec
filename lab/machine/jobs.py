# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of the guest: what each printed, and how it ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import MachineError, PremiseError, ProgramDied
from lab.machine import channel

_SHOWN_LINES = 10
# What a program gets that finds its code, its stack or its data changed.
_OF_WRONG_MEMORY = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL})

# Takes what a program wrote, as it comes: "stdout" or "stderr", and the bytes.
Sink = Callable[[str, bytes], None]


class GuestFileError(PremiseError):
    """The guest refused to read or write a file.

    Attributes:
        errno: the guest's error number.
    """

    def __init__(self, awaited: str, errno: int, *, log: Path | None = None) -> None:
        self.errno = errno
        super().__init__(awaited, os.strerror(errno), log=log)


@dataclass(frozen=True)
class JobResult:
    """A program that has ended.

    Attributes:
        argv: the program and its arguments.
        status: exit status, or None if a signal ended it.
        signal: the signal that ended it, or None.
        results: the JSON objects that it printed, in order.
        stdout: its other lines on standard output.
        stderr: its lines on standard error.
        log: the channel's log.
    """

    argv: tuple[str, ...]
    status: int | None
    signal: int | None
    results: list[dict[str, Any]]
    stdout: list[str]
    stderr: list[str]
    log: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether it exited with status 0."""
        return self.status == 0

    def events(self, name: str) -> list[dict[str, Any]]:
        """The results whose ``event`` is `name`."""
        return [result for result in self.results if result.get("event") == name]

    def result(self, event: str) -> dict[str, Any]:
        """The one result whose ``event`` is `event`, of a program that exited with status 0.

        Raises:
            PremiseError: there is none or more than one, or the program failed.
            ProgramDied: it ended as one does whose memory was changed.
        """
        found = self.events(event)
        if not self.ok or len(found) != 1:
            count = str(len(found)) if self.ok else None
            raise self.failure(f"one {event!r} from {' '.join(self.argv)}", count)
        return found[0]

    def failure(self, awaited: str, seen: str | None = None) -> PremiseError:
        """What to raise where it has not done what was awaited, or said less than it had to."""
        kind = ProgramDied if self.signal in _OF_WRONG_MEMORY else PremiseError
        told = self.describe() if seen is None else f"{seen}; {self.describe()}"
        return kind(awaited, told, log=self.log)

    def describe(self) -> str:
        """How it ended and what it said about it, for an error message: the gist first."""
        if self.signal is not None:
            how = f"ended by {_signal_name(self.signal)}"
        else:
            how = f"exit status {self.status}"
        errors = [_told(error) for error in self.events("error")]
        if errors:
            # What comes later is mostly what came of it.
            how += f": {errors[0]}"
        said = errors[1:] + self.stderr + self.stdout
        return how + "".join(f"\n         {line}" for line in said[-_SHOWN_LINES:])


@dataclass
class Job:
    """A program while it runs, or a file request; filled in as lines arrive."""

    id: str
    argv: tuple[str, ...]
    ready: dict[str, Any] | None = None
    status: int | None = None
    signal: int | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)
    file: channel.File | None = None
    agent_error: channel.AgentError | None = None
    sink: Sink | None = None

    @property
    def ended(self) -> bool:
        """Whether the program's end was reported."""
        return self.status is not None or self.signal is not None


class Jobs:
    """All jobs of a guest; sorts arriving lines to them by id."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def new(self, argv: Sequence[str], sink: Sink | None = None) -> Job:
        """A job with the next id; ids are counted, so that they are the same in every run."""
        job = Job(str(len(self._jobs) + 1), tuple(argv), sink=sink)
        self._jobs[job.id] = job
        return job

    def take(self, line: channel.Line) -> None:
        """Note what a line says about its job.

        Raises:
            MachineError: it names a job that was never asked for.
        """
        if isinstance(line, channel.Hello | channel.Idle | channel.Bye):
            return
        job = self._jobs.get(line.id)
        if job is None:
            raise MachineError("lines about jobs that were asked for", repr(line))
        match line:
            case channel.Result(data=data):
                job.results.append(data)
            case channel.Bytes(stream=stream):
                if job.sink is None:
                    raise MachineError("bytes of a program that was asked to stream", repr(line))
                job.sink(stream, line.content)
            case channel.Output(stream="stdout", data=text):
                job.stdout.append(text)
            case channel.Output(data=text):
                job.stderr.append(text)
            case channel.Ready():
                ready = [item for item in job.results if item.get("event") == "ready"]
                job.ready = ready[-1] if ready else {}
            case channel.Exit(status=status, signal=number):
                job.status, job.signal = status, number
            case channel.File():
                job.file = line
            case channel.AgentError():
                job.agent_error = line

    def result(self, job: Job, log: Path | None = None) -> JobResult:
        """The result of a job whose end was awaited.

        Raises:
            MachineError: its end was not reported.
        """
        if not job.ended:
            raise MachineError(
                f"the end of {' '.join(job.argv)}",
                "the agent was idle without reporting it",
                log=log,
            )
        return JobResult(job.argv, job.status, job.signal, job.results, job.stdout, job.stderr, log)


def _told(error: Mapping[str, Any]) -> str:
    """An ``error`` event (fail() of images/workloads/report.c), for people."""
    number = error.get("errno", 0)
    reason = f" ({os.strerror(number)})" if isinstance(number, int) and number else ""
    return f"{error.get('what', error)}{reason}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
