# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to hold under stress: pure functions from what was counted to checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.config import Topology
from lab.errors import PremiseError
from lab.experiments import checks
from lab.experiments.dma_path import longest_copy_bytes
from lab.experiments.premises import number
from lab.experiments.stress_scenarios import RIVAL, Scenario, Share
from lab.results import Check, DeviceCounters, Integrity

# Migrations share the channels, and whoever finds none copies by the CPU: that depends on how the
# tasks come by.
_PART_PCT = 20
_SHOWN = 4


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
    scenario: Scenario, counted: Counted, *, seconds: float, topology: Topology, rival: bool = True
) -> list[Check]:
    """Every check on one mode.

    Args:
        scenario: what was played.
        counted: what was seen.
        seconds: of the guest's time that it took.
        topology: of the machine, which may limit the length of a copy.
        rival: whether another provider tried to register.
    """
    made = [
        _contents(counted, _scaled(scenario.floors["writes"], seconds)),
        _answers(counted),
        *(
            checks.at_least(name, number(counted.tally, name), _scaled(floor, seconds), "of them")
            for name, floor in scenario.floors.items()
        ),
        checks.at_least(
            "pages migrated", counted.pages_migrated, _scaled(scenario.migrated, seconds), "pages"
        ),
    ]
    if "pinned_refused" in scenario.floors:
        moved = number(counted.tally, "pinned_moved")
        made.append(checks.equal("pinned pages moved", moved, 0, "pages"))
    if RIVAL in scenario.modules and rival:
        made.append(checks.at_least("rivals", number(counted.tally, "rivals"), 1, "of them"))
    return [*made, *_offload_checks(scenario, counted, topology)]


def vanilla_checks(scenario: Scenario, counted: Counted, *, seconds: float) -> list[Check]:
    """The same on the vanilla kernel, whose engines have nothing to do."""
    topology = Topology()
    made = stress_checks(scenario, counted, seconds=seconds, topology=topology)
    offload = {check.name for check in _offload_checks(scenario, counted, topology)}
    return [
        *(check for check in made if check.name not in offload),
        checks.engines_idle(counted.device),
    ]


def kernel_check(reports: list[str]) -> Check:
    """The kernel has warned of nothing; what is worse ends the mode as a CRASH."""
    return Check(
        name="kernel log",
        held=not reports,
        awaited="no warning of the kernel",
        seen="; ".join(reports[:_SHOWN]) or "none",
    )


def _scaled(floor: int, seconds: float) -> int:
    """A floor for so long; once is the least."""
    return max(1, int(floor * seconds))


def _contents(counted: Counted, floor: int) -> Check:
    """The shared check, with who has seen what."""
    check = checks.integrity(counted.integrity, floor)
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


def _offload_checks(scenario: Scenario, counted: Counted, topology: Topology) -> list[Check]:
    """The engines copied single pages, and as many as dcbm says."""
    copies = counted.dma_copies
    if copies is None:
        return _engine_checks(counted.device)
    return [
        *checks.engines_agree(
            counted.device,
            folios=copies,
            folio_bytes=checks.PAGE_BYTES,
            folios_failures=counted.folios_failures,
            piece_bytes=longest_copy_bytes(topology),
        ),
        *_share_checks(scenario.share, copies, counted.pages_migrated),
    ]


def _engine_checks(device: DeviceCounters) -> list[Check]:
    """Where dcbm's counters were reset, the engines' own have to agree with each other."""
    return [
        checks.at_least("descriptors", device.descriptors, 1, "completed"),
        checks.equal("bytes", device.bytes, device.descriptors * checks.PAGE_BYTES, "bytes"),
        checks.at_least("interrupts", device.interrupts, 1, "interrupts raised"),
        checks.equal("engine errors", device.errors, 0, "failed descriptors"),
    ]


def _share_checks(share: Share, copies: int, migrated: int) -> list[Check]:
    if share is Share.PART:
        least = migrated * _PART_PCT // 100
        return [checks.at_least("offloaded", copies, max(1, least), f"of {migrated:,} folios")]
    if share is Share.SOME:
        return [
            checks.at_least("offloaded", copies, 1, f"of {migrated:,} folios"),
            checks.at_least("copied by the CPU", migrated - copies, 1, f"of {migrated:,} folios"),
        ]
    return []
