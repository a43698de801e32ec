# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment ``concurrent-moves``: several tasks call move_pages(2) at once, on few channels.

Each task moves its own part of one region, and all start together, spread over every CPU of the
machine. dcbm claims a free channel for a batch; a task that finds none has its batch copied by
the CPU. Nothing tells how many do: it depends on the order in which they come. But wherever a folio
was copied, its content has to be right, and the counters have to agree: the kernel's count of what
migrated is the folios asked for; dcbm's count is what the engines copied; the rest is the CPU's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, field_validator

from lab.config import Clock, ControlLayout, LabFile, Profile, with_default_profile
from lab.dcbm import Dcbm, load
from lab.errors import ConfigError, PremiseError
from lab.experiments import checks, premises
from lab.experiments.base import Experiment, ModePlan, Parameters, Session
from lab.experiments.dma_path import longest_copy_bytes
from lab.experiments.move_points import (
    PAGE_KIB,
    Measured,
    Moves,
    contents_checks,
    keep_moves,
    measure,
    named,
    placement_check,
    point_of,
    sum_up,
)
from lab.results import Check, MovePoint

# Few enough that four tasks want more than there are.
ENGINES = 2
TASKS = (4, 8)
_TASKS_MAX = 64


class ConcurrentMovesParameters(Parameters):
    """Parameters of ``concurrent-moves``."""

    tasks: Annotated[tuple[int, ...], Field(min_length=1)] = TASKS
    folio_kib: Annotated[tuple[int, ...], Field(min_length=1)] = (4, 64, 2048)
    total_mib: Annotated[int, Field(ge=2, le=16384)] = 64
    rounds: Annotated[int, Field(ge=1, le=1000)] = 2
    nr_dma_chan: Annotated[int, Field(ge=1, le=16)] = 1
    from_node: Annotated[int, Field(ge=0, le=7)] = 0
    to_node: Annotated[int, Field(ge=0, le=7)] = 1

    @field_validator("tasks")
    @classmethod
    def _tasks_are_many(cls, tasks: tuple[int, ...]) -> tuple[int, ...]:
        if not all(2 <= count <= _TASKS_MAX for count in tasks):  # noqa: PLR2004 - "many"
            raise ValueError(f"2 to {_TASKS_MAX} each")
        if len(set(tasks)) != len(tasks):
            raise ValueError("each only once")
        return tasks


@dataclass(frozen=True)
class ConcurrentMovesMode(ModePlan):
    """A mode of ``concurrent-moves``: a kernel, and how many tasks there are."""

    tasks: int = 2


Run = Session[ConcurrentMovesMode, ConcurrentMovesParameters]


def plan(lab: LabFile, parameters: ConcurrentMovesParameters) -> list[ConcurrentMovesMode]:
    """A baseline with the most tasks, and a mode with dcbm for each number of them.

    Raises:
        ConfigError: the machine lacks a node or memory, or has a channel for every task.
    """
    lab = with_default_profile(lab, Profile.ZEN3)
    nodes = lab.topology.nodes
    if parameters.from_node == parameters.to_node:
        raise ConfigError("two different nodes", f"from and to node {parameters.to_node}")
    for node in (parameters.from_node, parameters.to_node):
        if node >= len(nodes):
            raise ConfigError(f"a node {node} to move pages on", f"a topology of {len(nodes)}")
        if parameters.total_mib * 2 > nodes[node].memory_mib:
            raise ConfigError(
                f"a node {node} of at least {parameters.total_mib * 2} MiB, twice what is moved",
                f"topology.nodes.{node}.memory_mib is {nodes[node].memory_mib}",
            )
    largest = max(parameters.folio_kib)
    if parameters.total_mib * 1024 // largest < max(parameters.tasks):
        raise ConfigError(
            f"a folio of {largest} KiB for each of {max(parameters.tasks)} tasks",
            f"total_mib is {parameters.total_mib}",
        )
    if lab.kernel.layout is ControlLayout.V3:
        raise ConfigError(
            "a dcbm whose counters can be read, for every folio size",
            f"kernel.layout is {lab.kernel.layout.value}, which shows none",
            hint="choose another layout",
        )
    if not {"count", "queues"} & lab.engine.model_fields_set:
        lab = lab.model_copy(update={"engine": lab.engine.with_channels(ENGINES)})
    if not 1 <= lab.engine.channels < min(parameters.tasks):
        raise ConfigError(
            f"fewer channels than the {min(parameters.tasks)} tasks that want one, and at least 1",
            lab.engine.size_text,
            hint="more tasks (--set tasks=[…]), or --engines with a smaller number",
        )
    driver = lab.engine.kind
    most = max(parameters.tasks)
    baseline = ConcurrentMovesMode(
        f"baseline-{most}",
        f"vanilla kernel, {most} tasks",
        False,
        lab,
        modules=(driver,),
        tasks=most,
    )
    offloaded = [
        ConcurrentMovesMode(
            f"dma-{count}",
            f"patched kernel, {count} tasks on {lab.engine.channels} channel(s)",
            True,
            lab,
            modules=(driver, "dcbm"),
            tasks=count,
        )
        for count in parameters.tasks
    ]
    return [baseline, *offloaded]


