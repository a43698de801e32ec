# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs an experiment: every mode on a fresh boot, two at a time, and turns it all into a record.

Modes run in threads, each with a guest of its own. On the virtual clock their results do not
depend on what else the host does, so running two at once changes the duration and nothing else.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lab import __version__
from lab.config import LabFile, check_iommu
from lab.errors import (
    ConfigError,
    GuestCrash,
    GuestLost,
    GuestTimeout,
    HostError,
    LabError,
)
from lab.experiments.base import Experiment, Fault, Findings, ModePlan, Parameters, Session
from lab.progress import Progress
from lab.results import HostFacts, KernelIdentity, KernelReport, Mode, Outcome, Record, worst
from lab.run_folder import RunFolder, mode_folder_name

if TYPE_CHECKING:
    from lab.machine.guest import Guest

MAX_DEFAULT_JOBS = 2
_POLL_S = 0.5


class Bench(Protocol):
    """What modes boot on: QEMU, kernels and image, ready to use."""

    @property
    def kernels(self) -> list[KernelIdentity]:
        """The kernels that the modes boot."""

    @property
    def qemu_version(self) -> str:
        """Version of the QEMU that they boot in."""

    def kernel_of(self, mode: ModePlan) -> KernelIdentity:
        """The kernel that a mode boots."""

    @property
    def accelerator(self) -> str:
        """What executes the guests: ``tcg`` or ``kvm``."""

    def boot(
        self, mode: ModePlan, folder: Path, on_start: Callable[[Guest], None]
    ) -> AbstractContextManager[Guest]:
        """Boot a mode's machine with its logs in `folder`; `on_start` gets it before it boots."""


class Prepare(Protocol):
    """Builds, or takes from the cache, what the modes need."""

    def __call__(self, modes: Sequence[ModePlan], progress: Progress) -> Bench:
        """Prepare for these modes; raises LabError when something can't be had."""


@dataclass(frozen=True)
class RunOptions:
    """How to run, beside what to run.

    Attributes:
        jobs: modes at once.
        only: names of the modes to run; empty means all.
        faults: what to break in every mode.
        program_timeout_s: host seconds that a program in the guest may take.
        quick: whether ``--quick`` chose the parameters; for the record.
    """

    jobs: int = field(default_factory=lambda: min(os.cpu_count() or 1, MAX_DEFAULT_JOBS))
    only: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    program_timeout_s: float = 300.0
    quick: bool = False


class _Running:
    """The guests that run now, so that all of them can be ended from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guests: list[Guest] = []
        self.stopping = False

    def add(self, guest: Guest) -> None:
        """Register a guest that is about to boot; aborting it after its end does no harm."""
        with self._lock:
            if self.stopping:
                raise GuestLost("a mode that runs to its end", "the run was interrupted")
            self._guests.append(guest)

    def stop(self) -> None:
        """End every guest, and let none start."""
        with self._lock:
            self.stopping = True
            guests = list(self._guests)
        for guest in guests:
            guest.abort()


def run_experiment(
    experiment: Experiment[Any, Any],
    lab: LabFile,
    parameters: Parameters,
    *,
    prepare: Prepare,
    folder: RunFolder,
    options: RunOptions,
    progress: Progress,
) -> Record:
    """Run an experiment in an open run folder, write its record and return it.

    What keeps the lab from running at all gives a record too, with the outcome ERROR. An interrupt
    ends every guest and passes through; then there is no record.
    """
    started = time.monotonic()
    plans: Sequence[ModePlan] = []
    bench: Bench | None = None
    error: str | None = None
    try:
        plans = _chosen(_checked(experiment.plan(lab, parameters)), options.only)
        bench = prepare(plans, progress)
        modes = _run_modes(
            experiment,
            parameters,
            plans=plans,
            bench=bench,
            folder=folder,
            options=options,
            progress=progress,
        )
    except (LabError, OSError) as failure:
        error = describe(_as_lab_error(failure), folder.path)
        modes = [
            Findings().to_mode(
                plan.name, Outcome.ERROR, error=error, machine=machine_facts(plan.machine)
            )
            for plan in plans
        ]
    record = Record(
        experiment=experiment.name,
        outcome=worst([mode.outcome for mode in modes]),
        clock=lab.clock.value,
        kernel=bench.kernels if bench else [],
        parameters=_parameters(experiment, lab, parameters, options),
        modes=modes,
        error=error,
        host=HostFacts(
            started=folder.started.isoformat(timespec="seconds"),
            duration_s=round(time.monotonic() - started, 1),
            lab_version=__version__,
            qemu_version=bench.qemu_version if bench else "",
            accelerator=bench.accelerator if bench else "",
            folder=str(folder.path.resolve()),
        ),
    )
    record.write(folder.path)
    return record


def _as_lab_error(failure: LabError | OSError) -> LabError:
    return HostError.of(failure) if isinstance(failure, OSError) else failure


def machine_facts(machine: LabFile) -> dict[str, Any]:
    """A machine as it stands in the record."""
    return machine.model_dump(mode="json", exclude={"experiment"})


def _checked(plans: Sequence[ModePlan]) -> Sequence[ModePlan]:
    """The plan, if every mode's machine can work and has a folder of its own.

    Raises:
        ConfigError: it isn't so.
    """
    names: dict[str, str] = {}
    for plan in plans:
        check_iommu(plan.machine.topology, plan.machine.engine)
        earlier = names.setdefault(mode_folder_name(plan.name), plan.name)
        if sum(earlier == other.name for other in plans) > 1 or earlier != plan.name:
            raise ConfigError(
                "modes with a folder each",
                f"modes {earlier!r} and {plan.name!r}, which would share {names}",
                hint="each value only once; modes of an experiment need different names",
            )
    return plans


def _chosen(plans: Sequence[ModePlan], only: tuple[str, ...]) -> Sequence[ModePlan]:
    names = [plan.name for plan in plans]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ConfigError(
            "names of modes of this experiment",
            ", ".join(repr(name) for name in unknown),
            hint=f"its modes are: {', '.join(names)}",
        )
    return [plan for plan in plans if not only or plan.name in only]


def _parameters(
    experiment: Experiment[Any, Any], lab: LabFile, parameters: Parameters, options: RunOptions
) -> dict[str, Any]:
    return {
        experiment.name: parameters.model_dump(mode="json"),
        "lab_file": machine_facts(lab),
        "quick": options.quick,
        "only": list(options.only),
        "faults": [
            {"device": fault.device, "kind": fault.kind, **fault.arguments}
            for fault in options.faults
        ],
    }


def _run_modes(
    experiment: Experiment[Any, Any],
    parameters: Parameters,
    *,
    plans: Sequence[ModePlan],
    bench: Bench,
    folder: RunFolder,
    options: RunOptions,
    progress: Progress,
) -> list[Mode]:
    """Run the modes and return their results in the plan's order."""
    running = _Running()
    pool = ThreadPoolExecutor(max_workers=options.jobs, thread_name_prefix="mode")

    def one(plan: ModePlan) -> Mode:
        at = folder.mode(plan.name)
        with progress.step(f"mode {plan.name}: {plan.purpose}", log=at / "console.log") as step:
            mode = run_mode(
                experiment,
                plan,
                parameters,
                bench=bench,
                folder=at,
                options=options,
                running=running,
                say=step.update,
                root=folder.path,
            )
        if not running.stopping:
            progress.note(f"mode {plan.name}: {mode.outcome}")
        return mode

    try:
        futures = [pool.submit(one, plan) for plan in plans]
        _wait_for_all(futures)
    except BaseException:
        running.stop()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()
    return [future.result() for future in futures]


