# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds checks against the ledger of known bugs: which of them may fail, and how.

The ledger itself is docs/known-bugs.md; a `Deviation` says where and how one of its entries shows
in an experiment. A check that a deviation covers holds while the bug shows just as described. It
fails when something else goes wrong, and when the bug is gone: the ledger then has to be corrected.

Nothing here knows a certain experiment: a deviation is found by the experiment's name, the name of
the mode (or of a cell of a matrix) and that of the check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lab.config import LabFile
from lab.results import Check

LEDGER = "docs/known-bugs.md"
GONE = "sound: the bug is gone"


@dataclass(frozen=True)
class Deviation:
    """Where and how a known bug shows.

    Attributes:
        bug: id of its entry in the ledger, which has reason and evidence.
        experiment: the experiment that it shows in.
        cell: the mode, or the cell of a matrix; ``*`` stands for any text.
        check: regular expression for the whole name of the check that fails.
        seen: regular expression for what the check tells while the bug is there.
        engines: kinds of engines whose driver has it, as the lab file spells them.
        bases: kernel bases that it was seen with; none means every base of the lab.
        driver_fixes: whether it shows with ``kernel.driver_fixes`` too.
        always: whether it shows in every build and run; if not, a sound reaction is right as well.
    """

    bug: str
    experiment: str
    cell: str
    check: str
    seen: str
    engines: tuple[str, ...] = ("ptdma",)
    bases: tuple[str, ...] = ()
    driver_fixes: bool = False
    always: bool = True

    def covers(self, experiment: str, cell: str, machine: LabFile) -> bool:
        """Whether it can show in a cell of an experiment on a machine."""
        kernel = machine.kernel
        return (
            self.experiment == experiment
            and fnmatchcase(cell, self.cell)
            and machine.engine.kind in self.engines
            and (not self.bases or kernel.base in self.bases)
            and (self.driver_fixes or not kernel.driver_fixes)
        )


def excused(
    checks: Iterable[Check],
    deviations: Sequence[Deviation],
    *,
    experiment: str,
    cell: str,
    machine: LabFile,
) -> Iterator[Check]:
    """The checks of a cell, as they stand when known bugs are taken into account.

    Args:
        checks: as a sound machine would make them hold.
        deviations: what is known.
        experiment: name of the experiment.
        cell: name of the mode, or of the cell of a matrix.
        machine: what was booted.
    """
    known = [one for one in deviations if one.covers(experiment, cell, machine)]
    for check in checks:
        deviation = next((one for one in known if re.fullmatch(one.check, check.name)), None)
        yield check if deviation is None else _excuse(check, deviation)


def _excuse(check: Check, deviation: Deviation) -> Check:
    if check.held and not deviation.always:
        return check
    if check.held:
        return check.model_copy(
            update={
                "held": False,
                "awaited": f"known bug {deviation.bug}; sound would be: {check.awaited}",
                "seen": f"{check.seen} - {GONE}, correct {LEDGER}",
            }
        )
    return check.model_copy(
        update={
            "held": re.search(deviation.seen, check.seen) is not None,
            "awaited": f"known bug {deviation.bug}; sound would be: {check.awaited}",
        }
    )


def remarks(checks: Iterable[Check]) -> list[str]:
    """What a reader has to know of known bugs, each named once: it shows, or it is gone."""
    found: dict[str, None] = {}
    for check in checks:
        bug = re.match(r"known bug ([a-z0-9-]+);", check.awaited)
        if bug and check.held:
            found[f"shows the known bug {bug[1]}, see {LEDGER}"] = None
        elif bug and GONE in check.seen:
            found[f"the known bug {bug[1]} did not show: is it fixed?"] = None
    return list(found)
