# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to hold under stress: pure functions from what was counted to checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.config import Topology
from lab.errors import PremiseError
from lab.experiments import checks
from lab.experiments.dma_path import longest_copy_bytes
from lab.experiments.premises import number
from lab.experiments.stress_scenarios import Floor, Scenario, Size
from lab.results import Check, DeviceCounters, Integrity

_SHOWN = 4
# meet_rival() of controls.c: once while dcbm is registered, once while nobody is.
_RIVALS = Floor(2)
# Checks that are floors, and those that don't hold where no folio was copied.
_FLOORS = frozenset({"pages migrated", "offloaded", "copied by the CPU", "rivals"})
_NOTHING_COPIED = frozenset({"descriptors", "bytes", "interrupts"})


@dataclass(frozen=True)
class Counted:
    """What a mode has counted.

    Attributes:
        tally: the program's counts by name.
        surprises: answers that no kernel may give, in words, as far as they were kept.
        integrity: of the pages' contents.
        seen_by: who found each wrong page that is listed.
        pages_migrated: growth of ``pgmigrate_success``.
        device: what the engines counted.
        dma_copies: what dcbm counted, None without it or where its counters were reset.
        folios_failures: the same.
    """

    tally: Mapping[str, int]
    surprises: tuple[str, ...]
    integrity: Integrity
    seen_by: tuple[str, ...]
    pages_migrated: int
    device: DeviceCounters
    dma_copies: int | None
    folios_failures: int | None

    @classmethod
    def of(
        cls,
        result: Mapping[str, Any],
        device: DeviceCounters,
        dma_copies: int | None,
        folios_failures: int | None,
    ) -> Counted:
        """From the program's result.

        Raises:
            PremiseError: something isn't there.
        """
        vmstat = result.get("vmstat")
        if not isinstance(vmstat, Mapping):
            raise PremiseError("the growth of /proc/vmstat in the program's result", repr(vmstat))
        wrong = {"pages_verified", "pages_wrong"}
        return cls(
            tally={
                name: value
                for name, value in result.items()
                if isinstance(value, int) and name not in wrong
            },
            surprises=tuple(result.get("surprise", ())),
            integrity=Integrity.model_validate(
                {
                    "pages_verified": number(result, "pages_verified"),
                    "pages_wrong": number(result, "pages_wrong"),
                    "wrong": result.get("wrong", []),
                }
            ),
            seen_by=tuple(result.get("seen_by", ())),
            pages_migrated=number(vmstat, "pgmigrate_success"),
            device=device,
            dma_copies=dma_copies,
            folios_failures=folios_failures,
        )


def stress_checks(
    scenario: Scenario, counted: Counted, *, size: Size, topology: Topology, rival: bool = True
) -> list[Check]:
    """Every check on one mode with dcbm.

    Args:
        scenario: what was played.
        counted: what was seen.
        size: of the run.
        topology: of the machine, which may limit the length of a copy.
        rival: whether another provider tried to register.
    """
    made = _kernel_checks(scenario, counted, size)
    if scenario.rival and rival:
        made.append(_reaches("rivals", number(counted.tally, "rivals"), _RIVALS, size))
    return [*made, *_offload_checks(scenario, counted, size, topology)]


def idle_checks(scenario: Scenario, counted: Counted, *, size: Size) -> list[Check]:
    """The same without dcbm, on the vanilla kernel or with another provider: engines are idle."""
    return [*_kernel_checks(scenario, counted, size), checks.engines_idle(counted.device)]


def missing_premises(scenario: Scenario, counted: Counted, made: Sequence[Check]) -> list[Check]:
    """Those of the checks that didn't hold, if the program has not come to do enough.

    None are if the program did its part, or if the kernel did anything wrong: that is a verdict,
    however short the run was.
    """
    unheld = [check for check in made if not check.held]
    own = {name for name, floor in scenario.floors.items() if not floor.kernels}
    short = any(check.name in own for check in unheld)
    return unheld if short and only_too_little(scenario, counted, made) else []


