# SPDX-License-Identifier: GPL-2.0-or-later
"""The two axes of the matrix, and what is awaited where they cross.

A trigger is a way to have the kernel migrate folios; the kernel knows each under a reason (``enum
migrate_reason``, include/linux/migrate_mode.h). A kind is what is migrated. The names of both are
those of the guest's program ``migrate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Promise(StrEnum):
    """What a trigger does to the pages of a kind that can move."""

    NODE = "every page on the node asked for"
    FRAME = "every page in another frame"
    TIER = "every page on the slow node"


@dataclass(frozen=True)
class Trigger:
    """A way to have folios migrated.

    Attributes:
        name: the program's.
        reason: the kernel's name, as dcbm's ``reason_mask`` has it.
        promise: what becomes of each page.
        share: of the pages that have to move at least; what the kernel leaves to chance is below 1.
        exact: nothing but the region is migrated, so that the offload can be counted to the folio.
        quick: part of ``--quick``.
        pages_most: of the region that it takes at most; None is all.
        splits: whether it splits a large folio before it migrates its pages.
        zone_movable: whether the region has to be in ZONE_MOVABLE.
        module: that it needs in the guest.
        since: the first Linux that has it; an older one may lack it.
        changes: of what a migration carries over, what the trigger itself changes in doing its
            work, as a pattern of one of the things that the program tells.
        chance: whether the kernel chooses what it takes; a cell of which it took too little
            is no verdict then.
    """

    name: str
    reason: str
    promise: Promise
    share: float = 1.0
    exact: bool = True
    quick: bool = False
    pages_most: int | None = None
    splits: bool = False
    zone_movable: bool = False
    module: str | None = None
    since: tuple[int, int] = (0, 0)
    changes: str | None = None
    chance: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of folio.

    Attributes:
        name: the program's.
        movable: whether its folios migrate at all; those that don't have to stay, unharmed.
        offloaded: whether a provider is asked to copy them.
        quick: part of ``--quick``.
        excused: what the stock kernel may lose, as a pattern of the program's whole sentence.
        bug: where docs/known-bugs.md has the evidence for it.
    """

    name: str
    movable: bool = True
    offloaded: bool = True
    quick: bool = False
    excused: str | None = None
    bug: str | None = None


# Without a free block of its order a folio is split, and migrates in pieces: -ENOMEM in
# migrate_pages_batch() of mm/migrate.c. Splitting a file folio leaves it unmapped, "then faulted
# back on demand": unmap_folio() of mm/huge_memory.c.
_SPLIT = (
    r"flag (head|tail|thp) of \d+ pages|(presence|file mapping|exclusive mapping|dirty|young) of "
    r"\d+ pages changed|(FilePmdMapped|Rss|Pss|Referenced|Shared_\w+|Private_\w+) was .*"
)
# A task on the other node reads the whole region; it is for its faults that the pages move.
_READ = r"Referenced was \d+ KiB and is \d+"
# Soft offlining gets each page by its address first, and a page that is got is young: madvise(2)
# by way of get_user_pages_fast() in madvise_inject_error() of mm/madvise.c.
_SOFT_OFFLINED = rf"{_READ}|AnonHugePages was .*|{_SPLIT}"
# MADV_COLD takes the accessed bits, reclaim the activity: mm/madvise.c, mm/vmscan.c.
_AGED = rf"{_READ}|flag (active|referenced) of \d+ pages"
# A registered buffer is pinned for writing, as if it had been written to: broken out of what it
# shared, dirty, soft-dirty and young (FOLL_WRITE in io_uring/rsrc.c).
_WRITTEN = (
    rf"{_READ}|\d+ pages became soft-dirty|exclusive mapping of \d+ pages changed|number of "
    r"mappings of \d+ pages changed|flag (dirty|active|ksm|referenced) of \d+ pages|KSM was .*"
)

