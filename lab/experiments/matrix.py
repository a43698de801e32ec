# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment ``matrix``: each kind of folio, migrated by each trigger, offloaded or not.

Five modes, each a fresh boot that goes through all cells: the vanilla kernel; the patched one with
offloading off, on for every reason, on for the cell's reason alone, and on for every reason but the
cell's. The last two prove the reason: a cell is offloaded if and only if its reason's bit is set.

In each cell the guest's program ``migrate`` makes a region of one kind, proves that it is one, has
it migrated, and compares every byte and what else has to survive. The engines' and dcbm's counters
are read around the migration alone.
"""

from __future__ import annotations

import itertools
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from lab.config import ControlLayout, LabFile, Profile, Topology, with_default_profile
from lab.dcbm import Dcbm, load
from lab.errors import ConfigError, PremiseError, ProgramDied
from lab.experiments import checks, engines, premises
from lab.experiments.base import Choices, Experiment, ModePlan, Parameters, Session
from lab.experiments.matrix_cells import (
    KINDS,
    PARTLY,
    TRIGGERS,
    Kind,
    Promise,
    Trigger,
    moves,
    not_applicable,
    stays,
)
from lab.experiments.matrix_checks import (
    Found,
    asked_too_little,
    cell_checks,
    cell_verdict,
    copies_used,
    needed_nothing,
    needed_some,
    preserved,
)
from lab.experiments.matrix_machine import (
    command_line,
    early_mib,
    kernel_lacks,
    machine_lacks,
    modules_for,
    too_slow,
    with_nodes,
)
from lab.machine.argv import engine_ids
from lab.machine.jobs import JobResult
from lab.results import Cell, CellVerdict, Check, DeviceCounters

_CHANNELS = 4
# Of each copy that is to be damaged, and more descriptors than a region can have.
_DAMAGED_BYTE = 1000
_EVERY = 1 << 20
# How often a region is made for a cell until it lies where the trigger takes pages from.
_PLACINGS = 3


class Offload(StrEnum):
    """What dcbm is told in a mode."""

    NO_SERIES = "vanilla"
    OFF = "off"
    ALL = "on"
    ONLY = "only"
    EXCEPT = "except"


_PURPOSES = {
    Offload.NO_SERIES: "vanilla kernel",
    Offload.OFF: "patched kernel, offloading off",
    Offload.ALL: "dcbm on for every reason",
    Offload.ONLY: "dcbm on for the cell's reason alone",
    Offload.EXCEPT: "dcbm on for every reason but the cell's",
}


class MatrixParameters(Parameters):
    """Parameters of ``matrix``; no names means all of them."""

    triggers: Annotated[
        tuple[str, ...], Choices(tuple(t.name for t in TRIGGERS), empty_is_all=True)
    ] = ()
    kinds: Annotated[tuple[str, ...], Choices(tuple(k.name for k in KINDS), empty_is_all=True)] = ()
    quick: bool = False
    mib: Annotated[int, Field(ge=2, le=64, multiple_of=2)] = 4
    nr_dma_chan: Annotated[int, Field(ge=1, le=16)] = _CHANNELS


@dataclass(frozen=True)
class MatrixMode(ModePlan):
    """A mode of ``matrix``."""

    offload: Offload = Offload.NO_SERIES
    cells: tuple[tuple[Trigger, Kind], ...] = ()
    left_out: tuple[tuple[Trigger, Kind], ...] = ()
    cpu: int = 0


Run = Session[MatrixMode, MatrixParameters]


def plan(lab: LabFile, parameters: MatrixParameters) -> list[MatrixMode]:
    """The five modes.

    Raises:
        ConfigError: a trigger or kind that there isn't, or a machine that can't do it.
    """
    lab = with_default_profile(lab, Profile.ZEN3)
    if not {"count", "queues"} & lab.engine.model_fields_set:
        lab = lab.model_copy(update={"engine": lab.engine.with_channels(parameters.nr_dma_chan)})
    if lab.engine.channels < parameters.nr_dma_chan:
        raise ConfigError(
            f"{parameters.nr_dma_chan} DMA engine(s): each queue gives dcbm one channel",
            lab.engine.size_text,
            hint="--engines N, or fewer channels (--set nr_dma_chan=N)",
        )
    if lab.kernel.layout is not ControlLayout.V6:
        raise ConfigError(
            "a dcbm with reason_mask, which proves the reason of each migration",
            f"kernel.layout is {lab.kernel.layout.value}",
            hint="choose layout v6, or the experiments compaction and move-pages",
        )
    lab = with_nodes(lab)
    cells = chosen_cells(parameters)
    all_cells = chosen_cells(parameters.model_copy(update={"quick": False}))
    left_out = tuple(cell for cell in all_cells if cell not in cells)
    # Where the engines' interrupts go: with all work on one CPU the virtual clock stays exact.
    cpu = sum(node.cpus for node in lab.topology.nodes[: lab.engine.node])
    modules = (lab.engine.kind, *modules_for([trigger for trigger, _ in cells]))
    return [
        MatrixMode(
            offload.value,
            _PURPOSES[offload],
            patched=offload is not Offload.NO_SERIES,
            machine=lab,
            command_line=command_line(lab.topology, early_mib(lab.kernel.variant)),
            modules=modules if offload is Offload.NO_SERIES else (*modules, "dcbm"),
            offload=offload,
            cells=cells,
            left_out=left_out,
            cpu=cpu,
        )
        for offload in Offload
    ]


def chosen_cells(parameters: MatrixParameters) -> tuple[tuple[Trigger, Kind], ...]:
    """Every pair of the triggers and kinds asked for, applicable or not.

    Raises:
        ConfigError: there is no trigger or kind of a name.
    """
    names = {"triggers": [t.name for t in TRIGGERS], "kinds": [k.name for k in KINDS]}
    for axis, known in names.items():
        unknown = [name for name in getattr(parameters, axis) if name not in known]
        if unknown:
            raise ConfigError(
                f"{axis} of the matrix",
                ", ".join(unknown),
                hint=f"choose from: {', '.join(known)}",
            )
    quick = parameters.quick
    return tuple(
        (trigger, kind)
        for trigger in TRIGGERS
        for kind in KINDS
        if (
            trigger.name in parameters.triggers
            if parameters.triggers
            else trigger.quick or not quick
        )
        and (kind.name in parameters.kinds if parameters.kinds else kind.quick or not quick)
    )


def run(session: Run) -> None:
    """Go through the cells of one mode.

    Raises:
        PremiseError: an engine isn't bound, dcbm can't be turned on, or a cell had no premise; the
            other cells were run nevertheless.
        GuestError: the guest ended the run.
    """
    guest, mode = session.guest, session.mode
    premises.bind_engines(guest, mode.machine.engine)
    dcbm: Dcbm | None = None
    reasons: tuple[str, ...] = ()
    if mode.patched:
        load(guest)
        dcbm = Dcbm(guest)
        reasons = dcbm.reason_names()
    session.findings.details["settings"] = premises.settle(guest, premises.BACKGROUND_OFF)
    _note_not_run(session)
    for module in modules_for([trigger for trigger, _ in mode.cells]):
        guest.load_module(module)
    lacking = kernel_lacks(guest, [trigger for trigger, _ in mode.cells])
    if dcbm is not None and mode.offload is not Offload.OFF:
        dcbm.enable(session.parameters.nr_dma_chan, "all")
    session.inject_faults()
    failed: list[str] = []
    # A page that was not copied shows what its frame held, and regions of all cells lie at the same
    # addresses: each has contents of its own, and the one after it is for what isn't to be seen.
    generations = itertools.count(1, 2)
    for at, (trigger, kind) in enumerate(mode.cells):
        why = (
            not_applicable(trigger, kind)
            or machine_lacks(mode.machine.topology, trigger)
            or too_slow(session.slowdown, trigger, kind)
            or lacking.get(trigger.name)
        )
        if why is None:
            session.say(f"{trigger.name} of {kind.name}")
            if dcbm is not None:
                _choose_reasons(dcbm, mode.offload, trigger.reason, reasons)
            cell = _run_cell(session, dcbm, trigger, kind, generations)
        else:
            cell = _cell(trigger, kind, CellVerdict.NOT_APPLICABLE, why)
        session.findings.cells[at] = cell
        if cell.verdict is CellVerdict.ERROR:
            failed.append(f"{trigger.name} of {kind.name}: {cell.why}")
    for trigger in {trigger for trigger, _ in mode.cells if trigger.as_needed}:
        some = needed_some(trigger, _cells_of(session, trigger))
        if some is not None:
            session.findings.check(some)
    _note_excuses(session)
    if dcbm is not None and mode.offload is not Offload.OFF:
        dcbm.disable()
    if failed:
        raise PremiseError(
            "a premise for every cell",
            "\n         ".join([f"{len(failed)} without", *failed]),
            log=guest.machine.console.path,
        )


def _note_not_run(session: Run) -> None:
    """What a crash keeps from being run has to show as a hole, and what was never to be."""
    holes = {
        "the mode ended before": session.mode.cells,
        "left out by --quick: run without it, or name trigger and kind": session.mode.left_out,
    }
    session.findings.cells = [
        _cell(trigger, kind, CellVerdict.NOT_RUN, why)
        for why, cells in holes.items()
        for trigger, kind in cells
    ]


def _cells_of(session: Run, trigger: Trigger) -> list[tuple[Kind, Cell]]:
    """Those that this mode was to run."""
    # Those that --quick leaves out come after.
    both = zip(session.mode.cells, session.findings.cells, strict=False)
    return [(kind, cell) for (its, kind), cell in both if its is trigger]


def _note_excuses(session: Run) -> None:
    """Say where the reports show checks alone, too, how many cells proved less than all held."""
    # Those that --quick leaves out come after.
    ran = zip(session.findings.cells, session.mode.cells, strict=False)
    verdicts = [(cell.verdict, kind) for cell, (_, kind) in ran]
    bugs = Counter(kind.bug for verdict, kind in verdicts if verdict is CellVerdict.KNOWN_BUG)
    session.findings.notes += [
        f"{count} cells hold by the excuse of the known bug {bug}" for bug, count in bugs.items()
    ]
    if session.faults and session.mode.offload is Offload.ALL:
        session.findings.notes.append("copies used: not looked at, because of the faults asked for")
    nothing = sum(verdict is CellVerdict.NOT_APPLICABLE for verdict, _ in verdicts)
    if nothing:
        session.findings.notes.append(f"{nothing} of {len(verdicts)} cells are not applicable")


def _cell(trigger: Trigger, kind: Kind, verdict: CellVerdict, why: str | None) -> Cell:
    return Cell(
        trigger=trigger.name, reason=trigger.reason, kind=kind.name, verdict=verdict, why=why
    )


def _choose_reasons(dcbm: Dcbm, offload: Offload, reason: str, reasons: Sequence[str]) -> None:
    """Set the mask for one cell.

    Raises:
        PremiseError: the kernel doesn't know the reason.
    """
    if reason not in reasons:
        raise PremiseError(f"a kernel that knows the reason {reason}", ", ".join(reasons))
    if offload is Offload.ONLY:
        dcbm.limit_to(reason)
    elif offload is Offload.EXCEPT:
        dcbm.limit_to([other for other in reasons if other != reason])


def _destination(topology: Topology, trigger: Trigger) -> int:
    slow = topology.slow_node
    return slow if trigger.promise is Promise.TIER and slow is not None else 1


def _run_cell(
    session: Run, dcbm: Dcbm | None, trigger: Trigger, kind: Kind, generations: Iterator[int]
) -> Cell:
    """Run one cell; a premise that doesn't hold is told in the cell."""
    mode, used = session.mode, None
    # Once for each kind: what becomes of a copy has nothing to do with the reason.
    shows_use = mode.offload is Offload.ALL and trigger.name == "move_pages" and not session.faults
    try:
        for _ in range(_PLACINGS):
            found, ended_early = _migrate(session, dcbm, trigger, kind, next(generations))
            misplaced = asked_too_little(trigger, found)
            if misplaced is None or ended_early is not None:
                break
            # A region that lies elsewhere proves nothing of its migration, and is made anew. What
            # was done to it all the same counts.
            harm = [check for check in preserved(trigger, kind, found) if not check.held]
            if harm:
                _keep(session, trigger, kind, harm)
                verdict, why = cell_verdict(harm, None)
                return _cell(trigger, kind, verdict, why)
        if shows_use and kind.offloaded and moves(trigger, kind):
            used = _copies_used(session, dcbm, trigger, kind, next(generations))
    except ProgramDied as error:
        session.findings.check(checks.died(f"{trigger.name} of {kind.name}: programs", error))
        return _cell(trigger, kind, CellVerdict.FAIL, error.seen)
    except PremiseError as error:
        return _cell(trigger, kind, CellVerdict.ERROR, error.seen)
    if misplaced is not None:
        return _cell(trigger, kind, CellVerdict.ERROR, misplaced)
    wanted = mode.offload in {Offload.ALL, Offload.ONLY}
    made = cell_checks(trigger, kind, found, offload=wanted, topology=mode.machine.topology)
    if used is not None:
        made.append(used)
    _keep(session, trigger, kind, made)
    verdict, why = cell_verdict(made, ended_early)
    if verdict is CellVerdict.PASS and needed_nothing(trigger, kind, found):
        why = PARTLY.get((trigger.name, kind.name), "the kernel needed none of its pages")
        verdict, why = CellVerdict.NOT_APPLICABLE, f"{why}: none was moved this time"
    elif verdict is CellVerdict.PASS:
        why = stays(trigger, kind)
    return Cell(
        trigger=trigger.name,
        reason=trigger.reason,
        kind=kind.name,
        verdict=verdict,
        why=why,
        pages=found.pages,
        pages_moved=found.pages_moved,
        dma_copies=found.dma_copies,
        descriptors=found.device.descriptors,
        retries=found.retries,
    )


