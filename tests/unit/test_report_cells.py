# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of the matrix: every cell shows, and what was not run is counted with its reason."""

from __future__ import annotations

from lab.config import LabFile
from lab.experiments import matrix
from lab.experiments.matrix_cells import KINDS, TRIGGERS
from lab.report.cells import cell_tables
from lab.results import Cell, CellVerdict, Mode, Outcome, Record


def cell(trigger: str, kind: str, verdict: CellVerdict, why: str | None = None) -> Cell:
    return Cell(trigger=trigger, reason="any", kind=kind, verdict=verdict, why=why)


def test_what_was_not_run_is_counted_and_the_rest_named() -> None:
    cells = [
        cell("mbind", "anon", CellVerdict.PASS),
        cell("mbind", "anon-2m", CellVerdict.KNOWN_BUG, "known bug of the kernel"),
        cell("mbind", "shmem", CellVerdict.NOT_RUN, "left out"),
        cell("offline", "shmem", CellVerdict.NOT_RUN, "left out"),
    ]
    mode = Mode.model_construct(name="on", outcome=Outcome.PASS, cells=cells)
    table, holes = cell_tables(Record.model_construct(experiment="matrix", modes=[mode]))
    assert table.rows == (
        ("mbind", "PASS", "known bug", "not run"),
        ("offline", "-", "-", "not run"),
    )
    assert set(holes.rows) == {
        ("-", "2 cells", "not run", "on", "left out"),
        ("mbind", "anon-2m", "known bug", "on", "known bug of the kernel"),
    }


def test_quick_leaves_no_cell_out_silently() -> None:
    (mode, *_) = matrix.plan(LabFile(), matrix.MatrixParameters(quick=True))
    assert mode.cells
    assert len(mode.cells) + len(mode.left_out) == len(TRIGGERS) * len(KINDS)
    (whole, *_) = matrix.plan(LabFile(), matrix.MatrixParameters())
    assert not whole.left_out
    # What was not asked for is no hole.
    named = matrix.MatrixParameters(quick=True, triggers=("mbind",), kinds=("anon",))
    (one, *_) = matrix.plan(LabFile(), named)
    assert (len(one.cells), one.left_out) == (1, ())
