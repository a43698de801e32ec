# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment ``faults``: an engine goes wrong, and the driver's reaction is held against the bytes.

Each mode is a fresh boot of the vanilla kernel with one scenario of `lab.experiments.
fault_scenarios`: a client makes copies step by step, one fault is armed, and afterwards each copy
is asked what the driver said about it and what the memory says.

Two expectations. ``ledger``, the default, awaits a sound reaction, except where the ledger of known
bugs says otherwise: there the bug has to show as described. So a run passes as long as the stock
driver does what is known of it; a new bug is a FAIL, and so is one that is gone, which the check
says. ``sound`` knows no excuse: for a driver that is to be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Literal

from lab.config import LabFile, Profile, with_default_profile
from lab.errors import ConfigError, GuestCrash, LabError, PremiseError
from lab.experiments import engines, premises
from lab.experiments.base import Choices, Experiment, ModePlan, Parameters, Session
from lab.experiments.fault_aspects import Aspect, Scenario, Seen, kernel_lives
from lab.experiments.fault_ledger import KnownBug, known_bugs
from lab.experiments.fault_scenarios import LENGTH, QUICK, SCENARIOS
from lab.experiments.probe import MODULE, Probe
from lab.results import Check

LEDGER = "docs/known-bugs.md"
_FIRST_COPY = (f"prepare 1 {LENGTH} interrupt", "issue", "wait 1000", "status")
_GONE = "sound: the bug is gone"
_RIP = re.compile(r"RIP: \w+:(\w+)\+\S+(?P<module> \[\w+\])?")
_IN_MODULE = re.compile(r"\s(\w+)\+0x\S+ \[\w+\]")
_TIME_STAMP = re.compile(r"^\[[^]]*\]\s*")


class FaultsParameters(Parameters):
    """Parameters of ``faults``."""

    expect: Literal["ledger", "sound"] = "ledger"
    scenarios: Annotated[
        tuple[str, ...], Choices(tuple(s.name for s in SCENARIOS), empty_is_all=True)
    ] = ()


@dataclass(frozen=True)
class FaultsMode(ModePlan):
    """A mode of ``faults``: one scenario."""

    scenario: Scenario = field(kw_only=True)


Run = Session[FaultsMode, FaultsParameters]


def plan(lab: LabFile, parameters: FaultsParameters) -> list[FaultsMode]:
    """One mode for each scenario, on a machine with a single engine.

    Raises:
        ConfigError: the machine was asked to have another number of engines or channels, or there
            is no scenario of a name for engines of its kind.
    """
    if "count" in lab.engine.model_fields_set and lab.engine.count != 1:
        raise ConfigError(
            "one engine, so that it is known which one copies",
            f"engine.count is {lab.engine.count}",
            hint="leave --engines out",
        )
    if lab.engine.queues != 1:
        raise ConfigError(
            "one queue, so that it is known which one copies",
            f"engine.queues is {lab.engine.queues}",
            hint="leave engine.queues out",
        )
    kind, asked = lab.engine.kind, parameters.scenarios
    every = [scenario.name for scenario in SCENARIOS]
    names = [scenario.name for scenario in SCENARIOS if kind in scenario.kinds]
    unknown = [name for name in asked if name not in every]
    # What is only for another kind is left out, so that one list serves both.
    chosen = [s for s in SCENARIOS if s.name in names and (not asked or s.name in asked)]
    if unknown or not chosen:
        raise ConfigError(
            f"names of scenarios for {kind}",
            ", ".join(unknown or asked),
            hint=f"choose from: {', '.join(names)}",
        )
    # An engine that takes no time fails before the driver has written all of its start: see
    # the device's specification.
    lab = with_default_profile(lab, Profile.ZEN3)
    machine = lab.model_copy(update={"engine": lab.engine.model_copy(update={"count": 1})})
    return [
        FaultsMode(
            scenario.name,
            scenario.purpose,
            patched=False,
            machine=machine,
            modules=(machine.engine.kind, MODULE),
            scenario=scenario,
        )
        for scenario in chosen
    ]


