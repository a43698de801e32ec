# SPDX-License-Identifier: GPL-2.0-or-later
"""The engines as the guest's kernel sees them: node, driver, channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.config import Engine
from lab.errors import MachineError, PremiseError
from lab.machine.jobs import JobResult

_VENDOR_AND_DEVICE = {"ptdma": "0x1022 0x1498", "ae4dma": "0x1022 0x149b"}

# One program instead of one request a file: 16 engines have 80 files.
_SCRIPT = """
for d in /sys/bus/pci/devices/*; do
 read -r v < $d/vendor; read -r i < $d/device; [ "$v $i" = "@ID@" ] || continue;
 read -r n < $d/numa_node; b=-; [ -e $d/driver ] && b=$(/bin/busybox readlink $d/driver);
 c=; for x in $d/dma/*; do [ -e $x ] && c="$c ${x##*/}"; done;
 echo ${d##*/} $n ${b##*/}$c;
done
""".replace("\n", " ")


@dataclass(frozen=True)
class EngineCounters:
    """What the model of one engine has counted since power-on.

    Attributes:
        descriptors: completed without an error.
        bytes: copied by them.
        interrupts: raised.
        errors: descriptors that failed.
        queues: descriptors completed by each queue; empty for an engine that has only one.
    """

    descriptors: int
    bytes: int
    interrupts: int
    errors: int
    queues: tuple[int, ...] = ()


def engine_queue_counters(engine: Engine) -> list[str]:
    """Names of the counters that each queue of an engine has; a ptdma has none beside its own."""
    if engine.kind == "ptdma":
        return []
    return [f"queue{number}-descriptors" for number in range(engine.queues)]


@dataclass(frozen=True)
class EngineView:
    """One engine in the guest.

    Attributes:
        address: PCI address, e.g. ``0000:30:01.0``.
        node: its NUMA node, -1 if the kernel knows none.
        driver: the bound driver, or ``-``.
        channels: its dmaengine channels.
    """

    address: str
    node: int
    driver: str
    channels: tuple[str, ...]


def read_engines(
    run: Callable[[Sequence[str]], JobResult], kind: str = "ptdma"
) -> list[EngineView]:
    """Ask the guest for its engines of this kind, in bus order."""
    script = _SCRIPT.replace("@ID@", _VENDOR_AND_DEVICE[kind])
    result = run(["/bin/busybox", "sh", "-c", script])
    if not result.ok:
        raise MachineError("the guest to list its PCI functions", result.describe())
    views = []
    for line in result.stdout:
        address, node, driver, *channels = line.split()
        views.append(EngineView(address, int(node), driver, tuple(channels)))
    return views


def check_engines(
    views: Sequence[EngineView], count: int, node: int, engine: Engine, log: Path | None = None
) -> None:
    """Compare the guest's engines with what was asked for; see `Guest.assert_engines`.

    `engine` tells their kind and how many channels each is to have.
    """
    nodes = Counter(view.node for view in views)
    if len(views) != count or (count and set(nodes) != {node}):
        seen = ", ".join(f"{number} on node {where}" for where, number in sorted(nodes.items()))
        raise MachineError(
            f"{count} engines on node {node} in the guest",
            seen or "none",
            log=log,
            hint="dev_to_node() comes from the host bridge's _PXM; look for NUMA lines in the log",
        )
    for view in views:
        if view.driver != engine.kind or len(view.channels) != engine.queues:
            channels = "a channel" if engine.queues == 1 else f"{engine.queues} channels"
            raise PremiseError(
                f"engine {view.address} bound to {engine.kind}, with {channels}",
                f"driver {view.driver}, {len(view.channels)} channels",
                log=log,
                hint="load the driver first, and look for its messages in the console log",
            )
