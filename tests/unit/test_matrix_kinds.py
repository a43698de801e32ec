# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of folio of the matrix: the guest's and the lab's lists, their disks, their checks."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from native import IMAGES, SOURCES, compile_c, make_once

from lab.build import disks
from lab.build.disks import BLOCK_BYTES, DISKS, build_disks, list_blocks
from lab.cache import Cache
from lab.checkout import ROOT
from lab.config import LabFile, Topology
from lab.errors import BuildError, PremiseError, ProgramDied
from lab.experiments import checks, matrix
from lab.experiments.base import Findings
from lab.experiments.matrix_cells import (
    CHANGES,
    KINDS,
    NOT_APPLICABLE,
    NOT_OFFERED,
    PARTLY,
    STAYS,
    TRIGGERS,
    Kind,
    changes,
    moves,
    not_applicable,
)
from lab.experiments.matrix_checks import (
    Found,
    asked_too_little,
    cell_checks,
    cell_verdict,
    needed_nothing,
)
from lab.machine.jobs import JobResult
from lab.progress import SilentProgress
from lab.results import Cell, CellVerdict, Check, DeviceCounters, Integrity

MIGRATE = IMAGES / "workloads" / "migrate"
BY_NAME = {kind.name: kind for kind in KINDS}
BY_TRIGGER = {trigger.name: trigger for trigger in TRIGGERS}
IDLE = DeviceCounters(descriptors=0, bytes=0, interrupts=0, errors=0)
# Four pages, moved by the CPU, nothing lost.
FOUND = Found(
    pages=4,
    folios=4,
    folio_bytes=4096,
    pages_moved=4,
    folios_moved=4,
    on_to=4,
    asked=4,
    asked_moved=4,
    absent=0,
    pull_errno=0,
    lost="",
    integrity=Integrity(pages_verified=8, pages_wrong=0, wrong=[]),
    device=IDLE,
    dma_copies=0,
    folios_failures=0,
    pages_migrated=4,
)


def failed(kind: Kind, found: Found, *, offload: bool = False) -> list[str]:
    made = cell_checks(TRIGGERS[0], kind, found, offload=offload, topology=Topology())
    return [check.name for check in made if not check.held]


def make_migrate(path: Path) -> None:
    compiler = shutil.which("gcc")
    assert compiler
    make = ["make", "-C", str(IMAGES), f"OUT={path.parent}", f"CC={compiler}", str(path)]
    subprocess.run(make, check=True, capture_output=True)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Names and purposes, as the guest's program tells them."""
    migrate = make_once(tmp_path_factory, "migrate", make_migrate)
    done = subprocess.run([migrate, "--list"], check=True, capture_output=True, text=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return {event["name"]: event["purpose"] for event in events if event["event"] == "kind"}


def test_the_guest_can_make_exactly_these_kinds(listed: dict[str, str]) -> None:
    assert set(listed) == set(BY_NAME)
    assert len(KINDS) == len(BY_NAME)


def test_every_kind_stands_in_the_documentation(listed: dict[str, str]) -> None:
    text = (ROOT / "docs" / "experiments.md").read_text()
    missing = [name for name in listed if f"`{name}`" not in text]
    assert not missing


def test_what_is_not_applicable_is_there() -> None:
    triggers = {trigger.name for trigger in TRIGGERS} | {"*"}
    for trigger, kind in NOT_APPLICABLE:
        assert trigger in triggers
        assert kind in set(BY_NAME) | {"*"}


def test_every_known_bug_has_its_evidence() -> None:
    text = (ROOT / "docs" / "known-bugs.md").read_text()
    for kind in KINDS:
        assert (kind.bug is None) == (kind.excused is None)
        assert kind.bug is None or f"`{kind.bug}`" in text


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.movable])
def test_what_is_pinned_must_stay(kind: Kind) -> None:
    stayed = replace(FOUND, pages_moved=0, folios_moved=0, on_to=0, pages_migrated=0)
    assert failed(kind, stayed, offload=True) == []
    assert failed(kind, replace(stayed, pages_moved=1)) == ["stayed"]
    assert failed(kind, replace(stayed, dma_copies=1), offload=True) == ["not offloaded"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.movable])