def run(session: Run) -> None:
    """Run one scenario and judge what it has shown.

    Raises:
        PremiseError: the driver isn't bound, the copy before the fault went wrong, or a fault
            didn't strike exactly once.
        GuestError: the guest ended the run in a way that is no known bug.
    """
    scenario = session.mode.scenario
    machine = session.mode.machine
    fixes = machine.kernel.driver_fixes
    known: Mapping[str, KnownBug] = {}
    if session.parameters.expect == "ledger":
        known = known_bugs(machine.engine.kind, scenario.name, driver_fixes=fixes)
    stage = Stage(session)
    try:
        stage.play()
    except GuestCrash as crash:
        stage.seen.crash = describe_crash(crash)
        if not stage.awaited(known.get(kernel_lives().name)):
            raise
        session.guest.accept_crash()
    stage.keep()
    for check in judge(scenario, stage.seen, known):
        session.findings.check(check)
    session.findings.notes += remarks(session.findings.checks, known)


def remarks(made: Sequence[Check], known: Mapping[str, KnownBug]) -> Iterator[str]:
    """What a reader has to know of known bugs, each named once: it shows, or it is gone."""
    bugs = {check: known[check.name].bug for check in made if check.name in known}
    shown = {
        bug
        for check, bug in bugs.items()
        if check.held and re.search(known[check.name].reaction, check.seen)
    }
    gone = {bug for check, bug in bugs.items() if _GONE in check.seen}
    for bug in dict.fromkeys(bugs.values()):
        if bug in shown:
            yield f"shows the known bug {bug}, see {LEDGER}"
        if bug in gone:
            yield f"the known bug {bug} did not show: is it fixed?"


class Stage:
    """Plays a scenario in a guest and keeps what it shows."""

    def __init__(self, session: Run) -> None:
        self.session = session
        self.seen = Seen()
        self.struck: list[dict[str, object]] = []
        self.step: str | None = None
        self._cleared = False
        self._guest = session.guest
        self._probe: Probe | None = None

    def play(self) -> None:
        """Make the premises true, arm the faults, carry the steps out and look."""
        scenario, guest = self.session.mode.scenario, self._guest
        premises.bind_engines(guest, self.session.mode.machine.engine)
        before = guest.device_counters()
        reported = len(guest.reports())
        if "rebind" not in scenario.steps:
            self._probe = Probe(guest)
            self._first_copy(self._probe)
        printed = len(self._driver_lines())
        for fault in scenario.faults:
            guest.inject_fault(fault.device, fault.kind, **fault.arguments)
        self.session.inject_faults()
        for step in scenario.steps:
            self.session.say(step)
            self.step = step
            self._step(step)
            self._count_hits()
        self.seen.reports = [report.title for report in guest.reports()[reported:]]
        self.seen.driver_lines = self._driver_lines()[printed:]
        if self._probe is not None:
            self.seen.copies = self._probe.copies()
        self.session.findings.device = engines.growth(before, guest.device_counters()).total
        self._assert_struck()

    def awaited(self, bug: KnownBug | None) -> bool:
        """Whether the crash is the one that a known bug announces.

        It is if it comes in one of the bug's steps, in the bug's words, and after the scenario's
        faults have struck: another crash of the same driver is none of the ledger's.
        """
        if bug is None or self.step not in bug.steps:
            return False
        with suppress(LabError):  # a machine that is gone answers no more: the last answer stands
            self._count_hits()
        if self._not_once():
            return False
        return re.search(bug.reaction, self.seen.crash or "") is not None

    def keep(self) -> None:
        """Put everything that was seen into the record."""
        details = self.session.findings.details
        details["copies"] = [copy.model_dump() for copy in self.seen.copies]
        details["marks"] = {
            name: [copy.model_dump() for copy in copies] for name, copies in self.seen.marks.items()
        }
        details["driver_lines"] = self.seen.driver_lines
        details["struck"] = self.struck
        details["reports"] = self.seen.reports
        details["crash"] = self.seen.crash

    def _first_copy(self, probe: Probe) -> None:
        for command in _FIRST_COPY:
            probe.command(command)
        (first,) = probe.copies()
        if not first.right:
            raise PremiseError(
                "a right copy before anything is broken",
                first.describe(),
                log=self._guest.machine.console.path,
            )

    def _step(self, step: str) -> None:
        verb, _, rest = step.partition(" ")
        if verb == "pass":
            self._guest.run(["/bin/busybox", "sleep", f"{int(rest) / 1000:g}"])
        elif verb == "clear":
            # Nothing is left to be asked for afterwards.
            self._count_hits()
            self._cleared = True
            self._guest.clear_faults()
        elif verb == "rebind":
            self.seen.pools = self._rebind()
        elif self._probe is None:
            raise PremiseError("steps that need no client beside rebind", step)
        elif verb == "mark":
            self.seen.marks[rest] = self._probe.copies()
        else:
            self._probe.command(step)

    def _rebind(self) -> list[str]:
        """Unbind the driver from the engine and bind it again; the device's DMA pools then."""
        guest = self._guest
        (engine,) = guest.engines()
        folder = f"/sys/bus/pci/drivers/{engine.driver}"
        guest.write(f"{folder}/unbind", engine.address)
        guest.write(f"{folder}/bind", engine.address)
        guest.assert_engines(1, engine.node)
        pools = guest.read(f"/sys/bus/pci/devices/{engine.address}/pools")
        # "poolinfo - 0.1", then one line a pool: name, blocks, pages and sizes
        return [line.split()[0] for line in pools.splitlines()[1:]]

    def _driver_lines(self) -> list[str]:
        """What an engine's driver has logged, without time stamps.

        From the kernel's own log: a line may reach the console only when its copy is long over.
        """
        kind = self.session.mode.machine.engine.kind
        logged = self._guest.run(["/bin/busybox", "dmesg"]).stdout
        texts = [_TIME_STAMP.sub("", line) for line in logged]
        return [text for text in texts if re.match(rf"{kind} \S+:\S+: ", text)]

    def _count_hits(self) -> None:
        if not self._cleared:
            self.struck = self._guest.faults()

    def _not_once(self) -> bool:
        """Whether a fault of the scenario has not struck exactly once."""
        count = len(self.session.mode.scenario.faults)
        return [fault["hits"] for fault in self.struck[:count]] != [1] * count

    def _assert_struck(self) -> None:
        if self._not_once():
            raise PremiseError(
                "each armed fault to strike exactly once",
                ", ".join(f"{fault['kind']} {fault['hits']} times" for fault in self.struck),
                log=self._guest.machine.log,
                hint="did the driver start as many descriptors as copies were asked for?",
            )


