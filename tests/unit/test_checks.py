# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from lab.errors import MachineError, PremiseError
from lab.experiments import checks, engines, premises
from lab.experiments.compaction import cpu_share, scaled_allocations
from lab.experiments.move_points import (
    folios_in_a_batch,
    placement_check,
    point_checks,
    point_of,
)
from lab.machine.engines import EngineCounters
from lab.results import CpuShare, DeviceCounters, Integrity, WrongPage


def counters(
    descriptors: int = 0, size_bytes: int = 0, interrupts: int = 0, errors: int = 0
) -> DeviceCounters:
    return DeviceCounters(
        descriptors=descriptors, bytes=size_bytes, interrupts=interrupts, errors=errors
    )


def engine(descriptors: int = 0, size_bytes: int = 0, interrupts: int = 0) -> EngineCounters:
    return EngineCounters(descriptors, size_bytes, interrupts, errors=0)


def held(found: list[checks.Check]) -> dict[str, bool]:
    return {check.name: check.held for check in found}


@pytest.mark.parametrize(
    ("seen", "reference", "holds"),
    [
        (1000, 1000, True),
        (1010, 1000, True),
        (1011, 1000, False),
        (989, 1000, False),
        (0, 1000, False),
        (0, 0, False),
        (5, 0, False),
    ],
)
def test_within_one_percent(seen: int, reference: int, holds: bool) -> None:
    assert checks.within_pct("offloaded", seen, reference, 1.0, "pages").held is holds


def test_floor_and_equality() -> None:
    assert checks.at_least("pages", 20_000, 20_000, "pages").held
    assert not checks.at_least("pages", 19_999, 20_000, "pages").held
    assert checks.equal("pages", 3, 3, "pages").held
    assert not checks.equal("pages", 2, 3, "pages").held


def test_contents_hold_only_when_every_page_was_compared() -> None:
    assert checks.integrity(Integrity(pages_verified=100, pages_wrong=0), 100).held
    assert not checks.integrity(Integrity(pages_verified=99, pages_wrong=0), 100).held
    assert not checks.integrity(Integrity(pages_verified=0, pages_wrong=0), 0).held
    assert not checks.integrity(Integrity(pages_verified=100, pages_wrong=1), 100).held


def test_a_wrong_page_is_named_with_its_offset() -> None:
    wrong = [
        WrongPage(page=number, address="0x7f00", offset=123, expected="0x1", seen="0x2")
        for number in range(7, 13)
    ]
    check = checks.integrity(Integrity(pages_verified=100, pages_wrong=9, wrong=wrong), 100)
    assert not check.held
    assert "page 7 at 0x7f00 offset 123: awaited 0x1, seen 0x2" in check.seen
    assert "and 5 more" in check.seen


@pytest.mark.parametrize(
    "found", [counters(1), counters(0, 1), counters(0, 0, 1), counters(0, 0, 0, 1)]
)
def test_an_engine_that_counted_anything_is_not_idle(found: DeviceCounters) -> None:
    assert checks.engines_idle(counters()).held
    assert not checks.engines_idle(found).held


def test_engines_and_dcbm_agree() -> None:
    def verdict(found: DeviceCounters, folios: int = 10, failures: int = 0) -> list[str]:
        made = checks.engines_agree(
            found, folios=folios, folio_bytes=4096, folios_failures=failures
        )
        return [check.name for check in made if not check.held]

    good = counters(10, 40960, 10)
    assert verdict(good) == []
    assert verdict(counters(9, 40960, 10)) == ["descriptors"]
    assert verdict(counters(10, 40961, 10)) == ["bytes"]
    assert verdict(counters(10, 40960, 0)) == ["interrupts"]
    assert verdict(counters(10, 40960, 10, 1)) == ["engine errors"]
    assert verdict(good, failures=1) == ["dcbm failures"]
    # A dcbm that shows no counters: what its failures were nobody can say.
    made = checks.engines_agree(good, folios=10, folio_bytes=4096, folios_failures=None)
    assert [check.name for check in made if check.held] == [
        *("descriptors", "bytes", "interrupts", "engine errors")
    ]
    assert len(made) == 4
    # Offload that silently stayed off: all zero is equal, and still no pass.
    assert verdict(counters(), folios=0) == ["descriptors", "bytes", "interrupts"]