def test_what_can_move_has_to(kind: Kind) -> None:
    assert failed(kind, FOUND) == []
    few = 2 if kind.name == "ext4-writeback" else 3
    assert failed(kind, replace(FOUND, on_to=few)) == ["moved"]


@pytest.mark.parametrize("name", ["hugetlb", "ext4-dirty", "bdev", "pinned-pipe"])
def test_what_a_provider_must_not_get(name: str) -> None:
    used = replace(
        FOUND,
        dma_copies=4,
        device=DeviceCounters(descriptors=4, bytes=4 * 4096, interrupts=1, errors=0),
    )
    assert "not offloaded" in failed(BY_NAME[name], used, offload=True)
    # With dcbm off not even folios of others may be.
    assert {"engines idle", "not offloaded"} <= set(failed(BY_NAME[name], used))
    # Pages of the program that moved along account for as many copies, and for no more.
    along = replace(used, pages_migrated=used.pages_migrated + 4)
    assert "not offloaded" not in failed(BY_NAME[name], along, offload=True)
    more = replace(along, dma_copies=5)
    assert "not offloaded" in failed(BY_NAME[name], more, offload=True)
    # What dcbm doesn't count the engines do.
    hidden = replace(used, dma_copies=0)
    assert "not offloaded" in failed(BY_NAME[name], hidden, offload=True)


@pytest.mark.parametrize(
    ("trigger", "name", "copies", "held"),
    [
        ("damon_hot", "xfs-writeback", 64, True),
        ("damon_hot", "xfs-writeback", 62, True),
        ("damon_hot", "xfs-writeback", 61, False),
        ("damon_hot", "xfs-writeback", 65, False),
        ("move_pages", "xfs-writeback", 63, False),
        ("damon_hot", "anon-64k", 64, True),
        ("damon_hot", "anon-64k", 63, False),
    ],
)
def test_a_folio_whose_writeback_is_just_ending_may_be_left_to_the_cpu(
    trigger: str, name: str, copies: int, held: bool
) -> None:
    """Exactly as many otherwise, and never more than have moved."""
    moved = replace(
        FOUND,
        pages=1024,
        folios=64,
        folio_bytes=16 * 4096,
        pages_moved=1024,
        folios_moved=64,
        on_to=1024,
        pages_migrated=1024,
        dma_copies=copies,
        device=DeviceCounters(descriptors=copies, bytes=copies * 16 * 4096, interrupts=1, errors=0),
    )
    made = pulled(trigger, name, moved, offload=True)
    assert [check.held for check in made if check.name == "offloaded"] == [held]


@pytest.mark.parametrize("name", ["anon", "ksm", "swapcache", "shmem", "xfs-dirty"])
def test_what_a_provider_must_get(name: str) -> None:
    assert "offloaded" in failed(BY_NAME[name], FOUND, offload=True)


def test_a_loss_is_a_failure_and_a_known_one_is_named() -> None:
    lost = replace(FOUND, lost="512 pages became soft-dirty")
    assert failed(BY_NAME["anon"], lost) == ["survived"]
    assert failed(BY_NAME["anon-2m"], lost) == []
    made = cell_checks(TRIGGERS[0], BY_NAME["anon-2m"], lost, offload=False, topology=Topology())
    assert "known bug mm-soft-dirty-huge: 512" in next(
        check.seen for check in made if check.name == "survived"
    )
    more = replace(FOUND, lost="512 pages became soft-dirty; flag dirty of 1 pages")
    assert failed(BY_NAME["anon-2m"], more) == ["survived"]


# -- disks ---------------------------------------------------------------------------------------


