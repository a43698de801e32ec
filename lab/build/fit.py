# SPDX-License-Identifier: GPL-2.0-or-later
"""How the patches of a series went on their base, kept with the tree and with the kernel.

Whether a three-way merge is possible depends on what else is at hand; what was built is the same
whichever way it came about. So it is kept with what was built, and said each time that is used.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.build.series import Series
from lab.progress import Progress

FIT = ".dcbm-lab-fit"


@dataclass(frozen=True)
class Fit:
    """Patches by their numbers, from 1, so that each form of a series has its own names for them.

    Attributes:
        merged: needed a three-way merge.
        known: change nothing: the base has them already.
    """

    merged: tuple[int, ...] = ()
    known: tuple[int, ...] = ()

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        path.write_text(f"{json.dumps(asdict(self))}\n", encoding="utf-8")

    def say(self, series: Series, progress: Progress) -> None:
        """Say which patches aren't simply applied."""
        for number in self.merged:
            progress.note(f"merged three ways: {series.patches[number - 1].name}")
        for number in self.known:
            name = series.patches[number - 1].name
            progress.warn(f"changes nothing, the base has it already: {name}")


def read_fit(path: Path) -> Fit:
    """What was kept.

    Raises:
        OSError, ValueError: nothing that can be read.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    return Fit(tuple(data["merged"]), tuple(data["known"]))
