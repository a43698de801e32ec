# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment ``stress``: many tasks at the same pages while they migrate.

A mode is a scenario on a fresh boot with dcbm on; some are played on the vanilla kernel, too. The
guest's program ``stress`` has tasks that write and verify and tasks that move, for a given time of
the guest. On the virtual clock a run is the same each time, and ``seed`` chooses another
interleaving; on the host's clock, with threads that really run at once, races are hunted.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field, field_validator

from lab.config import MAX_ENGINES, Clock, ControlLayout, LabFile, Profile, with_default_profile
from lab.dcbm import Dcbm, load
from lab.errors import ConfigError, PremiseError
from lab.experiments import checks, engines, offload_core, premises
from lab.experiments.base import Choices, Experiment, ModePlan, Parameters, Session
from lab.experiments.checks import PAGE_BYTES
from lab.experiments.dma_path import longest_copy_bytes
from lab.experiments.failure_resources import Resources, leak_checks
from lab.experiments.move_points import Moves, measure, placement_check, point_checks, point_of
from lab.experiments.stress_checks import (
    Counted,
    idle_checks,
    missing_premises,
    only_too_little,
    stress_checks,
)
from lab.experiments.stress_scenarios import SCENARIOS, Scenario, Size
from lab.results import Check

_RUN_MS = {Clock.VIRTUAL: 1000, Clock.HOST: 30_000}
# Where too little was done, the next run is so many times as long.
_STRETCH = 4
_DISK = "brd"
NO_RIVAL = (
    f"no second provider tried to register: the module {offload_core.RIVAL} is built only with the "
    "core of the project's series, which this kernel hasn't"
)


class StressParameters(Parameters):
    """Parameters of ``stress``.

    No scenarios means all of them, no ``run_ms`` the clock's own, no ``max_run_ms`` 16 times that
    and by as much more as the kernel's deadlines are longer.
    """

    scenarios: Annotated[
        tuple[str, ...], Choices(tuple(one.name for one in SCENARIOS), empty_is_all=True)
    ] = ()
    vanilla: bool = True
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 1
    run_ms: Annotated[int, Field(ge=20, le=600_000)] | None = None
    max_run_ms: Annotated[int, Field(ge=20, le=600_000)] | None = None
    mib: Annotated[int, Field(ge=2, le=64, multiple_of=2)] = 4
    writers: Annotated[int, Field(ge=1, le=32)] = 4
    movers: Annotated[int, Field(ge=1, le=32)] = 3
    nr_dma_chan: Annotated[int, Field(ge=1, le=MAX_ENGINES)] = 4
    rival: bool = True
    slack_pages: Annotated[int, Field(ge=0)] = 256

    @field_validator("scenarios")
    @classmethod
    def _scenarios_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = [scenario.name for scenario in SCENARIOS]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: there are {', '.join(known)}")
        return names


@dataclass(frozen=True)
class StressMode(ModePlan):
    """A mode of ``stress``: a scenario, and whether dcbm is on.

    Attributes:
        left_out: scenarios that this run has no mode of, and says so in this one.
    """

    scenario: Scenario = SCENARIOS[0]
    cpus: int = 2
    channels: int = 1
    movers: int = 1
    left_out: tuple[str, ...] = ()


Run = Session[StressMode, StressParameters]


def plan(lab: LabFile, parameters: StressParameters) -> list[StressMode]:
    """Each scenario with dcbm on, those that have one with a mode on the vanilla kernel first.

    Raises:
        ConfigError: the machine lacks engines or memory, or dcbm the mask of reasons.
    """
    lab = with_default_profile(lab, Profile.ZEN3)
    if lab.kernel.layout is not ControlLayout.V6:
        raise ConfigError(
            "a dcbm with a mask of reasons, which the scenario controls changes",
            f"kernel.layout is {lab.kernel.layout.value}",
            hint="choose layout v6",
        )
    modes: list[StressMode] = []
    left_out: list[str] = []
    for scenario in SCENARIOS:
        if parameters.scenarios and scenario.name not in parameters.scenarios:
            continue
        if scenario.provider and lab.clock is Clock.HOST:
            if parameters.scenarios:
                raise ConfigError(
                    f"{scenario.name} on the virtual clock, whose times are exact",
                    "clock host",
                    hint="leave it out of scenarios",
                )
            left_out.append(scenario.name)
            continue
        if scenario.vanilla and parameters.vanilla:
            modes.append(_mode(lab, parameters, scenario, patched=False))
        modes.append(_mode(lab, parameters, scenario, patched=True))
    return [*modes[:-1], replace(modes[-1], left_out=tuple(left_out))]


