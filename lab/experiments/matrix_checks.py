# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to hold in a cell of the matrix: pure functions from what was found to checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.config import Topology
from lab.experiments import checks
from lab.experiments.dma_path import longest_copy_bytes
from lab.experiments.matrix_cells import Kind, Promise, Trigger
from lab.experiments.premises import number
from lab.results import Check, DeviceCounters, Integrity

_WRONG_KEPT = 16


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
        _survived(kind, found),
        _moved(trigger, kind, found),
    ]
    if offload and kind.movable and kind.offloaded:
        return [*made, *_offloaded(trigger, found, topology)]
    return [*made, *_not_offloaded(found)]


def _survived(kind: Kind, found: Found) -> Check:
    excused = kind.excused is not None and re.fullmatch(kind.excused, found.lost) is not None
    return Check(
        name="survived",
        held=found.lost == "" or excused,
        awaited="nothing lost beside the contents"
        + (f", but for the known bug {kind.bug}" if kind.bug else ""),
        seen=f"known bug {kind.bug}: {found.lost}" if excused else found.lost or "nothing lost",
    )


def _moved(trigger: Trigger, kind: Kind, found: Found) -> Check:
    if not kind.movable:
        return checks.equal("stayed", found.pages_moved, 0, "pages moved")
    seen = found.pages_moved if trigger.promise is Promise.FRAME else found.on_to
    asked = min(found.pages, trigger.pages_most or found.pages)
    floor = max(1, int(asked * trigger.share))
    return Check(
        name="moved",
        held=seen >= floor and not found.absent and not found.pull_errno,
        awaited=f"{trigger.promise}: at least {floor:,} of {found.pages:,} pages, none absent",
        seen=f"{seen:,}, {found.absent:,} absent, errno {found.pull_errno}",
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
    return [
        checks.at_least("offloaded", copies, max(1, found.folios_moved), "folios"),
        checks.at_least("descriptors", found.device.descriptors, max(1, copies), "descriptors"),
        checks.equal("engine errors", found.device.errors, 0, "failed descriptors"),
        checks.equal("dcbm failures", found.folios_failures or 0, 0, "folios"),
    ]


def _not_offloaded(found: Found) -> list[Check]:
    return [
        checks.engines_idle(found.device),
        checks.equal("not offloaded", found.dma_copies or 0, 0, "folios"),
    ]