def _wait_for_all(futures: list[Future[Mode]]) -> None:
    """Wait, in short turns so that an interrupt gets through, and pass on what a mode raises."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()


def run_mode(
    experiment: Experiment[Any, Any],
    plan: ModePlan,
    parameters: Parameters,
    *,
    bench: Bench,
    folder: Path,
    options: RunOptions,
    running: _Running | None = None,
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
    running = running or _Running()
    findings = Findings()
    outcome, error, excerpt = Outcome.ERROR, None, None
    root = root or folder
    try:
        with bench.boot(plan, folder, running.add) as guest:
            session: Session[Any, Any] = Session(
                guest=guest,
                mode=plan,
                parameters=parameters,
                findings=findings,
                faults=options.faults,
                program_timeout_s=options.program_timeout_s,
            )
            if say is not None:
                session.say = say
            experiment.run(session)
            _note_facts(session)
        outcome = findings.verdict()
        if not findings.checks:
            error = "awaited: at least one check\nseen:    the experiment made none"
    except GuestCrash as failure:
        outcome, error, excerpt = Outcome.CRASH, describe(failure, root), failure.excerpt
    except GuestTimeout as failure:
        outcome, error = Outcome.TIMEOUT, describe(failure, root)
    except GuestLost as failure:
        outcome, error = Outcome.LOST, describe(failure, root)
    except LabError as failure:
        error = describe(failure, root)
    except Exception as failure:  # a fault of the experiment's own code
        log = folder / "traceback.txt"
        log.write_text(traceback.format_exc(), encoding="utf-8")
        error = describe(
            LabError(
                "an experiment that runs through",
                f"{type(failure).__name__}: {failure}",
                log=log,
                hint="correct the experiment",
            ),
            root,
        )
    mode = findings.to_mode(plan.name, outcome, error=error, excerpt=excerpt)
    (folder / "result.json").write_text(mode.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return mode


def _note_facts(session: Session[Any, Any]) -> None:
    """Keep what the guest's kernel warned about and how often each injected fault struck."""
    if session.faults:
        session.findings.details["faults"] = session.guest.faults()
    reports = session.guest.reports()
    if reports:
        session.findings.details["kernel_reports"] = [str(report) for report in reports]


def describe(error: LabError, root: Path) -> str:
    """An error's text with its log's path relative to `root`, so that it is the same anywhere."""
    if error.log is None or not error.log.is_absolute():
        relative = error.log
    else:
        resolved, base = error.log.resolve(), root.resolve()
        relative = resolved.relative_to(base) if resolved.is_relative_to(base) else error.log
    return str(LabError(error.awaited, error.seen, log=relative, hint=error.hint))
