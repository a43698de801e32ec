# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment ``compaction``: huge-page allocations on a fragmented node, as the authors measure it.

A program fills node 1, frees every second 4 KiB page and stays alive; a kernel module then
allocates order-9 pages in a loop on one CPU of that node, so that every allocation has to compact.
Four modes, each from a fresh boot: the vanilla kernel and the patched one with offload, on an idle
CPU and on one that a counting loop shares.

The published run allocated 16384 of order 9 on a node of about 250 GB. The number here is that
share of the node's memory, so that a small guest reaches the same depth of fragmentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lab.config import MAX_ENGINES, LabFile, Profile, with_default_profile
from lab.dcbm import Dcbm, load
from lab.errors import ConfigError
from lab.experiments import checks, engines, fragmentation, premises
from lab.experiments.base import Experiment, ModePlan, Parameters, Session
from lab.experiments.cpu_shares import cpu_share
from lab.experiments.fragmentation import ORDER

if TYPE_CHECKING:
    from lab.machine.jobs import Job

PUBLISHED_ALLOCATIONS = 16384
PUBLISHED_NODE_MIB = 250 * 1024
_FOLIO_BYTES = 4096
_COUNTERS_APART_PCT = 1.0
# What compaction isolates before it migrates: COMPACT_CLUSTER_MAX of the kernel's linux/swap.h.
_BATCH_FOLIOS = 32


class CompactionParameters(Parameters):
    """Parameters of ``compaction``; ``None`` means: from the size of the node."""

    allocations: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    min_pages_migrated: Annotated[int, Field(ge=1)] = 20_000
    nr_dma_chan: Annotated[int, Field(ge=1, le=MAX_ENGINES)] = 1
    reason_mask: str | None = None
    node: Annotated[int, Field(ge=0, le=7)] = 1
    fill_percent: Annotated[int, Field(ge=50, le=100)] = 99


@dataclass(frozen=True)
class CompactionMode(ModePlan):
    """A mode of ``compaction``.

    Attributes:
        busy: a counting loop runs on the same CPU.
        cpu: CPU that everything is pinned to.
    """

    busy: bool = False
    cpu: int = 1


Run = Session[CompactionMode, CompactionParameters]


