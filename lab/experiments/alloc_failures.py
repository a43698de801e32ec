# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment ``alloc-failures``: allocations of dcbm and of the engines' driver fail.

The kernel's own fault injection (`lab.experiments.kernel_faults`) decides which. Needs a kernel of
the variant ``debug`` or ``kasan``.

``descriptors``: while pages move, the driver now and then gets no memory for a descriptor
(GFP_NOWAIT, from its own slab cache). Each failure costs the offload exactly one folio, which the
CPU copies; with another series than the project's, up to a whole batch. ``enable``: of all
allocations that turning the offload on makes, the first fails, then the second, and so on
(fail-nth): each time dcbm is either off, with an error, or on.

After either, pages move again, all of them by DMA: nothing was lost on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from lab.config import LabFile, Profile, with_default_profile
from lab.dcbm import Counters, Dcbm, load
from lab.errors import ConfigError, PremiseError
from lab.experiments import checks, engines, offload_core, premises
from lab.experiments.base import Experiment, ModePlan, Parameters, Session
from lab.experiments.failure_checks import BY_FOLIO, BY_THE_BATCH
from lab.experiments.failure_workloads import MOVE_BATCH_PAGES
from lab.experiments.kernel_faults import (
    DEBUGFS,
    ENGINE_CACHE,
    VARIANTS,
    Capability,
    KernelFault,
    arm,
)
from lab.experiments.move_points import placement_check, point_of
from lab.results import Check, MovePoint

DESCRIPTORS = "descriptors"
ENABLE = "enable"
_FOLIO_KIB = 4
_MAX_SWEEP = 2000
# Counts down in the task that writes it, whatever the probability (fault-injection.rst).
_FAIL_NTH = "/proc/self/fail-nth"
_SWEEP = (
    "echo {nth} >{fail}; echo 1 >{offloading}; told=$?; "
    "read left <{fail}; echo 0 >{fail}; echo told $told left $left"
)


class AllocFailuresParameters(Parameters):
    """Parameters of ``alloc-failures``: every Nth descriptor fails; what is moved."""

    interval: Annotated[int, Field(ge=2, le=1000)] = 7
    total_mib: Annotated[int, Field(ge=2, le=1024)] = 8
    rounds: Annotated[int, Field(ge=1, le=100)] = 1


@dataclass(frozen=True)
class AllocFailuresMode(ModePlan):
    """A mode of ``alloc-failures``, on one CPU."""

    cpu: int = 0


Run = Session[AllocFailuresMode, AllocFailuresParameters]


def plan(lab: LabFile, parameters: AllocFailuresParameters) -> list[AllocFailuresMode]:
    """The two modes.

    Raises:
        ConfigError: the kernel can't make allocations fail, or the machine has no engine or memory.
    """
    if lab.kernel.variant not in VARIANTS:
        raise ConfigError(
            f"a kernel of variant {' or '.join(variant.value for variant in VARIANTS)}, which can "
            "make allocations fail",
            f"kernel.variant is {lab.kernel.variant.value}",
            hint=f"--set kernel.variant={VARIANTS[0].value}",
        )
    if not lab.engine.channels:
        raise ConfigError("a DMA engine", lab.engine.size_text, hint="--engines 1")
    nodes = lab.topology.nodes
    if any(parameters.total_mib * 2 > node.memory_mib for node in nodes[:2]):
        raise ConfigError(
            f"two nodes of at least {parameters.total_mib * 2} MiB, twice what is moved",
            f"{nodes[0].memory_mib} and {nodes[1].memory_mib} MiB",
        )
    lab = with_default_profile(lab, Profile.ZEN3)
    cpu = sum(node.cpus for node in nodes[: lab.engine.node])

    def mode(name: str, purpose: str) -> AllocFailuresMode:
        modules = (lab.engine.kind, "dcbm")
        return AllocFailuresMode(name, purpose, patched=True, machine=lab, modules=modules, cpu=cpu)

    return [
        mode(DESCRIPTORS, "the driver gets no memory for some descriptors while pages move"),
        mode(ENABLE, "each allocation of turning the offload on fails in turn"),
    ]


