# SPDX-License-Identifier: GPL-2.0-or-later
"""The scenarios of ``stress``, and how much has to happen in each for a verdict to mean something.

Names, and those of what is counted, are the guest's program ``stress``'s
(images/workloads/stress).

No floor is a rate, because nobody can say how fast an emulated guest has to be. Each is what a
verdict needs: that every page was written, moved and copied by an engine once on average, or that
every answer that the program knows to ask for was asked for once. A run that is too short for its
floors says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from lab.experiments.offload_core import LATE_WRITE


class Per(StrEnum):
    """What there may be many of in a run."""

    RUN = "in all"
    PAGE = "for each page of the region"
    QUARTER = "for each page of a quarter of the region"
    WRITER = "for each writer"
    SPARE_CPU = "for each CPU that may go"


@dataclass(frozen=True)
class Size:
    """How large a run is: so many of each `Per`."""

    pages: int
    writers: int
    spare_cpus: int = 0

    def of(self, per: Per) -> int:
        """How many of them there are."""
        return {
            Per.RUN: 1,
            Per.PAGE: self.pages,
            Per.QUARTER: self.pages // 4,
            Per.WRITER: self.writers,
            Per.SPARE_CPU: self.spare_cpus,
        }[per]


@dataclass(frozen=True)
class Floor:
    """How often something has to have happened, however long it takes.

    Attributes:
        times: for each of `per`.
        per: what there are many of.
        kernels: it is the kernel's to let it happen. Otherwise it is the program's own doing, and
            too little of it is no fault of the kernel: the run was too short.
    """

    times: int = 1
    per: Per = Per.RUN
    kernels: bool = False

    def count(self, size: Size) -> int:
        """The least count in a run of that size."""
        return self.times * size.of(self.per)

    @property
    def text(self) -> str:
        """The unit, for people."""
        return f"({self.times:,} {self.per.value})"


@dataclass(frozen=True)
class Scenario:
    """Who is at the pages at the same time.

    Attributes:
        name: the program's, or that and what the pages are.
        purpose: one line for people.
        floors: by the program's count, how often it has to have happened.
        migrated: pages that have to have migrated, by ``pgmigrate_success``.
        offloaded: pages that the engines have to have copied.
        by_cpu: pages that have to have been copied by the CPU, for want of a channel.
        resets: dcbm's counters are reset in between, and tell nothing of the whole.
        regions: each writer is a process with a region of its own.
        channels: engines' channels that the machine has; None: ``nr_dma_chan``.
        nr_dma_chan: channels that dcbm is told to use; None: the parameter.
        movers: tasks that move pages; None: the parameter.
        modules: that it needs beside the engines' driver and dcbm.
        rival: another provider tries to register meanwhile, where the kernel can have one of the
            lab's.
        command_line: words added to the kernel's.
        spare_cpus: of each node, one CPU is left free to go.
        provider: a module of the lab's that copies in dcbm's place, and counts on times that are
            exact on the virtual clock only. The engines have nothing to do.
        vanilla: there is a mode of it on the vanilla kernel, too.
        shared: the pages are those of a file in memory, and not anonymous.
        folio_kib: size of the folios of the region. Where they are large, no folio of another size
            moves along, and none may be split.
    """

    name: str
    purpose: str
    floors: Mapping[str, Floor]
    migrated: Floor = Floor(2, Per.PAGE, kernels=True)
    offloaded: Floor = Floor(1, Per.PAGE, kernels=True)
    by_cpu: Floor | None = None
    resets: bool = False
    regions: bool = False
    channels: int | None = None
    nr_dma_chan: int | None = None
    movers: int | None = None
    modules: tuple[str, ...] = ()
    rival: bool = False
    command_line: tuple[str, ...] = field(default=())
    spare_cpus: bool = False
    provider: str | None = None
    vanilla: bool = False
    shared: bool = False
    folio_kib: int = 4

    @property
    def folio_pages(self) -> int:
        """Pages of a folio of the region."""
        return self.folio_kib // 4

    @property
    def program(self) -> str:
        """What the guest's program calls it."""
        return self.name.removesuffix(_SHMEM).removesuffix(_LARGE)


_SHMEM = "-shmem"
_LARGE_MIB = 2
_LARGE = f"-{_LARGE_MIB}m"

# Each page is written again, looked at, and goes there and back. A page is verified before it is
# written and at the end, so that nothing wrong is ever written over unseen: once is enough.
_WRITING = {
    "writes": Floor(1, Per.PAGE),
    "looks": Floor(1, Per.PAGE),
    "pages_arrived": Floor(2, Per.PAGE, kernels=True),
}

# The longest run of pages that is registered with io_uring (RING_PAGES of ring.c), and twice for
# each, before and after the disk has had it, somebody tries to move it.
_RING_PAGES = 32

# Children that live at the same time (CHILDREN of storm.c), in each process.
_CHILDREN = 4
# The largest hole (HOLE_PAGES of storm.c): it was made in each of the two ways once, or small ones
# as often.
_HOLE_PAGES = 64

