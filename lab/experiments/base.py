# SPDX-License-Identifier: GPL-2.0-or-later
"""What an experiment is: a name, parameters, a plan of modes and one function that runs a mode.

An experiment is declared in one file as a module-level ``EXPERIMENT``. The lab brings its own;
anybody can add one in a directory of theirs and run it by the file's path. Each mode of the plan
runs on a fresh boot; what it finds goes into `Findings`, so that a mode cut short by a crash still
shows what was measured before.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from lab.config import LabFile, suggest, told_of, without_followers
from lab.errors import ConfigError, LabError, PlanError
from lab.experiments import kernel_faults
from lab.guest_files import GuestItem
from lab.results import (
    BootIdentity,
    Cell,
    Check,
    CpuShare,
    DeviceCounters,
    Integrity,
    KernelIdentity,
    KernelReport,
    Mode,
    MovePoint,
    Outcome,
)

if TYPE_CHECKING:
    from lab.machine.guest import Guest


class Parameters(BaseModel):
    """Base of an experiment's parameters: frozen, and a name it doesn't know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Choices:
    """Annotates a parameter that is a list of names with those that there are.

    ``dcbm-lab list`` shows them; that each is one of them is for the model or the plan to see to.

    Attributes:
        names: every one.
        empty_is_all: a list without any stands for all of them.
    """

    names: tuple[str, ...]
    empty_is_all: bool = False


@dataclass(frozen=True)
class ModePlan:
    """One configuration of an experiment, to be run on a fresh boot.

    Attributes:
        name: as it stands in the record and names the mode's folder.
        purpose: one line for people.
        patched: boot the kernel with the series; otherwise the vanilla one.
        machine: the machine to boot.
        command_line: words added to the kernel's command line.
        modules: modules that it loads, or that have to be built in; looked for before it boots.
        files: what this mode's guest gets beside the image: ready files, and programs in C that are
            compiled like the image's own.
        checkpoint: a name for what has been done when the mode calls ``guest.reach_checkpoint()``;
            empty if it never does. Modes of an experiment that have the same one, kernel and
            machine must come there by the same requests to the guest: one of them does it, the
            others start from its state.
    """

    name: str
    purpose: str
    patched: bool
    machine: LabFile
    command_line: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    files: tuple[GuestItem, ...] = ()
    checkpoint: str = ""


@dataclass(frozen=True)
class Fault:
    """A fault to inject into an engine when a mode has made its premises true.

    Attributes:
        device: the engine's id, ``dma0`` to ``dma15``; ``kernel`` for the kernel's own injection.
        kind: the fault's name as the device model, or the kernel, spells it.
        arguments: what else the injection takes, numbers already converted.
    """

    device: str
    kind: str
    arguments: Mapping[str, int | str | bool] = field(default_factory=dict)


