# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment ``dmatest``: the kernel's own dmaengine test on every channel, with verification.

``drivers/dma/dmatest.c`` copies random pieces between buffers and compares the copied range, the
bytes around it and the source. It runs on the vanilla kernel, by default in interrupt mode with
one thread a channel: more than that, on the host's clock, trips over known bugs of the stock
driver. A mode is a number of engines and a kind of interrupt; on request, also a way to memory:
directly, through an IOMMU or through bounce buffers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from lab.config import MAX_ENGINES, LabFile, Profile, with_default_profile
from lab.errors import PremiseError
from lab.experiments import checks, engines, premises
from lab.experiments.base import Experiment, ModePlan, Parameters, Session
from lab.experiments.dma_path import DmaPath, through
from lab.results import Check

if TYPE_CHECKING:
    from lab.machine.guest import Guest

_PARAMETERS = "/sys/module/dmatest/parameters"
_SUMMARY = re.compile(
    r"dmatest: (?P<thread>\S+): summary (?P<tests>\d+) tests, (?P<failures>\d+) failures"
)
_COMPLAINT = re.compile(r"dmatest: .*(result #\d+: '(?!test passed)|buf\[0x|errors suppressed)")
_COMPLAINTS_SHOWN = 4
_WAIT_TURNS = 50
# AE4DMA refuses what is not aligned to 4 bytes, but its driver does not tell dmaengine so.
_ALIGNMENT = {"ptdma": (), "ae4dma": ("alignment=2",)}


class DmatestParameters(Parameters):
    """Parameters of ``dmatest``.

    ``paths`` are ways to memory, or ``all``; without any the lab file's machine is taken as it is.
    """

    engine_counts: Annotated[tuple[int, ...], Field(min_length=1)] = (1, MAX_ENGINES)
    iterations: Annotated[int, Field(ge=1, le=1_000_000)] = 300
    timeout_ms: Annotated[int, Field(ge=1)] = 3000
    threads_per_channel: Annotated[int, Field(ge=1, le=64)] = 1
    polled: bool = False
    paths: tuple[DmaPath, ...] = ()

    @field_validator("paths", mode="before")
    @classmethod
    def _all_paths(cls, paths: Any) -> Any:
        return tuple(DmaPath) if paths == "all" else paths

    @field_validator("paths")
    @classmethod
    def _paths_differ(cls, paths: tuple[DmaPath, ...]) -> tuple[DmaPath, ...]:
        if len(set(paths)) != len(paths):
            raise ValueError("each only once")
        return paths

    @field_validator("engine_counts")
    @classmethod
    def _machines_exist(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= count <= MAX_ENGINES for count in counts):
            raise ValueError(f"1 to {MAX_ENGINES} each")
        if len(set(counts)) != len(counts):
            raise ValueError("each only once")
        return counts


@dataclass(frozen=True)
class Summary:
    """What a thread of dmatest says at its end."""

    thread: str
    tests: int
    failures: int


Run = Session[ModePlan, DmatestParameters]


def plan(lab: LabFile, parameters: DmatestParameters) -> list[ModePlan]:
    """A mode for each way to memory, number of channels and kind of interrupt.

    Channels are ptdma functions, or the queues of one ae4dma function. With MSI they are ae4dma
    functions of one queue each: the stock driver asks for the one vector once a queue, and gets it
    only once.
    """
    lab = with_default_profile(lab, Profile.INSTANT)
    modes = []
    for path in parameters.paths or (None,):
        topology = through(lab.topology, path) if path else lab.topology
        for count in parameters.engine_counts:
            for msix in (True, False):
                engine = lab.engine.with_channels(count)
                if not msix:
                    engine = engine.model_copy(update={"count": count, "queues": 1})
                engine = engine.model_copy(update={"msix": msix})
                machine = lab.model_copy(update={"engine": engine, "topology": topology})
                name = f"{count}-{'msix' if msix else 'msi'}" + (f"-{path}" if path else "")
                size = f"{engine.count} engine(s)"
                size += f" of {engine.queues} queues" if engine.queues > 1 else ""
                purpose = f"{size} with {'MSI-X' if msix else 'MSI'}"
                purpose += f", {path}" if path else ""
                modes.append(
                    ModePlan(
                        name,
                        purpose,
                        patched=False,
                        machine=machine,
                        modules=(engine.kind, "dmatest"),
                    )
                )
    return modes


def read_summaries(log: str) -> list[Summary]:
    """The summaries in a kernel log, in their order."""
    return [
        Summary(found["thread"], int(found["tests"]), int(found["failures"]))
        for found in _SUMMARY.finditer(log)
    ]


