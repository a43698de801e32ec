# SPDX-License-Identifier: GPL-2.0-or-later
"""The reason axis of `matrix`: its tables, its machine, and the checks on what a trigger did."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.checkout import IMAGES
from lab.config import Kernel, LabFile, Node, Topology, Variant
from lab.errors import PremiseError
from lab.experiments import matrix, matrix_machine
from lab.experiments.matrix_cells import (
    KINDS,
    NOT_APPLICABLE,
    TRIGGERS,
    Kind,
    Promise,
    Trigger,
    not_applicable,
)
from lab.experiments.matrix_checks import (
    Found,
    cell_checks,
    copies_used,
    needed_nothing,
    needed_some,
)
from lab.machine.jobs import JobResult
from lab.results import Cell, CellVerdict, Check, DeviceCounters, Integrity, WrongPage

# enum migrate_reason of Linux 7.3, as dcbm's reason_mask has them.
REASONS = {
    "compaction",
    "memory_failure",
    "memory_hotplug",
    "syscall_or_cpuset",
    "mempolicy_mbind",
    "numa_misplaced",
    "contig_range",
    "longterm_pin",
    "demotion",
    "damon",
}
MIGRATE = IMAGES / "workloads/migrate"
BY_NAME = {trigger.name: trigger for trigger in TRIGGERS}
ANON = next(kind for kind in KINDS if kind.name == "anon")
PMD = next(kind for kind in KINDS if kind.name == "anon-2m")
IDLE = DeviceCounters(descriptors=0, bytes=0, interrupts=0, errors=0)


def named_in(files: Sequence[Path]) -> set[str]:
    return {name for file in files for name in re.findall(r'\{ \.name = "(\w+)"', file.read_text())}


def found(pages: int, moved: int, *, folio_pages: int = 1, **other: Any) -> Found:
    """A region all of which is on the destination and copied by the engines, unless said."""
    copies = other.pop("dma_copies", moved // folio_pages)
    values: dict[str, Any] = {
        "pages": pages,
        "folios": pages // folio_pages,
        "folio_bytes": folio_pages * 4096,
        "pages_moved": moved,
        "folios_moved": moved // folio_pages,
        "on_to": moved,
        "asked": pages,
        "asked_moved": moved,
        "absent": 0,
        "pull_errno": 0,
        "lost": "",
        "integrity": Integrity(pages_verified=pages, pages_wrong=0, wrong=[]),
        "device": DeviceCounters(
            descriptors=copies, bytes=moved * 4096, interrupts=1 if copies else 0, errors=0
        ),
        "dma_copies": copies,
        "folios_failures": 0,
        "pages_migrated": moved,
    }
    return Found(**{**values, **other})


def failed(trigger: str, seen: Found, *, kind: Kind = ANON, offload: bool = True) -> set[str]:
    made = cell_checks(BY_NAME[trigger], kind, seen, offload=offload, topology=Topology())
    return {check.name for check in made if not check.held}


def test_every_reason_of_the_kernel_has_a_trigger() -> None:
    assert {trigger.reason for trigger in TRIGGERS} == REASONS


def test_the_program_has_the_triggers_of_the_table() -> None:
    assert named_in(sorted(MIGRATE.glob("*.c"))) >= set(BY_NAME)
    assert len(BY_NAME) == len(TRIGGERS)


def test_what_is_not_applicable_names_what_there_is() -> None:
    kinds = {kind.name for kind in KINDS} | {"*"}
    for (trigger, kind), why in NOT_APPLICABLE.items():
        assert trigger in {*BY_NAME, "*"}
        assert kind in kinds
        assert why
    assert not_applicable(BY_NAME["compact_node"], PMD)
    assert not_applicable(BY_NAME["offline"], PMD) is None


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.name)
def test_a_region_that_stays_is_no_pass(trigger: Trigger) -> None:
    stayed = found(1024, 0)
    assert needed_nothing(trigger, ANON, stayed) == trigger.as_needed
    assert ("moved" in failed(trigger.name, stayed, offload=False)) != trigger.as_needed


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.name)
def test_copies_that_the_mask_forbids_show(trigger: Trigger) -> None:
    assert failed(trigger.name, found(1024, 1024)) == set()
    assert failed(trigger.name, found(1024, 1024), offload=False) == {
        "engines idle",
        "not offloaded",
    }


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.name)
def test_copies_that_the_mask_wants_must_be_there(trigger: Trigger) -> None:
    seen = found(1024, 1024, device=IDLE, dma_copies=0)
    assert "offloaded" in failed(trigger.name, seen)


BY_OTHERS = [trigger for trigger in TRIGGERS if not trigger.exact]


@pytest.mark.parametrize("trigger", BY_OTHERS, ids=lambda trigger: trigger.name)
def test_copies_of_others_are_no_proof_of_the_regions(trigger: Trigger) -> None:
    others, few = 2048, 16
    device = DeviceCounters(descriptors=others, bytes=others * 4096, interrupts=9, errors=0)
    # As many folios as the region has and more, all of them of others.
    large = found(1024, 1024, folio_pages=256, device=device, dma_copies=others)
    mixed = replace(large, pages_migrated=1024 + others)
    assert "pages" in failed(trigger.name, mixed)
    every = device.model_copy(update={"bytes": (1024 + others - few) * 4096})
    assert "pages" not in failed(trigger.name, replace(mixed, device=every))
    less = replace(mixed, device=device.model_copy(update={"bytes": every.bytes - 4096}))
    assert "pages" in failed(trigger.name, less)
    # So few of the region that copies of others would hide them all.
    hidden = found(1024, 14, device=every, dma_copies=others, pages_migrated=14 + 1024 + others)
    assert "pages" in failed(trigger.name, hidden)


def test_what_was_offered_in_vain_shows_where_nothing_is_to_be_offered() -> None:
    vain = found(1024, 1024, device=IDLE, dma_copies=0, folios_failures=1)
    assert failed("move_pages", vain, offload=False) == {"not offloaded"}
    assert failed("move_pages", vain, kind=Kind("ext4-dirty", offloaded=False)) == {"not offloaded"}


def test_that_nothing_moved_proves_nothing_where_nobody_has_asked() -> None:
    pinned = Kind("pinned-pipe", movable=False, offloaded=False)
    for error, bad in ((0, set()), (errno.EBUSY, set()), (errno.EPERM, {"stayed"})):
        seen = found(1024, 0, pull_errno=error)
        assert failed("move_pages", seen, kind=pinned, offload=False) == bad


def test_what_is_exempt_is_told_in_words() -> None:
    def survived(trigger: str, lost: str) -> Check:
        seen = found(1024, 1024, lost=lost)
        made = cell_checks(BY_NAME[trigger], ANON, seen, offload=True, topology=Topology())
        return next(check for check in made if check.name == "survived")

    bad = survived("mbind", "1 pages are wrong in a child")
    assert not bad.held
    assert bad.awaited == "nothing lost beside the contents"
    own = survived("numa_balancing", "VmFlags were a and are b; 7 pages became soft-dirty")
    assert "(?" not in own.awaited
    assert "\\d" not in own.awaited


def test_copies_that_the_cpu_makes_once_more_show() -> None:
    def looked(wrong: int, *, offset: int = 1000) -> Found:
        # Five ways to look at 64 folios of 64 KiB.
        page = WrongPage(page=0, address="0x0", offset=offset, expected="0x0", seen="0x1")
        integrity = Integrity(pages_verified=5 * 1024, pages_wrong=wrong, wrong=[page])
        return found(1024, 1024, folio_pages=16, integrity=integrity)

    assert copies_used(looked(5 * 64), 64, 1000).held
    # Of a clean file the disk has what was right.
    assert copies_used(looked(4 * 64), 64, 1000).held
    # Two ways of three, with the swap.
    assert copies_used(looked(5 * 64 * 2 // 3), 64, 1000).held
    assert not copies_used(looked(5 * 32), 64, 1000).held
    assert not copies_used(looked(0), 64, 1000).held
    assert not copies_used(looked(5 * 64), 63, 1000).held
    assert not copies_used(looked(5 * 64, offset=8), 64, 1000).held
    assert not copies_used(found(1024, 0, integrity=None), 0, 1000).held


def test_a_trigger_that_needs_nothing_anywhere_fails() -> None:
    trigger = BY_NAME["compact_direct"]

    def cell(moved: int | None) -> tuple[Kind, Cell]:
        pages = None if moved is None else 1024
        verdict = CellVerdict.PASS if moved else CellVerdict.NOT_APPLICABLE
        names = {"trigger": trigger.name, "reason": trigger.reason, "kind": ANON.name}
        return ANON, Cell(**names, verdict=verdict, why=None, pages=pages, pages_moved=moved)

    enough = needed_some(trigger, [cell(1), cell(1024), cell(0), cell(0), cell(None)])
    assert enough is not None
    assert enough.held
    less = needed_some(trigger, [cell(1), cell(0), cell(0), cell(0), cell(None)])
    assert less is not None
    assert not less.held
    # Of few cells chance may have it, and those that weren't run don't count.
    assert needed_some(trigger, [cell(0), cell(0), cell(0), cell(None)]) is None


def test_a_kernel_that_has_tried_did_need_the_region() -> None:
    tried = found(1024, 0, pages_failed=1024 // 16 + 1)
    assert not needed_nothing(BY_NAME["compact_direct"], ANON, tried)
    assert "moved" in failed("compact_direct", tried)
    others = replace(tried, pages_failed=1024 // 16)
    assert needed_nothing(BY_NAME["compact_direct"], ANON, others)
    assert failed("compact_direct", others) == set()


def test_a_kernel_that_is_too_slow_for_a_cell_has_no_verdict_on_it() -> None:
    pinned = next(kind for kind in KINDS if kind.name == "pinned-direct")
    demotion, damon = BY_NAME["demotion"], BY_NAME["damon_cold"]
    assert "null_blk" in str(matrix_machine.too_slow(4.0, demotion, pinned))
    assert matrix_machine.too_slow(1.0, demotion, pinned) is None
    assert matrix_machine.too_slow(4.0, damon, pinned) is None
    assert matrix_machine.too_slow(4.0, demotion, ANON) is None


def test_only_direct_compaction_may_have_needed_nothing() -> None:
    assert {trigger.name for trigger in TRIGGERS if trigger.as_needed} == {"compact_direct"}
    # Not even then may anything be wrong with the region.
    assert "survived" in failed("compact_direct", found(1024, 0, lost="flag dirty of 1 pages"))


def test_a_tier_is_a_node_and_a_frame_is_not() -> None:
    assert "moved" in failed("demotion", found(1024, 1024, on_to=0))
    assert failed("contig_range", found(1024, 1024, on_to=0)) == set()


def test_soft_offlining_splits_and_takes_a_part() -> None:
    split = found(1024, 64, folio_pages=512, on_to=0, dma_copies=64, asked=64)
    assert failed("soft_offline", split, kind=PMD) == set()
    assert failed("soft_offline", found(1024, 63, on_to=0, asked=64), kind=ANON) == {"moved"}
    # The same without the split would be one copy of 2 MiB.
    whole = found(1024, 512, folio_pages=512, on_to=0, asked=64)
    assert {"offloaded", "bytes"} <= failed("soft_offline", whole, kind=PMD)


def test_the_default_machine_has_what_every_trigger_needs() -> None:
    plan = matrix.plan(LabFile(), matrix.MatrixParameters())
    topology = plan[0].machine.topology
    assert topology.slow_node == 2
    assert all(matrix_machine.machine_lacks(topology, trigger) is None for trigger in TRIGGERS)
    # 511 of node 0's 800 and of node 1's 768, and all 128 of the slow one.
    assert plan[0].command_line == ("kernelcore=1150M",)
    assert {"compact_trigger", "contig_trigger", "hwpoison_inject"} <= set(plan[0].modules)
    assert len({mode.command_line for mode in plan}) == 1


def test_the_shadow_of_kasan_has_room_beside_what_every_trigger_needs() -> None:
    kernel = Kernel(variant=Variant.KASAN)
    (mode, *_) = matrix.plan(LabFile(kernel=kernel), matrix.MatrixParameters())
    plain = matrix.plan(LabFile(), matrix.MatrixParameters())[0]
    topology = mode.machine.topology
    early = matrix_machine.early_mib(Variant.KASAN)
    more = matrix_machine.movable_mib(topology, early) - matrix_machine.movable_mib(
        plain.machine.topology
    )
    assert more == early > sum(node.memory_mib for node in topology.nodes) / 8
    # As much for the kernel as otherwise.
    assert mode.command_line == plain.command_line
    assert all(matrix_machine.machine_lacks(topology, trigger) is None for trigger in TRIGGERS)


def test_the_lab_files_nodes_stay_as_they_are() -> None:
    nodes = (Node(memory_mib=384), Node(memory_mib=512))
    lab = LabFile(topology=Topology(nodes=nodes))
    (mode, *_) = matrix.plan(lab, matrix.MatrixParameters())
    assert mode.machine.topology.nodes == nodes
    lacks = {t.name: matrix_machine.machine_lacks(mode.machine.topology, t) for t in TRIGGERS}
    assert {name for name, why in lacks.items() if why} == {"demotion"}


@pytest.mark.parametrize(
    ("mib", "movable_mib"),
    [((256, 512), 0), ((384, 512), 128), ((800, 768), 288), ((2048, 768), 0)],
)
def test_the_movable_zone_starts_on_a_block(mib: tuple[int, int], movable_mib: int) -> None:
    topology = Topology(nodes=tuple(Node(memory_mib=each) for each in mib))
    assert matrix_machine.movable_mib(topology) == movable_mib
    assert bool(matrix_machine.command_line(topology)) == bool(movable_mib)
    lacks = matrix_machine.machine_lacks(topology, BY_NAME["offline"])
    assert (lacks is None) == bool(movable_mib)


class _Guest:
    """What the program in a guest says when asked for its list."""

    def __init__(self, release: str, *, lacks: str = "", without: str = "") -> None:
        self.release = release
        self._lacks, self._without = lacks, without

    def run(self, argv: list[str]) -> JobResult:
        results: list[dict[str, Any]] = [
            {
                "event": "trigger",
                "name": trigger.name,
                "lacks": "/sys/it" if trigger.name == self._lacks else "",
            }
            for trigger in TRIGGERS
            if trigger.name != self._without
        ]
        results += [{"event": "kind", "name": kind.name} for kind in KINDS]
        return JobResult(tuple(argv), 0, None, results, [], [])


def lacking(*guest: str, **asked: str) -> Any:
    return matrix_machine.kernel_lacks(_Guest(*guest, **asked), TRIGGERS)  # type: ignore[arg-type]


def test_an_older_kernel_may_lack_a_trigger() -> None:
    assert lacking("7.3.4") == {}
    assert lacking("6.12.117", lacks="demotion") == {"demotion": "Linux 6.12 has no /sys/it"}


def test_a_kernel_that_should_have_a_trigger_and_lacks_it_is_an_error() -> None:
    with pytest.raises(PremiseError, match="for demotion"):
        lacking("7.3.4", lacks="demotion")


def test_a_program_with_other_triggers_is_an_error() -> None:
    with pytest.raises(PremiseError, match="triggers and kinds of the tables"):
        lacking("7.3.4", without="damon_hot")


def test_demotion_goes_to_the_slow_node() -> None:
    topology = SimpleNamespace(slow_node=2)
    destinations = {t.name: matrix._destination(topology, t) for t in TRIGGERS}  # type: ignore[arg-type]
    assert destinations.pop("demotion") == 2
    assert set(destinations.values()) == {1}
    assert BY_NAME["demotion"].promise is Promise.TIER


def test_who_does_not_wait_for_writeback_may_leave_some() -> None:
    kind = next(kind for kind in KINDS if kind.name == "xfs-writeback")
    half, most = found(1024, 512), found(1024, 1020)
    assert "moved" not in failed("damon_cold", half, kind=kind)
    assert "moved" in failed("damon_cold", found(1024, 511), kind=kind)
    assert "moved" in failed("cpuset", half, kind=kind)
    assert "moved" not in failed("cpuset", most, kind=kind)
    ext4 = next(kind for kind in KINDS if kind.name == "ext4-writeback")
    assert "moved" in failed("move_pages", half, kind=ext4, offload=False)
    assert "moved" not in failed("move_pages", most, kind=ext4, offload=False)
    for exact in ("move_pages", "migrate_pages", "mbind", "mbind_all"):
        assert "moved" in failed(exact, most, kind=kind)
    for waits in ("migrate_pages", "mbind", "damon_cold", "cpuset"):
        assert "moved" in failed(waits, most)


def test_reclaim_does_not_come_back_to_a_few() -> None:
    assert "moved" not in failed("demotion", found(1024, 1020))
    assert "moved" in failed("demotion", found(1024, 1000))


def test_a_range_may_be_busy_if_half_of_it_has_moved() -> None:
    assert "moved" not in failed("contig_range", found(1024, 1021, pull_errno=errno.EBUSY))
    assert "moved" in failed("contig_range", found(1024, 500, pull_errno=errno.EBUSY))
    assert "moved" in failed("contig_range", found(1024, 1021, pull_errno=errno.EINVAL))
    assert "moved" in failed("contig_range", found(1024, 1021))
    assert "moved" in failed("mbind", found(1024, 1024, pull_errno=errno.EBUSY))