# control() of controls.c: while offloading is on, and while it is off, it is set twice, dcbm is
# unloaded or refuses to be, and the whole deck is played once, which has that again, and so many
# cards of each other kind.
_COUNT_CARDS, _MASK_CARDS, _RESET_CARDS, _REFUSAL_CARDS = 2, 5, 2, 6

_ANONYMOUS = (
    Scenario(
        "writers",
        "pages are written and verified while others move them",
        # The whole process there and back; one compaction is of all nodes.
        floors={**_WRITING, "migrations": Floor(2), "compactions": Floor(1)},
        vanilla=True,
    ),
    Scenario(
        "gup",
        "the kernel itself reads and writes the pages by references of its own",
        floors={
            "writes": Floor(1, Per.QUARTER),
            "gup_writes": Floor(1, Per.QUARTER),
            "direct_reads": Floor(1, Per.QUARTER),
            "direct_writes": Floor(1, Per.QUARTER),
            "pins": Floor(_RING_PAGES),
            "unpinned_arrived": Floor(_RING_PAGES, kernels=True),
            "pages_arrived": Floor(2, Per.PAGE, kernels=True),
        },
        modules=("brd",),
        vanilla=True,
    ),
    Scenario(
        "fork",
        "children are born, and pages unmapped, in the middle of migrations",
        floors={
            "writes": Floor(1, Per.PAGE),
            "forks": Floor(_CHILDREN, Per.WRITER),
            "unmaps": Floor(_HOLE_PAGES, Per.WRITER),
            "zaps": Floor(_HOLE_PAGES, Per.WRITER),
            "pages_arrived": Floor(2, Per.PAGE, kernels=True),
        },
        regions=True,
        vanilla=True,
    ),
    Scenario(
        "ping-pong",
        "two tasks move the same pages in opposite directions",
        floors=_WRITING,
        movers=2,
    ),
    Scenario(
        "crowd",
        "more migrations at a time than channels",
        floors=_WRITING,
        # As often as by an engine.
        by_cpu=Floor(1, Per.PAGE, kernels=True),
        channels=2,
        nr_dma_chan=1,
        movers=8,
    ),
    Scenario(
        "controls",
        "dcbm is switched, limited, reset and unloaded under load",
        floors={
            **_WRITING,
            "toggles": Floor(4),
            "counts": Floor(2 * _COUNT_CARDS),
            "masks": Floor(2 * _MASK_CARDS),
            "resets": Floor(2 * _RESET_CARDS),
            "refusals": Floor(2 * _REFUSAL_CARDS),
            "unloads": Floor(2),
            "unloads_refused": Floor(2),
        },
        resets=True,
        rival=True,
    ),
    Scenario(
        "hotplug",
        "CPUs and blocks of memory go and come",
        # Which blocks can go depends on what is in them; each CPU goes in turn.
        floors={
            **_WRITING,
            "cpus_off": Floor(1, Per.SPARE_CPU),
            "blocks_off": Floor(1, kernels=True),
        },
        command_line=("movablecore=40%",),
        spare_cpus=True,
    ),
    Scenario(
        "late-write",
        "a folio is written through a reference after it was copied and before it moves",
        # There and back. Only if an attempt with the same batch has moved it, the copy was at hand.
        floors={
            "writes": Floor(1, Per.PAGE),
            "late_writes": Floor(2),
            "late_retries": Floor(2, kernels=True),
            "pages_arrived": Floor(2, Per.PAGE, kernels=True),
        },
        modules=(LATE_WRITE,),
        provider=LATE_WRITE,
    ),
)

# The mark of a folio that was copied has to be given up wherever its move fails: anonymous folios
# and those of files fail in functions of their own.
_IN_A_FILE_TOO = ("writers", "late-write")


def _in_a_file(scenario: Scenario) -> Scenario:
    return replace(
        scenario,
        name=scenario.name + _SHMEM,
        purpose=f"{scenario.purpose}; pages of a file in memory",
        vanilla=False,
        shared=True,
    )


# Every page that moves is the region's there, so that the size of each copy is known. Anonymous
# folios of other sizes don't stay large: they are unmapped page by page, and count as partly mapped
# from then on (__folio_remove_rmap() of mm/rmap.c, migrate_folio_move() of mm/migrate.c). The next
# migration splits those.
_IN_LARGE_FOLIOS = ("ping-pong",)


def _in_large_folios(scenario: Scenario) -> Scenario:
    return replace(
        scenario,
        name=scenario.name + _LARGE,
        purpose=f"{scenario.purpose}; folios of {_LARGE_MIB} MiB",
        folio_kib=_LARGE_MIB * 1024,
    )


SCENARIOS: tuple[Scenario, ...] = (
    *_ANONYMOUS,
    *(_in_a_file(scenario) for scenario in _ANONYMOUS if scenario.name in _IN_A_FILE_TOO),
    *(_in_large_folios(one) for one in _ANONYMOUS if one.name in _IN_LARGE_FOLIOS),
)