def only_too_little(scenario: Scenario, counted: Counted, made: Sequence[Check]) -> bool:
    """Whether all that is wrong, and something is, can come from too short a run."""
    unheld = {check.name for check in made if not check.held}
    empty = {*scenario.floors, *_FLOORS}
    if not counted.device.descriptors and not counted.dma_copies:
        empty |= _NOTHING_COPIED
    return bool(unheld) and unheld <= empty


def _reaches(name: str, seen: int, floor: Floor, size: Size) -> Check:
    return checks.at_least(name, seen, floor.count(size), floor.text)


def _kernel_checks(scenario: Scenario, counted: Counted, size: Size) -> list[Check]:
    """What has to hold whoever copies."""
    tally = counted.tally
    made = [
        _contents(counted, size),
        _answers(counted),
        *(
            _reaches(name, number(tally, name), floor, size)
            for name, floor in scenario.floors.items()
        ),
        _reaches("pages migrated", counted.pages_migrated, scenario.migrated, size),
    ]
    if "pins" in scenario.floors:
        # While it is registered, somebody tries to move each page twice (ring.c).
        tried = 2 * number(tally, "pins")
        made.append(
            checks.equal("pinned pages refused", number(tally, "pinned_refused"), tried, "pages")
        )
        made.append(checks.equal("pinned pages moved", number(tally, "pinned_moved"), 0, "pages"))
    if scenario.folio_pages > 1:
        # Both nodes have room for them, and nobody unmaps a part of one.
        made.append(checks.equal("folios split", number(tally, "folios_split"), 0, "folios"))
    return made


def _contents(counted: Counted, size: Size) -> Check:
    """The shared check, with who has seen what.

    Each page is verified before it is written, and all are at the end.
    """
    check = checks.integrity(counted.integrity, number(counted.tally, "writes") + size.pages)
    if not counted.seen_by:
        return check
    who = ", ".join(dict.fromkeys(counted.seen_by))
    return check.model_copy(update={"seen": f"{check.seen}; found by {who}"})


def _answers(counted: Counted) -> Check:
    """Each system call and control file gave one of the answers that it may give."""
    count = number(counted.tally, "surprises")
    return Check(
        name="answers",
        held=count == 0 and not counted.surprises,
        awaited="each call and control file answers as it has to",
        seen="; ".join([f"{count:,} that don't", *counted.surprises[:_SHOWN]]),
    )


def _offload_checks(
    scenario: Scenario, counted: Counted, size: Size, topology: Topology
) -> list[Check]:
    """The engines copied folios of one size, and as many as dcbm says.

    How many of the migrated ones is not known: whoever finds no idle channel copies by the CPU.
    """
    copies = counted.dma_copies
    if copies is None:
        made = _engine_checks(counted.device)
        copies = counted.device.descriptors
    else:
        made = checks.engines_agree(
            counted.device,
            folios=copies,
            folio_bytes=scenario.folio_pages * checks.PAGE_BYTES,
            folios_failures=counted.folios_failures,
            piece_bytes=longest_copy_bytes(topology),
        )
    pages = copies * scenario.folio_pages
    made.append(_reaches("offloaded", pages, scenario.offloaded, size))
    if scenario.by_cpu is not None:
        by_cpu = counted.pages_migrated - pages
        made.append(_reaches("copied by the CPU", by_cpu, scenario.by_cpu, size))
    return made


def _engine_checks(device: DeviceCounters) -> list[Check]:
    """Where dcbm's counters were reset, the engines' own have to agree with each other."""
    return [
        checks.at_least("descriptors", device.descriptors, 1, "completed"),
        checks.equal("bytes", device.bytes, device.descriptors * checks.PAGE_BYTES, "bytes"),
        checks.at_least("interrupts", device.interrupts, 1, "interrupts raised"),
        checks.equal("engine errors", device.errors, 0, "failed descriptors"),
    ]
