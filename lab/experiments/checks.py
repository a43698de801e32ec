# SPDX-License-Identifier: GPL-2.0-or-later
"""The checks that experiments share: pure functions from numbers to a `Check`.

A check says what was awaited and what was seen whether it held or not, so that a record shows how
near to its limits a pass was.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.errors import ProgramDied
from lab.results import Check, CpuShare, DeviceCounters, Integrity

PAGE_BYTES = 4096
_WRONG_SHOWN = 4
_WARNINGS_SHOWN = 4
_BACKGROUND_FIELDS = ("compact_daemon_", "pgscan_", "pgsteal_", "oom_kill")


def at_least(name: str, seen: int, floor: int, unit: str) -> Check:
    """`seen` reaches `floor`."""
    return Check(
        name=name,
        held=seen >= floor,
        awaited=f"at least {floor:,} {unit}",
        seen=f"{seen:,} {unit}",
    )


def equal(name: str, seen: int, awaited: int, unit: str) -> Check:
    """`seen` is exactly `awaited`."""
    return Check(
        name=name, held=seen == awaited, awaited=f"{awaited:,} {unit}", seen=f"{seen:,} {unit}"
    )


def within_pct(name: str, seen: int, reference: int, pct: float, what: str) -> Check:
    """`seen` differs from `reference` by no more than `pct` percent of it; 0 never matches."""
    apart_pct = abs(seen - reference) * 100 / reference if reference > 0 else float("inf")
    shown = f"{apart_pct:.2f} % apart" if reference > 0 else "nothing to compare with"
    return Check(
        name=name,
        held=seen > 0 and apart_pct <= pct,
        awaited=f"within {pct:g} % of {reference:,} {what}",
        seen=f"{seen:,} ({shown})",
    )


def no_warning(reports: Sequence[str]) -> Check:
    """The kernel has reported nothing; what is worse than a warning ends a mode as a CRASH."""
    return Check(
        name="kernel log",
        held=not reports,
        awaited="no warning of the kernel",
        seen="; ".join(reports[:_WARNINGS_SHOWN]) or "none",
    )


def integrity(found: Integrity, floor: int) -> Check:
    """Every page was compared (at least `floor`) and none was wrong; names the wrong ones."""
    seen = f"{found.pages_verified:,} pages verified, {found.pages_wrong:,} wrong"
    if found.wrong:
        shown = "; ".join(
            f"page {page.page} at {page.address} offset {page.offset}: "
            f"awaited {page.expected}, seen {page.seen}"
            for page in found.wrong[:_WRONG_SHOWN]
        )
        more = found.pages_wrong - min(len(found.wrong), _WRONG_SHOWN)
        seen += f": {shown}" + (f"; and {more:,} more" if more > 0 else "")
    return Check(
        name="contents",
        held=found.pages_wrong == 0
        and not found.wrong
        and found.pages_verified >= floor
        and found.pages_verified > 0,
        awaited=f"{floor:,} pages verified, 0 wrong",
        seen=seen,
    )


def engines_idle(found: DeviceCounters) -> Check:
    """The engines counted nothing at all: nothing was offloaded."""
    return Check(
        name="engines idle",
        held=not (found.descriptors or found.bytes or found.interrupts or found.errors),
        awaited="0 descriptors, 0 bytes, 0 interrupts, 0 errors",
        seen=counters_text(found),
    )


def engines_agree(
    found: DeviceCounters,
    *,
    folios: int,
    folio_bytes: int,
    folios_failures: int | None,
    piece_bytes: int | None = None,
) -> list[Check]:
    """The engines copied what dcbm says it had copied, told the driver so, and saw no error.

    Args:
        found: what the engines counted over the same time as dcbm.
        folios: growth of dcbm's ``folios_migrated``.
        folio_bytes: size of each of those folios.
        folios_failures: growth of dcbm's ``folios_failures``; None where it can't be read.
        piece_bytes: the longest copy that the DMA API maps; None is no limit.
    """
    pieces = -(-folio_bytes // piece_bytes) if piece_bytes else 1
    each = "one" if pieces == 1 else f"{pieces}"
    agreed = [
        Check(
            name="descriptors",
            held=found.descriptors == folios * pieces and folios > 0,
            awaited=f"{folios * pieces:,}, {each} for each folio that dcbm counts (more than 0)",
            seen=f"{found.descriptors:,}",
        ),
        Check(
            name="bytes",
            held=found.bytes == folios * folio_bytes and folios > 0,
            awaited=f"{folios * folio_bytes:,}, {folio_bytes:,} for each folio that dcbm counts",
            seen=f"{found.bytes:,}",
        ),
        at_least("interrupts", found.interrupts, 1, "interrupts raised"),
        equal("engine errors", found.errors, 0, "failed descriptors"),
    ]
    if folios_failures is not None:
        agreed.append(equal("dcbm failures", folios_failures, 0, "folios"))
    return agreed


def background_still(vmstat: dict[str, int]) -> Check:
    """No daemon compacted, nothing was reclaimed and nobody was killed during the measurement.

    Args:
        vmstat: growth of the fields of /proc/vmstat.
    """
    busy = {
        field: grown
        for field, grown in vmstat.items()
        if grown and field.startswith(_BACKGROUND_FIELDS)
    }
    return Check(
        name="background",
        held="compact_daemon_migrate_scanned" in vmstat and not busy,
        awaited="no compaction by kcompactd, no reclaim, no OOM kill",
        seen=", ".join(f"{field} +{grown}" for field, grown in busy.items()) or "none",
    )


def cpu_adds_up(share: CpuShare, tolerance_pct: float = 1.0) -> Check:
    """The kernel accounted for the whole of the pinned CPU's time, not more and not less."""
    total = share.user_pct + share.sys_pct + share.idle_pct + share.irq_pct
    return Check(
        name="CPU time",
        held=abs(total - 100) <= tolerance_pct,
        awaited=f"user + sys + idle + irq = 100 ± {tolerance_pct:g} % of wall time",
        seen=f"{share.user_pct:.2f} + {share.sys_pct:.2f} + {share.idle_pct:.2f} + "
        f"{share.irq_pct:.2f} = {total:.2f} %",
    )


def died(name: str, error: ProgramDied) -> Check:
    """The verdict that a program gives which a migration has killed."""
    awaited = "no program of the lab finds its own memory changed"
    return Check(name=name, held=False, awaited=awaited, seen=error.seen)


def counters_text(found: DeviceCounters) -> str:
    """Device counters in words."""
    return (
        f"{found.descriptors:,} descriptors, {found.bytes:,} bytes, "
        f"{found.interrupts:,} interrupts, {found.errors:,} errors"
    )