def _mode(
    lab: LabFile, parameters: StressParameters, scenario: Scenario, *, patched: bool
) -> StressMode:
    used = scenario.nr_dma_chan or parameters.nr_dma_chan
    if not {"count", "queues"} & lab.engine.model_fields_set:
        engine = lab.engine.with_channels(scenario.channels or used)
        lab = lab.model_copy(update={"engine": engine})
    if lab.engine.channels < used:
        raise ConfigError(
            f"{used} DMA engine(s): each queue gives dcbm one channel",
            lab.engine.size_text,
            hint="--engines N, or fewer channels (--set nr_dma_chan=N)",
        )
    cpus = sum(node.cpus for node in lab.topology.nodes)
    if scenario.spare_cpus:
        # As many again, and none of the tasks is bound to these.
        nodes = tuple(
            node.model_copy(update={"cpus": node.cpus * 2}) for node in lab.topology.nodes
        )
        topology = lab.topology.model_copy(update={"nodes": nodes})
        lab = lab.model_copy(update={"topology": topology})
    return StressMode(
        scenario.name if patched else f"vanilla-{scenario.name}",
        scenario.purpose if patched else f"{scenario.purpose}, vanilla kernel",
        patched=patched,
        machine=lab,
        command_line=scenario.command_line,
        modules=(lab.engine.kind, *(["dcbm"] if patched else []), *scenario.modules),
        scenario=scenario,
        cpus=cpus,
        channels=used,
        movers=scenario.movers or parameters.movers,
    )


def run_ms(parameters: StressParameters, clock: Clock) -> int:
    """Milliseconds of the guest's time that a scenario takes."""
    return parameters.run_ms or _RUN_MS[clock]


def run(session: Run) -> None:
    """Play one scenario.

    Raises:
        PremiseError: an engine isn't bound, dcbm can't be turned on, the scenario lacks something
            or a task of it gave up.
        GuestError: the guest ended the run.
    """
    guest, mode, findings = session.guest, session.mode, session.findings
    if mode.left_out:
        findings.notes.append(f"not on the host's clock: {', '.join(mode.left_out)}")
    premises.bind_engines(guest, mode.machine.engine)
    if _DISK in mode.modules:
        guest.load_module(_DISK, "rd_nr=1", f"rd_size={session.parameters.mib * 1024}")
    dcbm: Dcbm | None = None
    if mode.patched:
        load(guest)
        dcbm = Dcbm(guest)
    findings.details["settings"] = premises.settle(guest, premises.BACKGROUND_OFF)
    # The first drops what has been cached since the boot.
    _in_use(session)
    before = _in_use(session)
    provider = None if mode.scenario.provider else dcbm
    if mode.scenario.provider:
        guest.load_module(mode.scenario.provider)
    if provider is not None:
        provider.enable(mode.channels, "all")
    counted, made = _play_long_enough(session, provider, rival=_meets_rival(session))
    for check in made:
        findings.check(check)
    # Where something is wrong already, dcbm may be too: it is no premise any more.
    if all(check.held for check in made) or only_too_little(mode.scenario, counted, made):
        late = [] if dcbm is None else _move_in_quiet(session, dcbm)
        if dcbm is not None:
            dcbm.disable()
        late += leak_checks(before, _in_use(session), _slack_pages(session))
        for check in late:
            findings.check(check)
            made.append(check)
    made.append(checks.no_warning([str(report) for report in guest.reports()]))
    findings.check(made[-1])
    missing = missing_premises(mode.scenario, counted, made)
    if missing:
        raise PremiseError(
            "enough of everything for a verdict: "
            + "; ".join(f"{check.name}: {check.awaited}" for check in missing),
            "; ".join(f"{check.name}: {check.seen}" for check in missing),
            hint="give it more time (--set run_ms=N --set max_run_ms=N)",
        )


def _in_use(session: Run) -> Resources:
    """What is in use while nothing goes on.

    Raises:
        PremiseError: the kernel doesn't tell.
    """
    return Resources.read(session.guest, session.program_timeout_s)


def _slack_pages(session: Run) -> int:
    """What may be taken for good: by the rest of the kernel, and by what the disk's blocks hold."""
    parameters = session.parameters
    disk = parameters.mib * (1 << 20) // PAGE_BYTES if _DISK in session.mode.modules else 0
    return parameters.slack_pages + disk


def _meets_rival(session: Run) -> bool:
    """Whether another provider tries to register; where none can be built, that is said.

    Raises:
        PremiseError: the kernel could have it, and the image hasn't.
    """
    if not (session.mode.scenario.rival and session.parameters.rival):
        return False
    if offload_core.has_module(session.guest, offload_core.RIVAL):
        return True
    if offload_core.is_own(session.guest):
        raise PremiseError(
            f"the module {offload_core.RIVAL}, for a kernel with the project's own core",
            "the image hasn't got it",
            hint="install it with the kernel's other modules (docs/kernels.md), or go without "
            "(--set rival=false)",
        )
    session.findings.details["rival"] = False
    session.findings.notes.append(NO_RIVAL)
    return False