def run(session: Run) -> None:
    """Run one mode.

    Raises:
        PremiseError: nothing failed, an engine isn't bound, or dcbm can't be turned on.
        GuestError: the guest ended the run.
    """
    premises.bind_engines(session.guest, session.mode.machine.engine)
    load(session.guest)
    session.findings.details["settings"] = premises.settle(session.guest, premises.BACKGROUND_OFF)
    dcbm = Dcbm(session.guest)
    session.inject_faults()
    if session.mode.name == DESCRIPTORS:
        dcbm.enable(1)
        _fail_descriptors(session, dcbm)
    else:
        _fail_enabling(session, dcbm)
        dcbm.enable(1)
    point, _counted = _move(session, dcbm, "afterwards")
    folios = point.moves * point.folios_per_move
    session.findings.check(
        checks.equal("afterwards: offloaded", point.dma_copies, folios, "folios")
    )
    session.findings.check(
        checks.equal("afterwards: dcbm failures", point.folios_failures, 0, "folios")
    )
    dcbm.disable()


def _fail_descriptors(session: Run, dcbm: Dcbm) -> None:
    """Move pages while descriptors are missing, and account for every folio."""
    fault = KernelFault(
        Capability.FAILSLAB, interval=session.parameters.interval, cache=ENGINE_CACHE
    )
    armed = arm(session.guest, fault)
    point, counted = _move(session, dcbm, "failing")
    struck = armed.disarm()
    findings = session.findings
    findings.details["kernel_faults"] = [armed.describe()]
    findings.dma_copies, findings.folios_failures = counted.folios_migrated, counted.folios_failures
    findings.device, findings.integrity = point.device, point.integrity
    findings.pages_migrated = point.moves * point.folios_per_move
    own = offload_core.is_own(session.guest)
    findings.details["contract"] = BY_FOLIO if own else BY_THE_BATCH
    for check in descriptor_checks(point, struck) if own else batch_checks(point, struck):
        findings.check(check)


