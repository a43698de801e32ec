# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs an experiment: every mode on a fresh boot, some at a time, and turns it all into a record.

Modes run in threads, each with a guest of its own. On the virtual clock their results do not
depend on what else the host does, so running some at once changes the duration and nothing else.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from lab import __version__
from lab.cache import hash_file, hash_tree
from lab.checkout import ROOT
from lab.config import Clock, LabFile
from lab.errors import ConfigError, HostError, LabError
from lab.experiments.base import Experiment, Findings, ModePlan, Parameters
from lab.experiments.kernel_faults import DEVICE as KERNEL
from lab.machine.argv import engine_ids
from lab.memory import available_bytes
from lab.progress import Progress
from lab.results import HostFacts, Mode, Outcome, Record, worst
from lab.run_folder import INPUTS, RunFolder, mode_folder_name
from lab.run_mode import Bench, Running, RunOptions, describe, machine_facts, run_mode

_POLL_S = 0.5
_MAX_DEFAULT_JOBS = 2
# What a guest of the largest default topology takes, with QEMU around it.
_GUEST_BYTES = 3 << 30


class Prepare(Protocol):
    """Builds, or takes from the cache, what the modes need."""

    def __call__(self, modes: Sequence[ModePlan], progress: Progress) -> Bench:
        """Prepare for these modes; raises LabError when something can't be had."""


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
    running = Running()
    plans: Sequence[ModePlan] = []
    bench: Bench | None = None
    error: str | None = None
    try:
        plans = plan_modes(experiment, lab, parameters, options)
        bench = prepare(plans, progress)
        bench.keep(folder.path / INPUTS)
        modes = _run_modes(
            experiment,
            parameters,
            plans=plans,
            bench=bench,
            folder=folder,
            options=options,
            progress=progress,
            running=running,
        )
    except (LabError, OSError) as failure:
        error = describe(_as_lab_error(failure), folder.path)
        modes = [
            Findings().to_mode(
                plan.name,
                Outcome.ERROR,
                error=error,
                machine=machine_facts(plan.machine),
                booted=False,
            )
            for plan in plans
        ]
    record = Record(
        experiment=experiment.name,
        experiment_hash=hash_file(experiment.file) if experiment.file is not None else None,
        outcome=worst([mode.outcome for mode in modes]),
        clock=lab.clock.value,
        qemu=bench.qemu_identity if bench else None,
        kernel=bench.kernels if bench else [],
        parameters=_parameters(experiment, lab, parameters, options),
        modes=modes,
        error=error,
        host=HostFacts(
            started=folder.started.isoformat(timespec="seconds"),
            duration_s=round(time.monotonic() - started, 1),
            lab_version=__version__,
            lab_hash=hash_lab(),
            argv=list(sys.argv[1:]),
            qemu_version=bench.qemu_version if bench else "",
            accelerator=bench.accelerator if bench else "",
            restored=[plan.name for plan in plans if plan.name in running.restored],
            folder=str(folder.path.resolve()),
        ),
    )
    record.write(folder.path)
    return record


def plan_modes(
    experiment: Experiment[Any, Any], lab: LabFile, parameters: Parameters, options: RunOptions
) -> Sequence[ModePlan]:
    """The modes to run, which the machine, the parameters and the options allow.

    Raises:
        ConfigError: they don't; nothing of it depends on a kernel's source.
    """
    plans = _chosen(_checked(experiment.modes(lab, parameters)), options.only)
    _assert_fault_engines(plans, options)
    return plans


def hash_lab() -> str:
    """SHA-256 of the lab's own code: what runs, judges and writes the record."""
    return hash_tree(ROOT / "lab")


def _as_lab_error(failure: LabError | OSError) -> LabError:
    return HostError.of(failure) if isinstance(failure, OSError) else failure


def _checked(plans: Sequence[ModePlan]) -> Sequence[ModePlan]:
    """The plan, if every mode's machine can work and has a folder of its own.

    Raises:
        ConfigError: it isn't so.
    """
    taken: dict[str, str] = {}
    for plan in plans:
        folder = mode_folder_name(plan.name)
        if folder in taken:
            raise ConfigError(
                "modes with a folder each",
                f"{taken[folder]!r} and {plan.name!r}, which would share {folder}",
                hint="give the experiment's modes different names",
            )
        taken[folder] = plan.name
    return plans


def _assert_fault_engines(plans: Sequence[ModePlan], options: RunOptions) -> None:
    """Refuse a fault for an engine that no mode has, before anything is built."""
    engines = {name for plan in plans for name in engine_ids(plan.machine.engine)}
    for fault in options.faults:
        if fault.device not in {*engines, KERNEL}:
            raise ConfigError(
                f"an engine {fault.device} to inject {fault.kind} into",
                f"the modes' engines are {', '.join(sorted(engines)) or 'none'}",
                hint="name one of those, or give the machine more (--engines N)",
            )
        queue = fault.arguments.get("queue", 0)
        queues = max((plan.machine.engine.queues for plan in plans), default=1)
        if fault.device != KERNEL and isinstance(queue, int) and queue >= queues:
            raise ConfigError(
                f"a queue of {fault.device} to inject {fault.kind} into",
                f"queue {queue}; an engine of the modes has {queues}, from 0",
                hint="ae4dma has as many as --set engine.queues=N says, ptdma one",
            )


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


def modes_at_once(plans: Sequence[ModePlan], *, cpus: int, memory_bytes: int) -> int:
    """How many modes run at once unless the user says it: as many as CPUs, two at most.

    A guest on the virtual clock keeps one CPU busy. Where the last mode would run alone, beside an
    idle CPU, one more at once shares them all from the start, if there is memory for it. On the
    host's clock a guest has threads of its own, and needs its time.
    """
    at_once = max(1, min(cpus, _MAX_DEFAULT_JOBS))
    alone = len(plans) > at_once and len(plans) % at_once == 1
    virtual = all(plan.machine.clock is Clock.VIRTUAL for plan in plans)
    room = memory_bytes >= (at_once + 1) * _GUEST_BYTES
    return at_once + 1 if alone and virtual and room else at_once


def _run_modes(
    experiment: Experiment[Any, Any],
    parameters: Parameters,
    *,
    plans: Sequence[ModePlan],
    bench: Bench,
    folder: RunFolder,
    options: RunOptions,
    progress: Progress,
    running: Running,
) -> list[Mode]:
    """Run the modes and return their results in the plan's order."""
    jobs = options.jobs or modes_at_once(
        plans, cpus=os.cpu_count() or 1, memory_bytes=available_bytes()
    )
    pool = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="mode")

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
