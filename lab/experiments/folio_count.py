# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment ``folio-count``: move_pages(2) by the number of folios that one call moves.

Few folios don't fill the engines' queues, and each call has costs of its own: what offloading is
worth shows from some number on. As published, folios are of 2 MiB and dcbm has one channel; the
published counts are 1, 64, 512 and 8192. Those that a small machine has no memory for are not in
the default; they need larger nodes, and a plan that lacks them is refused with their size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, field_validator

from lab.config import MAX_ENGINES, ControlLayout, LabFile, Profile, with_default_profile
from lab.dcbm import Dcbm, load
from lab.errors import ConfigError
from lab.experiments import premises
from lab.experiments.base import Experiment, ModePlan, Parameters, Session
from lab.experiments.move_points import (
    BATCH_PAGES,
    CPU_ACCOUNT,
    Moves,
    first_cpu,
    folios_in_a_batch,
    sum_up,
    whole_point,
)

FOLIO_KIB = 2048
PUBLISHED_COUNTS = (1, 64, 512, 8192)
# Those of them that nodes of 384 MiB have room for, and two between.
COUNTS = (1, 4, 16, 64)
# Beside the region, on each node: the kernel, page tables, per-CPU lists, watermarks.
_BESIDE_MIB = 128


class FolioCountParameters(Parameters):
    """Parameters of ``folio-count``."""

    counts: Annotated[tuple[int, ...], Field(min_length=1)] = COUNTS
    channels: Annotated[int, Field(ge=1, le=MAX_ENGINES)] = 1
    rounds: Annotated[int, Field(ge=1, le=1000)] = 4
    from_node: Annotated[int, Field(ge=0, le=7)] = 0
    to_node: Annotated[int, Field(ge=0, le=7)] = 1
    max_batch_pages: Annotated[int, Field(ge=512)] = BATCH_PAGES
    cpu_time: bool = False
    latency: bool = False
    watch_period_us: Annotated[int, Field(ge=10, le=100_000)] = 200

    @field_validator("counts")
    @classmethod
    def _counts_exist(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= count <= PUBLISHED_COUNTS[-1] for count in counts):
            raise ValueError(f"1 to {PUBLISHED_COUNTS[-1]} each")
        if len(set(counts)) != len(counts):
            raise ValueError("each only once")
        return counts


@dataclass(frozen=True)
class FolioCountMode(ModePlan):
    """A mode of ``folio-count``; no channels means the vanilla kernel."""

    channels: int = 0
    cpu: int = 0


Run = Session[FolioCountMode, FolioCountParameters]


def plan(lab: LabFile, parameters: FolioCountParameters) -> list[FolioCountMode]:
    """The baseline and one mode with dcbm.

    Raises:
        ConfigError: the machine lacks a node, memory for a count, or engines.
    """
    lab = with_default_profile(lab, Profile.ZEN3)
    if parameters.from_node == parameters.to_node:
        raise ConfigError("two different nodes", f"from and to node {parameters.to_node}")
    for node in (parameters.from_node, parameters.to_node):
        _assert_room(lab, node, max(parameters.counts))
    if lab.kernel.layout is ControlLayout.V3:
        raise ConfigError(
            "a dcbm whose counters can be read, for every number of folios",
            f"kernel.layout is {lab.kernel.layout.value}, which shows none",
            hint="choose another layout",
        )
    if lab.engine.channels < parameters.channels:
        raise ConfigError(
            f"{parameters.channels} DMA engines: each queue gives dcbm one channel",
            lab.engine.size_text,
            hint=f"--engines {parameters.channels}, or fewer channels (--set channels=1)",
        )
    cpu = first_cpu(lab, lab.engine.node)
    modules = (lab.engine.kind, *((CPU_ACCOUNT,) if parameters.cpu_time else ()))
    return [
        FolioCountMode("baseline", "vanilla kernel", False, lab, modules=modules, cpu=cpu),
        FolioCountMode(
            f"dma-{parameters.channels}",
            f"patched kernel, dcbm on {parameters.channels} channel(s)",
            True,
            lab,
            modules=(*modules, "dcbm"),
            channels=parameters.channels,
            cpu=cpu,
        ),
    ]


def _assert_room(lab: LabFile, node: int, count: int) -> None:
    nodes = lab.topology.nodes
    if node >= len(nodes):
        raise ConfigError(f"a node {node} to move pages on", f"a topology of {len(nodes)}")
    wanted_mib = count * FOLIO_KIB // 1024 + _BESIDE_MIB
    if nodes[node].memory_mib < wanted_mib:
        raise ConfigError(
            f"a node {node} of at least {wanted_mib} MiB for {count} folios of 2 MiB",
            f"topology.nodes.{node}.memory_mib is {nodes[node].memory_mib}",
            hint=f"--set topology.nodes.{node}.memory_mib={wanted_mib}, or smaller counts",
        )


def run(session: Run) -> None:
    """Run one mode: every number of folios after the other.

    Raises:
        PremiseError: the folios aren't of 2 MiB, an engine isn't bound, dcbm can't be turned on or
            the program in the guest gave up.
        GuestError: the guest ended the run.
    """
    guest, mode, parameters = session.guest, session.mode, session.parameters
    premises.bind_engines(guest, mode.machine.engine)
    if parameters.cpu_time:
        guest.load_module(CPU_ACCOUNT)
    settings = dict(premises.BACKGROUND_OFF)
    dcbm: Dcbm | None = None
    if mode.patched:
        settings[premises.MAX_BATCH_PAGES] = str(parameters.max_batch_pages)
        load(guest)
        dcbm = Dcbm(guest)
    session.findings.details["settings"] = premises.settle(guest, settings)
    missing = [count for count in PUBLISHED_COUNTS if count not in parameters.counts]
    if missing:
        session.findings.notes.append(
            f"not measured of the published numbers of folios: {', '.join(map(str, missing))}; "
            "each needs 2 MiB a folio on both nodes (--set counts=…, topology.nodes.N.memory_mib)"
        )
    if dcbm is not None:
        dcbm.enable(mode.channels)
    session.inject_faults()
    for count in parameters.counts:
        session.say(f"moving {count} folios of 2 MiB")
        total_mib = count * FOLIO_KIB // 1024
        moves = Moves(
            folio_kib=FOLIO_KIB,
            total_mib=total_mib,
            rounds=parameters.rounds,
            from_node=parameters.from_node,
            to_node=parameters.to_node,
            cpu=mode.cpu,
            cpu_time=parameters.cpu_time,
            watch_period_us=parameters.watch_period_us if parameters.latency else None,
            label=f"{count} folios",
        )
        channels = min(
            mode.channels, folios_in_a_batch(FOLIO_KIB, total_mib, parameters.max_batch_pages)
        )
        whole_point(session, dcbm, moves, channels, mode.machine.topology)
    if dcbm is not None:
        dcbm.disable()
    sum_up(session)


EXPERIMENT: Experiment[FolioCountMode, FolioCountParameters] = Experiment(
    name="folio-count",
    purpose="move_pages(2) of 2 MiB folios: throughput by the number of folios in a call",
    parameters=FolioCountParameters,
    plan=plan,
    run=run,
    quick={"counts": (1, 16), "rounds": 1},
)
