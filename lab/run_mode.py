# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one mode of an experiment on a fresh boot and gives its outcome."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lab.config import NOT_OF_THE_MACHINE, LabFile
from lab.errors import (
    GuestCrash,
    GuestLost,
    GuestTimeout,
    HostError,
    LabError,
    PremiseError,
    ProgramDied,
    StaleCheckpoint,
)
from lab.experiments import checks, dma_path
from lab.experiments.base import Experiment, Fault, Findings, ModePlan, Parameters, Session
from lab.experiments.kernel_faults import DEVICE as KERNEL
from lab.guest_coverage import collect
from lab.guest_files import describe_files
from lab.line_coverage import KEY as COVERAGE
from lab.machine.health import Kind, Report
from lab.results import (
    BootIdentity,
    KernelIdentity,
    KernelReport,
    Mode,
    Outcome,
    QemuIdentity,
)
from lab.variants import PROGRAM_TIMEOUT_S

if TYPE_CHECKING:
    from lab.machine.guest import Guest


class Bench(Protocol):
    """What modes boot on: QEMU, kernels and image, ready to use."""

    @property
    def kernels(self) -> list[KernelIdentity]:
        """The kernels that the modes boot."""

    @property
    def qemu_version(self) -> str:
        """Version of the QEMU that they boot in."""

    @property
    def qemu_identity(self) -> QemuIdentity:
        """The QEMU that they boot in, and what it was built from."""

    def keep(self, folder: Path) -> None:
        """Write the patches of every kernel below `folder`, as they were applied."""

    def kernel_of(self, mode: ModePlan) -> KernelIdentity:
        """The kernel that a mode boots."""

    def boot_of(self, mode: ModePlan) -> BootIdentity:
        """The files and the machine that a mode boots."""

    def coverage_notes(self, mode: ModePlan) -> Path | None:
        """What turns the line counters of a mode's kernel into lines; None if it counts none."""

    def slowdown(self, mode: ModePlan) -> float:
        """How many times longer than with a plain kernel a mode may take on the host."""

    @property
    def accelerator(self) -> str:
        """What executes the guests: ``tcg`` or ``kvm``."""

    def boot(
        self, mode: ModePlan, folder: Path, on_start: Callable[[Guest], None]
    ) -> AbstractContextManager[Guest]:
        """Boot a mode's machine with its logs in `folder`; `on_start` gets it before it boots."""


@dataclass(frozen=True)
class RunOptions:
    """How to run, beside what to run.

    Attributes:
        jobs: modes at once; None leaves it to the host.
        only: names of the modes to run; empty means all.
        faults: what to break in every mode.
        program_timeout_s: host seconds that a program in the guest may take; None is the usual
            time, longer with an instrumented kernel.
        quick: whether ``--quick`` chose the parameters; for the record.
    """

    jobs: int | None = None
    only: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    program_timeout_s: float | None = None
    quick: bool = False


class Running:
    """The guests that run now, so that all of them can be ended from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guests: list[Guest] = []
        self._restored: set[str] = set()
        self.stopping = False

    def add(self, guest: Guest) -> None:
        """Register a guest that is about to boot; aborting it after its end does no harm."""
        with self._lock:
            if self.stopping:
                raise GuestLost("a mode that runs to its end", "the run was interrupted")
            self._guests.append(guest)

    def note_start(self, mode: str, *, restored: bool) -> None:
        """Note how a mode's guest has started: booted, or restored from an earlier boot."""
        with self._lock:
            if restored:
                self._restored.add(mode)

    @property
    def restored(self) -> frozenset[str]:
        """The modes whose guests were restored."""
        with self._lock:
            return frozenset(self._restored)

    def stop(self) -> None:
        """End every guest, and let none start."""
        with self._lock:
            self.stopping = True
            guests = list(self._guests)
        for guest in guests:
            guest.abort()


def run_mode(
    experiment: Experiment[Any, Any],
    plan: ModePlan,
    parameters: Parameters,
    *,
    bench: Bench,
    folder: Path,
    options: RunOptions,
    running: Running | None = None,
    say: Callable[[str], None] | None = None,
    root: Path | None = None,
) -> Mode:
    """Boot one mode, run it and give its outcome; writes ``result.json`` into `folder`.

    Args:
        experiment: whose run function is called.
        plan: the mode.
        parameters: the experiment's parameters.
        bench: what it boots on.
        folder: the mode's folder.
        options: faults and time limits.
        running: where to register the guest.
        say: shows progress.
        root: log paths in the record are relative to this folder.
    """
    running = running or Running()

    def attempt(*, last: bool) -> Mode:
        return _run_mode(
            experiment,
            plan,
            parameters,
            bench=bench,
            folder=folder,
            options=options,
            running=running,
            say=say,
            root=root or folder,
            last=last,
        )

    try:
        return attempt(last=False)
    except StaleCheckpoint:
        # The state of other steps is gone by now, so this time the mode does all of them.
        return attempt(last=True)


