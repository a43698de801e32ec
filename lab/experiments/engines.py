# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engines counted between two moments, for each function and in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import MachineError
from lab.results import DeviceCounters

if TYPE_CHECKING:
    from lab.machine.engines import EngineCounters


@dataclass(frozen=True)
class Growth:
    """Growth of the engines' counters.

    Attributes:
        each: by engine id.
        total: summed over all engines.
        channels_used: queues of all engines that completed at least one descriptor.
    """

    each: dict[str, DeviceCounters]
    total: DeviceCounters
    channels_used: int


def growth(before: Mapping[str, EngineCounters], after: Mapping[str, EngineCounters]) -> Growth:
    """What each engine counted from `before` to `after`.

    Raises:
        MachineError: an engine came, went or counted backwards.
    """
    if before.keys() != after.keys():
        raise MachineError(
            f"the engines {', '.join(before) or '(none)'}", f"{', '.join(after) or '(none)'}"
        )
    each = {name: _difference(name, before[name], after[name]) for name in before}
    return Growth(
        each=each,
        total=DeviceCounters(
            descriptors=sum(one.descriptors for one in each.values()),
            bytes=sum(one.bytes for one in each.values()),
            interrupts=sum(one.interrupts for one in each.values()),
            errors=sum(one.errors for one in each.values()),
        ),
        channels_used=sum(_queues_used(name, before[name], after[name]) for name in before),
    )


def _queues_used(name: str, before: EngineCounters, after: EngineCounters) -> int:
    # An engine of one queue has no counters for it beside its own.
    earlier = before.queues or (before.descriptors,)
    later = after.queues or (after.descriptors,)
    if len(earlier) != len(later) or any(
        new < old for old, new in zip(earlier, later, strict=True)
    ):
        raise MachineError(f"counters of {name}'s queues that only grow", f"{before} then {after}")
    return sum(new > old for old, new in zip(earlier, later, strict=True))


def _difference(name: str, before: EngineCounters, after: EngineCounters) -> DeviceCounters:
    found = DeviceCounters(
        descriptors=after.descriptors - before.descriptors,
        bytes=after.bytes - before.bytes,
        interrupts=after.interrupts - before.interrupts,
        errors=after.errors - before.errors,
    )
    if min(found.descriptors, found.bytes, found.interrupts, found.errors) < 0:
        raise MachineError(f"counters of {name} that only grow", f"{before} then {after}")
    return found
