# SPDX-License-Identifier: GPL-2.0-or-later
"""`compaction` over recorded runs: as they were, and with one thing wrong at a time."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from replay import RUNS, ZERO, Change, recorded_mode, replay

from lab.config import Engine, LabFile
from lab.errors import PremiseError
from lab.experiments import compaction
from lab.experiments.base import Findings, Session
from lab.results import DeviceCounters, Mode

PARAMETERS = compaction.CompactionParameters()
PLANS = {plan.name: plan for plan in compaction.plan(LabFile(), PARAMETERS)}


def judge(
    name: str, *, change: Change | None = None, counted: list[DeviceCounters] | None = None
) -> Mode:
    plan = PLANS[name]
    guest = replay(f"compaction-{name}", plan, change=change, counted=counted)
    session = Session(guest=guest, mode=plan, parameters=PARAMETERS, findings=Findings())
    compaction.run(session)
    return session.findings.to_mode(name, session.findings.verdict())


def in_event(event: str, **values: Any) -> Change:
    """Change what the program's result of that event says."""

    def change(message: dict[str, Any]) -> None:
        data = message.get("data")
        if isinstance(data, dict) and data.get("event") == event:
            for key, value in values.items():
                if isinstance(value, dict):
                    data[key].update(value)
                else:
                    data[key] = value

    return change


def failed(mode: Mode) -> list[str]:
    return [check.name for check in mode.checks if not check.held]


@pytest.mark.parametrize("name", ["baseline", "dma", "busy-dma"])
def test_a_recorded_run_gives_the_same_mode_again(name: str) -> None:
    # The machine and the kernel come from the boot, which a replay leaves out.
    booted = {"machine", "kernel"}
    recorded = recorded_mode(f"compaction-{name}")
    assert recorded.machine is not None
    assert judge(name).model_dump(exclude=booted) == recorded.model_dump(exclude=booted)


def test_an_account_without_its_own_interval_is_refused() -> None:
    def forget(message: dict[str, Any]) -> None:
        data = message.get("data")
        if isinstance(data, dict):
            data.pop("cpustat_wall_ns", None)

    with pytest.raises(PremiseError, match="cpustat_wall_ns"):
        judge("dma", change=forget)


def test_dma_run_proves_offload() -> None:
    mode = judge("dma")
    assert mode.outcome.value == "PASS"
    assert mode.device is not None
    assert mode.pages_migrated == mode.dma_copies == mode.device.descriptors
    assert mode.device.bytes == mode.device.descriptors * 4096


WRONG = {"address": "0x7f0000001005", "page": 1, "offset": 5, "expected": "0x1", "seen": "0x2"}


@pytest.mark.parametrize(
    ("name", "change", "check"),
    [
        ("dma", in_event("verified", pages_wrong=1, wrong=[WRONG]), "contents"),
        ("dma", in_event("verified", pages_verified=1), "contents"),
        ("dma", in_event("compacted", allocated=98), "allocations"),
        ("dma", in_event("compacted", vmstat={"pgmigrate_success": 19_999}), "pages migrated"),
        ("dma", in_event("compacted", vmstat={"pgmigrate_success": 36_000}), "offloaded"),
        ("dma", in_event("compacted", vmstat={"pgscan_direct": 1}), "background"),
        ("baseline", in_event("compacted", cpustat_ns={"system": 1}), "CPU time"),
        ("busy-dma", in_event("compacted", hog_iterations=0), "hog"),
    ],
)
def test_one_thing_wrong_fails_its_check(name: str, change: Change, check: str) -> None:
    mode = judge(name, change=change)
    assert mode.outcome.value == "FAIL"
    assert check in failed(mode)


def test_wrong_page_is_named_with_its_offset() -> None:
    mode = judge("dma", change=in_event("verified", pages_wrong=1, wrong=[WRONG]))
    (check,) = [check for check in mode.checks if not check.held]
    assert "page 1 at 0x7f0000001005 offset 5" in check.seen


def dcbm_says(file: str, value: str) -> Change:
    """Have every later reading of one of dcbm's files say something else."""
    ids: set[str] = set()

    def change(message: dict[str, Any]) -> None:
        if message["type"] == "file" and message["id"] in ids:
            message["data"] = value

    for line in (RUNS / "compaction-dma" / "channel.jsonl").read_text().splitlines():
        verb, *fields = json.loads(line).get("fields", [""])
        if verb == "read" and fields[1].endswith(f"/{file}"):
            ids.add(fields[0])
    assert ids
    return change


def test_offload_that_silently_stays_off_fails() -> None:
    mode = judge("dma", change=dcbm_says("folios_migrated", "0\n"), counted=[ZERO, ZERO])
    assert failed(mode) == ["offloaded", "descriptors", "bytes", "interrupts", "channels"]


def test_offload_that_reads_back_as_off_is_no_run() -> None:
    with pytest.raises(PremiseError, match="offloading to read 1"):
        judge("dma", change=dcbm_says("offloading", "0\n"))


@pytest.mark.parametrize(
    ("field", "check"),
    [("descriptors", "descriptors"), ("bytes", "bytes"), ("errors", "engine errors")],
)
def test_engines_that_count_something_else_fail(field: str, check: str) -> None:
    device = recorded_mode("compaction-dma").device
    assert device is not None
    other = device.model_copy(update={field: getattr(device, field) + 1})
    assert failed(judge("dma", counted=[ZERO, other])) == [check]


def test_baseline_that_used_an_engine_fails() -> None:
    used = DeviceCounters(descriptors=1, bytes=4096, interrupts=1, errors=0)
    assert failed(judge("baseline", counted=[ZERO, used])) == ["engines idle"]


def test_node_that_is_not_fragmented_is_no_run() -> None:
    def whole(message: dict[str, Any]) -> None:
        if message["type"] == "file" and "Node 1, zone" in message["data"]:
            message["data"] = "Node 1, zone    DMA32 0 0 0 0 0 0 0 0 0 5 300\n"

    with pytest.raises(PremiseError, match="free blocks of order 9"):
        judge("dma", change=whole)


def test_fragmenter_that_dies_is_no_run() -> None:
    def dead(message: dict[str, Any]) -> None:
        if message["type"] == "ready":
            message.update(type="exit", status=1)
            message.pop("data", None)

    with pytest.raises(PremiseError, match="fragment"):
        judge("dma", change=dead)


@pytest.mark.parametrize("used", [2, 3])
def test_offload_over_other_channels_than_asked_for_fails(
    monkeypatch: pytest.MonkeyPatch, used: int
) -> None:
    monkeypatch.setattr("lab.machine.guest.check_engines", lambda *_, **__: None)
    plan = dataclasses.replace(PLANS["dma"], machine=LabFile(engine=Engine(count=4)))
    guest = replay("compaction-dma", plan, engines=used)
    session = Session(guest=guest, mode=plan, parameters=PARAMETERS, findings=Findings())
    compaction.run(session)
    mode = session.findings.to_mode("dma", session.findings.verdict())
    assert failed(mode) == ["channels"]
    (check,) = [check for check in mode.checks if not check.held]
    assert (check.awaited, check.seen) == ("1 engines busy", f"{used} engines busy")