@pytest.mark.parametrize(("folio_kib", "descriptors"), [(4, 10), (256, 10), (260, 20), (2048, 80)])
def test_a_folio_beyond_the_longest_copy_is_copied_in_pieces(
    folio_kib: int, descriptors: int
) -> None:
    for counted in (descriptors - 1, descriptors, descriptors + 1):
        found = counters(counted, 10 * folio_kib * 1024, 1)
        made = checks.engines_agree(
            found,
            folios=10,
            folio_bytes=folio_kib * 1024,
            folios_failures=0,
            piece_bytes=256 * 1024,
        )
        wrong = [check.name for check in made if not check.held]
        assert wrong == ([] if counted == descriptors else ["descriptors"])


def test_cpu_time_adds_up_to_one_percent() -> None:
    def share(idle_pct: float) -> CpuShare:
        return CpuShare(user_pct=50, sys_pct=40, idle_pct=idle_pct, irq_pct=1)

    assert checks.cpu_adds_up(share(9)).held
    assert checks.cpu_adds_up(share(8.01)).held
    assert not checks.cpu_adds_up(share(7.9)).held
    assert not checks.cpu_adds_up(share(10.1)).held


@pytest.mark.parametrize(
    "field", ["compact_daemon_wake", "compact_daemon_migrate_scanned", "pgscan_kswapd", "oom_kill"]
)
def test_background_has_to_be_still(field: str) -> None:
    still = {"compact_daemon_migrate_scanned": 0, "pgmigrate_success": 34180}
    assert checks.background_still(still).held
    found = checks.background_still({**still, field: 3})
    assert not found.held
    assert found.seen == f"{field} +3"
    # A kernel without the counters proves nothing.
    assert not checks.background_still({}).held


def test_cpu_share_takes_every_field_once() -> None:
    fields = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    found = cpu_share({field: 10 << at for at, field in enumerate(fields)}, 10 * 255)
    assert found.user_pct + found.sys_pct + found.idle_pct + found.irq_pct == pytest.approx(100)
    assert found.user_pct == pytest.approx(300 / 255)
    assert found.sys_pct == pytest.approx(400 / 255)
    with pytest.raises(PremiseError):
        cpu_share({}, 0)


def test_allocations_follow_the_node() -> None:
    assert scaled_allocations(250 * 1024) == 16384
    assert scaled_allocations(1536) == 99
    assert scaled_allocations(128) == 9


BUDDY = """\
Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      2
Node 1, zone    DMA32      9      9      9      9      9      9      9      9      9      1      0
Node 1, zone   Normal      5      5      5      5      5      5      5      5      5      2      3
"""


def test_free_blocks_count_larger_ones_as_often_as_they_can_be_split() -> None:
    assert premises.free_blocks(BUDDY, 0, 9) == 1 + 2 * 2
    assert premises.free_blocks(BUDDY, 1, 9) == 1 + 2 + 3 * 2
    assert premises.free_blocks(BUDDY, 1, 10) == 3
    with pytest.raises(PremiseError, match="node 2"):
        premises.free_blocks(BUDDY, 2, 9)


@pytest.mark.parametrize("value", [None, "7", 7.0, True])
def test_a_number_is_a_number(value: object) -> None:
    assert premises.number({"n": 7}, "n") == 7
    with pytest.raises(PremiseError, match="'n'"):
        premises.number({"n": value}, "n")


def test_growth_sums_and_counts_busy_engines() -> None:
    idle, busy = EngineCounters(0, 0, 0, 0), EngineCounters(5, 5, 5, 5)
    before = {"dma0": EngineCounters(1, 10, 1, 0), "dma1": idle, "dma2": busy}
    after = {
        "dma0": EngineCounters(4, 40, 2, 0),
        "dma1": EngineCounters(1, 7, 1, 0),
        "dma2": busy,
    }
    used = engines.growth(before, after)
    assert used.total == counters(4, 37, 2)
    assert used.channels_used == 2
    with pytest.raises(MachineError, match="dma0"):
        engines.growth(after, before)
    with pytest.raises(MachineError, match="dma2"):
        engines.growth(before, {"dma0": idle, "dma1": idle})


