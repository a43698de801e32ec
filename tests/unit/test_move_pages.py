# SPDX-License-Identifier: GPL-2.0-or-later
"""`move-pages` over a recorded run of 16 channels: as it was, and with one thing wrong."""

from __future__ import annotations

from typing import Any

import pytest
from replay import ZERO, Change, recorded_mode, replay

from lab.config import ControlLayout, Kernel, LabFile
from lab.errors import ConfigError, PremiseError
from lab.experiments import move_pages
from lab.experiments.base import Findings, Session
from lab.results import DeviceCounters, Mode

RUN = "move-pages-dma-16"
SIZES = (4, 64, 2048)
PARAMETERS = move_pages.MovePagesParameters(channels=(16,), folio_kib=SIZES, rounds=1)
PLAN = move_pages.plan(LabFile(), PARAMETERS)[1]


def plus(one: DeviceCounters, other: DeviceCounters) -> DeviceCounters:
    return DeviceCounters(
        **{name: getattr(one, name) + getattr(other, name) for name in DeviceCounters.model_fields}
    )


def judge(*, change: Change | None = None, engines: int = 16) -> Mode:
    counted: list[DeviceCounters] = []
    total = ZERO
    for point in recorded_mode(RUN).moves:
        counted += [total, plus(total, point.device)]
        total = counted[-1]
    guest = replay(RUN, PLAN, change=change, counted=counted, engines=engines)
    session = Session(guest=guest, mode=PLAN, parameters=PARAMETERS, findings=Findings())
    move_pages.run(session)
    return session.findings.to_mode(PLAN.name, session.findings.verdict())


def in_moves(folio_kib: int, **values: Any) -> Change:
    """Change what every move of folios of that size says."""

    def change(message: dict[str, Any]) -> None:
        data = message.get("data")
        if isinstance(data, dict) and data.get("folio_kib") == folio_kib:
            data.update(values)

    return change


def failed(mode: Mode) -> set[str]:
    return {check.name for check in mode.checks if not check.held}


def test_the_recorded_run_gives_the_same_mode_again() -> None:
    mode = judge()
    assert mode == recorded_mode(RUN)
    assert mode.outcome.value == "PASS"
    assert [point.channels_used for point in mode.moves] == [16, 16, 16]


@pytest.mark.parametrize(
    ("values", "check"),
    [
        ({"pages_wrong": 1}, "contents"),
        ({"pages_verified": 0}, "contents"),
        ({"folios_split": 4}, "placement"),
        ({"folios_failed": 1}, "placement"),
        ({"pages_elsewhere": 1}, "placement"),
        ({"folios": 1}, "folios moved"),
    ],
)
def test_one_thing_wrong_in_one_size_fails_that_check(values: dict[str, int], check: str) -> None:
    mode = judge(change=in_moves(64, **values))
    assert mode.outcome.value == "FAIL"
    assert failed(mode) == {f"64 KiB: {check}"}


def test_channels_that_stay_idle_fail() -> None:
    assert failed(judge(engines=8)) == {f"{size} KiB: channels" for size in SIZES}


def test_a_move_that_is_missing_is_no_run() -> None:
    def lost(message: dict[str, Any]) -> None:
        data = message.get("data")
        if isinstance(data, dict) and data.get("event") == "move" and data["from"] == 1:
            data["event"] = "other"

    with pytest.raises(PremiseError, match="2 moves of folios of 4 KiB"):
        judge(change=lost)


def test_folios_of_another_size_are_no_run() -> None:
    def refused(message: dict[str, Any]) -> None:
        if message["type"] == "exit":
            message["status"] = 3

    with pytest.raises(PremiseError):
        judge(change=refused)


def test_a_layout_without_counters_is_refused() -> None:
    lab = LabFile(kernel=Kernel(layout=ControlLayout.V3))
    with pytest.raises(ConfigError, match=r"kernel\.layout is v3"):
        move_pages.plan(lab, move_pages.MovePagesParameters())
    assert move_pages.plan(LabFile(), move_pages.MovePagesParameters())
