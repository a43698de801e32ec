# SPDX-License-Identifier: GPL-2.0-or-later
"""Latency, CPU time and shared moves: what is made of the guest's events, and which are no run."""

from __future__ import annotations

from typing import Any

import pytest

from lab.config import LabFile
from lab.errors import ConfigError, PremiseError
from lab.experiments import concurrent_moves, folio_count, move_pages
from lab.experiments.engines import Growth
from lab.experiments.move_points import Measured, Moves, latency_check, latency_of, point_of
from lab.results import DeviceCounters, MovePoint

FOLIOS = 8 << 10
BYTES = FOLIOS * 4096
MOVES = Moves(folio_kib=4, total_mib=32, rounds=1, from_node=0, to_node=1, cpu=0, tasks=2, cpus=2)


def counted(descriptors: int) -> DeviceCounters:
    return DeviceCounters(
        descriptors=descriptors,
        bytes=descriptors * 4096,
        interrupts=min(descriptors, 1),
        errors=0,
    )


def event(**changes: Any) -> dict[str, Any]:
    return {
        "folios": FOLIOS,
        "bytes": BYTES,
        "wall_ns": 1000,
        "pages_verified": FOLIOS,
        "pages_wrong": 0,
        **changes,
    }


def watched(*usable_ns: int, held_up: bool = True) -> dict[str, Any]:
    readers = [
        {"folio": at, "held_up": held_up, "usable_ns": ns, "reads": 3}
        for at, ns in enumerate(usable_ns)
    ]
    return event(latency={"period_ns": 1, "watched": readers})


def summed(*moves: dict[str, Any], copies: int = 0) -> MovePoint:
    return point_of(list(moves), 4, Growth({}, counted(copies), 1), copies, 0)


def test_latency_is_the_mean_of_each_place() -> None:
    found = latency_of([watched(10, 20, 30), watched(20, 40, 60)], "4 KiB")
    assert (found.first_ns, found.middle_ns, found.last_ns) == (15, 30, 45)
    assert (found.moves, found.reads, found.wall_ns) == (2, 18, 1000)


def test_a_reader_that_nothing_held_up_is_no_measurement() -> None:
    with pytest.raises(PremiseError, match="holds up"):
        latency_of([watched(10, 20, 30), watched(0, 0, 0, held_up=False)], "4 KiB")
    with pytest.raises(PremiseError):
        latency_of([watched(10, 20)], "4 KiB")
    with pytest.raises(PremiseError):
        latency_of([], "4 KiB")


@pytest.mark.parametrize("times", [(0, 20, 30), (40, 20, 30), (10, 20, 1001)])
def test_times_that_cannot_be_fail(times: tuple[int, ...]) -> None:
    assert latency_check([watched(10, 20, 30)], "4 KiB").held
    assert not latency_check([watched(10, 20, 30), watched(*times)], "4 KiB").held
    assert not latency_check([], "4 KiB").held


def test_cpu_time_is_per_gb_and_without_idle() -> None:
    account = {"user": 0, "system": 500, "idle": 300, "irq": 200}
    move = event(task_cpu_ns=500, cpustat_ns=account, account_ns=1000)
    point = summed(move, move)
    gigabytes = BYTES / 1e9
    assert point.task_cpu_ms_per_gb == pytest.approx(500 / 1e6 / gigabytes)
    assert point.cpu_busy_ms_per_gb == pytest.approx(700 / 1e6 / gigabytes)
    assert point.cpu is not None
    assert (point.cpu.sys_pct, point.cpu.irq_pct, point.cpu.idle_pct) == (50, 20, 30)
    assert summed(event(), move).cpu is None


def shares(copies: int, by_cpu: int | None, pages: int) -> set[str]:
    point = summed(event(), event(), copies=copies).model_copy(update={"cpu_copies": by_cpu})
    found = concurrent_moves.shared_checks(point, MOVES, pages, offloaded=True)
    return {check.name for check in found if not check.held}


def test_dcbm_and_the_cpu_share_all_folios() -> None:
    assert shares(10_000, 2 * FOLIOS - 10_000, 2 * FOLIOS) == set()
    assert shares(10_000, 2 * FOLIOS - 10_001, 2 * FOLIOS - 1) == {
        "4 KiB: kernel's count",
        "4 KiB: shares",
    }
    assert shares(2 * FOLIOS + 1, -1, 2 * FOLIOS) == {"4 KiB: shares"}
    assert "4 KiB: offloaded" in shares(0, 2 * FOLIOS, 2 * FOLIOS)


def test_engines_that_work_in_a_baseline_fail() -> None:
    point = summed(event(), event(), copies=1).model_copy(update={"cpu_copies": 2 * FOLIOS})
    found = concurrent_moves.shared_checks(point, MOVES, 2 * FOLIOS, offloaded=False)
    assert [check.held for check in found].count(False) == 1


@pytest.mark.parametrize(
    "tasks",
    [
        [{"start_ns": 0, "wall_ns": 10}, {"start_ns": 10, "wall_ns": 10}],
        [{"start_ns": 0, "wall_ns": 10}],
        [],
    ],
)
def test_tasks_one_after_the_other_are_no_run(tasks: list[dict[str, int]]) -> None:
    at_once = [{"start_ns": 0, "wall_ns": 10}, {"start_ns": 9, "wall_ns": 10}]
    none = Growth({}, counted(0), 0)
    concurrent_moves.assert_at_once(Measured([event(tasks=at_once)], none, 0, 0), MOVES)
    with pytest.raises(PremiseError, match="at once"):
        concurrent_moves.assert_at_once(Measured([event(tasks=tasks)], none, 0, 0), MOVES)


def test_the_caller_follows_the_pages_where_asked() -> None:
    def cpus(caller: str) -> tuple[int, int | None]:
        parameters = move_pages.MovePagesParameters.model_validate({"caller": caller})
        mode = move_pages.plan(LabFile(), parameters)[0]
        return mode.cpu, mode.cpu_back

    assert cpus("engine") == (1, None)
    assert cpus("source") == (0, 1)
    assert cpus("destination") == (1, 0)


def test_more_folios_than_memory_are_refused() -> None:
    with pytest.raises(ConfigError, match="1152 MiB for 512 folios"):
        folio_count.plan(LabFile(), folio_count.FolioCountParameters(counts=(512,)))
    small = LabFile.model_validate({"topology": {"nodes": [{"memory_mib": 384}] * 2}})
    assert folio_count.plan(small, folio_count.FolioCountParameters())


def test_a_channel_for_each_task_is_refused() -> None:
    plans = concurrent_moves.plan(LabFile(), concurrent_moves.ConcurrentMovesParameters())
    assert [plan.name for plan in plans] == ["baseline-8", "dma-4", "dma-8"]
    assert {plan.machine.engine.channels for plan in plans} == {2}
    many = LabFile.model_validate({"engine": {"count": 4}})
    with pytest.raises(ConfigError, match="fewer channels than the 4 tasks"):
        concurrent_moves.plan(many, concurrent_moves.ConcurrentMovesParameters())
