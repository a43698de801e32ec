# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays a scenario of ``failures`` in a guest and keeps what it shows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.dcbm import Dcbm, load
from lab.errors import PremiseError
from lab.experiments import dma_path, engines, fragmentation, offload_core, premises
from lab.experiments.base import Session
from lab.experiments.failure_checks import (
    BY_FOLIO,
    BY_THE_BATCH,
    ByBatch,
    Measured,
    attempt_checks,
    contents,
)
from lab.experiments.failure_mode import (
    NODE,
    FailuresMode,
    FailuresParameters,
)
from lab.experiments.failure_resources import Resources, leak_checks, unreferenced
from lab.experiments.failure_scenarios import (
    BESIDE_AFTER_S,
    COMPACTION,
    MOVES,
    Attempt,
    Batch,
    Expect,
    Step,
)
from lab.experiments.failure_workloads import Compactions, Migration, Moves, Workload
from lab.experiments.probe import MODULE as HOLDER
from lab.results import Check, DeviceCounters, Integrity

if TYPE_CHECKING:
    from lab.machine.jobs import Job

_FILL_PERCENT = 99
_LOOKS = 4
_WRONG_KEPT = 16
_TIME_STAMP = re.compile(r"^\[[^]]*\]\s*")

Run = Session[FailuresMode, FailuresParameters]


