# SPDX-License-Identifier: GPL-2.0-or-later
"""The scenarios of ``stress``, and how much has to happen in each for a verdict to mean something.

Names, and those of what is counted, are the guest's program ``stress``'s
(images/workloads/stress).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Share(StrEnum):
    """What part of the migrated folios the engines have to have copied."""

    PART = "a fifth of them at least"
    SOME = "some, the CPU the others"
    ANY = "it is not known how many"


@dataclass(frozen=True)
class Scenario:
    """Who is at the pages at the same time.

    Attributes:
        name: the program's.
        purpose: one line for people.
        floors: by the program's count, how often it has to have happened in a second of the
            guest's time.
        migrated: pages that have to have migrated in such a second.
        share: of the migrated folios that go through the engines.
        channels: engines' channels that the machine has; None: ``nr_dma_chan``.
        nr_dma_chan: channels that dcbm is told to use; None: the parameter.
        movers: tasks that move pages; None: the parameter.
        modules: that it needs beside the engines' driver and dcbm.
        command_line: words added to the kernel's.
        spare_cpus: of each node, one CPU is left free to go.
        vanilla: there is a mode of it on the vanilla kernel, too.
    """

    name: str
    purpose: str
    floors: Mapping[str, int]
    migrated: int
    share: Share = Share.PART
    channels: int | None = None
    nr_dma_chan: int | None = None
    movers: int | None = None
    modules: tuple[str, ...] = ()
    command_line: tuple[str, ...] = field(default=())
    spare_cpus: bool = False
    vanilla: bool = False


RIVAL = "offload_rival"
_WRITING = {"writes": 500, "looks": 500, "move_calls": 10, "pages_arrived": 500}

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "writers",
        "pages are written and verified while others move them",
        floors={**_WRITING, "migrations": 2, "compactions": 2},
        migrated=500,
        vanilla=True,
    ),
    Scenario(
        "gup",
        "the kernel itself reads and writes the pages by references of its own",
        floors={
            "writes": 100,
            "move_calls": 10,
            "gup_writes": 100,
            "direct_reads": 100,
            "direct_writes": 100,
            "ring_copies": 20,
            "pinned_refused": 20,
            "unpinned_arrived": 10,
        },
        migrated=300,
        share=Share.ANY,
        modules=("brd",),
        vanilla=True,
    ),
    Scenario(
        "fork",
        "children are born, and pages unmapped, in the middle of migrations",
        floors={"writes": 500, "move_calls": 10, "forks": 10, "unmaps": 50, "zaps": 50},
        migrated=500,
        share=Share.ANY,
        vanilla=True,
    ),
    Scenario(
        "ping-pong",
        "two tasks move the same pages in opposite directions",
        floors=_WRITING,
        migrated=500,
        movers=2,
    ),
    Scenario(
        "crowd",
        "more migrations at a time than channels",
        floors={**_WRITING, "writes": 200},
        migrated=500,
        share=Share.SOME,
        channels=2,
        nr_dma_chan=1,
        movers=8,
    ),
    Scenario(
        "controls",
        "dcbm is switched, limited, reset and unloaded under load",
        floors={
            **_WRITING,
            "toggles": 3,
            "counts": 2,
            "masks": 1,
            "resets": 1,
            "refusals": 1,
            "unloads": 1,
            "unloads_refused": 1,
        },
        migrated=500,
        share=Share.ANY,
        modules=(RIVAL,),
    ),
    Scenario(
        "hotplug",
        "CPUs and blocks of memory go and come",
        floors={**_WRITING, "cpus_off": 1, "blocks_off": 1},
        migrated=500,
        share=Share.ANY,
        command_line=("movablecore=40%",),
        spare_cpus=True,
    ),
)