def describe_crash(crash: GuestCrash) -> str:
    """What the kernel died of, where, and below which function of a module."""
    where = _RIP.search(crash.excerpt)
    if where is None:
        return crash.seen
    caller = None if where["module"] else _IN_MODULE.search(crash.excerpt, where.end())
    return f"{crash.seen} in {where[1]}" + (f" below {caller[1]}" if caller else "")


def judge(scenario: Scenario, seen: Seen, known: Mapping[str, KnownBug]) -> Iterator[Check]:
    """The checks on what a scenario has shown.

    After a crash that was awaited nothing else can be asked.

    Args:
        scenario: what was played.
        seen: what it showed.
        known: the driver's known bugs by the aspect that each shows in.
    """
    aspects: tuple[Aspect, ...] = (kernel_lives(),)
    if seen.crash is None:
        aspects += scenario.aspects
    for aspect in aspects:
        held, tells, bug = aspect.holds(seen), aspect.tell(seen), known.get(aspect.name)
        if bug is None:
            yield Check(name=aspect.name, held=held, awaited=aspect.awaited, seen=tells)
        else:
            gone = held and bug.always
            yield Check(
                name=aspect.name,
                held=not gone if held else re.search(bug.reaction, tells) is not None,
                awaited=f"known bug {bug.bug}; sound would be: {aspect.awaited}"
                if bug.always
                else f"{aspect.awaited}, or now and then the known bug {bug.bug}",
                seen=f"{tells} - {_GONE}, correct {LEDGER}" if gone else tells,
            )


EXPERIMENT: Experiment[FaultsMode, FaultsParameters] = Experiment(
    name="faults",
    purpose="one fault a boot in the engine: what the driver tells its client, and what is true",
    parameters=FaultsParameters,
    plan=plan,
    run=run,
    quick={"scenarios": QUICK},
    judges_warnings=True,
)
