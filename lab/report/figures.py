# SPDX-License-Identifier: GPL-2.0-or-later
"""A record's figures as tables of text: formatted once, shown the same by every renderer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from lab.config import Clock
from lab.report.cells import cell_tables
from lab.report.table import NOTHING, Table
from lab.results import KernelReport, Mode, MovePoint, Outcome, Record

# A guest's console must not steer the terminal it is shown on.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CLOCK_LABELS = {
    Clock.VIRTUAL.value: "virtual time: instructions and modelled delays; says nothing about EPYC",
    Clock.HOST.value: "host clock: times and shares of CPU are not figures, only the checks count",
}


@dataclass(frozen=True)
class Problem:
    """What a reader has to know about a mode that did not pass.

    Attributes:
        mode: name of the mode, or of the experiment when nothing ran.
        outcome: how it ended.
        lines: the failed checks or the error, one a line.
        excerpt: console lines that show a crash.
    """

    mode: str
    outcome: Outcome
    lines: tuple[str, ...]
    excerpt: str | None = None


def harmless(text: str) -> str:
    """Text without what could steer a terminal; line feeds and tabs stay."""
    return _CONTROL.sub("\ufffd", text)


def clock_label(record: Record) -> str:
    """What the times of this record mean."""
    return _CLOCK_LABELS.get(record.clock, harmless(record.clock))


def tables(record: Record) -> list[Table]:
    """The tables of a record: the published shape of its experiment first."""
    return [
        replace(
            table,
            title=harmless(table.title),
            rows=tuple(tuple(harmless(cell) for cell in row) for row in table.rows),
        )
        for table in _tables(record)
    ]


def _tables(record: Record) -> list[Table]:
    if any(mode.cells for mode in record.modes):
        return [*cell_tables(record), _bare(record)]
    if any(mode.moves for mode in record.modes):
        return [
            _throughput(record),
            _sweep_proof(record),
            *_extra_tables(record),
            _verdicts(record),
        ]
    if all(mode.wall_ms is None and mode.pages_migrated is None for mode in record.modes):
        return [_bare(record)]
    return [_compaction(record)]


def problems(record: Record) -> list[Problem]:
    """What went wrong, mode by mode."""
    # What kept every mode from running is said once.
    found = [
        Problem(
            harmless(mode.name),
            mode.outcome,
            _why(mode),
            None if mode.excerpt is None else harmless(mode.excerpt),
        )
        for mode in record.modes
        if mode.outcome is not Outcome.PASS and (record.error is None or mode.error != record.error)
    ]
    if record.error is not None:
        lines = tuple(harmless(record.error).splitlines())
        found.append(Problem(harmless(record.experiment), record.outcome, lines))
    return found


def warnings(mode: Mode) -> list[KernelReport]:
    """What a mode's kernel reported about itself that did not make it a CRASH."""
    return [report for report in mode.kernel_reports if not report.fatal]


def remarks(record: Record) -> list[str]:
    """What a reader has to know whatever the outcome: kernel warnings, and notes of the modes."""
    return [line for mode in record.modes for line in mode_remarks(mode)]


def mode_remarks(mode: Mode) -> list[str]:
    """The remarks on one mode, a line each; titles of kernel warnings are indented."""
    name = harmless(mode.name)
    lines = [f"{name}: note: {harmless(note)}" for note in mode.notes]
    found = warnings(mode)
    if found:
        lines.append(f"{name}: kernel warnings: {len(found)}")
    for report in found:
        at = "" if report.time_s is None else f"at {report.time_s:.6f} s: "
        lines.append(f"  {at}{harmless(report.title)}")
    return lines


def summary(record: Record) -> str:
    """One line: how many modes and checks there were, how they ended, and what to look at."""
    checks = [check for mode in record.modes for check in mode.checks]
    held = sum(check.held for check in checks)
    passed = sum(mode.outcome is Outcome.PASS for mode in record.modes)
    warned = sum(len(warnings(mode)) for mode in record.modes)
    notes = sum(len(mode.notes) for mode in record.modes)
    return (
        f"{record.outcome}: {passed} of {len(record.modes)} modes passed, "
        f"{held} of {len(checks)} checks held"
        + (f", kernel warnings: {warned}" if warned else "")
        + (f", notes: {notes}" if notes else "")
    )


def _why(mode: Mode) -> tuple[str, ...]:
    lines = [
        f"{check.name}: awaited {check.awaited}; seen {check.seen}"
        for check in mode.checks
        if not check.held
    ]
    return tuple(harmless("\n".join([*lines, mode.error or ""])).splitlines())


def _number(value: int | None) -> str:
    return NOTHING if value is None else str(value)


def _pct(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}%"


def _bare(record: Record) -> Table:
    """For an experiment without times or pages, or one that ended before its first figure."""
    rows = []
    for mode in record.modes:
        device = mode.device
        counted = (
            (device.descriptors, device.bytes, device.interrupts, device.errors)
            if device
            else (None,) * 4
        )
        held = f"{sum(check.held for check in mode.checks)}/{len(mode.checks)}"
        rows.append((mode.name, held, *(_number(value) for value in counted), mode.outcome.value))
    return Table(
        f"{record.experiment} ({clock_label(record)})",
        ("Mode", "Checks held", "Dev descr.", "Dev bytes", "Interrupts", "Errors", "Verdict"),
        tuple(rows),
        tuple(mode.outcome for mode in record.modes),
    )


