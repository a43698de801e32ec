# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment ``move-pages``: move_pages(2) between two nodes by folio size and channel count.

A region is faulted in on one node in folios of exactly one size, moved to the other node, and
compared in full; then the same the other way, for a number of rounds. Each move starts with fresh
folios, because the kernel splits a folio of several page table entries when it migrates a second
time (Linux 7.3; ``same_folios`` shows it). One mode is the vanilla kernel; the others turn dcbm on
with 1 to 16 channels on a machine of 16 engines. Within a mode, which is one boot, the sizes follow
each other. Throughput is the moved bytes over the time of the system call alone.

One batch of the stock kernel holds a single 2 MiB folio, so that large folios could only ever use
one channel. As the authors do for their figures, the limit is raised here, to sixteen of them.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, field_validator

from lab.config import MAX_ENGINES, ControlLayout, LabFile, Profile, with_default_profile
from lab.dcbm import Dcbm, load
from lab.errors import ConfigError, PremiseError
from lab.experiments import checks, engines, premises
from lab.experiments.base import Experiment, ModePlan, Parameters, Session
from lab.experiments.dma_path import longest_copy_bytes
from lab.results import Check, DeviceCounters, Integrity, MovePoint

FOLIO_KIB = (4, 16, 64, 256, 1024, 2048)
CHANNELS = (1, 2, 4, 8, 12, 16)
PAGE_KIB = 4
_BATCH_PAGES = 16 * 512
_TABLE_BYTES = 1e9
# Wrong pages kept in the record for each point; the count is always whole.
_WRONG_KEPT = 16