def batch_checks(point: MovePoint, struck: int) -> list[Check]:
    """With another series, each failed descriptor cost the offload one folio to a whole batch.

    It is counted as a failure or, as the published series do with what they can't allocate, not at
    all.
    """
    folios = point.moves * point.folios_per_move
    by_cpu = folios - point.dma_copies
    most = min(folios, struck * MOVE_BATCH_PAGES * 4 // point.folio_kib)
    failed = by_cpu if point.folios_failures else 0
    copied, submitted = point.dma_copies, folios - struck
    return [
        checks.equal(
            "dcbm failures", point.folios_failures, failed, f"folios, or none: {BY_THE_BATCH}"
        ),
        Check(
            name="copied by CPU",
            held=0 < struck <= by_cpu <= most,
            awaited=f"{struck:,} to {most:,} folios, for {struck:,} failures: {BY_THE_BATCH}",
            seen=f"{by_cpu:,} folios",
        ),
        Check(
            name="descriptors",
            held=copied <= point.device.descriptors <= submitted,
            awaited=f"{copied:,} copies by the engine, {submitted:,} with those of batches that "
            "failed",
            seen=f"{point.device.descriptors:,}",
        ),
    ]


def descriptor_checks(point: MovePoint, struck: int) -> list[Check]:
    """Each failed descriptor cost the offload one folio, no more and no less."""
    folios = point.moves * point.folios_per_move
    return [
        checks.equal(
            "dcbm failures", point.folios_failures, struck, f"folios, one a failure: {BY_FOLIO}"
        ),
        checks.equal("offloaded", point.dma_copies, folios - struck, "folios"),
        checks.equal(
            "descriptors", point.device.descriptors, folios - struck, "copies by the engine"
        ),
        checks.at_least("copied by CPU", folios - point.dma_copies, 1, "folios"),
    ]


def _fail_enabling(session: Run, dcbm: Dcbm) -> None:
    """Turn the offload on again and again, each time with the next allocation failing."""
    guest = session.guest
    offloading = dcbm.layout.path("offloading")
    for capability in Capability:
        guest.write(f"{DEBUGFS}/{capability}/ignore-gfp-wait", "N")
    guest.write(f"{DEBUGFS}/{Capability.FAIL_PAGE_ALLOC}/min-order", "0")
    told: list[tuple[int, bool, bool]] = []
    nth = 0
    while nth < _MAX_SWEEP:
        nth += 1
        script = _SWEEP.format(nth=nth, fail=_FAIL_NTH, offloading=offloading)
        result = guest.run(["/bin/busybox", "sh", "-c", script], session.program_timeout_s)
        took, left = read_sweep(result.stdout)
        told.append((nth, took, dcbm.offloading))
        if dcbm.offloading:
            dcbm.disable()
        if left > 0:
            break
    else:
        raise PremiseError("an end of the allocations of turning dcbm on", f"none in {nth}")
    for capability in Capability:
        guest.write(f"{DEBUGFS}/{capability}/ignore-gfp-wait", "Y")
    session.findings.details["enable_sweep"] = {
        "allocations": nth - 1,
        "refused": sum(not took for _nth, took, _on in told),
    }
    for check in sweep_checks(told):
        session.findings.check(check)


def read_sweep(stdout: list[str]) -> tuple[bool, int]:
    """Whether the write succeeded, and what was left of the count; 0 where it struck.

    Raises:
        PremiseError: the script said something else.
    """
    words = stdout[-1].split() if stdout else []
    if words[:1] != ["told"] or words[2:3] != ["left"]:
        raise PremiseError("the sweep's line: told STATUS left COUNT", repr(stdout[-3:]))
    # nothing behind it: reading the count was what failed
    return words[1] == "0", int(words[3]) if len(words) > 3 else 0  # noqa: PLR2004


def sweep_checks(told: list[tuple[int, bool, bool]]) -> list[Check]:
    """What each attempt of a sweep led to: its number, whether it succeeded, whether dcbm is on."""
    wrong = [nth for nth, took, on in told if took != on]
    refused = sum(not took for _nth, took, _on in told)
    return [
        Check(
            name="on or refused",
            held=not wrong,
            awaited="on after a success, off after an error, each time",
            seen=f"the opposite at allocations {wrong[:8]}" if wrong else f"so {len(told)} times",
        ),
        checks.at_least("refused", refused, 1, "times, for want of memory"),
        Check(
            name="succeeded at last",
            held=bool(told) and told[-1][1],
            awaited="turned on when nothing failed",
            seen="on" if told and told[-1][1] else "refused",
        ),
    ]


def _move(session: Run, dcbm: Dcbm, name: str) -> tuple[MovePoint, Counters]:
    """Move pages there and back; every page has to be right, whoever copied it."""
    guest, parameters = session.guest, session.parameters
    session.say(f"moving {parameters.total_mib} MiB, {name}")
    before, device = dcbm.counters(), guest.device_counters()
    job = guest.run(
        [
            "movepages",
            *("--from", "0", "--to", "1", "--cpu", str(session.mode.cpu)),
            *("--folio-kib", str(_FOLIO_KIB), "--total-mib", str(parameters.total_mib)),
            *("--rounds", str(parameters.rounds)),
        ],
        timeout_s=session.program_timeout_s,
    )
    moves = job.events("move")
    if not job.ok or len(moves) != parameters.rounds * 2:
        raise job.failure(f"{parameters.rounds * 2} moves", str(len(moves)))
    after = dcbm.counters()
    counted = Counters(
        after.folios_migrated - before.folios_migrated,
        after.folios_failures - before.folios_failures,
    )
    point = point_of(
        moves,
        _FOLIO_KIB,
        engines.growth(device, guest.device_counters()),
        counted.folios_migrated,
        counted.folios_failures,
    )
    pages = parameters.rounds * 2 * parameters.total_mib * 1024 // _FOLIO_KIB
    for check in (
        checks.integrity(point.integrity, pages),
        placement_check(moves, _FOLIO_KIB),
    ):
        named = {"name": f"{name}: {check.name}"}
        session.findings.check(check.model_copy(update=named))
    return point, counted


EXPERIMENT: Experiment[AllocFailuresMode, AllocFailuresParameters] = Experiment(
    name="alloc-failures",
    purpose="allocations of dcbm and of the engines' driver fail: is every byte still moved?",
    parameters=AllocFailuresParameters,
    plan=plan,
    run=run,
    own_kernel_faults=True,
)
