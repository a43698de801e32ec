# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of a run: the one schema that every report is made from.

A record holds facts and verdicts, never formatting. It is written as ``record.json``; fields that
differ between two runs of the same thing (host times, paths) live under ``host`` alone, so that
two records of one experiment on the virtual clock are equal but for ``host``.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lab.outcome import Outcome as Outcome  # noqa: PLC0414 - of this interface, too
from lab.outcome import worst as worst  # noqa: PLC0414 - of this interface, too

SCHEMA = "dcbm-lab/record/1"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Model):
    """One thing that had to hold, with what was seen."""

    name: str
    held: bool
    awaited: str
    seen: str


class CpuShare(_Model):
    """Share of the pinned CPU's time over the measured interval, in percent of wall time."""

    user_pct: float
    sys_pct: float
    idle_pct: float
    irq_pct: float


class DeviceCounters(_Model):
    """What the emulated engines counted, summed over functions (or of one function)."""

    descriptors: int
    bytes: int
    interrupts: int
    errors: int


class WrongPage(_Model):
    """First difference found in a page; `offset` and `bytes_wrong` are in bytes."""

    page: int
    address: str
    offset: int
    expected: str
    seen: str
    bytes_wrong: int | None = None


class Integrity(_Model):
    """Pages whose whole content was compared with what it has to be."""

    pages_verified: int
    pages_wrong: int
    wrong: list[WrongPage] = Field(default_factory=list)


class MoveLatency(_Model):
    """When folios could be used again after a call of move_pages(2), in ns from the call.

    Each is the mean over `moves`, which are moves of their own: `wall_ns` is how long they took,
    readers included. `first_ns` is the time of the region's first folio, `middle_ns` of the one in
    its middle, `last_ns` of the last. `reads` counts what the readers asked before they got on.
    """

    moves: int
    wall_ns: float
    first_ns: float
    middle_ns: float
    last_ns: float
    reads: int


class MovePoint(_Model):
    """One folio size, number of folios or number of tasks within a mode.

    `task_cpu_ms_per_gb` is CPU time of the calling tasks within the call, interrupts not included,
    `cpu_busy_ms_per_gb` that of their CPU (user, system and interrupts), `cpu` its shares;
    per 10⁹ bytes moved. `tasks` move at once. `cpu_copies` counts folios that moved without dcbm.
    None: not measured.
    """

    folio_kib: int
    moves: int
    folios_per_move: int
    gb_per_s_mean: float
    gb_per_s_stdev: float
    dma_copies: int
    folios_failures: int
    channels_used: int
    device: DeviceCounters
    integrity: Integrity
    tasks: int = 1
    cpu_copies: int | None = None
    task_cpu_ms_per_gb: float | None = None
    cpu_busy_ms_per_gb: float | None = None
    cpu: CpuShare | None = None
    latency: MoveLatency | None = None