def _copies_used(
    session: Run, dcbm: Dcbm | None, trigger: Trigger, kind: Kind, generation: int
) -> Check:
    """Have each copy of an engine damaged, and look whether it is the copies that are used.

    A kernel that has folios copied and then copies them itself is right in all else.

    Raises:
        ProgramDied: of what was done to it.
        PremiseError: there was no region.
    """
    guest = session.guest
    for engine in engine_ids(session.mode.machine.engine):
        guest.inject_fault(engine, "flip-byte", offset=_DAMAGED_BYTE, count=_EVERY)
    try:
        found, _ = _migrate(session, dcbm, trigger, kind, generation, damaged=True)
        struck = sum(int(fault["hits"]) for fault in guest.faults())
    finally:
        guest.clear_faults()
    return copies_used(found, struck, _DAMAGED_BYTE)


def _keep(session: Run, trigger: Trigger, kind: Kind, made: Sequence[Check]) -> None:
    for check in made:
        name = f"{trigger.name} of {kind.name}: {check.name}"
        session.findings.check(check.model_copy(update={"name": name}))


def _migrate(
    session: Run,
    dcbm: Dcbm | None,
    trigger: Trigger,
    kind: Kind,
    generation: int,
    *,
    damaged: bool = False,
) -> tuple[Found, str | None]:
    """Make a region and have it migrated; the second is why nobody could look at it afterwards.

    Args:
        session: of the mode.
        dcbm: None without the series.
        trigger: how it is migrated.
        kind: what is.
        generation: of the region's contents.
        damaged: it is to come out damaged, and isn't added to the mode's sums.

    Raises:
        ProgramDied: of what was done to it.
        PremiseError: there was no region, or the program ended before the migration was over.
    """
    guest, mode, parameters = session.guest, session.mode, session.parameters
    argv = [
        *("migrate", trigger.name, kind.name),
        *("--from", "0", "--to", str(_destination(mode.machine.topology, trigger))),
        *("--cpu", str(mode.cpu)),
        *("--mib", str(parameters.mib)),
        *("--generation", str(generation)),
    ]
    job = guest.spawn(argv, timeout_s=session.program_timeout_s)
    engines_before = guest.device_counters()
    copies_before = dcbm.counters() if dcbm else None
    guest.signal(job, signal.SIGUSR1)
    told = guest.wait(job, timeout_s=session.program_timeout_s)
    moved, looked, ended_early = _events(told)
    used = engines.growth(engines_before, guest.device_counters()).total
    copies = failures = None
    if dcbm is not None and copies_before is not None:
        after = dcbm.counters()
        copies = after.folios_migrated - copies_before.folios_migrated
        failures = after.folios_failures - copies_before.folios_failures
    found = Found.of(
        job.ready or {},
        moved,
        looked,
        device=used,
        dma_copies=copies,
        folios_failures=failures,
    )
    if not damaged:
        _add_up(session, found, used)
    return found, ended_early


