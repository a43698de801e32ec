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
        exact: nothing but the region is migrated, so that the offload can be counted to the folio.
        quick: part of ``--quick``.
        pages_most: of the region that it takes at most; None is all.
        as_needed: it moves no more than it has to for something else, which may be nothing.
        asked_least: share of the region's pages that have to be where it takes them from.
        may_be_busy: it answers EBUSY where a page has somebody else's reference for a moment, and
            leaves what it has not moved by then; half of the region proves it then.
        splits: whether it splits a large folio before it migrates its pages.
        zone_movable: whether the region has to be in ZONE_MOVABLE.
        module: that it needs in the guest.
        since: the first Linux that has it; an older one may lack it.
    """

    name: str
    reason: str
    promise: Promise
    exact: bool = True
    quick: bool = False
    pages_most: int | None = None
    as_needed: bool = False
    asked_least: float = 1.0
    may_be_busy: bool = False
    splits: bool = False
    zone_movable: bool = False
    module: str | None = None
    since: tuple[int, int] = (0, 0)


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
            # Half of it in the part that is compacted proves it; the kernel's own allocations
            # take some of the room.
            asked_least=0.5,
            exact=False,
            quick=name == "compact_node",
            module=module,
            # A huge page, from any block. What earlier attempts have marked to be skipped stays so
            # for long, see __reset_isolation_suitable() of mm/compaction.c: often nothing moves.
            as_needed=name == "compact_direct",
        )
        for name, module in (
            ("compact_node", None),
            ("compact_memory", None),
            ("compact_direct", "compact_trigger"),
            ("compact_proactive", "compact_trigger"),
        )
    ),
    # The whole process, too.
    Trigger("numa_balancing", "numa_misplaced", Promise.NODE, exact=False, since=(6, 13)),
    Trigger(
        "offline",
        "memory_hotplug",
        Promise.FRAME,
        # A page that was free at the end of the zone, beside what the kernel has reserved there,
        # may be in the region.
        asked_least=0.5,
        exact=False,
        zone_movable=True,
    ),
    Trigger(
        "soft_offline",
        "memory_failure",
        Promise.FRAME,
        pages_most=64,
        splits=True,
        module="hwpoison_inject",
    ),
    # test_pages_isolated() at the end of alloc_contig_frozen_range(), mm/page_alloc.c, when
    # isolation has passed over a page that was on no list of reclaim just then. The program asks
    # for the range three times more; the kernel's own callers go on to another one.
    Trigger(
        "contig_range", "contig_range", Promise.FRAME, may_be_busy=True, module="contig_trigger"
    ),
    Trigger("longterm_pin", "longterm_pin", Promise.FRAME, zone_movable=True),
    Trigger("demotion", "demotion", Promise.TIER, exact=False, since=(6, 17)),
    Trigger("damon_cold", "damon", Promise.NODE, since=(6, 11)),
    Trigger("damon_hot", "damon", Promise.NODE, since=(6, 17)),
)

_SOFT_DIRTY = r"\d+ pages became soft-dirty"

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
        excused=_SOFT_DIRTY,
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
    Kind("tmpfs-2m", excused=_SOFT_DIRTY, bug="mm-soft-dirty-huge"),
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

_COMPACTIONS = tuple(trigger.name for trigger in TRIGGERS if trigger.reason == "compaction")
_XFS = ("xfs-clean", "xfs-dirty", "xfs-writeback")
_IN_MOVABLE = "the page cache of a block device never lies in ZONE_MOVABLE (GFP_USER, block/bdev.c)"
_NO_HOLES = f"{_IN_MOVABLE}, which alone is fragmented"
_UNMOVABLE_BLOCK = (
    "its pages lie among unmovable ones (GFP_USER, block/bdev.c), and a pageblock with one of "
    "these is refused (has_unmovable_pages(), mm/page_isolation.c)"
)
_FILLS_BLOCK = (
    "compaction leaves folios alone that fill a pageblock (skip_isolation_on_order(), "
    "mm/compaction.c)"
)
_DROPPED = "clean page cache is dropped instead (reclaim_clean_pages_from_list(), mm/vmscan.c)"
_WRITTEN_THEN_DROPPED = (
    "after the first 32 pages, whose writeback is waited for, the others are clean, and "
    "clean page cache is dropped (__alloc_contig_migrate_range(), mm/page_alloc.c)"
)
_SPLIT_THEN_DROPPED = (
    "the folio is split and so unmapped first, and clean unmapped page cache is dropped instead "
    "(soft_offline_in_use_page(), mm/memory-failure.c)"
)
_NO_PIN = "GUP refuses long-term pins of such mappings (writable_file_mapping_allowed(), mm/gup.c)"
_PINNED_BEFORE = "a fixed buffer is pinned for long, and had to leave ZONE_MOVABLE when it was made"
_PINNED_ELSEWHERE = f"{_PINNED_BEFORE}, which alone is fragmented"
_COPIED = (
    "the pin writes, so that each shared page is copied at once, to where it may be pinned "
    "(memalloc_pin_save(), __gup_longterm_locked() of mm/gup.c): there is nothing to migrate"
)
_NO_WRITE = "the pin writes, which the registered page refuses without a handler"
_NO_END = "offlining tries again until a signal comes (offline_pages(), mm/memory_hotplug.c)"

# Why a trigger can't be pulled on a kind, or does nothing to it: by trigger and kind, where "*" is
# every one. A cell that is neither here nor run is an error of the experiment.
NOT_APPLICABLE: Mapping[tuple[str, str], str] = {
    **{
        (name, kind): _FILLS_BLOCK
        for name in _COMPACTIONS
        for kind in ("anon-2m", "anon-2m-ptes", "tmpfs-2m", "hugetlb")
    },
    **{(name, kind): _NO_HOLES for name in _COMPACTIONS for kind in ("bdev", "bdev-metadata")},
    **{(name, "pinned-uring"): _PINNED_ELSEWHERE for name in _COMPACTIONS},
    **{
        (trigger.name, kind): _IN_MOVABLE
        for trigger in TRIGGERS
        if trigger.zone_movable
        for kind in ("bdev", "bdev-metadata")
    },
    **{("contig_range", kind): _DROPPED for kind in ("ext4-clean", "xfs-clean")},
    **{
        ("contig_range", kind): _WRITTEN_THEN_DROPPED
        for kind in ("ext4-writeback", "xfs-writeback")
    },
    ("contig_range", "bdev"): _UNMOVABLE_BLOCK,
    ("soft_offline", "xfs-clean"): _SPLIT_THEN_DROPPED,
    **{
        ("longterm_pin", kind): _NO_PIN
        for kind in ("ext4-clean", "ext4-dirty", "ext4-1k-dirty", "ext4-writeback", *_XFS)
    },
    ("longterm_pin", "uffd-wp"): _NO_WRITE,
    ("longterm_pin", "pinned-uring"): _PINNED_BEFORE,
    **{("longterm_pin", kind): _COPIED for kind in ("anon-forked", "ksm")},
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
    # soft_offline_in_use_page() splits first; the blocks' state of a dirty folio stays with it
    # (iomap_release_folio(), fs/iomap/buffered-io.c), and one under writeback is refused
    # (folio_check_splittable(), mm/huge_memory.c).
    ("soft_offline", "xfs-dirty"): "a dirty folio of XFS can't be split",
    ("soft_offline", "xfs-writeback"): "a folio under writeback can't be split",
}

# Where a trigger may stop before it has moved all that it was to move, and why. Where it has moved
# nothing, there was nothing to see: the cell is not applicable.
PARTLY: Mapping[tuple[str, str], str] = {
    # The same folios: without a free block of their order they can't be split, and -ENOMEM ends
    # the compaction of the zone (compact_zone(), mm/compaction.c).
    (name, kind): "compaction ends at a folio that it has no free block for and can't split"
    for name in _COMPACTIONS
    for kind in ("xfs-dirty", "xfs-writeback")
}

_WRITEBACK = ("ext4-writeback", "xfs-writeback")

# The share of what was asked for that has to move, where it is less than all.
LEAST: Mapping[tuple[str, str], float] = {
    # They migrate with MIGRATE_SYNC_LIGHT and MIGRATE_ASYNC, which leave a folio under writeback
    # alone: compact_node() of mm/compaction.c, damon_migrate_pages() of mm/damon/ops-common.c,
    # -EBUSY of migrate_folio_unmap() in mm/migrate.c. The daemon ends when enough free memory is in
    # one piece (__compact_finished(), mm/compaction.c), whatever it has passed over: 111 to 1,024
    # of 1,024 were seen. DAMON moves half at least, which proves the rest.
    ("compact_proactive", "ext4-writeback"): 1 / 16,
    **{(name, kind): 0.5 for name in ("damon_cold", "damon_hot") for kind in _WRITEBACK},
    # A folio whose writeback is just ending has its reference still (folio_end_writeback(),
    # mm/filemap.c), and no pass waits for that: 2 of 1,024 were seen. With move_pages as many were,
    # of ext4, on a kernel with instruments.
    **{("cpuset", kind): 0.98 for kind in _WRITEBACK},
    ("move_pages", "ext4-writeback"): 0.98,
    # MIGRATE_ASYNC waits for no lock and for no reference of others, and reclaim doesn't come back
    # to what it has put back (demote_folio_list(), mm/vmscan.c): up to 4 of 1,024 were seen.
    **{("demotion", kind.name): 0.98 for kind in KINDS if kind.name not in _WRITEBACK},
}

# How many of the folios that move no provider may have been asked for, where it is more than none;
# of triggers with which nothing else moves along (`Trigger.exact`) alone.
# A folio whose writeback is just ending has that reference, one too many for folio_offloadable() of
# the series' third patch, and may have lost it when the CPU's turn comes. DAMON doesn't wait for
# writeback, and comes while it ends: 1 folio was seen.
NOT_OFFERED: Mapping[tuple[str, str], int] = {
    (name, "xfs-writeback"): 2 for name in ("damon_cold", "damon_hot")
}

_LARGE = ("anon-16k", "anon-64k", "anon-1m")
_YOUNG = r"Referenced was \d+ KiB and is \d+"
_SPLIT = r"flag (head|tail|thp) of \d+ pages"
# A folio of a file that is split is unmapped, "then faulted back on demand": unmap_folio() of
# mm/huge_memory.c.
_UNMAPPED = (
    rf"{_SPLIT}|presence of \d+ pages changed|(Rss|Referenced|ShmemPmdMapped) was \d+ KiB and is "
    r"\d+"
)

# Of what a migration carries over, what the trigger itself changes in doing its work: a pattern of
# one of the things that the program tells, by trigger and kind, where "*" is every one.
CHANGES: Mapping[tuple[str, str], str] = {
    # A task on the other node reads the whole region; it is for its faults that the pages move.
    ("numa_balancing", "*"): _YOUNG,
    # DAMON finds out about accesses by clearing the accessed bits (damon_ptep_mkold() of
    # mm/damon/ops-common.c).
    ("damon_cold", "*"): _YOUNG,
    ("damon_hot", "*"): _YOUNG,
    # Each page is got by its address first, and a page that is got is young: get_user_pages_fast()
    # in madvise_inject_error() of mm/madvise.c. Then a large folio is split.
    ("soft_offline", "*"): _YOUNG,
    **{("soft_offline", kind): _SPLIT for kind in (*_LARGE, "anon-2m-ptes")},
    ("soft_offline", "anon-2m"): rf"{_SPLIT}|AnonHugePages was \d+ KiB and is \d+",
    ("soft_offline", "tmpfs-2m"): _UNMAPPED,
    # The page that was migrated is dissolved: page_handle_poison() of mm/memory-failure.c, and
    # dissolve_free_hugetlb_folios() in offline_pages() of mm/memory_hotplug.c.
    ("soft_offline", "hugetlb"): r"the pools had \d+ huge pages and have \d+",
    ("offline", "hugetlb"): r"the pools had \d+ huge pages and have \d+",
    # Without a free block of its order a folio is split, and migrates in pieces: -ENOMEM in
    # migrate_pages_batch() of mm/migrate.c.
    **{(name, kind): _SPLIT for name in _COMPACTIONS for kind in _LARGE},
    **{(name, kind): _UNMAPPED for name in _COMPACTIONS for kind in _XFS},
    # A registered buffer is pinned for writing, as if it had been written to: dirty, soft-dirty
    # and young (FOLL_WRITE in io_uring/rsrc.c).
    ("longterm_pin", "*"): rf"{_YOUNG}|\d+ pages became soft-dirty",
    # What is got by its address a second time becomes active instead of referenced:
    # folio_mark_accessed() of mm/folio.c. What then migrates has been through the lists again.
    **{
        ("longterm_pin", kind): r"flag referenced of \d+ pages"
        for kind in ("pinned-pipe", "pinned-direct")
    },
    # MADV_COLD takes the accessed bits, reclaim the activity: mm/madvise.c, mm/vmscan.c.
    ("demotion", "*"): rf"{_YOUNG}|flag (active|referenced) of \d+ pages",
    # Reclaim that finds nothing but dirty page cache has it written: wakeup_flusher_threads() in
    # shrink_inactive_list() of mm/vmscan.c.
    **{
        ("demotion", kind): r"flag dirty of \d+ pages"
        for kind in ("ext4-dirty", "ext4-1k-dirty", "xfs-dirty", "bdev")
    },
}


def changes(trigger: Trigger, kind: Kind) -> str:
    """What a trigger changes itself of a kind, as one pattern; it matches nothing if that is so."""
    keys = ((trigger.name, "*"), (trigger.name, kind.name))
    return "|".join(CHANGES[key] for key in keys if key in CHANGES) or "(?!)"


def moves(trigger: Trigger, kind: Kind) -> bool:
    """Whether the folios of a kind have to move for a trigger; otherwise they have to stay."""
    return kind.movable and (trigger.name, kind.name) not in STAYS


def stays(trigger: Trigger, kind: Kind) -> str | None:
    """Why folios of a kind have to stay where they are; None if they have to move."""
    if moves(trigger, kind):
        return None
    why = STAYS.get((trigger.name, kind.name), "folios of this kind don't migrate")
    return f"stayed, as it has to: {why}"


def not_applicable(trigger: Trigger, kind: Kind) -> str | None:
    """Why there is nothing to see where these two cross; None if there is."""
    for key in ((trigger.name, kind.name), (trigger.name, "*"), ("*", kind.name)):
        if key in NOT_APPLICABLE:
            return NOT_APPLICABLE[key]
    return None