class CellVerdict(StrEnum):
    """What became of one cell of the matrix; the last two are no verdict on the kernel."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    KNOWN_BUG = "known bug"
    ERROR = "ERROR"
    NOT_APPLICABLE = "n/a"
    NOT_RUN = "not run"


class Cell(_Model):
    """One kind of folio, migrated by one trigger in one mode of the matrix.

    `trigger` is how the kernel was made to migrate, `reason` its name for that in
    ``enum migrate_reason``. `why` says what is known of a known bug, why a cell is not applicable,
    wasn't run or had no premise, which check of a FAIL did not hold, and why a PASS is one of
    folios that have to stay. `retries` counts how often
    the kernel was asked again after it had refused for the moment.
    """

    trigger: str
    reason: str
    kind: str
    verdict: CellVerdict
    why: str | None = None
    pages: int | None = None
    pages_moved: int | None = None
    dma_copies: int | None = None
    descriptors: int | None = None
    retries: int | None = None


class PatchIdentity(_Model):
    """A patch of a series: its subject and its ``git patch-id --stable``.

    `merged` says that it went on by a three-way merge, `known` that it changes nothing because the
    base has it already.
    """

    subject: str
    patch_id: str
    merged: bool = False
    known: bool = False


class KernelIdentity(_Model):
    """Which kernel ran.

    `version` is its source's in the distributor's words, `fallback` says why another source than
    the pinned one was taken, `series` is the hash of the patches on it (none: the source as it is),
    `config_hash` that of the resolved configuration. `commit` is the HEAD of a local tree, `diff`
    the hash of what that tree has on top.
    """

    base: str
    release: str
    version: str | None = None
    fallback: str | None = None
    variant: str
    series: str | None
    patches: list[PatchIdentity] = Field(default_factory=list)
    source_hash: str
    commit: str | None = None
    diff: str | None = None
    config_hash: str
    compiler: str


class QemuIdentity(_Model):
    """Which QEMU ran.

    `version` is what it says of itself, `source_version` its source's in the distributor's words,
    `fallback` why another source than the pinned one was taken. `source_hash` is that of the
    source, `devices_hash` that of the device models and of all that is changed in that source.
    """

    base: str
    version: str
    source_version: str
    fallback: str | None = None
    source_hash: str
    devices_hash: str
    compiler: str


class BootIdentity(_Model):
    """What a mode booted: SHA-256 of kernel and initramfs, and the machine in QEMU's words.

    `argv` is QEMU's command line with each path of this host replaced by what is there, such as
    ``<vmlinux>``, so that it is the same wherever the same machine boots; a seed that QEMU gets is
    part of it.
    """

    kernel_hash: str
    initramfs_hash: str
    command_line: str
    argv: list[str]


class KernelReport(_Model):
    """What a guest's kernel reported about itself: a warning, an oops and the like.

    `time_s` is guest time, `fatal` says whether a report of this kind makes a run a CRASH.
    """

    kind: str
    title: str
    time_s: float | None = None
    fatal: bool = False
    excerpt: str


class Mode(_Model):
    """One configuration of an experiment, from one fresh boot.

    `machine`, `kernel` and `boot` are what this mode booted, `kernel_reports` all that the kernel
    reported about itself until power-off, `notes` what a reader has to know although no verdict
    hangs on it. `booted` says whether its guest came up, so that an ERROR is one of something that
    ran; None in records that were written before it was asked.
    """

    name: str
    outcome: Outcome
    booted: bool | None = None
    wall_ms: float | None = None
    pages_migrated: int | None = None
    dma_copies: int | None = None
    folios_failures: int | None = None
    hog_iterations: int | None = None
    cpu: CpuShare | None = None
    device: DeviceCounters | None = None
    integrity: Integrity | None = None
    moves: list[MovePoint] = Field(default_factory=list)
    cells: list[Cell] = Field(default_factory=list)
    checks: list[Check] = Field(default_factory=list)
    error: str | None = None
    excerpt: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)
    machine: dict[str, Any] | None = None
    kernel: KernelIdentity | None = None
    boot: BootIdentity | None = None
    kernel_reports: list[KernelReport] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)


class HostFacts(_Model):
    """What may differ between two runs of the same thing.

    `lab_hash` is that of the lab's own code, `argv` the command that was typed. `restored` names
    the modes that started from the saved state of an earlier boot instead of booting.
    """

    started: str
    duration_s: float
    lab_version: str
    lab_hash: str | None = None
    argv: list[str] = Field(default_factory=list)
    qemu_version: str
    accelerator: str = "tcg"
    restored: list[str] = Field(default_factory=list)
    folder: str


class Record(_Model):
    """A whole run of one experiment; `error` says what kept it from running at all.

    `experiment_hash` is the SHA-256 of the file that declares the experiment, where it is a user's.
    """

    schema_: str = Field(default=SCHEMA, alias="schema")
    experiment: str
    experiment_hash: str | None = None
    outcome: Outcome
    clock: str
    qemu: QemuIdentity | None = None
    kernel: list[KernelIdentity]
    parameters: dict[str, Any]
    modes: list[Mode]
    error: str | None = None
    host: HostFacts

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def write(self, folder: Path) -> Path:
        """Write ``record.json`` into `folder` atomically and return its path."""
        path = folder / "record.json"
        partial = folder / ".record.json.partial"
        partial.write_text(self.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
        return path

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record back; raises pydantic's ValidationError if it is not one."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))