class Stage:
    """Plays a scenario in a guest and keeps what it shows."""

    def __init__(self, session: Run) -> None:
        guest, mode, parameters = session.guest, session.mode, session.parameters
        self.checks: list[Check] = []
        self._session = session
        self._guest = guest
        self._workload: Workload
        if mode.workload == MOVES:
            self._workload = Moves(
                guest,
                folio_kib=parameters.folio_kib,
                cpu=mode.cpu,
                timeout_s=session.program_timeout_s,
            )
        else:
            self._workload = Compactions(
                guest,
                node=NODE,
                cpu=mode.cpu,
                blocks=parameters.blocks,
                timeout_s=session.program_timeout_s,
            )
        self.batch = Batch(mode.workload, self._workload.batch_folios)
        self._names: Counter[str] = Counter()
        self._wrong_awaited = 0
        self._filler: Job | None = None
        self._attempts: list[Measured] = []
        self._own = True

    def prepare(self) -> bool:
        """Make the premises true, and migrate without a fault.

        Returns:
            Whether that was offloaded in full and right; nothing is to be learned otherwise.
        """
        guest, session = self._guest, self._session
        self._own = offload_core.is_own(guest)
        premises.bind_engines(guest, session.mode.machine.engine)
        settings = {**premises.BACKGROUND_OFF}
        if session.mode.workload == COMPACTION:
            settings |= {**premises.NO_HUGE_PAGES, **fragmentation.SMALL_PCP_LISTS}
        load(guest)
        session.findings.details["settings"] = premises.settle(guest, settings)
        session.findings.details["contract"] = BY_FOLIO if self._own else BY_THE_BATCH
        self._dcbm = Dcbm(guest)
        self._dcbm.enable(session.mode.machine.engine.channels)
        self._addresses = [view.address for view in guest.engines()]
        self._driver = guest.engines()[0].driver
        session.say("a migration without a fault")
        self._reported = len(guest.reports())
        self._workload.begin()
        first = self._measure("")
        if session.mode.scenario.sound_first:
            self.checks += attempt_checks("sound", Expect(), first, self._promise())
        if not all(check.held for check in self.checks):
            return False
        # The first reading takes what any first one takes.
        Resources.read(guest, session.program_timeout_s)
        self._before = Resources.read(guest, session.program_timeout_s)
        session.inject_faults()
        return True

    def play(self, step: Step) -> None:
        """Carry out one step."""
        if isinstance(step, Attempt):
            self._attempt(step)
            return
        self._session.say(step)
        verb, _, rest = step.partition(" ")
        match verb:
            case "release":
                self._guest.clear_faults()
            case "pass":
                self._guest.run(["/bin/busybox", "sleep", f"{int(rest) / 1000:g}"])
            case "fill":
                self._fill()
            case "look":
                self._look()
            case "hold":
                self._dcbm.disable()
                self._guest.load_module(HOLDER)
                self._dcbm.enable(self._session.mode.machine.engine.channels)
            case "let":
                self._shell(f"rmmod {HOLDER}")
            case "bind" | "rescan":
                self._shell(self._command(verb))
                engine = self._session.mode.machine.engine
                self._guest.assert_engines(engine.count, engine.node)
            case _:
                self._shell(self._command(verb))

    def finish(self) -> None:
        """Look at what is left behind, and put the sums into the record."""
        guest, findings = self._guest, self._session.findings
        after, left_behind = self._look_for_leaks()
        self.checks += left_behind
        last = self._workload.end()
        if last is not None:
            self.checks.append(contents("kept pages", last, self._wrong_awaited))
        leaked = unreferenced(guest)
        if leaked is not None:
            self.checks.append(
                Check(
                    name="kmemleak",
                    held=not leaked,
                    awaited="no object of the copy offload that nobody refers to",
                    seen=", ".join(leaked) or "none",
                )
            )
        self._dcbm.disable()
        reports = [report.title for report in guest.reports()[self._reported :]]
        self.checks.append(
            Check(
                name="kernel",
                held=not reports,
                awaited="no report of the kernel about itself",
                seen="; ".join(reports) or "none",
            )
        )
        migrations = [one.migration for one in self._attempts] + ([last] if last else [])
        self._sum_up(migrations)
        findings.details["resources"] = {"before": vars(self._before), "after": vars(after)}

    def _look_for_leaks(self) -> tuple[Resources, list[Check]]:
        """What is in use at the end, looked at until it is as before, or for so many times.

        What is freed late (by RCU, by kworkers) is no leak, and a leak is there every time.
        """
        session = self._session
        for left in reversed(range(_LOOKS)):
            after = Resources.read(self._guest, session.program_timeout_s)
            made = leak_checks(self._before, after, session.parameters.slack_pages)
            if not left or all(check.held for check in made):
                break
            self._guest.run(["/bin/busybox", "sleep", "1"])
        return after, made

    def _sum_up(self, migrations: Sequence[Migration]) -> None:
        findings, attempts = self._session.findings, self._attempts
        findings.pages_migrated = sum(m.folios * m.folio_bytes // 4096 for m in migrations)
        findings.dma_copies = sum(one.migrated for one in attempts)
        findings.folios_failures = sum(one.failures for one in attempts)
        findings.device = DeviceCounters(
            descriptors=sum(one.device.descriptors for one in attempts),
            bytes=sum(one.device.bytes for one in attempts),
            interrupts=sum(one.device.interrupts for one in attempts),
            errors=sum(one.device.errors for one in attempts),
        )
        findings.integrity = Integrity(
            pages_verified=sum(m.pages_verified for m in migrations),
            pages_wrong=sum(m.pages_wrong for m in migrations),
            wrong=[page for m in migrations for page in m.wrong][:_WRONG_KEPT],
        )

    def _attempt(self, attempt: Attempt) -> None:
        name = self._unique(attempt.name)
        self._session.say(f"migrating: {name}")
        if attempt.fault is not None:
            fault = attempt.fault
            self._guest.inject_fault(fault.device, fault.kind, **fault.arguments)
        beside = ""
        if attempt.beside:
            beside = f"sleep {BESIDE_AFTER_S}; {self._command(attempt.beside)}"
        measured = self._measure(beside, stays=attempt.stays)
        self._assert_struck(attempt)
        if attempt.fault is not None and not attempt.keeps:
            self._guest.clear_faults()
        self._wrong_awaited += attempt.expect.wrong if attempt.expect else 0
        promise = self._promise(lasts=attempt.keeps or attempt.strikes is None)
        self.checks += attempt_checks(name, attempt.expect, measured, promise)
        self._session.findings.details.setdefault("attempts", {})[name] = {
            "folios": measured.migration.folios,
            "folios_migrated": measured.migrated,
            "folios_failures": measured.failures,
            "device": measured.device.model_dump(),
            "lines": list(measured.lines),
            **measured.migration.told,
        }

    def _promise(self, *, lasts: bool = False) -> ByBatch | None:
        """What the series promises of its counters, if it isn't the project's own."""
        return None if self._own else ByBatch(self.batch.folios, lasts)

    def _measure(self, beside: str, *, stays: bool = False) -> Measured:
        guest = self._guest
        logged = len(self._dcbm_lines())
        before, counted = guest.device_counters(), self._dcbm.counters()
        migration = self._workload.migrate(beside, stays=stays)
        after = self._dcbm.counters()
        measured = Measured(
            migration=migration,
            migrated=after.folios_migrated - counted.folios_migrated,
            failures=after.folios_failures - counted.folios_failures,
            device=engines.growth(before, guest.device_counters()).total,
            lines=self._dcbm_lines()[logged:],
            piece_bytes=dma_path.longest_copy_bytes(self._session.mode.machine.topology),
        )
        self._attempts.append(measured)
        return measured

    def _assert_struck(self, attempt: Attempt) -> None:
        if attempt.fault is None:
            return
        armed = [f for f in self._guest.faults() if f["device"] == attempt.fault.device]
        hits = int(armed[-1]["hits"]) if armed else 0
        if not hits or attempt.strikes not in (None, hits):
            raise PremiseError(
                f"the fault {attempt.fault.kind} to strike "
                + ("at all" if attempt.strikes is None else f"{attempt.strikes} times"),
                f"{hits} times in {attempt.name}",
                log=self._guest.machine.log,
            )

    def _fill(self) -> None:
        """Take the memory that is free on the node that the pages went to.

        Compaction needs no such thing: its pages are on that node, and all are compared at the end.
        """
        if self._session.mode.workload != MOVES:
            return
        self._filler = fragmentation.fill(
            self._guest,
            node=NODE,
            cpu=self._session.mode.cpu,
            fill_percent=_FILL_PERCENT,
            timeout_s=self._session.program_timeout_s,
        )

    def _look(self) -> None:
        """Compare memory that is in somebody else's hands by now: nobody may have written to it."""
        stayed = self._workload.stayed()
        if stayed is not None:
            self.checks.append(contents(self._unique("late writes into pages in use"), stayed, 0))
        if self._filler is None:
            return
        found, told = fragmentation.verify(
            self._guest, self._filler, self._session.program_timeout_s
        )
        self._filler = None
        whole = Migration(
            folios=0,
            folio_bytes=4096,
            lost=0,
            pages_verified=found.pages_verified,
            pages_wrong=found.pages_wrong,
            wrong=tuple(found.wrong),
            told=told,
        )
        self.checks.append(contents(self._unique("late writes"), whole, 0))

    def _command(self, verb: str) -> str:
        driver = f"/sys/bus/pci/drivers/{self._driver}"
        commands: dict[str, list[str]] = {
            "unbind": [f"echo {address} > {driver}/unbind" for address in self._addresses],
            "bind": [f"echo {address} > {driver}/bind" for address in self._addresses],
            "remove": [f"echo 1 > /sys/bus/pci/devices/{a}/remove" for a in self._addresses],
            "rescan": ["echo 1 > /sys/bus/pci/rescan"],
        }
        return "; ".join(commands[verb])

    def _shell(self, command: str) -> None:
        result = self._guest.run(["/bin/busybox", "sh", "-c", command])
        if not result.ok:
            raise PremiseError(f"the guest to carry out: {command}", result.describe())

    def _dcbm_lines(self) -> list[str]:
        logged = self._guest.run(["/bin/busybox", "dmesg"]).stdout
        texts = [_TIME_STAMP.sub("", line) for line in logged]
        return [text for text in texts if text.startswith("dcbm: ")]

    def _unique(self, name: str) -> str:
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name} {self._names[name]}"