def test_growth_counts_the_queues_of_an_engine() -> None:
    before = {"dma0": EngineCounters(6, 60, 6, 0, (1, 2, 3)), "dma1": EngineCounters(1, 1, 1, 0)}
    after = {"dma0": EngineCounters(9, 90, 9, 0, (1, 3, 5)), "dma1": EngineCounters(1, 1, 1, 0)}
    assert engines.growth(before, after).channels_used == 2
    backwards = {**after, "dma0": EngineCounters(9, 90, 9, 0, (0, 4, 5))}
    with pytest.raises(MachineError, match="dma0's queues"):
        engines.growth(before, backwards)


@pytest.mark.parametrize(
    ("folio_kib", "limit_pages", "folios"),
    [(2048, 512, 1), (2048, 8192, 16), (4, 512, 512), (64, 512, 32), (2048, 100_000, 32)],
)
def test_folios_in_a_batch(folio_kib: int, limit_pages: int, folios: int) -> None:
    assert folios_in_a_batch(folio_kib, 64, limit_pages) == folios


def move(**changes: object) -> dict[str, object]:
    whole = {
        "event": "move",
        **dict.fromkeys(("not_moved", "folios_failed", "pages_elsewhere", "folios_split"), 0),
        "folios": 32,
        "bytes": 64 << 20,
        "wall_ns": 10_000_000,
        "pages_verified": 16384,
        "pages_wrong": 0,
    }
    return {**whole, **changes}


def busy(channels: int, folios: int) -> engines.Growth:
    each = {
        f"dma{number}": engine(
            share := folios // channels if number < channels else 0, share << 21, share
        )
        for number in range(16)
    }
    return engines.growth(dict.fromkeys(each, engine()), each)


def test_a_point_sums_up_its_moves() -> None:
    moves = [move(), move(wall_ns=20_000_000)]
    point = point_of(moves, 2048, busy(16, 64), 64, 0)
    rates = [(64 << 20) / 10_000_000, (64 << 20) / 20_000_000]
    assert point.gb_per_s_mean == pytest.approx(sum(rates) / 2)
    assert point.gb_per_s_stdev == pytest.approx(abs(rates[0] - rates[1]) / 2**0.5)
    assert point.channels_used == 16
    assert point.integrity.pages_verified == 32768
    assert all(check.held for check in point_checks(point, 16, 64))


@pytest.mark.parametrize("field", ["not_moved", "folios_failed", "pages_elsewhere", "folios_split"])
def test_every_folio_has_to_arrive_in_one_piece(field: str) -> None:
    assert placement_check([move(), move()], 64).held
    found = placement_check([move(), move(**{field: 2})], 64)
    assert not found.held
    assert f"{field} 2" in found.seen
    assert not placement_check([], 64).held


def test_a_point_is_judged_by_every_count() -> None:
    def failed(moves: list[dict[str, object]], used: engines.Growth, copies: int, channels: int):
        point = point_of(moves, 2048, used, copies, 0)
        return {
            check.name.removeprefix("2048 KiB: ")
            for check in point_checks(point, channels, 64)
            if not check.held
        }

    two = [move(), move()]
    idle = engines.growth({"dma0": engine()}, {"dma0": engine()})
    assert failed(two, idle, 0, 0) == set()
    assert failed(two, busy(1, 64), 0, 0) == {"engines idle"}
    assert failed(two, busy(1, 64), 64, 16) == {"channels"}
    assert failed(two, busy(16, 64), 63, 16) == {"offloaded", "descriptors", "bytes"}
    assert failed([move(), move(pages_wrong=1)], busy(16, 64), 64, 16) == {"contents"}
    assert failed([move(), move(pages_verified=1)], busy(16, 64), 64, 16) == {"contents"}
    assert failed([move(), move(folios=31)], busy(16, 64), 64, 16) == {"folios moved"}
