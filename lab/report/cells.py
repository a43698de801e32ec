# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix as tables: a cell for each trigger and kind, and why where it isn't PASS."""

from __future__ import annotations

from collections import Counter

from lab.report.table import NOTHING, Table
from lab.results import CellVerdict, Record


def cell_tables(record: Record) -> list[Table]:
    """A table for each mode: triggers down, kinds across; then why where it isn't PASS."""
    found = []
    for mode in record.modes:
        cells = {(cell.trigger, cell.kind): cell for cell in mode.cells}
        triggers = dict.fromkeys(cell.trigger for cell in mode.cells)
        kinds = dict.fromkeys(cell.kind for cell in mode.cells)
        rows = [
            (
                trigger,
                *(
                    cells[trigger, kind].verdict.value if (trigger, kind) in cells else NOTHING
                    for kind in kinds
                ),
            )
            for trigger in triggers
        ]
        if rows:
            found.append(
                Table(
                    f"{record.experiment}: {mode.name}",
                    ("Trigger", *kinds),
                    tuple(rows),
                    (None,) * len(rows),
                )
            )
    return [*found, _holes(record)]


def _holes(record: Record) -> Table:
    """The reason of every cell that is not PASS, once for all modes that share it.

    What was not run shows in the tables above; here it is counted.
    """
    modes: dict[tuple[str, str, str, str], list[str]] = {}
    for mode in record.modes:
        not_run = Counter(c.why or "" for c in mode.cells if c.verdict is CellVerdict.NOT_RUN)
        for why, count in not_run.items():
            key = (NOTHING, f"{count} cells", CellVerdict.NOT_RUN.value, why)
            modes.setdefault(key, []).append(mode.name)
        for cell in mode.cells:
            if cell.verdict not in {CellVerdict.PASS, CellVerdict.NOT_RUN}:
                key = (cell.trigger, cell.kind, cell.verdict.value, cell.why or "")
                modes.setdefault(key, []).append(mode.name)
    rows = tuple(
        (trigger, kind, verdict, ", ".join(names), why.splitlines()[0] if why else NOTHING)
        for (trigger, kind, verdict, why), names in modes.items()
    )
    return Table(
        "Cells that are not PASS",
        ("Trigger", "Kind", "Verdict", "Modes", "Why"),
        rows,
        (None,) * len(rows),
        words=True,
    )
