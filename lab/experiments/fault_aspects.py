# SPDX-License-Identifier: GPL-2.0-or-later
"""What a fault scenario is: steps for the client, and what holds when the driver is sound.

`lab.experiments.fault_scenarios` has the scenarios.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lab.experiments.base import Fault
from lab.experiments.probe import Copy

MS_NS = 1_000_000


@dataclass
class Seen:
    """What a scenario has shown.

    Attributes:
        copies: the copies at its end.
        marks: the copies at its ``mark`` steps, by name.
        driver_lines: what the engines' driver has logged since the fault was armed.
        pools: names of the DMA pools that hang on the engine's device.
        reports: what the kernel has reported about itself meanwhile, warnings included.
        crash: what the kernel died of; None while it lives.
    """

    copies: list[Copy] = field(default_factory=list)
    marks: dict[str, list[Copy]] = field(default_factory=dict)
    driver_lines: list[str] = field(default_factory=list)
    pools: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    crash: str | None = None


@dataclass(frozen=True)
class Aspect:
    """One thing that holds when the driver is sound.

    Attributes:
        name: as it stands in the record.
        awaited: what a sound driver does.
        holds: whether it did.
        tell: what it did, the same text in every run on the virtual clock.
    """

    name: str
    awaited: str
    holds: Callable[[Seen], bool]
    tell: Callable[[Seen], str]


@dataclass(frozen=True)
class Scenario:
    """A fault, what the client does about it, and what a sound driver makes of it.

    Steps are the client's commands, or ``mark NAME`` (keep the copies as they are now),
    ``pass MS`` (let guest time pass), ``clear`` (take the faults back) and ``rebind`` (unbind the
    driver and bind it again).

    Attributes:
        name: names the mode.
        purpose: one line for people.
        faults: armed after the first copy; each has to strike exactly once.
        steps: what the client does then.
        aspects: what holds when the driver is sound; that the kernel lives is added to them.
        kinds: the engines that it can be played on.
    """

    name: str
    purpose: str
    faults: tuple[Fault, ...]
    steps: tuple[str, ...]
    aspects: tuple[Aspect, ...]
    kinds: tuple[str, ...] = ("ptdma", "ae4dma")


def kernel_lives() -> Aspect:
    """The kernel neither crashes nor complains."""
    return Aspect(
        "kernel",
        "no crash, no report of the kernel about itself",
        lambda seen: seen.crash is None and not seen.reports,
        lambda seen: seen.crash or "; ".join(seen.reports) or "none",
    )


def copy_aspect(
    name: str, number: int, awaited: str, holds: Callable[[Copy], bool], mark: str | None = None
) -> Aspect:
    """Something about one copy, at the end or at a mark."""

    def copy(seen: Seen) -> Copy | None:
        copies = seen.copies if mark is None else seen.marks.get(mark, [])
        return copies[number] if number < len(copies) else None

    def held(seen: Seen) -> bool:
        found = copy(seen)
        return found is not None and holds(found)

    def tell(seen: Seen) -> str:
        found = copy(seen)
        return found.describe() if found else f"there is no copy {number}"

    return Aspect(name, awaited, held, tell)


def right(name: str, number: int, at_least_ns: int = 0) -> Aspect:
    """The copy is done and right, and the client was told once, not before `at_least_ns`."""
    late = f", not before {at_least_ns / MS_NS:g} ms" if at_least_ns else ""
    return copy_aspect(
        name,
        number,
        f"told success once{late}; every byte right when told and later, nothing else touched",
        lambda copy: copy.right and copy.told_ns >= at_least_ns,
    )


def _lines_with(code: int, seen: Seen) -> list[str]:
    return [line for line in seen.driver_lines if f"(0x{code:x})" in line]


def error_name(code: int, name: str) -> Aspect:
    """The driver's log calls the error with this code by its name."""
    return Aspect(
        "error's name",
        f"a line with the code {code:#x} that calls it {name}",
        lambda seen: any(name in line for line in _lines_with(code, seen)),
        lambda seen: "; ".join(dict.fromkeys(_lines_with(code, seen))) or "no line with that code",
    )


def logged_once(code: int) -> Aspect:
    """The driver's log has the error with this code once."""
    return Aspect(
        "error's lines",
        "one line: there was one error",
        lambda seen: len(_lines_with(code, seen)) == 1,
        lambda seen: f"{len(_lines_with(code, seen))} with the code {code:#x}",
    )
