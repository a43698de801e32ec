# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests and a bench that do as a test says, for the runner and the commands above it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from records import BOOT, KERNEL, QEMU

from lab.config import LabFile
from lab.experiments.base import Experiment, ModePlan, Parameters, Session
from lab.machine.health import Report
from lab.progress import SilentProgress
from lab.results import BootIdentity, Check, KernelIdentity, Record
from lab.run import run_experiment
from lab.run_folder import RunFolder
from lab.run_mode import RunOptions
from lab.variants import slowdown


class ScriptedGuest:
    """Stands where a guest would; `abort` works as it has to."""

    def __init__(self) -> None:
        self.aborted = threading.Event()
        self.injected: list[tuple[str, str, dict[str, object]]] = []
        self.told: list[Report] = []
        self.hits = 1

    restored = False

    @property
    def reports_at_boot(self) -> int:
        return len(self.told)

    def reach_checkpoint(self) -> None:
        pass

    def abort(self) -> None:
        self.aborted.set()

    def reports(self) -> list[Report]:
        return self.told

    def faults(self) -> list[dict[str, Any]]:
        return [{"id": 1, "device": "dma0", "kind": "flip-byte", "hits": self.hits}]

    def inject_fault(self, device: str, kind: str, **arguments: object) -> int:
        self.injected.append((device, kind, arguments))
        return 1


class ScriptedBench:
    def __init__(self) -> None:
        self.kernels = [KERNEL]
        self.qemu_version = "10.0.13"
        self.accelerator = "tcg"
        self.guests: dict[str, ScriptedGuest] = {}

        self.qemu_identity = QEMU

    def keep(self, folder: Path) -> None:
        """There are no patches."""

    def boot_of(self, mode: ModePlan) -> BootIdentity:
        return BOOT

    def kernel_of(self, mode: ModePlan) -> KernelIdentity:
        return KERNEL.model_copy(update={"series": "c" * 64 if mode.patched else None})

    def coverage_notes(self, mode: ModePlan) -> Path | None:
        return None

    def slowdown(self, mode: ModePlan) -> float:
        return slowdown(mode.machine.kernel.variant)

    @contextmanager
    def boot(self, mode: ModePlan, folder: Path, on_start: Callable[[Any], None]) -> Iterator[Any]:
        (folder / "console.log").write_text("Linux version\n")
        self.guests[mode.name] = ScriptedGuest()
        on_start(self.guests[mode.name])
        yield self.guests[mode.name]


def passing(session: Session[Any, Any]) -> None:
    session.findings.pages_migrated = 7
    session.findings.check(Check(name="c", held=True, awaited="a", seen="s"))


def experiment(
    run: Callable[[Session[Any, Any]], None], names: tuple[str, ...] = ("one",)
) -> Experiment[ModePlan, Parameters]:
    return Experiment(
        name="scripted",
        purpose="for tests",
        parameters=Parameters,
        plan=lambda lab, _parameters: [ModePlan(name, "", False, lab) for name in names],
        run=run,
    )


def carry_out(
    what: Experiment[Any, Any],
    folder: Path,
    options: RunOptions | None = None,
    bench: ScriptedBench | None = None,
) -> Record:
    with RunFolder(folder, what.name, datetime(2026, 1, 1, tzinfo=UTC)) as at:
        record = run_experiment(
            what,
            LabFile(),
            what.parameters(),
            prepare=lambda _modes, _progress: bench or ScriptedBench(),
            folder=at,
            options=options or RunOptions(),
            progress=SilentProgress(),
        )
    assert Record.read(folder / "record.json") == record
    return record


def raising(error: Exception) -> Callable[[Session[Any, Any]], None]:
    def run(session: Session[Any, Any]) -> None:
        passing(session)
        raise error

    return run
