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

``latency`` adds a round to each point, in which tasks wait for single folios; ``cpu_time`` takes
the CPU's account of each move; ``caller`` chooses the node whose CPU makes the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
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

FOLIO_KIB = (4, 16, 64, 256, 1024, 2048)
CHANNELS = (1, 2, 4, 8, 12, 16)


class Caller(StrEnum):
    """The node whose CPU calls move_pages(2).

    It is the engines' node, or the one that each move leaves, or the one that it goes to.
    """

    ENGINE = "engine"
    SOURCE = "source"
    DESTINATION = "destination"


class MovePagesParameters(Parameters):
    """Parameters of ``move-pages``."""

    folio_kib: Annotated[tuple[int, ...], Field(min_length=1)] = FOLIO_KIB
    channels: Annotated[tuple[int, ...], Field(min_length=1)] = CHANNELS
    total_mib: Annotated[int, Field(ge=2, le=16384)] = 64
    rounds: Annotated[int, Field(ge=1, le=1000)] = 4
    from_node: Annotated[int, Field(ge=0, le=7)] = 0
    to_node: Annotated[int, Field(ge=0, le=7)] = 1
    same_folios: bool = False
    max_batch_pages: Annotated[int, Field(ge=512)] = BATCH_PAGES
    caller: Caller = Caller.ENGINE
    cpu_time: bool = False
    latency: bool = False
    watch_period_us: Annotated[int, Field(ge=10, le=100_000)] = 200

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
    """A mode of ``move-pages``; no channels means the vanilla kernel.

    The caller runs on `cpu` on the way there and on `cpu_back` on the way back, if that is another.
    """

    channels: int = 0
    cpu: int = 0
    cpu_back: int | None = None


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
    there, back = _caller_nodes(lab, parameters)
    cpu = first_cpu(lab, there)
    cpu_back = first_cpu(lab, back) if back != there else None
    modules = (lab.engine.kind, *((CPU_ACCOUNT,) if parameters.cpu_time else ()))
    baseline = MovePagesMode(
        "baseline",
        "vanilla kernel",
        patched=False,
        machine=lab,
        modules=modules,
        cpu=cpu,
        cpu_back=cpu_back,
    )
    offloaded = [
        MovePagesMode(
            f"dma-{count}",
            f"patched kernel, dcbm on {count} channel(s)",
            patched=True,
            machine=lab,
            modules=(*modules, "dcbm"),
            channels=count,
            cpu=cpu,
            cpu_back=cpu_back,
        )
        for count in parameters.channels
    ]
    return [baseline, *offloaded]


def _caller_nodes(lab: LabFile, parameters: MovePagesParameters) -> tuple[int, int]:
    """The node of the caller's CPU on the way there, and on the way back."""
    match parameters.caller:
        case Caller.SOURCE:
            return parameters.from_node, parameters.to_node
        case Caller.DESTINATION:
            return parameters.to_node, parameters.from_node
        case Caller.ENGINE:
            # Where the engines' interrupts go.
            return lab.engine.node, lab.engine.node


def run(session: Run) -> None:
    """Run one mode: every folio size after the other.

    Raises:
        PremiseError: the folios don't have the size asked for, an engine isn't bound, dcbm can't
            be turned on or the program in the guest gave up.
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
    if dcbm is not None:
        dcbm.enable(mode.channels)
    session.inject_faults()
    for size_kib in parameters.folio_kib:
        session.say(f"moving {parameters.total_mib} MiB in folios of {size_kib} KiB")
        moves = Moves(
            folio_kib=size_kib,
            total_mib=parameters.total_mib,
            rounds=parameters.rounds,
            from_node=parameters.from_node,
            to_node=parameters.to_node,
            cpu=mode.cpu,
            cpu_back=mode.cpu_back,
            same_folios=parameters.same_folios,
            cpu_time=parameters.cpu_time,
            watch_period_us=parameters.watch_period_us if parameters.latency else None,
        )
        channels = min(
            mode.channels,
            folios_in_a_batch(size_kib, parameters.total_mib, parameters.max_batch_pages),
        )
        whole_point(session, dcbm, moves, channels, mode.machine.topology)
    if dcbm is not None:
        dcbm.disable()
    sum_up(session)


EXPERIMENT: Experiment[MovePagesMode, MovePagesParameters] = Experiment(
    name="move-pages",
    purpose="move_pages(2) between two nodes: throughput by folio size and DMA channels",
    parameters=MovePagesParameters,
    plan=plan,
    run=run,
    quick={"channels": (1, 4, 16), "rounds": 1, "total_mib": 64},
)