def scaled_allocations(node_memory_mib: int) -> int:
    """The published number of allocations, scaled to a node's memory and rounded up."""
    return -(-PUBLISHED_ALLOCATIONS * node_memory_mib // PUBLISHED_NODE_MIB)


def plan(lab: LabFile, parameters: CompactionParameters) -> list[CompactionMode]:
    """The four published modes.

    Raises:
        ConfigError: the machine lacks the node or the engines.
    """
    lab = with_default_profile(lab, Profile.ZEN3)
    nodes = lab.topology.nodes
    if parameters.node >= len(nodes):
        raise ConfigError(
            f"a node {parameters.node} to fragment", f"a topology of {len(nodes)} nodes"
        )
    if lab.engine.channels < parameters.nr_dma_chan:
        raise ConfigError(
            f"{parameters.nr_dma_chan} DMA engine(s): each queue gives dcbm one channel",
            lab.engine.size_text,
            hint="give the machine engines (--engines N, or engine.count in the lab file), or "
            "ask for fewer channels (--set nr_dma_chan=N)",
        )
    cpu = sum(node.cpus for node in nodes[: parameters.node])

    def mode(name: str, purpose: str, *, patched: bool, busy: bool) -> CompactionMode:
        modules = (lab.engine.kind, fragmentation.TRIGGER_MODULE, *(("dcbm",) if patched else ()))
        # All that decides what is asked of the guest until then, beside kernel and machine.
        settings = parameters.model_dump_json(exclude={"allocations", "min_pages_migrated"})
        return CompactionMode(
            name,
            purpose,
            patched,
            lab,
            modules=modules,
            checkpoint=f"fragmented with {settings}",
            busy=busy,
            cpu=cpu,
        )

    return [
        mode("baseline", "vanilla kernel, idle CPU", patched=False, busy=False),
        mode("dma", "patched kernel, dcbm on, idle CPU", patched=True, busy=False),
        mode("busy-baseline", "vanilla kernel, shared CPU", patched=False, busy=True),
        mode("busy-dma", "patched kernel, dcbm on, shared CPU", patched=True, busy=True),
    ]


def run(session: Run) -> None:
    """Run one mode.

    Raises:
        PremiseError: the node isn't fragmented, an engine isn't bound, dcbm can't be turned on or
            a program in the guest gave up.
        GuestError: the guest ended the run.
    """
    guest, mode = session.guest, session.mode
    findings = session.findings
    premises.bind_engines(guest, mode.machine.engine)
    guest.load_module(fragmentation.TRIGGER_MODULE)
    if mode.patched:
        load(guest)
    findings.details["settings"] = premises.settle(
        guest,
        {
            **premises.BACKGROUND_OFF,
            **premises.NO_HUGE_PAGES,
            **fragmentation.SMALL_PCP_LISTS,
        },
    )
    fragment = _fragment(session)
    kept = premises.number(fragment.ready or {}, "pages_kept")
    dcbm = _start_offload(session) if mode.patched else None
    guest.reach_checkpoint()
    _compact(session, dcbm)
    session.say("verifying every surviving page")
    findings.integrity, found = fragmentation.verify(guest, fragment, session.program_timeout_s)
    findings.details["fragmentation"]["pages_moved"] = found.get("pages_moved")
    findings.check(checks.integrity(findings.integrity, kept))
    if dcbm is not None:
        dcbm.disable()


def _allocations(session: Run) -> int:
    if session.parameters.allocations is not None:
        return session.parameters.allocations
    nodes = session.mode.machine.topology.nodes
    return scaled_allocations(nodes[session.parameters.node].memory_mib)


def _fragment(session: Run) -> Job:
    """Fragment the node, prove that it worked and return the program that holds the pages."""
    parameters = session.parameters
    session.say(f"fragmenting node {parameters.node}")
    job, session.findings.details["fragmentation"] = fragmentation.fragment(
        session.guest,
        node=parameters.node,
        cpu=session.mode.cpu,
        fill_percent=parameters.fill_percent,
        timeout_s=session.program_timeout_s,
    )
    return job


def _start_offload(session: Run) -> Dcbm:
    """Turn dcbm on; it reads its switches back."""
    dcbm = Dcbm(session.guest)
    reasons = session.parameters.reason_mask
    dcbm.enable(session.parameters.nr_dma_chan, reasons)
    if reasons is not None:
        settings = session.findings.details["settings"]
        settings[dcbm.layout.path("reason_mask")] = dcbm.reason_mask
    return dcbm


def _compact(session: Run, dcbm: Dcbm | None) -> None:
    """The measured part: allocate, and compare what kernel, dcbm and engines counted."""
    guest, mode, findings = session.guest, session.mode, session.findings
    allocations = _allocations(session)
    session.inject_faults()
    device_before = guest.device_counters()
    dcbm_before = dcbm.counters() if dcbm is not None and dcbm.counts else None
    session.say(f"allocating {allocations} pages of order {ORDER}")
    arguments = fragmentation.allocation(
        node=session.parameters.node, cpu=mode.cpu, count=allocations, hog=mode.busy
    )
    measured = guest.run(arguments, timeout_s=session.program_timeout_s).result("compacted")
    grown = engines.growth(device_before, guest.device_counters())
    findings.device = grown.total
    record_measurement(session, measured)
    findings.check(
        checks.equal("allocations", premises.number(measured, "allocated"), allocations, "pages")
    )
    if dcbm is None:
        findings.check(checks.engines_idle(findings.device))
        return
    if dcbm_before is not None:
        after = dcbm.counters()
        findings.dma_copies = after.folios_migrated - dcbm_before.folios_migrated
        findings.folios_failures = after.folios_failures - dcbm_before.folios_failures
    else:
        findings.notes.append(
            f"dcbm's {dcbm.layout.name} controls show no counters: the engines' counters are "
            "compared with the kernel's alone"
        )
    _judge_offload(session, grown)


def _judge_offload(session: Run, grown: engines.Growth) -> None:
    """Hold what the engines counted against dcbm's counters, where it has any, and the kernel's."""
    findings = session.findings
    # compaction's folios are single pages: a descriptor each
    copied = grown.total.descriptors if findings.dma_copies is None else findings.dma_copies
    findings.check(
        checks.within_pct(
            "offloaded",
            copied,
            findings.pages_migrated or 0,
            _COUNTERS_APART_PCT,
            "pages migrated",
        )
    )
    for check in checks.engines_agree(
        grown.total,
        folios=copied,
        folio_bytes=_FOLIO_BYTES,
        folios_failures=findings.folios_failures,
    ):
        findings.check(check)
    # dcbm gives each folio of a batch to the channel with the least to do, so the fuller batches
    # reach every channel that they have a folio for.
    channels = min(session.parameters.nr_dma_chan, _BATCH_FOLIOS)
    findings.check(checks.equal("channels", grown.channels_used, channels, "engines busy"))


def record_measurement(session: Run, measured: dict[str, Any]) -> None:
    """Put what ``compact`` reports into the findings, with the checks on it alone."""
    findings = session.findings
    wall_ns = premises.number(measured, "wall_ns")
    findings.wall_ms = wall_ns / 1e6
    findings.pages_migrated = int(measured["vmstat"]["pgmigrate_success"])
    # The CPU's account ends when the program has left the kernel, a little after the measurement.
    account_ns = premises.number(measured, "cpustat_wall_ns")
    findings.cpu = cpu_share(measured["cpustat_ns"], account_ns)
    findings.details["taken_free"] = measured.get("taken_free")
    findings.details["retries"] = measured.get("retries")
    findings.details["vmstat"] = measured["vmstat"]
    findings.details["cpustat_ns"] = measured["cpustat_ns"]
    findings.details["proc_stat_ticks"] = measured["proc_stat_ticks"]
    findings.check(
        checks.at_least(
            "pages migrated",
            findings.pages_migrated,
            session.parameters.min_pages_migrated,
            "pages",
        )
    )
    findings.check(checks.background_still(measured["vmstat"]))
    findings.check(checks.cpu_adds_up(findings.cpu))
    if session.mode.busy:
        findings.hog_iterations = premises.number(measured, "hog_iterations")
        findings.check(
            checks.at_least("hog", findings.hog_iterations, 1, "iterations of the counting loop")
        )


EXPERIMENT: Experiment[CompactionMode, CompactionParameters] = Experiment(
    name="compaction",
    purpose="huge-page allocations on a fragmented node: vanilla against offload, idle and busy",
    parameters=CompactionParameters,
    plan=plan,
    run=run,
)