def _events(told: JobResult) -> tuple[Mapping[str, Any], Mapping[str, Any] | None, str | None]:
    """What moved, what was looked at afterwards, and why it was not.

    A migration that has done harm can keep the program from looking: a page that can't be read any
    more ends it. What it and the engines have counted before is then a verdict nevertheless.

    Raises:
        PremiseError: it ended before the migration was over.
    """
    moved = told.events("moved")
    try:
        looked = told.result("cell")
    except PremiseError as error:
        if len(moved) != 1:
            raise
        return moved[0], None, error.seen
    return moved[0], looked, None


def _add_up(session: Run, found: Found, used: DeviceCounters) -> None:
    """Keep the mode's sums up to date, so that a crash leaves what was counted before."""
    findings = session.findings
    findings.pages_migrated = (findings.pages_migrated or 0) + found.pages_moved
    if found.dma_copies is not None:
        findings.dma_copies = (findings.dma_copies or 0) + found.dma_copies
        findings.folios_failures = (findings.folios_failures or 0) + (found.folios_failures or 0)
    earlier = findings.device or DeviceCounters(descriptors=0, bytes=0, interrupts=0, errors=0)
    findings.device = DeviceCounters(
        **{name: getattr(earlier, name) + getattr(used, name) for name in type(used).model_fields}
    )
    findings.integrity = found.added_to(findings.integrity)


EXPERIMENT: Experiment[MatrixMode, MatrixParameters] = Experiment(
    name="matrix",
    purpose="each kind of folio, migrated for each reason, offloaded or not",
    parameters=MatrixParameters,
    plan=plan,
    run=run,
    quick={"quick": True},
)
