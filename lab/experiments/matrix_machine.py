# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that every trigger of the matrix works on, and what one lacks that is given.

Two nodes with CPUs and a slow one, of memory alone, that Linux takes for a lower tier; a part of
each large node in ZONE_MOVABLE, where all memory of programs goes as long as there is some. So a
mode is one boot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lab.config import LabFile, Node, Topology, Variant
from lab.errors import PremiseError
from lab.experiments.matrix_cells import KINDS, TRIGGERS, Kind, Promise, Trigger

if TYPE_CHECKING:
    from lab.machine.guest import Guest

# No more than the cells need: booting and compacting cost by the page. What the kernel reserves
# early is at the end of node 0: 32 MiB hold it, and blocks of ZONE_MOVABLE before can go off line.
_NODES = (Node(memory_mib=800), Node(memory_mib=768), Node(memory_mib=128, cpus=0))
# From this size on, QEMU's q35 puts memory above 4 GiB (hw/i386/pc_q35.c), which alone Linux then
# takes for the movable zone.
_HIGH_MEMORY_MIB = 2816
# Memory goes on and off line in blocks of this size on x86 up to 64 GiB.
_BLOCK_MIB = 128
_MOVABLE_MIB = 2 * _BLOCK_MIB
# What is left of node 0 for the kernel, at least.
_KERNEL_MIB = 256
# KASAN's shadow is an eighth of the machine's memory, and the early kernel has it at node 0's end,
# too: with 1,696 MiB it left 54 of 288 MiB.
_SHADOW_MIB = 320


def early_mib(variant: Variant) -> int:
    """What a kernel reserves early at the end of node 0 beside what a plain one does."""
    return _SHADOW_MIB if variant is Variant.KASAN else 0


def with_nodes(lab: LabFile) -> LabFile:
    """`lab` with the matrix's nodes, unless it names nodes itself."""
    if "nodes" in lab.topology.model_fields_set:
        return lab
    first, *others = _NODES
    mib = first.memory_mib + early_mib(lab.kernel.variant)
    nodes = (first.model_copy(update={"memory_mib": mib}), *others)
    topology = lab.topology.model_copy(update={"nodes": nodes})
    return lab.model_copy(update={"topology": topology})


def movable_mib(topology: Topology, early: int = 0) -> int:
    """How much of node 0 is to be in ZONE_MOVABLE, from a block's start on; 0 where none can be.

    `early` MiB of it the kernel will have taken before.
    """
    if sum(node.memory_mib for node in topology.nodes) >= _HIGH_MEMORY_MIB:
        return 0
    node_mib = topology.nodes[0].memory_mib
    blocks_mib = (node_mib - _KERNEL_MIB) // _BLOCK_MIB * _BLOCK_MIB
    wanted_mib = _MOVABLE_MIB + early // _BLOCK_MIB * _BLOCK_MIB
    return min(wanted_mib, blocks_mib) + node_mib % _BLOCK_MIB if blocks_mib > 0 else 0


def command_line(topology: Topology, early: int = 0) -> tuple[str, ...]:
    """Words for the kernel that make the movable zone.

    ``kernelcore=`` is what all nodes together keep out of it, spread evenly, and a node that is too
    small gives what it has (mm/mm_init.c, find_zone_movable_pfns_for_nodes). The hole below 1 MiB
    is not counted: one MiB less lets the zone begin on the boundary after rounding.
    """
    movable = movable_mib(topology, early)
    if not movable:
        return ()
    each_mib = topology.nodes[0].memory_mib - movable - 1
    total_mib = sum(min(each_mib, node.memory_mib) for node in topology.nodes)
    return (f"kernelcore={total_mib}M",)


def machine_lacks(topology: Topology, trigger: Trigger) -> str | None:
    """What the machine would need for `trigger`; None if it has it."""
    if trigger.promise is Promise.TIER and topology.slow_node is None:
        return "the machine has no node without CPUs"
    if trigger.zone_movable and not movable_mib(topology):
        least_mib = _KERNEL_MIB + _BLOCK_MIB
        return (
            f"node 0 has no movable zone: it needs {least_mib} MiB, and the machine less than "
            f"{_HIGH_MEMORY_MIB} MiB"
        )
    return None


def too_slow(slowdown: float, trigger: Trigger, kind: Kind) -> str | None:
    """Why a kernel that is so many times slower than a plain one can't show a cell, if it can't.

    A kind that lasts only so long has to outlast the migration. Reclaim by a debug kernel was seen
    to take 4.7 s, against 1.3 s of a plain one; no other trigger takes more than 2.6.
    """
    if slowdown > 1 and trigger.promise is Promise.TIER and kind.name == "pinned-direct":
        return (
            "reclaim of such a slow kernel can outlast a direct read, which null_blk gives up "
            "after 5 s (drivers/block/null_blk/main.c)"
        )
    return None


def modules_for(triggers: Sequence[Trigger]) -> tuple[str, ...]:
    """The modules that `triggers` need, each once."""
    return tuple(dict.fromkeys(trigger.module for trigger in triggers if trigger.module))


def kernel_lacks(guest: Guest, triggers: Iterable[Trigger]) -> Mapping[str, str]:
    """Which of `triggers` the kernel is too old for, and why; the program in the guest looks.

    Their modules have to be loaded.

    Raises:
        PremiseError: a kernel that should have a trigger lacks it, or the program has other
            triggers or kinds than the tables.
    """
    listed = guest.run(["migrate", "--list"])
    shown = {item["name"]: str(item["lacks"]) for item in listed.events("trigger")}
    kinds = {item["name"] for item in listed.events("kind")}
    if set(shown) != {t.name for t in TRIGGERS} or kinds != {k.name for k in KINDS}:
        raise PremiseError(
            "the program migrate to have the triggers and kinds of the tables",
            listed.describe() if not shown else ", ".join([*shown, *sorted(kinds)]),
            hint="lab/experiments/matrix_cells.py and images/workloads/migrate have to agree",
        )
    release = release_of(guest.release)
    lacking: dict[str, str] = {}
    for trigger in triggers:
        if not (path := shown[trigger.name]):
            continue
        if release >= trigger.since:
            raise PremiseError(f"{path} for {trigger.name}", f"Linux {guest.release} has none")
        lacking[trigger.name] = f"Linux {release[0]}.{release[1]} has no {path}"
    return lacking


def release_of(text: str) -> tuple[int, int]:
    """Version and patch level of a kernel's release.

    Raises:
        PremiseError: it has none.
    """
    match = re.match(r"(\d+)\.(\d+)", text)
    if match is None:
        raise PremiseError("a kernel release that starts with two numbers", repr(text))
    return int(match[1]), int(match[2])