TRIGGERS: tuple[Trigger, ...] = (
    Trigger("move_pages", "syscall_or_cpuset", Promise.NODE, quick=True),
    # The whole process: pages of its program may be on the node, too.
    Trigger("migrate_pages", "syscall_or_cpuset", Promise.NODE, exact=False),
    Trigger("cpuset", "syscall_or_cpuset", Promise.NODE, exact=False),
    Trigger("mbind", "mempolicy_mbind", Promise.NODE, quick=True),
    Trigger("mbind_all", "mempolicy_mbind", Promise.NODE),
    *(
        Trigger(
            name,
            "compaction",
            Promise.FRAME,
            share=0.1,
            exact=False,
            quick=name == "compact_node",
            module=module,
            changes=_SPLIT,
            chance=True,
        )
        for name, module in (
            ("compact_node", None),
            ("compact_memory", None),
            ("compact_direct", "compact_trigger"),
            ("compact_proactive", "compact_trigger"),
        )
    ),
    Trigger("numa_balancing", "numa_misplaced", Promise.NODE, since=(6, 13), changes=_READ),
    Trigger("offline", "memory_hotplug", Promise.FRAME, exact=False, zone_movable=True),
    Trigger(
        "soft_offline",
        "memory_failure",
        Promise.FRAME,
        pages_most=64,
        splits=True,
        module="hwpoison_inject",
        changes=_SOFT_OFFLINED,
    ),
    Trigger("contig_range", "contig_range", Promise.FRAME, module="contig_trigger"),
    Trigger("longterm_pin", "longterm_pin", Promise.FRAME, zone_movable=True, changes=_WRITTEN),
    Trigger(
        "demotion",
        "demotion",
        Promise.TIER,
        share=0.99,
        exact=False,
        since=(6, 17),
        changes=_AGED,
    ),
    Trigger("damon_cold", "damon", Promise.NODE, since=(6, 11), changes=_READ),
    Trigger("damon_hot", "damon", Promise.NODE, since=(6, 17), changes=_READ),
)

# Which kinds are offloaded is folio_offloadable() of the series' third patch: no hugetlb, no
# movable_ops, no reference that isn't accounted for, and only mappings whose migrate_folio is
# migrate_folio (shmem, swap cache) or filemap_migrate_folio (XFS).
KINDS: tuple[Kind, ...] = (
    Kind("anon", quick=True),
    Kind("anon-16k"),
    Kind("anon-64k"),
    Kind("anon-1m"),
    Kind(
        "anon-2m",
        quick=True,
        excused=r"\d+ pages became soft-dirty",
        bug="mm-soft-dirty-huge",
    ),
    Kind("anon-2m-ptes"),
    # Documentation/mm/unevictable-lru.rst, "Migrating MLOCKED folios": they move, and stay locked.
    Kind("anon-mlocked"),
    Kind("anon-forked"),
    Kind("ksm"),
    Kind("swapcache"),
    Kind("uffd-wp"),
    Kind("uffd-missing"),
    Kind("shmem"),
    Kind("memfd"),
    Kind("tmpfs-2m"),
    # migrate_hugetlbs() in mm/migrate.c: before all others, never in a batch.
    Kind("hugetlb", offloaded=False),
    # ext4's and the block devices' migrate_folio lock the buffers first (buffer_migrate_folio).
    Kind("ext4-clean", offloaded=False),
    Kind("ext4-dirty", offloaded=False, quick=True),
    Kind("ext4-1k-dirty", offloaded=False),
    # Documentation/mm/page_migration.rst, "How migrate_pages() works", 2: writeback is waited for.
    Kind("ext4-writeback", offloaded=False),
    Kind("xfs-clean"),
    Kind("xfs-dirty", quick=True),
    Kind("xfs-writeback"),
    Kind("bdev", offloaded=False),
    # A superblock and group descriptors are held all the time: buffer_migrate_folio_norefs.
    Kind("bdev-metadata", movable=False, offloaded=False),
    # The same document, 9: "Check the refcount and make sure that it is as expected".
    Kind("pinned-pipe", movable=False, offloaded=False, quick=True),
    Kind("pinned-uring", movable=False, offloaded=False),
    Kind("pinned-direct", movable=False, offloaded=False),
)