def run(session: Run) -> None:
    """Run dmatest on all channels at once and hold its summaries against the engines' counters.

    Raises:
        PremiseError: an engine isn't bound, has the other kind of interrupt, or dmatest won't run.
        GuestError: the guest ended the run.
    """
    guest, parameters = session.guest, session.parameters
    engine = session.mode.machine.engine
    premises.bind_engines(guest, engine)
    _assert_interrupts(guest, msix=engine.msix, count=engine.channels)
    guest.load_module(
        "dmatest",
        f"iterations={parameters.iterations}",
        f"threads_per_chan={parameters.threads_per_channel}",
        f"polled={int(parameters.polled)}",
        f"timeout={parameters.timeout_ms}",
        *_ALIGNMENT[engine.kind],
    )
    session.inject_faults()
    before = guest.device_counters()
    threads = engine.channels * parameters.threads_per_channel
    session.say(f"{parameters.iterations} copies by each of {threads} threads")
    guest.write(f"{_PARAMETERS}/run", "1")
    log = _await_threads(session, threads)
    counted = engines.growth(before, guest.device_counters())
    session.findings.device = counted.total
    for check in judge(log, engine.channels, parameters, counted):
        session.findings.check(check)
    session.findings.details["summaries"] = [vars(summary) for summary in read_summaries(log)]


def _await_threads(session: Run, count: int) -> str:
    """Wait until `count` threads have ended, or it is clear that they won't; the kernel log.

    ``wait`` blocks while threads run, but takes those that have not been scheduled yet for ended
    ones: it is asked again until every thread has written its summary.
    """
    guest = session.guest
    log = ""
    for _turn in range(_WAIT_TURNS):
        guest.read(f"{_PARAMETERS}/wait", timeout_s=session.program_timeout_s)
        log = "\n".join(guest.run(["/bin/busybox", "dmesg"]).stdout)
        if len(read_summaries(log)) >= count:
            break
        guest.run(["/bin/busybox", "sleep", "0.01"])
    return log


def _assert_interrupts(guest: Guest, *, msix: bool, count: int) -> None:
    """Every engine's interrupt is of the kind asked for, by /proc/interrupts."""
    wanted = "MSIX" if msix else "MSI"
    found = [
        line
        for line in guest.read("/proc/interrupts").splitlines()
        if re.search(rf"PCI-{wanted}-", line)
        and re.search(r"ptdma|ae4dma|\d{4}:\w\w:\w\w\.\d$", line)
    ]
    if len(found) < count:
        raise PremiseError(
            f"{count} interrupts of kind PCI-{wanted} for the engines",
            f"{len(found)} in /proc/interrupts",
        )


def judge(
    log: str, count: int, parameters: DmatestParameters, counted: engines.Growth
) -> Iterator[Check]:
    """The checks on a finished run.

    Args:
        log: the guest's kernel log.
        count: channels.
        parameters: threads for each of them, and copies for each thread.
        counted: what the engines counted meanwhile.
    """
    summaries = read_summaries(log)
    tests = sum(summary.tests for summary in summaries)
    threads = count * parameters.threads_per_channel
    yield checks.equal("threads", len(summaries), threads, "threads with a summary")
    yield checks.equal("tests", tests, threads * parameters.iterations, "copies made and verified")
    failures = sum(summary.failures for summary in summaries)
    complaints = [line.strip() for line in log.splitlines() if _COMPLAINT.search(line)]
    yield Check(
        name="failures",
        held=failures == 0 and not complaints,
        awaited="0 failures, no complaint in the kernel log",
        seen=f"{failures:,} failures"
        + "".join(f"; {line}" for line in complaints[:_COMPLAINTS_SHOWN]),
    )
    yield checks.equal("descriptors", counted.total.descriptors, tests, "descriptors completed")
    yield checks.equal("engines used", counted.channels_used, count, "queues with descriptors")
    if not parameters.polled:
        yield checks.at_least("interrupts", counted.total.interrupts, 1, "interrupts raised")
    yield checks.equal("engine errors", counted.total.errors, 0, "failed descriptors")


EXPERIMENT: Experiment[ModePlan, DmatestParameters] = Experiment(
    name="dmatest",
    purpose="the kernel's dmaengine test on 1 and 16 engines, with MSI-X and with MSI",
    parameters=DmatestParameters,
    plan=plan,
    run=run,
    quick={"iterations": 50},
)