@dataclass
class Findings:
    """What a mode has found so far."""

    wall_ms: float | None = None
    pages_migrated: int | None = None
    dma_copies: int | None = None
    folios_failures: int | None = None
    hog_iterations: int | None = None
    cpu: CpuShare | None = None
    device: DeviceCounters | None = None
    integrity: Integrity | None = None
    moves: list[MovePoint] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    kernel_reports: list[KernelReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check(self, check: Check) -> None:
        """Add a check; a mode without a single one never passes."""
        self.checks.append(check)

    def verdict(self) -> Outcome:
        """PASS when at least one check was made and all held."""
        if not self.checks:
            return Outcome.ERROR
        return Outcome.PASS if all(check.held for check in self.checks) else Outcome.FAIL

    def to_mode(
        self,
        name: str,
        outcome: Outcome,
        *,
        error: str | None = None,
        excerpt: str | None = None,
        machine: dict[str, Any] | None = None,
        kernel: KernelIdentity | None = None,
        boot: BootIdentity | None = None,
        booted: bool | None = None,
    ) -> Mode:
        """Freeze the findings into the record's form."""
        return Mode(
            name=name,
            outcome=outcome,
            booted=booted,
            wall_ms=self.wall_ms,
            pages_migrated=self.pages_migrated,
            dma_copies=self.dma_copies,
            folios_failures=self.folios_failures,
            hog_iterations=self.hog_iterations,
            cpu=self.cpu,
            device=self.device,
            integrity=self.integrity,
            moves=self.moves,
            cells=self.cells,
            checks=self.checks,
            error=error,
            excerpt=excerpt,
            details=self.details,
            machine=machine,
            kernel=kernel,
            boot=boot,
            kernel_reports=self.kernel_reports,
            notes=self.notes,
        )


M = TypeVar("M", bound=ModePlan)
P = TypeVar("P", bound=Parameters)


@dataclass
class Session(Generic[M, P]):
    """What a mode's run function gets.

    Attributes:
        guest: the booted guest.
        mode: the plan's entry that runs.
        parameters: the experiment's parameters.
        findings: where results and checks go.
        faults: what the user asked to break.
        program_timeout_s: host seconds that a program in the guest may take.
        slowdown: how many times longer than on a plain kernel things may take.
        say: shows one line of progress.
        armed: the kernel's own faults, once they are injected.
    """

    guest: Guest
    mode: M
    parameters: P
    findings: Findings
    faults: tuple[Fault, ...] = ()
    program_timeout_s: float = 300.0
    slowdown: float = 1.0
    say: Callable[[str], None] = lambda _text: None
    armed: list[kernel_faults.Armed] = field(default_factory=list)

    def inject_faults(self) -> None:
        """Arm the faults asked for; a run function calls this right before what it measures."""
        for fault in self.faults:
            if fault.device == kernel_faults.DEVICE:
                wanted = kernel_faults.KernelFault.of(fault.kind, fault.arguments)
                self.armed.append(kernel_faults.arm(self.guest, wanted))
            else:
                self.guest.inject_fault(fault.device, fault.kind, **fault.arguments)
        if self.faults:
            self.findings.details["injected"] = [
                {"device": fault.device, "kind": fault.kind, **fault.arguments}
                for fault in self.faults
            ]


def told_with_line(error: BaseException, path: Path) -> str:
    """An exception of a user's file, with the last line of the file on the way to it."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == path.resolve()
    ]
    at = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{at}"


@dataclass(frozen=True)
class Experiment(Generic[M, P]):
    """An experiment as it is declared.

    Attributes:
        name: what ``dcbm-lab run`` calls it.
        purpose: one line for people.
        parameters: the model of its parameters; every one has a default.
        plan: gives the modes for a machine and parameters; raises ConfigError for a combination
            that can't be run, before anything is built or booted.
        run: runs one mode; raises LabError when it can't come to a verdict.
        quick: parameter values that ``--quick`` puts in place of the defaults.
        file: the user's file that declares it; None for the lab's own.
        own_kernel_faults: it sets the kernel's fault injection itself, so that nobody else can.
        judges_warnings: it says itself what the kernel may warn of. Anywhere else a warning that
            comes after the boot is a check that doesn't hold.
    """

    name: str
    purpose: str
    parameters: type[P]
    plan: Callable[[LabFile, P], Sequence[M]]
    run: Callable[[Session[M, P]], None]
    quick: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None
    own_kernel_faults: bool = False
    judges_warnings: bool = False

    def choose(self, given: Mapping[str, Any], *, quick: bool = False) -> P:
        """Validate parameters; what is given wins over ``--quick``, which wins over defaults.

        Raises:
            ConfigError: a parameter doesn't exist or its value can't be.
        """
        values = {**(self.quick if quick else {}), **given}
        try:
            return self.parameters.model_validate(values)
        except ValidationError as error:
            seen = "; ".join(
                f"{'.'.join(str(part) for part in item['loc']) or self.name}: {self._told(item)}"
                for item in without_followers(error)
            )
            names = ", ".join(self.parameters.model_fields)
            raise ConfigError(
                f"parameters of the experiment {self.name}",
                seen,
                hint=f"its parameters are: {names}",
            ) from error

    def modes(self, lab: LabFile, parameters: P) -> Sequence[M]:
        """What `plan` gives, which is at least one mode.

        Raises:
            PlanError: the plan is none; of a user's own experiment whatever else it raises, too.
            ConfigError: what the plan refuses.
        """
        awaited = f"modes of the experiment {self.name}" + (f" in {self.file}" if self.file else "")
        try:
            plans = self.plan(lab, parameters)
        except (LabError, OSError):
            raise
        except (Exception, SystemExit) as error:
            if self.file is None:
                raise
            raise PlanError(
                awaited,
                f"its plan ends with {told_with_line(error, self.file)}",
                hint="correct the experiment",
            ) from error
        if not isinstance(plans, Sequence) or not all(isinstance(one, ModePlan) for one in plans):
            seen = f"its plan gives {plans!r}"
        elif not plans:
            seen = "its plan gives none"
        else:
            return plans
        raise PlanError(awaited, seen[:200], hint="a plan returns a list of ModePlan")

    def _told(self, item: ErrorDetails) -> str:
        """What pydantic says, in the lab's words where a name is unknown."""
        if item["type"] != "extra_forbidden":
            return told_of(item)
        return f"no such parameter{suggest(str(item['loc'][-1]), self.parameters.model_fields)}"