_IN_MOVABLE = "the page cache of a block device never lies in ZONE_MOVABLE (GFP_USER, block/bdev.c)"
_FILLS_BLOCK = "compaction leaves folios alone that fill a pageblock"
_DROPPED = "clean page cache is dropped instead (reclaim_clean_pages_from_list(), mm/vmscan.c)"
_NO_PIN = "GUP refuses long-term pins of such mappings (writable_file_mapping_allowed(), mm/gup.c)"
_NO_WRITE = "the pin writes, which the registered page refuses without a handler"
_NO_END = "offlining tries again until a signal comes (offline_pages(), mm/memory_hotplug.c)"

# Why a trigger can't be pulled on a kind, or does nothing to it: by trigger and kind, where "*" is
# every one. A cell that is neither here nor run is an error of the experiment.
NOT_APPLICABLE: Mapping[tuple[str, str], str] = {
    **{
        (trigger.name, kind): _FILLS_BLOCK
        for trigger in TRIGGERS
        if trigger.reason == "compaction"
        for kind in ("anon-2m", "anon-2m-ptes", "tmpfs-2m", "hugetlb")
    },
    **{
        (trigger.name, kind): _IN_MOVABLE
        for trigger in TRIGGERS
        if trigger.zone_movable
        for kind in ("bdev", "bdev-metadata")
    },
    **{("contig_range", kind): _DROPPED for kind in ("ext4-clean", "xfs-clean")},
    **{
        ("longterm_pin", kind): _NO_PIN
        for kind in (
            *("ext4-clean", "ext4-dirty", "ext4-1k-dirty", "ext4-writeback"),
            *("xfs-clean", "xfs-dirty", "xfs-writeback"),
        )
    },
    ("longterm_pin", "uffd-wp"): _NO_WRITE,
    **{("offline", kind): _NO_END for kind in ("pinned-pipe", "pinned-uring", "pinned-direct")},
}

# Where a kind that can move has to stay, and why: queue_folios_pte_range() and
# folio_can_map_prot_numa() of mm/mempolicy.c, task_numa_work() of kernel/sched/fair.c.
_SHARED = "MPOL_MF_MOVE takes folios of this process alone"
_NUMA_SHARED = "balancing leaves shared copy-on-write and KSM folios alone"
_NUMA_DIRTY = "balancing leaves dirty file folios alone"
STAYS: Mapping[tuple[str, str], str] = {
    **{("mbind", kind): _SHARED for kind in ("anon-forked", "ksm", "memfd")},
    **{("numa_balancing", kind): _NUMA_SHARED for kind in ("anon-forked", "ksm")},
    **{
        ("numa_balancing", kind): _NUMA_DIRTY
        for kind in ("ext4-dirty", "ext4-1k-dirty", "xfs-dirty", "bdev")
    },
    ("demotion", "anon-mlocked"): "reclaim leaves unevictable folios alone",
    **{
        (name, "hugetlb"): "they are on no list of reclaim's (LRU)"
        for name in ("demotion", "damon_cold", "damon_hot")
    },
    ("numa_balancing", "hugetlb"): "balancing leaves huge pages of hugetlbfs alone",
}


def moves(trigger: Trigger, kind: Kind) -> bool:
    """Whether the folios of a kind have to move for a trigger; otherwise they have to stay."""
    return kind.movable and (trigger.name, kind.name) not in STAYS


def not_applicable(trigger: Trigger, kind: Kind) -> str | None:
    """Why there is nothing to see where these two cross; None if there is."""
    for key in ((trigger.name, kind.name), (trigger.name, "*"), ("*", kind.name)):
        if key in NOT_APPLICABLE:
            return NOT_APPLICABLE[key]
    return None