def run(session: Run) -> None:
    """Run one mode: every folio size after the other.

    Raises:
        PremiseError: the folios don't have the size asked for, an engine isn't bound, dcbm can't
            be turned on, the program in the guest gave up, or the tasks never ran at once.
        GuestError: the guest ended the run.
    """
    guest, mode, parameters = session.guest, session.mode, session.parameters
    premises.bind_engines(guest, mode.machine.engine)
    dcbm: Dcbm | None = None
    if mode.patched:
        load(guest)
        dcbm = Dcbm(guest)
    session.findings.details["settings"] = premises.settle(guest, dict(premises.BACKGROUND_OFF))
    if dcbm is not None:
        dcbm.enable(parameters.nr_dma_chan)
    session.inject_faults()
    for size_kib in parameters.folio_kib:
        session.say(f"{mode.tasks} tasks move {parameters.total_mib} MiB in {size_kib} KiB folios")
        moves = Moves(
            folio_kib=size_kib,
            total_mib=parameters.total_mib,
            rounds=parameters.rounds,
            from_node=parameters.from_node,
            to_node=parameters.to_node,
            cpu=0,
            tasks=mode.tasks,
            cpus=sum(node.cpus for node in mode.machine.topology.nodes),
        )
        found = measure(session, dcbm, moves)
        assert_at_once(found, moves)
        _judge(session, dcbm, moves, found)
    if dcbm is not None:
        dcbm.disable()
    sum_up(session)
    _assert_shortage(session)


def assert_at_once(found: Measured, wanted: Moves) -> None:
    """Make sure that the tasks of each move were under way together.

    Raises:
        PremiseError: in a move, one had ended before another began, or one is missing.
    """
    for move in found.moves:
        tasks = move.get("tasks", [])
        ends = [
            premises.number(task, "start_ns") + premises.number(task, "wall_ns") for task in tasks
        ]
        starts = [premises.number(task, "start_ns") for task in tasks]
        if len(tasks) != wanted.tasks or max(starts) >= min(ends):
            raise PremiseError(
                f"{wanted.tasks} tasks that move folios of {wanted.folio_kib} KiB at once",
                f"{len(tasks)}, starting at {starts} ns and ending at {ends} ns",
                hint="more to do for each: --set total_mib=…",
            )


def _judge(session: Run, dcbm: Dcbm | None, wanted: Moves, found: Measured) -> None:
    point = point_of(
        found.moves, wanted.folio_kib, found.used, found.dma_copies, found.folios_failures
    )
    migrated = sum(int(move["vmstat"]["pgmigrate_success"]) for move in found.moves)
    folio_pages = wanted.folio_kib // PAGE_KIB
    point = point.model_copy(update={"cpu_copies": migrated // folio_pages - point.dma_copies})
    session.findings.moves.append(point)
    piece_bytes = longest_copy_bytes(session.mode.machine.topology)
    for check in shared_checks(
        point, wanted, migrated, offloaded=dcbm is not None, piece_bytes=piece_bytes
    ):
        session.findings.check(check)
    session.findings.check(placement_check(found.moves, wanted.folio_kib))
    keep_moves(session.findings, wanted, found.moves)


def shared_checks(
    point: MovePoint,
    wanted: Moves,
    pages_migrated: int,
    *,
    offloaded: bool,
    piece_bytes: int | None = None,
) -> list[Check]:
    """Every check on one point whose folios dcbm and the CPU may share.

    Args:
        point: what was measured, with `cpu_copies`.
        wanted: the moves.
        pages_migrated: growth of the kernel's ``pgmigrate_success``.
        offloaded: dcbm was on; otherwise the engines may not have done anything.
        piece_bytes: the longest copy that the DMA API maps; None is no limit.
    """
    folios = wanted.folios * point.moves
    found = contents_checks(point, folios)
    found.append(
        checks.equal(
            "kernel's count", pages_migrated, folios * wanted.folio_kib // PAGE_KIB, "pages"
        )
    )
    if not offloaded:
        found.append(checks.engines_idle(point.device))
    else:
        found += [
            checks.at_least("offloaded", point.dma_copies, 1, "folios"),
            *checks.engines_agree(
                point.device,
                folios=point.dma_copies,
                folio_bytes=point.folio_kib * 1024,
                folios_failures=point.folios_failures,
                piece_bytes=piece_bytes,
            ),
            Check(
                name="shares",
                held=point.cpu_copies is not None
                and point.cpu_copies >= 0
                and point.dma_copies + point.cpu_copies == folios,
                awaited=f"{folios:,} folios: those that dcbm counts and those of the CPU",
                seen=f"{point.dma_copies:,} and {point.cpu_copies}",
            ),
        ]
    return named(found, f"{point.folio_kib} KiB")


def _assert_shortage(session: Run) -> None:
    """In one point at least, a task has to have found no channel; chance decides in which.

    Raises:
        PremiseError: every folio was offloaded: nothing was learned about a shortage.
    """
    points = session.findings.moves
    if session.mode.patched and not any(point.cpu_copies for point in points):
        raise PremiseError(
            f"a batch of one of {session.mode.tasks} tasks that found no channel free on "
            f"{session.mode.machine.engine.size_text}",
            f"all {sum(point.dma_copies for point in points):,} folios offloaded",
            hint="more tasks, fewer engines, or engines that take longer "
            "(--set engine.profile=slow)",
        )
    if session.mode.machine.clock is Clock.HOST:
        session.findings.notes.append("host clock: who found a channel differs from run to run")


EXPERIMENT: Experiment[ConcurrentMovesMode, ConcurrentMovesParameters] = Experiment(
    name="concurrent-moves",
    purpose="move_pages(2) by more tasks at once than there are channels: contents and counters",
    parameters=ConcurrentMovesParameters,
    plan=plan,
    run=run,
    quick={"tasks": (4,), "folio_kib": (4, 2048), "rounds": 1, "total_mib": 32},
)
