# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to hold in a cell of the matrix: pure functions from what was found to checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.config import Topology
from lab.experiments import checks
from lab.experiments.dma_path import longest_copy_bytes
from lab.experiments.matrix_cells import Kind, Promise, Trigger, moves
from lab.experiments.premises import number
from lab.results import Check, DeviceCounters, Integrity

_WRONG_KEPT = 16
_MOVED = "moved"


@dataclass(frozen=True)
class Found:
    """What one cell has shown.

    Attributes:
        pages: in the region.
        folios: in the region.
        folio_bytes: size of each.
        pages_moved: pages in another frame than before.
        folios_moved: folios all of whose pages are.
        on_to: pages on the destination node.
        absent: pages that have no frame any more.
        pull_errno: with which the kernel refused the trigger; 0 is none.
        lost: what did not survive beside the contents, in words.
        integrity: of the contents.
        device: what the engines counted.
        dma_copies: what dcbm counted; None without it.
        folios_failures: the same.
        pages_migrated: all that the kernel migrated meanwhile, by /proc/vmstat.
    """

    pages: int
    folios: int
    folio_bytes: int
    pages_moved: int
    folios_moved: int
    on_to: int
    absent: int
    pull_errno: int
    lost: str
    integrity: Integrity
    device: DeviceCounters
    dma_copies: int | None
    folios_failures: int | None
    pages_migrated: int = 0

    @classmethod
    def of(
        cls,
        result: Mapping[str, Any],
        ready: Mapping[str, Any],
        device: DeviceCounters,
        dma_copies: int | None,
        folios_failures: int | None,
    ) -> Found:
        """Read what the guest's program has told.

        Raises:
            PremiseError: a number is missing.
        """
        return cls(
            pages=number(result, "pages"),
            folios=number(result, "folios"),
            folio_bytes=number(ready, "folio_kib") * 1024,
            pages_moved=number(result, "pages_moved"),
            folios_moved=number(result, "folios_moved"),
            on_to=number(result, "on_to"),
            absent=number(result, "absent"),
            pull_errno=number(result, "pull_errno"),
            lost=str(result.get("lost")),
            integrity=Integrity.model_validate(
                {key: result.get(key) for key in ("pages_verified", "pages_wrong", "wrong")}
            ),
            device=device,
            dma_copies=dma_copies,
            folios_failures=folios_failures,
            pages_migrated=number(result.get("vmstat") or {}, "pgmigrate_success"),
        )

    def added_to(self, earlier: Integrity | None) -> Integrity:
        """The mode's integrity with this cell's."""
        if earlier is None:
            return self.integrity
        return Integrity(
            pages_verified=earlier.pages_verified + self.integrity.pages_verified,
            pages_wrong=earlier.pages_wrong + self.integrity.pages_wrong,
            wrong=[*earlier.wrong, *self.integrity.wrong][:_WRONG_KEPT],
        )


def cell_checks(
    trigger: Trigger, kind: Kind, found: Found, *, offload: bool, topology: Topology
) -> list[Check]:
    """Every check on one cell.

    Args:
        trigger: how it was migrated.
        kind: what was.
        found: what was seen.
        offload: whether dcbm was on for the trigger's reason.
        topology: the machine's; bounce buffers limit the length of a copy.
    """
    made = [
        checks.integrity(found.integrity, found.pages),
        _survived(trigger, kind, found),
        _moved(trigger, kind, found),
    ]
    if not offload:
        return [*made, *_not_offloaded(found)]
    if moves(trigger, kind) and kind.offloaded:
        return [*made, *_offloaded(trigger, found, topology)]
    return [*made, _others_offloaded(found)]


def left_alone(trigger: Trigger, made: Sequence[Check]) -> str | None:
    """Why a cell's checks are no verdict: the kernel chose to take too little of the region.

    Nothing else may be wrong. None: they are a verdict.
    """
    bad = [check for check in made if not check.held]
    if not trigger.chance or [check.name for check in bad] != [_MOVED]:
        return None
    return f"the kernel took too little of it: {bad[0].seen}"


def _survived(trigger: Trigger, kind: Kind, found: Found) -> Check:
    told = [part for part in found.lost.split("; ") if part]
    kept = [part for part in told if not re.fullmatch(trigger.changes or "(?!)", part)]
    excused = kind.excused is not None and re.fullmatch(kind.excused, "; ".join(kept)) is not None
    lost = "; ".join(kept)
    return Check(
        name="survived",
        held=not kept or excused,
        awaited="nothing lost beside the contents"
        + (", but for what the trigger itself changes" if trigger.changes else "")
        + (f", but for the known bug {kind.bug}" if kind.bug else ""),
        seen=f"known bug {kind.bug}: {lost}" if excused else lost or "nothing lost",
    )


def _moved(trigger: Trigger, kind: Kind, found: Found) -> Check:
    if not moves(trigger, kind):
        return checks.equal("stayed", found.pages_moved, 0, "pages moved")
    seen = found.pages_moved if trigger.promise is Promise.FRAME else found.on_to
    asked = min(found.pages, trigger.pages_most or found.pages)
    floor = max(1, int(asked * trigger.share))
    return Check(
        name=_MOVED,
        held=seen >= floor and not found.absent and not found.pull_errno,
        awaited=f"{trigger.promise}: at least {floor:,} of {found.pages:,} pages, none absent",
        seen=f"{seen:,}, {found.absent:,} absent, errno {found.pull_errno}",
    )


def _others_offloaded(found: Found) -> Check:
    """What was offloaded can have been folios of others only: dcbm is on, and it isn't for these.

    The program's own pages and the kernel's move along with a region. By the kernel's count of
    pages there were so many beside the region's; copies of the region would go beyond it.
    """
    most = found.pages_migrated - found.pages_moved
    copies = found.dma_copies or 0
    return Check(
        name="not offloaded",
        held=copies <= most and not found.device.errors,
        awaited=f"at most {most:,} folios, the pages migrated beside the region's",
        seen=f"{copies:,} folios, {checks.counters_text(found.device)}",
    )


def _offloaded(trigger: Trigger, found: Found, topology: Topology) -> list[Check]:
    copies = found.dma_copies or 0
    if trigger.exact:
        moved = found.pages_moved if trigger.splits else found.folios_moved
        made = [checks.equal("offloaded", copies, moved, "folios")]
        return made + checks.engines_agree(
            found.device,
            folios=copies,
            folio_bytes=checks.PAGE_BYTES if trigger.splits else found.folio_bytes,
            folios_failures=found.folios_failures,
            piece_bytes=longest_copy_bytes(topology),
        )
    # Folios of others were migrated along with the region, of sizes that nobody knows.
    # What the kernel may leave alone altogether is judged by how much of it has moved.
    least = 0 if trigger.chance else 1
    return [
        checks.at_least("offloaded", copies, max(least, found.folios_moved), "folios"),
        checks.at_least("descriptors", found.device.descriptors, max(least, copies), "descriptors"),
        checks.equal("engine errors", found.device.errors, 0, "failed descriptors"),
        checks.equal("dcbm failures", found.folios_failures or 0, 0, "folios"),
    ]


def _not_offloaded(found: Found) -> list[Check]:
    return [
        checks.engines_idle(found.device),
        checks.equal("not offloaded", found.dma_copies or 0, 0, "folios"),
    ]