def _play_long_enough(
    session: Run, provider: Dcbm | None, *, rival: bool = False
) -> tuple[Counted, list[Check]]:
    """Play it longer while nothing is wrong but that too little was done.

    A kernel with instruments does a tenth in the same time, and less.
    """
    parameters, mode = session.parameters, session.mode
    size = size_of(parameters, mode)
    time_ms = run_ms(parameters, mode.machine.clock)
    longest_ms = parameters.max_run_ms or time_ms * _STRETCH**2 * session.slowdown
    played: list[int] = []
    session.findings.details["run_ms"] = played
    session.inject_faults()
    while True:
        played.append(time_ms)
        counted = _play(session, provider, time_ms, rival=rival)
        if provider is None:
            made = idle_checks(mode.scenario, counted, size=size)
        else:
            made = stress_checks(
                mode.scenario,
                counted,
                size=size,
                topology=mode.machine.topology,
                rival=rival,
            )
        time_ms *= _STRETCH
        if time_ms > longest_ms or not only_too_little(mode.scenario, counted, made):
            return counted, made
        unheld = next(check for check in made if not check.held)
        session.say(f"too little in {played[-1]} ms ({unheld.name}: {unheld.seen}): again, longer")


def size_of(parameters: StressParameters, mode: StressMode) -> Size:
    """How large a run is, which its floors depend on."""
    pages = parameters.mib * (1 << 20) // PAGE_BYTES
    cpus = sum(node.cpus for node in mode.machine.topology.nodes)
    return Size(
        pages=pages * (parameters.writers if mode.scenario.regions else 1),
        writers=parameters.writers,
        spare_cpus=cpus - mode.cpus,
    )


def _move_in_quiet(session: Run, dcbm: Dcbm) -> list[Check]:
    """When all is over, a single move finds every channel, and all of its folios are offloaded.

    A channel that a migration has not given back, or a provider that is out of step with the core,
    would leave some to the CPU.
    """
    mode = session.mode
    dcbm.enable(mode.channels, "all")
    moves = Moves(
        folio_kib=4, total_mib=session.parameters.mib, rounds=1, from_node=0, to_node=1, cpu=0
    )
    found = measure(session, dcbm, moves)
    point = point_of(
        found.moves, moves.folio_kib, found.used, found.dma_copies, found.folios_failures
    )
    piece_bytes = longest_copy_bytes(mode.machine.topology)
    return [
        *point_checks(point, mode.channels, moves.total_mib, piece_bytes, "afterwards"),
        placement_check(found.moves, moves.folio_kib, "afterwards"),
    ]


def _play(session: Run, dcbm: Dcbm | None, time_ms: int, *, rival: bool) -> Counted:
    """Run the program for so many milliseconds of the guest's time, and count."""
    guest, mode, parameters = session.guest, session.mode, session.parameters
    argv = [
        *("stress", mode.scenario.program),
        *("--from", "0", "--to", "1"),
        *("--cpus", str(mode.cpus)),
        *("--run-ms", str(time_ms)),
        *("--seed", str(parameters.seed)),
        *("--mib", str(parameters.mib)),
        *("--writers", str(parameters.writers)),
        *("--movers", str(mode.movers)),
        *(["--rival"] if rival else []),
        *(["--shared"] if mode.scenario.shared else []),
        *("--folio-kib", str(mode.scenario.folio_kib)),
    ]
    job = guest.spawn(argv, timeout_s=session.program_timeout_s)
    session.say(f"{mode.scenario.purpose}: {time_ms} ms")
    device_before = guest.device_counters()
    counters_before = dcbm.counters() if dcbm else None
    guest.signal(job, signal.SIGUSR1)
    # The run's own time on the host's clock comes on top of what a program may take.
    result = guest.wait(job, timeout_s=session.program_timeout_s + time_ms / 1000)
    events = result.events("stress")
    if not result.ok or len(events) != 1:
        raise result.failure("every task to go on until the time is up")
    used = engines.growth(device_before, guest.device_counters())
    copies = failures = None
    # Where the counters were reset in between, they tell nothing of the whole.
    if dcbm is not None and counters_before is not None and not mode.scenario.resets:
        after = dcbm.counters()
        copies = after.folios_migrated - counters_before.folios_migrated
        failures = after.folios_failures - counters_before.folios_failures
    counted = Counted.of(events[0], used.total, copies, failures)
    session.findings.wall_ms = premises.number(events[0], "wall_ns") / 1e6
    _keep(session, counted, used.channels_used)
    return counted


def _keep(session: Run, counted: Counted, channels_used: int) -> None:
    findings = session.findings
    findings.pages_migrated = counted.pages_migrated
    findings.dma_copies = counted.dma_copies
    findings.folios_failures = counted.folios_failures
    findings.device = counted.device
    findings.integrity = counted.integrity
    findings.details["tally"] = dict(counted.tally)
    findings.details["channels_used"] = channels_used
    if counted.surprises:
        findings.details["surprises"] = list(counted.surprises)


EXPERIMENT: Experiment[StressMode, StressParameters] = Experiment(
    name="stress",
    purpose="many tasks at the same pages while they migrate: writers, direct I/O, forks, controls",
    parameters=StressParameters,
    plan=plan,
    run=run,
    quick={"run_ms": 500, "vanilla": False, "writers": 2},
    judges_warnings=True,
)
