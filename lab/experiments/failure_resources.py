# SPDX-License-Identifier: GPL-2.0-or-later
"""What a migration may leave behind: memory, isolated pages, DMA mappings.

Sources: the kernel's Documentation/filesystems/proc.rst (zoneinfo, vmstat),
admin-guide/sysctl/vm.rst (stat_refresh), core-api/dma-api.rst (debugfs dma-api) and
dev-tools/kmemleak.rst.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import PremiseError
from lab.experiments import checks
from lab.machine.jobs import GuestFileError
from lab.results import Check

if TYPE_CHECKING:
    from lab.machine.guest import Guest

_DMA_DEBUG = "/sys/kernel/debug/dma-api"
_KMEMLEAK = "/sys/kernel/debug/kmemleak"
_BOUNCED = "/sys/kernel/debug/swiotlb/io_tlb_used"
# What is freed in a slab is not a free page yet: slabs keep some of their own, and KASAN keeps
# every object for a while (kasan_cache_shrink() of mm/kasan/common.c gives up those of a cache).
_SHRINK_SLABS = (
    *("/bin/busybox", "sh", "-c"),
    "for at in /sys/kernel/slab/*/shrink; do if [ -e $at ]; then echo 1 > $at; fi; done",
)
# Functions of the copy offload; what other code of the kernel leaves is not its concern.
_OURS = re.compile(r"\b(dcbm_\w+|migrate_\w+|pt_\w+|ae4_\w+)")


@dataclass(frozen=True)
class Resources:
    """What is in use at a moment.

    Attributes:
        free_pages: free pages of all zones, those on per-CPU lists included.
        isolated: pages that are isolated from their lists.
        mappings: DMA mappings in existence, where the kernel counts them.
        bounce_slots: slots of the bounce buffers in use, where there are any.
    """

    free_pages: int
    isolated: int
    mappings: int | None = None
    bounce_slots: int | None = None

    @classmethod
    def read(cls, guest: Guest, timeout_s: float) -> Resources:
        """What is in use now; caches that can be dropped are dropped before.

        Args:
            guest: whose.
            timeout_s: host seconds that dropping them may take.

        Raises:
            PremiseError: they can't be dropped, or the kernel shows the numbers in another form.
        """
        guest.write("/proc/sys/vm/drop_caches", "3", timeout_s)
        shrunk = guest.run(_SHRINK_SLABS, timeout_s)
        if not shrunk.ok:
            raise PremiseError("slabs without unused pages", shrunk.describe())
        guest.write("/proc/sys/vm/stat_refresh", "1")
        zones = guest.read("/proc/zoneinfo")
        isolated = _sum(r"^nr_isolated_\w+ (\d+)$", guest.read("/proc/vmstat"))
        free = _sum(r"^  pages free +(\d+)$", zones)
        listed = _sum(r"^ +count: +(\d+)$", zones)
        if free is None or listed is None or isolated is None:
            raise PremiseError("free and isolated pages in /proc/zoneinfo and /proc/vmstat", zones)
        total, unused = (_optional(guest, f"{_DMA_DEBUG}/{name}") for name in _ENTRIES)
        return cls(
            free_pages=free + listed,
            isolated=isolated,
            mappings=None if total is None or unused is None else total - unused,
            bounce_slots=_optional(guest, _BOUNCED),
        )


_ENTRIES = ("nr_total_entries", "num_free_entries")


def _sum(pattern: str, text: str) -> int | None:
    found = re.findall(pattern, text, re.MULTILINE)
    return sum(int(number) for number in found) if found else None


def _optional(guest: Guest, path: str) -> int | None:
    """A number that not every kernel shows."""
    try:
        return int(guest.read(path))
    except GuestFileError:
        return None


def leak_checks(before: Resources, after: Resources, slack_pages: int) -> list[Check]:
    """Nothing was left behind.

    Args:
        before: what was in use before the first fault, after a migration without one.
        after: what is in use when the last migration is over.
        slack_pages: pages that the rest of the kernel may have taken in between.
    """
    taken = before.free_pages - after.free_pages
    found = [
        checks.equal("isolated pages", after.isolated, before.isolated, "pages"),
        Check(
            name="memory",
            held=taken <= slack_pages,
            awaited=f"at most {slack_pages} pages less are free than before the faults",
            seen=f"{taken:,} pages less",
        ),
    ]
    for name, earlier, later in (
        ("mappings", before.mappings, after.mappings),
        ("bounce buffers", before.bounce_slots, after.bounce_slots),
    ):
        if earlier is not None:
            found.append(checks.equal(name, later if later is not None else -1, earlier, "in use"))
    return found


def unreferenced(guest: Guest) -> list[str] | None:
    """Functions of the copy offload that allocated what nobody refers to any more.

    Returns:
        None where the kernel has no kmemleak.
    """
    try:
        guest.write(_KMEMLEAK, "scan")
        # An object counts as leaked when two scans in a row find no reference.
        guest.write(_KMEMLEAK, "scan")
        text = guest.read(_KMEMLEAK)
    except GuestFileError:
        return None
    return list(dict.fromkeys(_OURS.findall(text)))