def _run_mode(
    experiment: Experiment[Any, Any],
    plan: ModePlan,
    parameters: Parameters,
    *,
    bench: Bench,
    folder: Path,
    options: RunOptions,
    running: Running,
    say: Callable[[str], None] | None,
    root: Path,
    last: bool,
) -> Mode:
    """Try to run a mode; raises StaleCheckpoint unless it is the last try."""
    findings = Findings()
    if plan.files:
        findings.details["guest_files"] = describe_files(plan.files)
    outcome, error, excerpt, booted = Outcome.ERROR, None, None, False
    started: list[Guest] = []

    def on_start(guest: Guest) -> None:
        started.append(guest)
        running.add(guest)

    try:
        with bench.boot(plan, folder, on_start) as guest:
            booted = True
            running.note_start(plan.name, restored=guest.restored)
            session: Session[Any, Any] = Session(
                guest=guest,
                mode=plan,
                parameters=parameters,
                findings=findings,
                faults=options.faults,
                program_timeout_s=program_timeout_s(plan, options, bench),
                slowdown=bench.slowdown(plan),
            )
            if say is not None:
                session.say = say
            warned = guest.reports_at_boot
            experiment.run(session)
            _note_faults(session)
            _confirm_dma_path(session)
            _keep_coverage(session, bench, folder)
        if not experiment.judges_warnings:
            _judge_warnings(findings, guest.reports()[warned:])
        outcome = findings.verdict()
        if not findings.checks:
            error = "awaited: at least one check\nseen:    the experiment made none"
    except GuestCrash as failure:
        outcome, error, excerpt = Outcome.CRASH, describe(failure, root), failure.excerpt
    except (GuestTimeout, GuestLost) as failure:
        late = isinstance(failure, GuestTimeout)
        outcome = Outcome.TIMEOUT if late else Outcome.LOST
        error = describe(failure, root)
    except ProgramDied as failure:
        findings.check(checks.died("programs", failure))
        outcome, error = Outcome.FAIL, describe(failure, root)
    except LabError as failure:
        if isinstance(failure, StaleCheckpoint) and not last:
            raise
        error = describe(failure, root)
    # A fault of the experiment's own code, or of the host; nor may its exit be the lab's.
    except (Exception, SystemExit) as failure:
        log = folder / "traceback.txt"
        log.write_text(traceback.format_exc(), encoding="utf-8")
        error = describe(_as_told(failure, log), root)
    for guest in started:
        _keep_reports(guest, findings)
    mode = findings.to_mode(
        plan.name,
        outcome,
        error=error,
        excerpt=excerpt,
        machine=machine_facts(plan.machine),
        kernel=bench.kernel_of(plan),
        boot=bench.boot_of(plan),
        booted=booted,
    )
    # What the lab itself has ended says nothing about the guest.
    if not running.stopping:
        text = mode.model_dump_json(indent=2) + "\n"
        (folder / "result.json").write_text(text, encoding="utf-8")
    return mode


def program_timeout_s(plan: ModePlan, options: RunOptions, bench: Bench) -> float:
    """Host seconds that a program of a mode may take: what the user said, or the kernel's own."""
    if options.program_timeout_s is not None:
        return options.program_timeout_s
    return PROGRAM_TIMEOUT_S * bench.slowdown(plan)


def _as_told(failure: BaseException, log: Path) -> LabError:
    if isinstance(failure, OSError):
        return HostError.of(failure, log)
    return LabError(
        "an experiment that runs through",
        f"{type(failure).__name__}: {failure}",
        log=log,
        hint="correct the experiment",
    )


def _judge_warnings(findings: Findings, reports: Sequence[Report]) -> None:
    """Add a check that doesn't hold if the kernel has warned of something.

    What is worse ends a mode as a CRASH; what is no warning (a leak, a data race, short memory) is
    a fact for the record, and an experiment that asks for it judges it.
    """
    warnings = [str(report) for report in reports if report.kind is Kind.WARNING]
    if warnings:
        findings.check(checks.no_warning(warnings))