class MovePagesParameters(Parameters):
    """Parameters of ``move-pages``."""

    folio_kib: Annotated[tuple[int, ...], Field(min_length=1)] = FOLIO_KIB
    channels: Annotated[tuple[int, ...], Field(min_length=1)] = CHANNELS
    total_mib: Annotated[int, Field(ge=2, le=16384)] = 64
    rounds: Annotated[int, Field(ge=1, le=1000)] = 4
    from_node: Annotated[int, Field(ge=0, le=7)] = 0
    to_node: Annotated[int, Field(ge=0, le=7)] = 1
    same_folios: bool = False
    max_batch_pages: Annotated[int, Field(ge=512)] = _BATCH_PAGES

    @field_validator("folio_kib")
    @classmethod
    def _sizes_exist(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        for size in sizes:
            # The kernel has anonymous folios of order 0, then 2 up to 9.
            if size not in (4, *(4 << order for order in range(2, 10))):
                raise ValueError(f"{size}: no anonymous folio of x86-64 has that size in KiB")
        if len(set(sizes)) != len(sizes):
            raise ValueError("each only once")
        return sizes

    @field_validator("channels")
    @classmethod
    def _channels_exist(cls, channels: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= count <= MAX_ENGINES for count in channels):
            raise ValueError(f"1 to {MAX_ENGINES} each")
        if len(set(channels)) != len(channels):
            raise ValueError("each only once")
        return channels


@dataclass(frozen=True)
class MovePagesMode(ModePlan):
    """A mode of ``move-pages``; no channels means the vanilla kernel."""

    channels: int = 0
    cpu: int = 0


Run = Session[MovePagesMode, MovePagesParameters]


def plan(lab: LabFile, parameters: MovePagesParameters) -> list[MovePagesMode]:
    """The baseline and one mode for each channel count.

    Raises:
        ConfigError: the machine lacks a node, memory or engines.
    """
    lab = with_default_profile(lab, Profile.ZEN3)
    nodes = lab.topology.nodes
    for node in (parameters.from_node, parameters.to_node):
        if node >= len(nodes):
            raise ConfigError(f"a node {node} to move pages on", f"a topology of {len(nodes)}")
        if parameters.total_mib * 2 > nodes[node].memory_mib:
            raise ConfigError(
                f"a node {node} of at least {parameters.total_mib * 2} MiB, twice what is moved",
                f"topology.nodes.{node}.memory_mib is {nodes[node].memory_mib}",
            )
    if parameters.from_node == parameters.to_node:
        raise ConfigError("two different nodes", f"from and to node {parameters.to_node}")
    if lab.kernel.layout is ControlLayout.V3:
        raise ConfigError(
            "a dcbm whose counters can be read, for every folio size",
            f"kernel.layout is {lab.kernel.layout.value}, which shows none",
            hint="choose another layout, or the experiment compaction",
        )
    wanted = max(parameters.channels)
    # Always sixteen unless asked otherwise, so that every mode shows the limit on channels kept.
    if not {"count", "queues"} & lab.engine.model_fields_set:
        lab = lab.model_copy(update={"engine": lab.engine.with_channels(MAX_ENGINES)})
    if lab.engine.channels < wanted:
        raise ConfigError(
            f"{wanted} DMA engines: each queue gives dcbm one channel",
            lab.engine.size_text,
            hint=f"--engines {wanted}, or fewer channels (--set channels=[1,2])",
        )
    # Where the engines' interrupts go: with all work on one CPU the virtual clock stays exact.
    cpu = sum(node.cpus for node in nodes[: lab.engine.node])
    engine_driver = lab.engine.kind
    baseline = MovePagesMode(
        "baseline",
        "vanilla kernel",
        patched=False,
        machine=lab,
        modules=(engine_driver,),
        cpu=cpu,
    )
    offloaded = [
        MovePagesMode(
            f"dma-{count}",
            f"patched kernel, dcbm on {count} channel(s)",
            patched=True,
            machine=lab,
            modules=(engine_driver, "dcbm"),
            channels=count,
            cpu=cpu,
        )
        for count in parameters.channels
    ]
    return [baseline, *offloaded]


def run(session: Run) -> None:
    """Run one mode: every folio size after the other.

    Raises:
        PremiseError: the folios don't have the size asked for, an engine isn't bound, dcbm can't
            be turned on or the program in the guest gave up.
        GuestError: the guest ended the run.
    """
    guest, mode, parameters = session.guest, session.mode, session.parameters
    premises.bind_engines(guest, mode.machine.engine)
    settings = dict(premises.BACKGROUND_OFF)
    dcbm: Dcbm | None = None
    if mode.patched:
        settings[premises.MAX_BATCH_PAGES] = str(parameters.max_batch_pages)
        load(guest)
        dcbm = Dcbm(guest)
    session.findings.details["settings"] = premises.settle(guest, settings)
    if dcbm is not None:
        dcbm.enable(mode.channels)
    session.inject_faults()
    for size_kib in parameters.folio_kib:
        session.say(f"moving {parameters.total_mib} MiB in folios of {size_kib} KiB")
        _point(session, dcbm, size_kib)
    if dcbm is not None:
        dcbm.disable()
    _sum_up(session)


def folios_in_a_batch(folio_kib: int, total_mib: int, max_batch_pages: int) -> int:
    """Folios in the fullest batch of one move.

    Migration adds folios to a batch until it holds `max_batch_pages` pages or more.
    """
    pages = folio_kib // PAGE_KIB
    return min(total_mib * 1024 // folio_kib, math.ceil(max_batch_pages / pages))


def _point(session: Run, dcbm: Dcbm | None, folio_kib: int) -> None:
    """Measure one folio size."""
    guest, parameters, findings = session.guest, session.parameters, session.findings
    before = guest.device_counters()
    dcbm_before = dcbm.counters() if dcbm else None
    job = guest.run(
        [
            "movepages",
            *("--from", str(parameters.from_node)),
            *("--to", str(parameters.to_node)),
            *("--cpu", str(session.mode.cpu)),
            *("--folio-kib", str(folio_kib)),
            *("--total-mib", str(parameters.total_mib)),
            *("--rounds", str(parameters.rounds)),
            *(["--same-folios"] if parameters.same_folios else []),
        ],
        timeout_s=session.program_timeout_s,
    )
    moves = job.events("move")
    if not job.ok or len(moves) != parameters.rounds * 2:
        raise PremiseError(
            f"{parameters.rounds * 2} moves of folios of {folio_kib} KiB",
            f"{len(moves)}; {job.describe()}",
            log=job.log,
        )
    used = engines.growth(before, guest.device_counters())
    copies = failures = 0
    if dcbm is not None and dcbm_before is not None:
        after = dcbm.counters()
        copies = after.folios_migrated - dcbm_before.folios_migrated
        failures = after.folios_failures - dcbm_before.folios_failures
    point = point_of(moves, folio_kib, used, copies, failures)
    findings.moves.append(point)
    findings.details[f"moves_{folio_kib}_kib"] = [
        {key: move[key] for key in ("from", "to", "bytes", "wall_ns")} for move in moves
    ]
    awaited_channels = min(
        session.mode.channels,
        folios_in_a_batch(folio_kib, parameters.total_mib, parameters.max_batch_pages),
    )
    piece_bytes = longest_copy_bytes(session.mode.machine.topology)
    for check in point_checks(point, awaited_channels, parameters.total_mib, piece_bytes):
        findings.check(check)
    findings.check(placement_check(moves, folio_kib))


def point_of(
    moves: list[dict[str, Any]],
    folio_kib: int,
    used: engines.Growth,
    dma_copies: int,
    folios_failures: int,
) -> MovePoint:
    """Sum up the moves of one folio size."""
    rates = [
        premises.number(move, "bytes") / premises.number(move, "wall_ns") * 1e9 / _TABLE_BYTES
        for move in moves
    ]
    wrong = [page for move in moves for page in move.get("wrong", [])]
    return MovePoint(
        folio_kib=folio_kib,
        moves=len(moves),
        folios_per_move=min(premises.number(move, "folios") for move in moves),
        gb_per_s_mean=statistics.fmean(rates),
        gb_per_s_stdev=statistics.stdev(rates) if len(rates) > 1 else 0.0,
        dma_copies=dma_copies,
        folios_failures=folios_failures,
        channels_used=used.channels_used,
        device=used.total,
        integrity=Integrity.model_validate(
            {
                "pages_verified": sum(premises.number(move, "pages_verified") for move in moves),
                "pages_wrong": sum(premises.number(move, "pages_wrong") for move in moves),
                "wrong": wrong[:_WRONG_KEPT],
            }
        ),
    )


def point_checks(
    point: MovePoint, channels: int, total_mib: int, piece_bytes: int | None = None
) -> list[Check]:
    """Every check on one folio size.

    Args:
        point: what was measured.
        channels: channels that had to be busy; 0 means that nothing may have been offloaded.
        total_mib: size of the region.
        piece_bytes: the longest copy that the DMA API maps; None is no limit.
    """
    folios = point.moves * (total_mib * 1024 // point.folio_kib)
    found = [
        checks.equal("folios moved", point.moves * point.folios_per_move, folios, "folios"),
        checks.integrity(point.integrity, folios * point.folio_kib // PAGE_KIB),
    ]
    if channels == 0:
        found.append(checks.engines_idle(point.device))
    else:
        found += [
            checks.equal("offloaded", point.dma_copies, folios, "folios"),
            *checks.engines_agree(
                point.device,
                folios=point.dma_copies,
                folio_bytes=point.folio_kib * 1024,
                folios_failures=point.folios_failures,
                piece_bytes=piece_bytes,
            ),
            checks.equal("channels", point.channels_used, channels, "engines busy"),
        ]
    size = f"{point.folio_kib} KiB: "
    return [check.model_copy(update={"name": size + check.name}) for check in found]


def placement_check(moves: list[dict[str, Any]], folio_kib: int) -> Check:
    """Every folio of every move arrived, on the node asked for, and in one piece."""
    counted = {
        key: sum(premises.number(move, key) for move in moves)
        for key in ("not_moved", "folios_failed", "pages_elsewhere", "folios_split")
    }
    return Check(
        name=f"{folio_kib} KiB: placement",
        held=bool(moves) and not any(counted.values()),
        awaited="every folio on the node asked for, none split",
        seen=", ".join(f"{key} {count}" for key, count in counted.items()),
    )


def _sum_up(session: Run) -> None:
    """Fill the mode's own columns from its points."""
    findings = session.findings
    points = findings.moves
    findings.pages_migrated = sum(
        point.moves * point.folios_per_move * point.folio_kib // PAGE_KIB for point in points
    )
    findings.device = DeviceCounters(
        descriptors=sum(point.device.descriptors for point in points),
        bytes=sum(point.device.bytes for point in points),
        interrupts=sum(point.device.interrupts for point in points),
        errors=sum(point.device.errors for point in points),
    )
    findings.integrity = Integrity(
        pages_verified=sum(point.integrity.pages_verified for point in points),
        pages_wrong=sum(point.integrity.pages_wrong for point in points),
        wrong=[page for point in points for page in point.integrity.wrong][:_WRONG_KEPT],
    )
    if session.mode.patched:
        findings.dma_copies = sum(point.dma_copies for point in points)
        findings.folios_failures = sum(point.folios_failures for point in points)


EXPERIMENT: Experiment[MovePagesMode, MovePagesParameters] = Experiment(
    name="move-pages",
    purpose="move_pages(2) between two nodes: throughput by folio size and DMA channels",
    parameters=MovePagesParameters,
    plan=plan,
    run=run,
    quick={"channels": (1, 4, 16), "rounds": 1, "total_mib": 64},
)