def test_blocks_that_are_zero_are_left_out(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    block = bytes(range(256)) * 16
    whole.write_bytes(bytes(2 * BLOCK_BYTES) + block + bytes(BLOCK_BYTES))
    assert list_blocks(whole) == (2).to_bytes(8, "little") + block
    whole.write_bytes(bytes(BLOCK_BYTES))
    with pytest.raises(BuildError, match="zeros"):
        list_blocks(whole)


def test_a_disk_is_the_same_whenever_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [build_disks(Cache(tmp_path / name), SilentProgress()) for name in ("one", "two")]
    for disk in DISKS:
        first, second = ((folder / disk.name).read_bytes() for folder in made)
        assert first == second
        assert len(first) % (8 + BLOCK_BYTES) == 0
    # The clock that stands still is what makes them so.
    other = tmp_path / "other"
    shutil.copytree(disks._PRELOAD.parent, other)
    moved = other / disks._PRELOAD.name
    moved.write_text(moved.read_text().replace("1767225600", "1767225601"))
    monkeypatch.setattr(disks, "_PRELOAD", moved)
    later = build_disks(Cache(tmp_path / "three"), SilentProgress())
    assert (later / "xfs").read_bytes() != (made[0] / "xfs").read_bytes()


def test_the_guest_makes_disks_of_the_size_of_their_file_systems() -> None:
    text = "".join((MIGRATE / name).read_text() for name in ("file.c", "block.c"))
    used = re.findall(r'\.mib = (\d+),[^}]*?\.image = "/lib/disks/([^"]+)"', text)
    assert {(name, int(mib)) for mib, name in used} == {(disk.name, disk.mib) for disk in DISKS}


# -- contents that lie elsewhere -----------------------------------------------------------------


def test_a_copy_is_held_to_the_address_of_its_original(tmp_path: Path) -> None:
    probe = compile_c(
        tmp_path / "copy_probe", SOURCES / "copy_probe.c", IMAGES / "workloads" / "pattern.c"
    )
    done = subprocess.run([probe], check=True, capture_output=True, text=True)
    right, wrong, elsewhere = done.stdout.split()
    assert (right, wrong, elsewhere) == ("0", "1:0x7f0000001005:5", "1")


def pulled(trigger: str, kind: str, found: Found, *, offload: bool = False) -> list[Check]:
    return cell_checks(
        BY_TRIGGER[trigger], BY_NAME[kind], found, offload=offload, topology=Topology()
    )


def test_where_a_kind_has_to_stay_each_half_is_red() -> None:
    for trigger, kind in STAYS:
        assert BY_NAME[kind].movable
        assert not moves(BY_TRIGGER[trigger], BY_NAME[kind])
        stayed = replace(FOUND, pages_moved=0, folios_moved=0, on_to=0, pages_migrated=0)
        assert all(check.held for check in pulled(trigger, kind, stayed))
        assert not all(check.held for check in pulled(trigger, kind, FOUND))


def test_compaction_has_to_move_all_that_it_was_to_and_enough_must_be_that() -> None:
    compaction = BY_TRIGGER["compact_node"]
    # The fourth page lay elsewhere, and may stay; one of the others may not.
    three = replace(FOUND, pages_moved=3, folios_moved=3, asked=3, asked_moved=3)
    assert all(check.held for check in pulled("compact_node", "anon", three))
    left = replace(three, asked_moved=2)
    assert [c.name for c in pulled("compact_node", "anon", left) if not c.held] == ["moved"]
    assert asked_too_little(compaction, three) is None
    one = replace(FOUND, asked=1, asked_moved=1)
    assert "1 of 4 pages" in str(asked_too_little(compaction, one))
    # Whoever is told which pages to move has to be asked for each.
    assert asked_too_little(BY_TRIGGER["move_pages"], three) is not None


def test_of_what_is_taken_along_each_copy_is_accounted_for() -> None:
    device = DeviceCounters(descriptors=6, bytes=6 * 4096, interrupts=1, errors=0)
    along = replace(FOUND, pages_migrated=6, dma_copies=6, device=device)
    for trigger in ("migrate_pages", "cpuset", "numa_balancing"):
        assert all(check.held for check in pulled(trigger, "anon", along, offload=True))
        twice = replace(along, pages_migrated=5)
        assert [c.name for c in pulled(trigger, "anon", twice, offload=True) if not c.held] == [
            "offloaded"
        ]


def test_only_exact_triggers_may_leave_a_folio_to_the_cpu() -> None:
    for trigger, kind in NOT_OFFERED:
        assert BY_TRIGGER[trigger].exact
        assert BY_NAME[kind].offloaded


def test_what_stayed_is_told_by_its_lowest_page() -> None:
    moved = dict.fromkeys(("pages", "folios", "pages_moved", "folios_moved", "on_to"), 3)
    moved |= {"asked": 4, "asked_moved": 3, "absent": 0, "pull_errno": 0, "retries": 0}
    moved |= {"vmstat": {"pgmigrate_success": 3, "pgmigrate_fail": 1}}
    told = moved | {"stayed": {"page": 2, "frame": 0x1234, "flags": 1 << 12 | 1 << 5}}

    def seen(events: dict[str, Any]) -> str:
        read = Found.of(
            {"folio_kib": 4},
            events,
            None,
            device=FOUND.device,
            dma_copies=3,
            folios_failures=0,
        )
        (check,) = [c for c in pulled("compact_node", "anon", read) if c.name == "moved"]
        assert not check.held
        return check.seen

    assert seen(moved) == "3, 0 absent, errno 0"
    assert seen(told) == (
        "3, 0 absent, errno 0, the lowest that stayed is page 2 in frame 0x1234, "
        "flags lru, anon (0x1020)"
    )


def test_where_a_trigger_may_stop_and_has_moved_nothing_nothing_is_shown() -> None:
    for trigger, kind in PARTLY:
        some = replace(FOUND, pages_moved=1, folios_moved=1, asked_moved=1)
        assert all(check.held for check in pulled(trigger, kind, some))
        none = replace(FOUND, pages_moved=0, folios_moved=0, asked_moved=0)
        assert not needed_nothing(BY_TRIGGER[trigger], BY_NAME[kind], some)
        assert needed_nothing(BY_TRIGGER[trigger], BY_NAME[kind], none)
        # what others have cost has to be right all the same
        assert [c.name for c in pulled(trigger, kind, replace(none, lost="a flag")) if not c.held]


def test_no_table_says_anything_about_cells_that_another_leaves_out() -> None:
    for table in (STAYS, PARTLY, CHANGES):
        for trigger, kind in table:
            assert kind == "*" or not_applicable(BY_TRIGGER[trigger], BY_NAME[kind]) is None
    assert not set(STAYS) & set(PARTLY)


# -- verdicts ------------------------------------------------------------------------------------


def test_a_program_that_dies_of_what_was_done_is_a_failure() -> None:
    unseen = replace(FOUND, integrity=None, lost="")
    sound = pulled("move_pages", "ext4-dirty", unseen)
    assert [check.name for check in sound] == ["moved", "engines idle", "not offloaded"]
    assert cell_verdict(sound, "exit status 1") == (CellVerdict.ERROR, "exit status 1")
    device = DeviceCounters(descriptors=4, bytes=4 * 4096, interrupts=1, errors=0)
    copied = replace(unseen, dma_copies=4, device=device)
    verdict, why = cell_verdict(pulled("move_pages", "ext4-dirty", copied, offload=True), "it died")
    assert verdict is CellVerdict.FAIL
    assert str(why).startswith("not offloaded: ")
    assert str(why).endswith("it died")


def test_only_a_program_that_ends_before_the_migration_is_over_has_nothing_to_tell() -> None:
    moved, looked = {"event": "moved", "pages": 4}, {"event": "cell", "lost": ""}

    def ended(status: int, *events: dict[str, Any]) -> JobResult:
        return JobResult(("migrate",), status, None, list(events), [], [])

    assert matrix._events(ended(0, moved, looked)) == (moved, looked, None)
    told, nothing, why = matrix._events(ended(1, moved))
    assert (told, nothing) == (moved, None)
    assert "exit status 1" in str(why)
    # What it had to say, and then failed to put back, is no pass.
    assert matrix._events(ended(1, moved, looked))[1] is None
    with pytest.raises(PremiseError, match="'cell'"):
        matrix._events(ended(1))


def test_a_program_that_a_migration_kills_is_no_missing_premise() -> None:
    killed = JobResult(("migrate",), None, signal.SIGSEGV, [], [], [])
    with pytest.raises(ProgramDied) as caught:
        matrix._events(killed)
    check = checks.died("mbind of anon: programs", caught.value)
    assert not check.held
    assert "SIGSEGV" in check.seen


def run_cell(
    monkeypatch: pytest.MonkeyPatch, *attempts: Found, ended_early: str | None = None
) -> tuple[Cell, list[Check], int]:
    """One cell of compaction whose attempts come to these: its checks, and attempts left over."""
    left = list(attempts)
    monkeypatch.setattr(matrix, "_migrate", lambda *_: (left.pop(0), ended_early))
    findings = Findings()
    mode = SimpleNamespace(offload=matrix.Offload.OFF, machine=LabFile())
    session: Any = SimpleNamespace(findings=findings, mode=mode)
    cell = matrix._run_cell(
        session, None, BY_TRIGGER["compact_node"], BY_NAME["anon"], itertools.count(1)
    )
    return cell, findings.checks, len(left)


def test_a_region_that_lies_elsewhere_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = replace(FOUND, asked=1, asked_moved=1)
    cell, made, left = run_cell(monkeypatch, elsewhere, FOUND, FOUND)
    assert (cell.verdict, left) == (CellVerdict.PASS, 1)
    assert [check.name for check in made].count("compact_node of anon: moved") == 1
    cell, made, left = run_cell(monkeypatch, *[elsewhere] * 4)
    assert (cell.verdict, made, left) == (CellVerdict.ERROR, [], 1)
    assert "1 of 4 pages" in str(cell.why)


def test_what_was_done_to_a_region_that_lies_elsewhere_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = replace(FOUND, asked=1, asked_moved=1)
    harmed = replace(elsewhere, lost="3 pages became soft-dirty")
    cell, made, _ = run_cell(monkeypatch, harmed, FOUND)
    assert cell.verdict is CellVerdict.FAIL
    assert [check.name for check in made if not check.held] == ["compact_node of anon: survived"]
    unseen = replace(elsewhere, integrity=None)
    cell, _, left = run_cell(monkeypatch, unseen, FOUND, ended_early="exit status 1")
    assert (cell.verdict, left) == (CellVerdict.ERROR, 1)


def test_a_known_bug_is_a_verdict_of_its_own() -> None:
    assert cell_verdict(pulled("move_pages", "anon-2m", FOUND), None) == (CellVerdict.PASS, None)
    lost = replace(FOUND, lost="512 pages became soft-dirty")
    verdict, why = cell_verdict(pulled("move_pages", "anon-2m", lost), None)
    assert verdict is CellVerdict.KNOWN_BUG
    assert "mm-soft-dirty-huge" in str(why)
    assert cell_verdict(pulled("move_pages", "anon", lost), None)[0] is CellVerdict.FAIL


def test_a_trigger_excuses_what_it_changes_itself_and_nothing_else() -> None:
    read = replace(FOUND, lost="Referenced was 2048 KiB and is 4096")
    both = replace(read, lost=f"{read.lost}; 3 pages became soft-dirty")
    assert all(check.held for check in pulled("numa_balancing", "anon", read))
    assert not all(check.held for check in pulled("numa_balancing", "anon", both))
    assert not all(check.held for check in pulled("move_pages", "anon", read))
    split = replace(FOUND, lost="flag head of 3 pages; flag tail of 9 pages")
    assert all(check.held for check in pulled("compact_node", "anon-16k", split))
    assert not all(check.held for check in pulled("mbind", "anon-16k", split))
    # Nor is a kind excused for what befalls another.
    assert not all(check.held for check in pulled("compact_node", "anon", split))
    clean = replace(FOUND, lost="flag dirty of 4 pages")
    assert all(check.held for check in pulled("demotion", "xfs-dirty", clean))
    assert not all(check.held for check in pulled("demotion", "shmem", clean))
    assert changes(BY_TRIGGER["mbind"], BY_NAME["anon"]) == "(?!)"