def _note_faults(session: Session[Any, Any]) -> None:
    """Keep how often each injected fault struck; one that never did is worth a note.

    Raises:
        PremiseError: one of the kernel's own was to strike, and never did.
    """
    if not session.faults:
        return
    findings = session.findings
    kernels = _take_back(session)
    faults = [*session.guest.faults(), *kernels]
    findings.details["faults"] = faults
    counted = findings.device
    # The baseline of an offload: its engines have nothing to do, so nothing to fail at.
    idle = not session.mode.patched and counted is not None and counted.descriptors == 0
    _assert_kernel_faults(session, kernels, idle_engines=idle)
    if idle:
        return
    findings.notes += [
        f"the fault {fault.get('kind', '?')} in {fault.get('device', '?')} never struck: "
        "nothing was broken, the outcome says nothing about it"
        for fault in faults
        if not fault.get("hits")
    ]
    if findings.verdict() is Outcome.PASS:
        # Compaction takes along pages of others, whose contents nobody knows.
        findings.notes += [
            f"flip-byte in {fault.get('device', '?')} struck, and no check saw it: what it changed "
            "is not compared; try another nth, or count=100"
            for fault in faults
            if fault.get("kind") == "flip-byte" and fault.get("hits")
        ]
    if not faults:
        findings.notes.append("no fault was armed: the experiment never injects what was asked for")


def _assert_kernel_faults(
    session: Session[Any, Any], told: list[dict[str, Any]], *, idle_engines: bool
) -> None:
    """Make sure that the kernel's own faults struck, but for those that idle engines excuse.

    Raises:
        PremiseError: one never did, or was never armed.
    """
    wanted = [fault.kind for fault in session.faults if fault.device == KERNEL]
    if len(told) < len(wanted):
        raise PremiseError(
            f"the kernel to fail allocations by {' and '.join(wanted)}",
            "the experiment never injects what was asked for",
            hint="choose an experiment that does, or let this one call session.inject_faults()",
        )
    idle = [
        fault["kind"]
        for armed, fault in zip(session.armed, told, strict=True)
        if not fault["hits"] and not (idle_engines and armed.only_engines)
    ]
    if idle:
        raise PremiseError(
            f"the kernel to fail allocations by {' and '.join(idle)}",
            "none failed: nothing was tested",
            hint="let it reach more: another cache or module, sleeping=true, interval=1",
        )


def _take_back(session: Session[Any, Any]) -> list[dict[str, Any]]:
    """Take the kernel's own faults back, and say how often each struck until then."""
    told = []
    for armed in session.armed:
        armed.release()
        described = armed.describe()
        told.append(
            {"device": armed.device, "kind": described["kind"], "hits": described["struck"]}
        )
        session.findings.details.setdefault("kernel_faults", []).append(described)
    return told


def _confirm_dma_path(session: Session[Any, Any]) -> None:
    """Make sure that the copies went through what the machine has before memory; keep the proof."""
    counted = session.findings.device
    found = dma_path.confirm(
        session.guest, session.mode.machine.topology, counted.descriptors if counted else 0
    )
    if found:
        session.findings.details["dma_path"] = found


def _keep_coverage(session: Session[Any, Any], bench: Bench, folder: Path) -> None:
    """Keep which lines of the kernel ran, if it counts them."""
    notes = bench.coverage_notes(session.mode)
    if notes is None:
        return
    session.say("reading the kernel's line counters")
    found = collect(session.guest, notes, folder)
    session.findings.details[COVERAGE] = found.model_dump(mode="json")
    if found.patches:
        session.findings.notes.append(
            f"coverage: {found.added_and_run} of {found.added} lines that the patches add ran"
        )


def _keep_reports(guest: Guest, findings: Findings) -> None:
    """Keep what the kernel reported about itself, from its first word to its last."""
    reports = guest.reports()
    if not reports:
        return
    findings.details["kernel_reports"] = [str(report) for report in reports]
    findings.kernel_reports = [
        KernelReport(
            kind=report.kind.value,
            title=report.title,
            time_s=report.time_s,
            fatal=report.fatal,
            excerpt=report.excerpt,
        )
        for report in reports
    ]


def describe(error: LabError, root: Path) -> str:
    """An error's text with its log's path relative to `root`, so that it is the same anywhere."""
    if error.log is None or not error.log.is_absolute():
        relative = error.log
    else:
        resolved, base = error.log.resolve(), root.resolve()
        relative = resolved.relative_to(base) if resolved.is_relative_to(base) else error.log
    return str(LabError(error.awaited, error.seen, log=relative, hint=error.hint))


def machine_facts(machine: LabFile) -> dict[str, Any]:
    """A machine as it stands in the record."""
    return machine.model_dump(mode="json", exclude=set(NOT_OF_THE_MACHINE))