def _compaction(record: Record) -> Table:
    columns = (
        "Mode",
        "Wall time(ms)",
        "Migrated",
        "DMA_Copy",
        "Hog_Iters",
        "User%",
        "Sys%",
        "Idle%",
        "Irq%",
        "Verified",
        "Wrong",
        "Dev descr.",
        "Dev bytes",
        "Verdict",
    )
    rows = tuple(_compaction_row(mode) for mode in record.modes)
    return Table(
        f"{record.experiment} ({clock_label(record)})",
        columns,
        rows,
        tuple(mode.outcome for mode in record.modes),
    )


def _compaction_row(mode: Mode) -> tuple[str, ...]:
    cpu, device, integrity = mode.cpu, mode.device, mode.integrity
    return (
        mode.name,
        NOTHING if mode.wall_ms is None else f"{mode.wall_ms:.3f}",
        _number(mode.pages_migrated),
        _number(mode.dma_copies),
        _number(mode.hog_iterations),
        _pct(cpu.user_pct if cpu else None),
        _pct(cpu.sys_pct if cpu else None),
        _pct(cpu.idle_pct if cpu else None),
        _pct(cpu.irq_pct if cpu else None),
        _number(integrity.pages_verified if integrity else None),
        _number(integrity.pages_wrong if integrity else None),
        _number(device.descriptors if device else None),
        _number(device.bytes if device else None),
        mode.outcome.value,
    )


def _columns(record: Record) -> dict[tuple[int, int], str]:
    """Heading of each kind of point: its folio size, or how many folios a call has moved."""
    kinds = sorted({_kind(point) for mode in record.modes for point in mode.moves})
    by_count = len({size for size, _count in kinds}) == 1 and len(kinds) > 1
    return {
        (size, count): f"{count}x{size_name(size)}" if by_count else size_name(size)
        for size, count in kinds
    }


def _kind(point: MovePoint) -> tuple[int, int]:
    return point.folio_kib, point.folios_per_move


def size_name(folio_kib: int) -> str:
    """A folio size as the published tables write it."""
    return f"{folio_kib // 1024}M" if folio_kib % 1024 == 0 else f"{folio_kib}K"


def _by_point(record: Record, title: str, cell: Callable[[MovePoint], str]) -> Table:
    """A table with a row for each mode and a column for each kind of point."""
    columns = _columns(record)
    rows = []
    for mode in record.modes:
        points = {_kind(point): point for point in mode.moves}
        cells = [cell(points[kind]) if kind in points else NOTHING for kind in columns]
        rows.append((mode.name, *cells))
    return Table(
        title,
        ("Mode", *columns.values()),
        tuple(rows),
        tuple(mode.outcome for mode in record.modes),
    )


def _throughput(record: Record) -> Table:
    by = "folio size" if record.experiment != "folio-count" else "number of folios"
    return _by_point(
        record,
        f"{record.experiment}: GB/s by {by}, mean±deviation ({clock_label(record)})",
        lambda point: f"{point.gb_per_s_mean:.2f}±{point.gb_per_s_stdev:.2f}",
    )


def _sweep_proof(record: Record) -> Table:
    return _by_point(
        record,
        "DMA copies / channels really used, by the devices' own counters",
        lambda point: f"{point.dma_copies}/{point.channels_used}",
    )


def _extra_tables(record: Record) -> list[Table]:
    """What was measured on request only."""
    points = [point for mode in record.modes for point in mode.moves]
    found = []
    if any(point.latency for point in points):
        found.append(
            _by_point(record, "First/middle/last folio usable again, µs after the call", _latency)
        )
    if any(point.cpu_busy_ms_per_gb is not None for point in points):
        found.append(
            _by_point(
                record, "CPU time of a GB, ms: calling task / its CPU with interrupts", _cpu_cost
            )
        )
    if any(point.cpu_copies is not None for point in points):
        found.append(
            _by_point(
                record,
                "Folios copied by DMA + by the CPU",
                lambda point: f"{point.dma_copies}+{_number(point.cpu_copies)}",
            )
        )
    return found


def _latency(point: MovePoint) -> str:
    if point.latency is None:
        return NOTHING
    times = (point.latency.first_ns, point.latency.middle_ns, point.latency.last_ns)
    return "/".join(f"{time_ns / 1e3:.0f}" for time_ns in times)


def _cpu_cost(point: MovePoint) -> str:
    costs = (point.task_cpu_ms_per_gb, point.cpu_busy_ms_per_gb)
    return "/".join(NOTHING if cost is None else f"{cost:.0f}" for cost in costs)


def _verdicts(record: Record) -> Table:
    rows = tuple(
        (
            mode.name,
            _number(mode.pages_migrated),
            _number(mode.dma_copies),
            _number(mode.integrity.pages_verified if mode.integrity else None),
            _number(mode.integrity.pages_wrong if mode.integrity else None),
            _number(mode.device.descriptors if mode.device else None),
            _number(mode.device.bytes if mode.device else None),
            mode.outcome.value,
        )
        for mode in record.modes
    )
    return Table(
        "Integrity and proof of offload",
        (
            "Mode",
            "Migrated",
            "DMA_Copy",
            "Verified",
            "Wrong",
            "Dev descr.",
            "Dev bytes",
            "Verdict",
        ),
        rows,
        tuple(mode.outcome for mode in record.modes),
    )
