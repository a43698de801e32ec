# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to hold in a cell of the matrix: pure functions from what was found to checks."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.config import Topology
from lab.experiments import checks
from lab.experiments.dma_path import longest_copy_bytes
from lab.experiments.matrix_cells import (
    LEAST,
    NOT_OFFERED,
    PARTLY,
    Kind,
    Promise,
    Trigger,
    changes,
    moves,
)
from lab.experiments.premises import number
from lab.results import Cell, CellVerdict, Check, DeviceCounters, Integrity

_WRONG_KEPT = 16
# Others may have failed to move at most one in so many pages of a region, and so many pages of
# others may be copied by the CPU.
_FEW = 16
_OTHERS = 16
# Of a trigger that moves as much as it needs: with fewer, none may need anything.
_MANY_CELLS = 4
# With these the kernel hasn't tried: "nothing moved" would say no more than that.
_NOT_TRIED = frozenset(
    {errno.EPERM, errno.ENOENT, errno.EBADF, errno.EACCES, errno.EFAULT, errno.ENODEV, errno.ENOSYS}
)
# Of /proc/kpageflags, include/uapi/linux/kernel-page-flags.h and include/linux/kernel-page-flags.h:
# what may keep a page where it is.
_PAGE_FLAGS: Mapping[int, str] = {
    0: "locked",
    4: "dirty",
    5: "lru",
    8: "writeback",
    9: "reclaim",
    12: "anon",
    13: "swapcache",
    15: "head",
    16: "tail",
    17: "hugetlb",
    18: "unevictable",
    19: "hwpoison",
    21: "ksm",
    22: "thp",
    33: "mlocked",
    35: "private",
}


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
        asked: pages that the trigger was to move.
        asked_moved: those of them that are in another frame.
        absent: pages that have no frame any more.
        pull_errno: with which the kernel refused the trigger; 0 is none.
        lost: what did not survive beside the contents, in words.
        integrity: of the contents; None if the program ended before it had looked at them.
        device: what the engines counted.
        dma_copies: what dcbm counted; None without it.
        folios_failures: the same.
        pages_migrated: all that the kernel migrated meanwhile, by /proc/vmstat.
        pages_failed: all that it failed to.
        retries: how often the trigger had to be pulled again.
        stayed: of the pages that were to move and didn't, the one in the lowest frame, in words;
            empty if there is none.
    """

    pages: int
    folios: int
    folio_bytes: int
    pages_moved: int
    folios_moved: int
    on_to: int
    asked: int
    asked_moved: int
    absent: int
    pull_errno: int
    lost: str
    integrity: Integrity | None
    device: DeviceCounters
    dma_copies: int | None
    folios_failures: int | None
    pages_migrated: int = 0
    pages_failed: int = 0
    retries: int = 0
    stayed: str = ""

    @property
    def pages_copied(self) -> int:
        """By the engines."""
        return -(-self.device.bytes // checks.PAGE_BYTES)

    @classmethod
    def of(
        cls,
        ready: Mapping[str, Any],
        moved: Mapping[str, Any],
        looked: Mapping[str, Any] | None,
        *,
        device: DeviceCounters,
        dma_copies: int | None,
        folios_failures: int | None,
    ) -> Found:
        """Read what the guest's program has told, in the order of its events.

        Args:
            ready: before the migration.
            moved: right after it.
            looked: at the contents and the rest; None if it didn't come to that.
            device: what the engines counted.
            dma_copies: what dcbm counted.
            folios_failures: the same.

        Raises:
            PremiseError: a number is missing.
        """
        integrity = None
        if looked is not None:
            integrity = Integrity.model_validate(
                {key: looked.get(key) for key in ("pages_verified", "pages_wrong", "wrong")}
            )
        vmstat = moved.get("vmstat") or {}
        return cls(
            pages=number(moved, "pages"),
            folios=number(moved, "folios"),
            folio_bytes=number(ready, "folio_kib") * 1024,
            pages_moved=number(moved, "pages_moved"),
            folios_moved=number(moved, "folios_moved"),
            on_to=number(moved, "on_to"),
            asked=number(moved, "asked"),
            asked_moved=number(moved, "asked_moved"),
            absent=number(moved, "absent"),
            pull_errno=number(moved, "pull_errno"),
            lost=str((looked or {}).get("lost", "")),
            integrity=integrity,
            device=device,
            dma_copies=dma_copies,
            folios_failures=folios_failures,
            pages_migrated=number(vmstat, "pgmigrate_success"),
            pages_failed=number(vmstat, "pgmigrate_fail"),
            retries=number(moved, "retries"),
            stayed=_stayed(moved.get("stayed")),
        )

    def added_to(self, earlier: Integrity | None) -> Integrity | None:
        """The mode's integrity with this cell's."""
        if earlier is None or self.integrity is None:
            return earlier or self.integrity
        return Integrity(
            pages_verified=earlier.pages_verified + self.integrity.pages_verified,
            pages_wrong=earlier.pages_wrong + self.integrity.pages_wrong,
            wrong=[*earlier.wrong, *self.integrity.wrong][:_WRONG_KEPT],
        )


def _stayed(page: Mapping[str, Any] | None) -> str:
    if page is None:
        return ""
    flags = number(page, "flags")
    names = [name for bit, name in _PAGE_FLAGS.items() if flags >> bit & 1]
    return (
        f"the lowest that stayed is page {number(page, 'page'):,} in frame "
        f"{number(page, 'frame'):#x}, flags {', '.join(names) or 'none'} ({flags:#x})"
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
    nothing = needed_nothing(trigger, kind, found)
    made = preserved(trigger, kind, found)
    if not nothing:
        made.append(_moved(trigger, kind, found))
    if not offload:
        return [*made, *_not_offloaded(found)]
    if moves(trigger, kind) and kind.offloaded and not nothing:
        return [*made, *_offloaded(trigger, kind, found, topology)]
    return [*made, _others_offloaded(found)]


def preserved(trigger: Trigger, kind: Kind, found: Found) -> list[Check]:
    """That a region is what it was, wherever it lies now; empty if nobody could look at it."""
    if found.integrity is None:
        return []
    contents = checks.integrity(found.integrity, found.pages)
    return [contents, _survived(trigger, kind, found)]


_KNOWN = "known bug "


def cell_verdict(made: Sequence[Check], ended_early: str | None) -> tuple[CellVerdict, str | None]:
    """What a cell's checks come to, and why where it isn't PASS.

    Args:
        made: the checks.
        ended_early: why the program could not look at the region afterwards; None if it has.
    """
    bad = [f"{c.name}: awaited {c.awaited}, seen {c.seen}" for c in made if not c.held]
    if bad:
        return CellVerdict.FAIL, "; ".join([*bad, *([ended_early] if ended_early else [])])
    if ended_early is not None:
        return CellVerdict.ERROR, ended_early
    known = [check.seen for check in made if check.seen.startswith(_KNOWN)]
    return (CellVerdict.KNOWN_BUG, "; ".join(known)) if known else (CellVerdict.PASS, None)


def _survived(trigger: Trigger, kind: Kind, found: Found) -> Check:
    told = [part for part in found.lost.split("; ") if part]
    own = changes(trigger, kind)
    own_told = [part for part in told if re.fullmatch(own, part)]
    lost = "; ".join(part for part in told if part not in own_told)
    excused = kind.excused is not None and re.fullmatch(kind.excused, lost) is not None
    return Check(
        name="survived",
        held=not lost or excused,
        awaited="nothing lost beside the contents"
        + (f", but for what the trigger changes itself: {'; '.join(own_told)}" if own_told else "")
        + (f", but for the known bug {kind.bug}" if kind.bug else ""),
        seen=f"{_KNOWN}{kind.bug}: {lost}" if excused else lost or "nothing lost",
    )


def _moved(trigger: Trigger, kind: Kind, found: Found) -> Check:
    if not moves(trigger, kind):
        return Check(
            name="stayed",
            held=not found.pages_moved and found.pull_errno not in _NOT_TRIED,
            awaited="0 pages moved, and the kernel has tried",
            seen=f"{found.pages_moved:,} pages moved, errno {found.pull_errno}",
        )
    seen = found.asked_moved if trigger.promise is Promise.FRAME else found.on_to
    least = found.asked
    if trigger.as_needed:
        seen, least = found.pages_moved, 1
    elif (trigger.name, kind.name) in PARTLY:
        least = found.folio_bytes // checks.PAGE_BYTES
    else:
        least = int(least * LEAST.get((trigger.name, kind.name), 1.0))
    busy = trigger.may_be_busy and found.pull_errno == errno.EBUSY
    if busy:
        least = least * 3 // 4
    return Check(
        name="moved",
        held=seen >= max(1, least) and (busy or not found.pull_errno),
        awaited=f"{trigger.promise}: at least {least:,} of {found.pages:,} pages",
        seen=f"{seen:,}, {found.absent:,} absent, errno {found.pull_errno}"
        + (f", {found.stayed}" if found.stayed else ""),
    )


def needed_nothing(trigger: Trigger, kind: Kind, found: Found) -> bool:
    """Whether a trigger that may stop before it comes to a region has moved none of it.

    One that moves as much as it needs may need nothing; compaction may end at another folio of the
    kind (`PARTLY`), of which the page cache has more than the region's. A kernel that has tried and
    failed with more pages than others have (up to 30 were seen) did need them.
    """
    may = trigger.as_needed or (trigger.name, kind.name) in PARTLY
    tried = found.pages_failed > found.pages // _FEW
    return may and moves(trigger, kind) and not found.pages_moved and not tried


def needed_some(trigger: Trigger, cells: Iterable[tuple[Kind, Cell]]) -> Check | None:
    """Whether a trigger that moves as much as it needs has needed anything in half of its cells.

    Else it could stop moving altogether, and each of its cells would be not applicable.

    Args:
        trigger: that moves as it needs.
        cells: of it.

    Returns:
        None for so few cells that chance may have it.
    """
    moved = [
        cell.pages_moved or 0
        for kind, cell in cells
        if moves(trigger, kind) and cell.pages is not None
    ]
    if len(moved) < _MANY_CELLS:
        return None
    return checks.at_least(
        f"{trigger.name}: cells with a migration", sum(map(bool, moved)), len(moved) // 2, "cells"
    )


def asked_too_little(trigger: Trigger, found: Found) -> str | None:
    """Why a cell has no premise: the trigger was not to move enough of the region to prove it."""
    least = min(int(found.pages * trigger.asked_least), trigger.pages_most or found.pages)
    if found.asked >= least:
        return None
    return f"only {found.asked:,} of {found.pages:,} pages are where {trigger.name} takes them from"


def _others_offloaded(found: Found) -> Check:
    """What was offloaded can have been folios of others only: dcbm is on, and it isn't for these.

    The program's own pages and the kernel's move along with a region. By the kernel's count of
    pages there were so many beside the region's; copies of the region would go beyond it, whether
    dcbm counts them or only the engines do.
    """
    most = found.pages_migrated - found.pages_moved
    copies = found.dma_copies or 0
    return Check(
        name="not offloaded",
        held=max(copies, found.pages_copied) <= most
        and not found.device.errors
        and not found.folios_failures,
        awaited=f"at most {most:,} pages, those migrated beside the region's, and none in vain",
        seen=f"{copies:,} folios, {found.folios_failures or 0:,} in vain, "
        f"{checks.counters_text(found.device)}",
    )


def _offloaded(trigger: Trigger, kind: Kind, found: Found, topology: Topology) -> list[Check]:
    copies = found.dma_copies or 0
    if trigger.exact:
        moved = found.pages_moved if trigger.splits else found.folios_moved
        least = max(0, moved - NOT_OFFERED.get((trigger.name, kind.name), 0))
        made = [
            Check(
                name="offloaded",
                held=least <= copies <= moved,
                awaited=f"{moved:,} folios" + (f", or {least:,} at least" if least < moved else ""),
                seen=f"{copies:,} folios",
            )
        ]
        return made + checks.engines_agree(
            found.device,
            folios=copies,
            folio_bytes=checks.PAGE_BYTES if trigger.splits else found.folio_bytes,
            folios_failures=found.folios_failures,
            piece_bytes=longest_copy_bytes(topology),
        )
    # Folios of others were migrated along with the region, of sizes that nobody knows.
    least = max(1, found.folios_moved)
    offloaded = checks.at_least("offloaded", copies, least, "folios")
    if trigger.promise is Promise.NODE:
        # What these take along are pages of the program, each migrated at once. What compaction
        # and reclaim copy can fail to move, and be copied again.
        most = least + found.pages_migrated - found.pages_moved
        offloaded = Check(
            name="offloaded",
            held=least <= copies <= most,
            awaited=f"{least:,} folios of the region and at most {most - least:,} of the program",
            seen=f"{copies:,}",
        )
    return [
        offloaded,
        _most_offloaded(found),
        checks.at_least("descriptors", found.device.descriptors, max(1, copies), "descriptors"),
        checks.equal("engine errors", found.device.errors, 0, "failed descriptors"),
        checks.equal("dcbm failures", found.folios_failures or 0, 0, "folios"),
    ]


def _most_offloaded(found: Found) -> Check:
    """The region's folios are among those copied, and not only as many of others.

    What the engines copied is held against all that was migrated meanwhile. A few pages of others,
    such as page cache that somebody uses, may not be offloaded; they mustn't hide that the region
    wasn't.
    """
    most = min(_OTHERS, max(0, found.pages_moved - 1))
    return Check(
        name="pages",
        held=found.pages_migrated - found.pages_copied <= most,
        awaited=f"all pages that were migrated but {most:,}: {found.pages_migrated:,}",
        seen=f"{found.pages_copied:,}",
    )


def copies_used(found: Found, struck: int, offset: int) -> Check:
    """That a region has what the engines wrote, and not what the CPU has copied once more.

    Args:
        found: of a region each copy of which was damaged.
        struck: how many copies were.
        offset: of the damaged byte, from the start of a copy; less than a page.
    """
    integrity = found.integrity
    looked, wrong = (integrity.pages_verified, integrity.pages_wrong) if integrity else (0, 0)
    others = [page for page in integrity.wrong if page.offset != offset] if integrity else []
    # Each page is looked at in several ways, and some kinds have one past the copy: of five a clean
    # file's disk, of three the swap. A kernel that copies once more does so by kind.
    most = bool(looked) and wrong * found.pages * 2 > found.folios_moved * looked
    seen = f"{struck:,} copies damaged, {wrong:,} of {looked:,} looks at a page found damage"
    if others:
        seen += f", page {others[0].page} at offset {others[0].offset:,}"
    return Check(
        name="copies used",
        held=bool(found.folios_moved) and struck >= found.folios_moved and most and not others,
        awaited=f"each of {found.folios_moved:,} folios that moved with a copy whose byte "
        f"{offset:,} is damaged, and the damage found in more than half of all looks",
        seen=seen,
    )


def _not_offloaded(found: Found) -> list[Check]:
    return [
        checks.engines_idle(found.device),
        checks.equal(
            "not offloaded",
            (found.dma_copies or 0) + (found.folios_failures or 0),
            0,
            "folios, copied or in vain",
        ),
    ]
