# SPDX-License-Identifier: GPL-2.0-or-later
"""A session with a booted guest: run programs in it, read its devices, notice how it ends."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from lab.errors import (
    ConfigError,
    GuestCrash,
    GuestLost,
    GuestTimeout,
    MachineError,
    PremiseError,
    StaleCheckpoint,
)
from lab.machine import channel, health
from lab.machine.argv import MAILBOX_ID, engine_ids
from lab.machine.deadline import Deadline
from lab.machine.engines import (
    EngineCounters,
    EngineView,
    check_engines,
    engine_queue_counters,
    read_engines,
)
from lab.machine.hang import HANG_FILE, Symbols, examine
from lab.machine.jobs import GuestFileError, Job, JobResult, Jobs, Sink
from lab.machine.machine import Ended, Machine, MailboxLine
from lab.machine.monitor import Event
from lab.machine.saved_state import Boot, Exchange, SavedState, StatePlace, restore, save

CHANNEL_LOG = "channel.jsonl"
RUN_TIMEOUT_S = 600.0
FILE_TIMEOUT_S = 60.0
POWEROFF_TIMEOUT_S = 60.0
_LAST_WORDS_TIMEOUT_S = 20.0


class Guest:
    """A guest whose agent answers; made by `lab.machine.session.boot`.

    It belongs to the thread that booted it; only `abort` may be called from another. Timeouts are
    host time: they guard against a hang and have no influence on what the guest sees.

    Every call may raise GuestCrash, GuestTimeout, GuestLost, MachineError or StaleCheckpoint.
    """

    def __init__(
        self,
        machine: Machine,
        log: TextIO,
        deadline: Deadline,
        *,
        system_map: Path | None = None,
        fatal: frozenset[health.Kind] = health.FATAL,
    ) -> None:
        self.machine = machine
        self.release = ""
        self.restored = False
        self.reports_at_boot = 0
        self.checkpoint_place: StatePlace | None = None
        self._remembered: deque[Exchange] = deque()
        self._log = log
        self._deadline = deadline
        self._system_map = system_map
        self._fatal = fatal
        self._jobs = Jobs()
        self._scanned_bytes = -1
        self._reports: list[health.Report] = []
        self._powered_off = False

    # -- programs and files ----------------------------------------------------------------------

    def run(self, argv: Sequence[str], timeout_s: float = RUN_TIMEOUT_S) -> JobResult:
        """Run a program of the guest to its end."""
        job = self._jobs.new(argv)
        self._ask(timeout_s, "run", job.id, *argv)
        return self._result(job)

    def stream(
        self,
        argv: Sequence[str],
        sink: Sink,
        *,
        directory: str = "/",
        timeout_s: float = RUN_TIMEOUT_S,
    ) -> JobResult:
        """Run a program in `directory`; `sink` gets every byte that it writes, as it comes.

        Raises:
            ConfigError: more arguments than the agent takes, or one with a NUL.
            PremiseError: it can't be started, e.g. because it isn't there.
        """
        if len(argv) > channel.MAX_ARGUMENTS:
            raise ConfigError(f"at most {channel.MAX_ARGUMENTS} arguments", f"{len(argv)}")
        job = self._jobs.new(argv, sink)
        fields = [channel.escape(field) for field in (directory, *argv)]
        self._ask(timeout_s, "stream", job.id, *fields)
        return self._result(job)

    def spawn(self, argv: Sequence[str], timeout_s: float = RUN_TIMEOUT_S) -> Job:
        """Start a program and wait until it says that it is ready.

        Raises:
            PremiseError: it ended before.
        """
        job = self._jobs.new(argv)
        self._ask(timeout_s, "spawn", job.id, *argv)
        if job.ready is None:
            result = self._result(job)
            raise PremiseError(
                f"{' '.join(argv)} to become ready",
                result.describe(),
                log=self.machine.run_dir / CHANNEL_LOG,
            )
        return job

    def signal(self, job: Job, number: int, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Send a signal to a spawned program."""
        self._ask(timeout_s, "signal", job.id, str(int(number)))
        self._refuse_agent_error(job)

    def wait(self, job: Job, timeout_s: float = RUN_TIMEOUT_S) -> JobResult:
        """Wait for the end of a spawned program."""
        if not job.ended:
            self._ask(timeout_s, "wait", job.id)
        return self._result(job)

    def read(self, path: str, timeout_s: float = FILE_TIMEOUT_S) -> str:
        """Content of a file in the guest.

        Raises:
            GuestFileError: it can't be read; `errno` says why.
        """
        job = self._jobs.new(("read", path))
        self._ask(timeout_s, "read", job.id, path)
        return self._file(job, path, "readable").data

    def write(self, path: str, text: str, timeout_s: float = FILE_TIMEOUT_S) -> None:
        """Put `text` into a file of the guest with a single system call.

        Raises:
            GuestFileError: the guest refused it; `errno` says why.
        """
        job = self._jobs.new(("write", path, text))
        self._ask(timeout_s, "write", job.id, path, text)
        self._file(job, path, f"to take {text!r}")

    def load_module(self, name: str, *parameters: str) -> None:
        """Load a kernel module with what it depends on.

        Raises:
            PremiseError: the kernel did not take it.
        """
        result = self.run(["/bin/busybox", "modprobe", name, *parameters])
        if not result.ok:
            raise PremiseError(
                f"module {name} to load", result.describe(), log=self.machine.console.path
            )

    # -- devices ---------------------------------------------------------------------------------

    def device_counters(self) -> dict[str, EngineCounters]:
        """What each engine has counted since power-on; the guest is paused meanwhile."""
        self._assert_live("to read the engines' counters")
        return {name: self._counters(name) for name in engine_ids(self.machine.spec.engine)}

    def inject_fault(self, device: str, kind: str, **arguments: object) -> int:
        """Have `device` (``dma0`` …) fail as `kind` says; returns the fault's id.

        Arguments are those of the device's injection command, e.g. ``nth=100``, ``count=1``.

        Raises:
            MachineError: QEMU refused it.
        """
        self._assert_live("to inject a fault")
        self.checkpoint_place = None  # a saved engine forgets its faults
        asked = {name.replace("_", "-"): value for name, value in arguments.items()}
        answer = self.machine.execute(
            "amd-dma-inject-fault", {"device": device, "kind": kind.replace("_", "-"), **asked}
        )
        return int(answer["id"])

    def faults(self) -> list[dict[str, Any]]:
        """The injected faults of every engine, with how often each has hit."""
        self._assert_live("to list faults")
        return [
            {"device": name, **fault}
            for name in engine_ids(self.machine.spec.engine)
            for fault in self.machine.execute("query-amd-dma-faults", {"device": name})
        ]

    def clear_faults(self) -> None:
        """Take all injected faults back."""
        self._assert_live("to clear faults")
        for name in engine_ids(self.machine.spec.engine):
            self.machine.execute("amd-dma-clear-faults", {"device": name})

    def engines(self) -> list[EngineView]:
        """The engines as the guest's kernel sees them, in bus order."""
        return read_engines(self.run, self.machine.spec.engine.kind)

    def assert_engines(self, count: int, node: int) -> list[EngineView]:
        """Make sure that the guest sees `count` engines on `node`, bound and with their channels.

        Raises:
            MachineError: the machine is another: wrong count or node.
            PremiseError: a driver is not bound, or has no channel.
        """
        views = self.engines()
        engine = self.machine.spec.engine
        check_engines(views, count, node, engine, log=self.machine.console.path)
        return views

    # -- health and end --------------------------------------------------------------------------

    def reports(self) -> list[health.Report]:
        """What the kernel has reported about itself so far: warnings and the like."""
        size = self.machine.console.size_bytes()
        if size != self._scanned_bytes:
            self._reports = health.scan(self.machine.console.text())
            self._scanned_bytes = size
        return list(self._reports)

    def poweroff(self, timeout_s: float = POWEROFF_TIMEOUT_S) -> None:
        """Power the guest off, and make sure that it went without a crash."""
        if self._powered_off:
            return
        self._assert_live("to power off")
        awaited = "the guest to power off"
        deadline = self._deadline.within(timeout_s)
        self._send("poweroff")
        reason = ""
        while True:
            match self.machine.next(deadline):
                case None:
                    self._raise_timeout(awaited, deadline.timeout_s)
                case Ended():
                    break
                case MailboxLine(raw=raw):
                    self._record(raw)
                case Event(name="GUEST_PANICKED"):
                    self._raise_crash(awaited)
                case Event(name="SHUTDOWN", data=data):
                    reason = str(data.get("reason", ""))
                case _:
                    pass
        self._powered_off = True
        self._check_health(awaited)
        if reason != "guest-shutdown":
            self._raise_end(awaited, reason)
        if self.machine.exit_code() != 0:
            raise GuestLost(awaited, self.machine.describe_exit(), log=self.machine.log)

    def accept_crash(self) -> None:
        """Take a crash that was raised for what was to be shown: nothing more is asked."""
        self._powered_off = True

    def abort(self) -> None:
        """Kill the machine; a call that waits for the guest then raises GuestLost.

        Safe to call from any thread, and more than once.
        """
        self.machine.kill()

    # -- the conversation ------------------------------------------------------------------------

    def await_agent(self, deadline: Deadline) -> None:
        """Start the paused machine and wait for the agent's greeting."""
        awaited = "the agent in the guest to greet"
        self.machine.execute("cont")
        self._take_greeting(awaited, self._until_idle(awaited, deadline))

    def restore(self, state: SavedState) -> None:
        """Bring a machine that waits for it to where it was saved.

        What was asked until then is answered from memory, if it is asked again in the same order.

        Raises:
            MachineError: the state can't be used.
        """
        restore(self.machine, state)
        greeting, exchanges = state.conversation()
        lines = [self._record(raw) for raw in greeting]
        self._take_greeting("the agent in the saved machine to have greeted", lines)
        self.reports_at_boot = state.boot.reports
        self._remembered = deque(exchanges)
        self.restored = True

    def save(self, folder: Path) -> None:
        """Keep the machine as it is, between two requests, for `restore`; it can go on.

        Raises:
            MachineError: it can't be saved.
        """
        boot = Boot(reports=self.reports_at_boot)
        save(self.machine, folder, self.machine.run_dir / CHANNEL_LOG, boot)

    def reach_checkpoint(self) -> None:
        """Say that the checkpoint which the mode has declared is reached.

        The machine is kept as it is, so that the next mode that comes by here starts from it.

        Raises:
            StaleCheckpoint: more had been asked until here when the machine was saved.
        """
        self._assert_live("to reach the checkpoint")
        place, self.checkpoint_place = self.checkpoint_place, None
        if place is not None:
            place.keep(self.save)

    def _assert_live(self, what: str) -> None:
        """Make sure that a restored machine is where the conversation is."""
        if self._remembered:
            self._forget(what)

    def _forget(self, what: str) -> NoReturn:
        """Give up a restored machine that is asked something else than when it was saved."""
        error = StaleCheckpoint(
            f"to be asked {' '.join(self._remembered[0].request)!r}, as before it was saved", what
        )
        if self.checkpoint_place is not None:
            self.checkpoint_place.discard(error)
        raise error

    def _take_greeting(self, awaited: str, lines: Sequence[channel.Line]) -> None:
        greeting = lines[0] if lines else None
        if not isinstance(greeting, channel.Hello) or greeting.protocol != channel.PROTOCOL:
            raise MachineError(
                f"{awaited} with protocol {channel.PROTOCOL}",
                repr(greeting),
                log=self.machine.run_dir / CHANNEL_LOG,
                hint="rebuild the guest image",
            )
        self.release = greeting.kernel
        self.reports_at_boot = len(self.reports())

    def _ask(self, timeout_s: float, verb: str, *fields: str) -> None:
        if self._powered_off:
            raise GuestLost(f"an answer to {verb}", "the guest was powered off before")
        if self._remembered:
            self._remember(verb, *fields)
            return
        self._send(verb, *fields)
        self._until_idle(
            f"the guest to carry out: {verb} {' '.join(fields[1:])}",
            self._deadline.within(timeout_s),
        )

    def _send(self, verb: str, *fields: str) -> None:
        message = channel.request(verb, *fields)
        self._log.write(channel.request_record(verb, *fields) + "\n")
        self._log.flush()
        self.machine.execute(
            "qom-set",
            {"path": f"/machine/peripheral/{MAILBOX_ID}", "property": "message", "value": message},
        )
        self.machine.execute("cont")

    def _remember(self, *request: str) -> None:
        """Take the answer to a request from before the restored machine was saved."""
        if self._remembered[0].request != request:
            self._forget(f"the request {' '.join(request)!r}")
        exchange = self._remembered.popleft()
        self._log.write(channel.request_record(*request) + "\n")
        for raw in exchange.answer:
            self._record(raw)

    def _until_idle(self, awaited: str, deadline: Deadline) -> list[channel.Line]:
        """Take lines until the guest is idle *and* paused; the two arrive by different ways."""
        lines: list[channel.Line] = []
        idle = paused = False
        while not (idle and paused):
            match self.machine.next(deadline):
                case None:
                    self._raise_timeout(awaited, deadline.timeout_s)
                case MailboxLine(raw=raw):
                    line = self._record(raw)
                    lines.append(line)
                    idle = idle or isinstance(line, channel.Idle)
                case Event(name="STOP"):
                    paused = True
                case Event(name="GUEST_PANICKED"):
                    self._raise_crash(awaited)
                case Event(name="SHUTDOWN", data=data):
                    self._raise_end(awaited, str(data.get("reason", "")))
                case Ended():
                    self._raise_end(awaited, "")
                case _:
                    pass
        self._check_health(awaited)
        return lines

    def _record(self, raw: bytes) -> channel.Line:
        self._log.write(raw.decode("utf-8", errors="backslashreplace") + "\n")
        self._log.flush()
        line = channel.parse_line(raw, self.machine.run_dir / CHANNEL_LOG)
        self._jobs.take(line)
        return line

    def _result(self, job: Job) -> JobResult:
        self._refuse_agent_error(job)
        return self._jobs.result(job, self.machine.run_dir / CHANNEL_LOG)

    def _refuse_agent_error(self, job: Job) -> None:
        if job.agent_error is not None:
            error = job.agent_error
            raise PremiseError(
                f"the agent to carry out {' '.join(job.argv)}",
                f"{error.message} ({os.strerror(error.errno)})",
                log=self.machine.run_dir / CHANNEL_LOG,
            )

    def _file(self, job: Job, path: str, wanted: str) -> channel.File:
        self._refuse_agent_error(job)
        answer = job.file
        log = self.machine.run_dir / CHANNEL_LOG
        if answer is None:
            raise MachineError(f"the agent's answer about {path}", "idle without one", log=log)
        if answer.errno:
            raise GuestFileError(f"{path} {wanted}", answer.errno, log=log)
        return answer

    def _counters(self, name: str) -> EngineCounters:
        path = f"/machine/peripheral/{name}"
        values = {
            counter: int(self.machine.execute("qom-get", {"path": path, "property": counter}))
            for counter in ("descriptors", "bytes", "interrupts", "errors")
        }
        engine = self.machine.spec.engine
        queues = tuple(
            int(self.machine.execute("qom-get", {"path": path, "property": counter}))
            for counter in engine_queue_counters(engine)
        )
        return EngineCounters(**values, queues=queues)

    # -- how it can end otherwise ----------------------------------------------------------------

    def _check_health(self, awaited: str) -> None:
        reports = self.reports()
        cause = health.first_fatal(reports, self._fatal)
        if cause is not None:
            raise GuestCrash(
                awaited,
                f"{cause.kind}: {cause.title}",
                excerpt=health.crash_excerpt(reports, cause),
                log=self.machine.console.path,
            )

    def _last_words(self) -> str:
        """Let a dying guest finish; the reason of its shutdown, if QEMU gave one."""
        deadline = Deadline(_LAST_WORDS_TIMEOUT_S)
        reason = ""
        while True:
            match self.machine.next(deadline):
                case None | Ended():
                    return reason
                case Event(name="SHUTDOWN", data=data):
                    reason = str(data.get("reason", ""))
                case _:
                    pass

    def _raise_crash(self, awaited: str) -> NoReturn:
        self._last_words()
        self._check_health(awaited)
        raise GuestCrash(
            awaited,
            "the guest's kernel panicked and printed nothing that the lab knows",
            excerpt=self.machine.console.tail(40),
            log=self.machine.console.path,
        )

    def _raise_end(self, awaited: str, reason: str) -> NoReturn:
        """The machine ended unasked: a crash when the console shows one, else lost."""
        if reason:
            self._last_words()
        if reason in {"guest-reset", "guest-shutdown", "guest-panic"}:
            self._check_health(awaited)
            seen = f"the guest ended unasked ({reason}); last on the console:\n"
            raise GuestLost(
                awaited,
                seen + self.machine.console.tail(),
                log=self.machine.console.path,
                hint="a reset without a word is often a triple fault; see the console log",
            )
        ended = f" (it announced {reason})" if reason else ""
        raise GuestLost(
            awaited,
            self.machine.describe_exit() + ended,
            log=self.machine.log,
            hint="something outside the lab ended QEMU, or it crashed",
        )

    def _raise_timeout(self, awaited: str, timeout_s: float) -> NoReturn:
        self._check_health(awaited)
        last = self.machine.console.tail(3)
        seen = examine(self.machine, Symbols(self._system_map))
        raise GuestTimeout(
            f"{awaited}, within {timeout_s:g} s",
            f"{seen}; last on the console:\n{last}",
            log=self.machine.console.path,
            hint=f"{self.machine.run_dir / HANG_FILE} has every CPU's registers and stack",
        )
