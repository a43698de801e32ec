# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to be true in the guest before a measurement means anything.

Sources: the kernel's Documentation/admin-guide/sysctl/vm.rst and mm/transhuge.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lab.errors import PremiseError
from lab.experiments import dma_path

if TYPE_CHECKING:
    from lab.config import Engine
    from lab.machine.guest import Guest

# Each would migrate, merge or reclaim pages behind the experiment's back.
BACKGROUND_OFF = {
    "/proc/sys/vm/compaction_proactiveness": "0",
    "/proc/sys/vm/watermark_boost_factor": "0",
    "/proc/sys/kernel/numa_balancing": "0",
    "/sys/kernel/mm/ksm/run": "0",
    "/sys/kernel/mm/transparent_hugepage/khugepaged/defrag": "0",
}
NO_HUGE_PAGES = {"/sys/kernel/mm/transparent_hugepage/enabled": "never"}
MAX_BATCH_PAGES = "/sys/module/migrate/parameters/max_batch_pages"

_BUDDY_FIXED_FIELDS = 4


def bind_engines(guest: Guest, engine: Engine) -> None:
    """Load the engines' driver; make sure of each one's binding, node and way to memory.

    Raises:
        MachineError: the guest sees other engines than the machine was to have.
        PremiseError: the driver doesn't load, an engine has no channel, or its copies don't go
            through the IOMMU or the bounce buffers that the machine was to have.
    """
    # Without this parameter the driver makes one channel, whatever the function has.
    parameters = [f"max_hw_q={engine.queues}"] if engine.kind == "ae4dma" else []
    guest.load_module(engine.kind, *parameters)
    views = guest.assert_engines(engine.count, engine.node)
    dma_path.establish(guest, guest.machine.spec.topology, [view.address for view in views])


def settle(guest: Guest, settings: dict[str, str]) -> dict[str, str]:
    """Write kernel settings and read each one back.

    Returns:
        The settings as the kernel shows them afterwards.

    Raises:
        PremiseError: the kernel refused a value or shows another one.
    """
    shown: dict[str, str] = {}
    for path, value in settings.items():
        guest.write(path, value)
        shown[path] = guest.read(path).strip()
        # A choice reads back as the whole list with the chosen word in brackets.
        if shown[path] != value and f"[{value}]" not in shown[path].split():
            raise PremiseError(
                f"{path} set to {value}",
                f"it reads {shown[path]!r}",
                hint="the guest kernel's configuration or version may differ: see "
                "kernel-config/README.md",
            )
    return shown


def free_blocks(buddyinfo: str, node: int, order: int) -> int:
    """Free blocks of at least `order` in a node, counted in blocks of exactly `order`.

    Args:
        buddyinfo: text of /proc/buddyinfo.
        node: the NUMA node.
        order: smallest order that counts; a block of order + 1 counts as two.

    Raises:
        PremiseError: the node isn't in it.
    """
    blocks = 0
    zones = 0
    for line in buddyinfo.splitlines():
        # Node 1, zone   Normal      3      1 …      one number for each order from 0
        fields = line.split()
        if len(fields) <= _BUDDY_FIXED_FIELDS or fields[:2] != ["Node", f"{node},"]:
            continue
        zones += 1
        counts = [int(word) for word in fields[_BUDDY_FIXED_FIELDS:]]
        blocks += sum(count << (at - order) for at, count in enumerate(counts) if at >= order)
    if not zones:
        raise PremiseError(f"zones of node {node} in /proc/buddyinfo", buddyinfo or "(empty)")
    return blocks


def number(result: Mapping[str, Any], key: str) -> int:
    """A whole number out of a program's result.

    Raises:
        PremiseError: it isn't there or is something else.
    """
    value = result.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise PremiseError(f"a whole number {key!r} in the program's result", repr(value))
    return value
