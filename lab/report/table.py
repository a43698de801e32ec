# SPDX-License-Identifier: GPL-2.0-or-later
"""A table of text, as every renderer takes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.results import Outcome

NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: stands above it.
        columns: headings; the first column is left-aligned, the others right.
        rows: as many cells each as there are columns.
        outcomes: of each row, for colour; None where a row has none.
        words: there are no figures in it, so that every column is left-aligned.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    outcomes: tuple[Outcome | None, ...] = field(default=())
    words: bool = False
