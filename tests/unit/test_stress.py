# SPDX-License-Identifier: GPL-2.0-or-later
"""``stress``: its modes, where its floors come from, and each check once with a broken record."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from lab.checkout import ROOT
from lab.config import Clock, LabFile, Topology
from lab.errors import ConfigError, PremiseError
from lab.experiments import checks, stress, stress_scenarios
from lab.experiments.base import Findings, Session
from lab.experiments.offload_core import RIVAL
from lab.experiments.stress import EXPERIMENT, StressMode, StressParameters, run_ms, size_of
from lab.experiments.stress_checks import (
    Counted,
    idle_checks,
    missing_premises,
    only_too_little,
    stress_checks,
)
from lab.experiments.stress_scenarios import SCENARIOS, Floor, Per, Scenario, Size
from lab.machine.jobs import JobResult
from lab.results import Check, DeviceCounters

SOURCES = ROOT / "images" / "workloads" / "stress"
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
SIZE = Size(pages=1024, writers=4, spare_cpus=2)
COPIES = 5000
MIGRATED = 9000


def device(descriptors: int = COPIES, folio_bytes: int = 4096, **changed: int) -> DeviceCounters:
    counters = {
        "descriptors": descriptors,
        "bytes": descriptors * folio_bytes,
        "interrupts": descriptors,
        "errors": 0,
        **changed,
    }
    return DeviceCounters.model_validate(counters)


def event(scenario: Scenario, **changed: Any) -> dict[str, Any]:
    """The program's result of a run that has just enough of everything."""
    values: dict[str, Any] = {
        **{name: floor.count(SIZE) for name, floor in scenario.floors.items()},
        "surprises": 0,
        "rivals": 2,
        "pinned_refused": 2 * 32,
        "pinned_moved": 0,
        "folios_split": 0,
        "wrong": [],
        "seen_by": [],
        "surprise": [],
        "pages_wrong": 0,
        "vmstat": {"pgmigrate_success": MIGRATED},
        **changed,
    }
    values.setdefault("pages_verified", values["writes"] + SIZE.pages)
    return values


def counted(
    scenario: Scenario,
    *,
    used: DeviceCounters | None = None,
    copies: int | None = COPIES,
    folios_failures: int | None = 0,
    **changed: Any,
) -> Counted:
    if scenario.resets:
        copies = folios_failures = None
    used = used or device(folio_bytes=scenario.folio_kib * 1024)
    return Counted.of(event(scenario, **changed), used, copies, folios_failures)


def judged(name: str, **changed: Any) -> list[Check]:
    scenario = BY_NAME[name]
    return stress_checks(scenario, counted(scenario, **changed), size=SIZE, topology=Topology())


def unheld(made: list[Check]) -> list[str]:
    return [check.name for check in made if not check.held]


@pytest.mark.parametrize("name", BY_NAME)
def test_enough_of_everything_and_nothing_wrong_holds(name: str) -> None:
    assert unheld(judged(name)) == []


# What has to be different for a check to turn, in the scenario that has it.
BREAKS: dict[tuple[str, str], dict[str, Any]] = {
    ("writers", "contents"): {
        "pages_wrong": 1,
        "seen_by": ["its writer"],
        "wrong": [
            {"page": 3, "address": "0x1", "offset": 8, "expected": "0x2", "seen": "0x3"},
        ],
    },
    ("writers", "answers"): {"surprises": 1, "surprise": ["move_pages() says -5 of a page"]},
    ("writers", "pages migrated"): {"vmstat": {"pgmigrate_success": 2 * SIZE.pages - 1}},
    ("writers", "descriptors"): {"used": device(descriptors=COPIES - 1)},
    ("writers", "bytes"): {"used": device(bytes=COPIES * 4096 - 64)},
    ("writers", "interrupts"): {"used": device(interrupts=0)},
    ("writers", "engine errors"): {"used": device(errors=1)},
    ("writers", "dcbm failures"): {"folios_failures": 1},
    ("writers", "offloaded"): {"copies": SIZE.pages - 1},
    ("crowd", "copied by the CPU"): {"vmstat": {"pgmigrate_success": COPIES + SIZE.pages - 1}},
    ("ping-pong-2m", "folios split"): {"folios_split": 1},
    ("ping-pong-2m", "bytes"): {"used": device()},
    ("ping-pong-2m", "offloaded"): {
        "copies": SIZE.pages // 512 - 1,
        "used": device(descriptors=SIZE.pages // 512 - 1, folio_bytes=512 * 4096),
    },
    ("gup", "pinned pages refused"): {"pinned_refused": 2 * 32 - 1},
    ("gup", "pinned pages moved"): {"pinned_moved": 1},
    ("controls", "rivals"): {"rivals": 1},
    ("controls", "descriptors"): {"used": device(descriptors=0)},
    ("controls", "bytes"): {"used": device(bytes=COPIES * 4096 + 4096)},
    ("controls", "interrupts"): {"used": device(interrupts=0)},
    ("controls", "engine errors"): {"used": device(errors=2)},
    ("controls", "offloaded"): {"used": device(descriptors=SIZE.pages - 1)},
    **{
        (scenario.name, name): {name: floor.count(SIZE) - 1}
        for scenario in SCENARIOS
        for name, floor in scenario.floors.items()
    },
}


@pytest.mark.parametrize(("name", "check"), BREAKS, ids=lambda part: part.replace(" ", "-"))
def test_each_check_turns_red(name: str, check: str) -> None:
    assert check in unheld(judged(name, **BREAKS[name, check]))


def test_no_check_was_never_seen_red() -> None:
    red = {check for _, check in BREAKS}
    assert red >= {check.name for name in BY_NAME for check in judged(name)}


def test_who_has_seen_a_wrong_page_stands_in_the_check() -> None:
    made = judged("writers", **BREAKS["writers", "contents"])
    (contents,) = [check for check in made if check.name == "contents"]
    assert contents.seen.endswith("found by its writer")


def test_each_page_is_verified_before_it_is_written_and_at_the_end() -> None:
    writes = BY_NAME["writers"].floors["writes"].count(SIZE)
    assert unheld(judged("writers", pages_verified=writes + SIZE.pages - 1)) == ["contents"]


def test_a_surprise_that_was_not_counted_is_one() -> None:
    assert unheld(judged("writers", surprise=["CPU 3: Input/output error"])) == ["answers"]


def test_a_run_without_rivals_does_not_await_them() -> None:
    controls = BY_NAME["controls"]
    found = counted(controls, rivals=0)
    assert stress_checks(controls, found, size=SIZE, topology=Topology(), rival=False)
    assert unheld(judged("controls", rivals=0)) == ["rivals"]


def test_the_vanilla_kernel_has_the_same_checks_but_idle_engines() -> None:
    writers = BY_NAME["writers"]
    idle = Counted.of(event(writers), device(0), None, None)
    assert unheld(idle_checks(writers, idle, size=SIZE)) == []
    busy = Counted.of(event(writers, pages_wrong=1), device(1), None, None)
    assert unheld(idle_checks(writers, busy, size=SIZE)) == ["contents", "engines idle"]


def test_a_warning_of_the_kernel_is_red() -> None:
    assert checks.no_warning([]).held
    assert not checks.no_warning(["WARNING: mm/migrate.c:1242"]).held


def missing(name: str, **changed: Any) -> list[str]:
    scenario = BY_NAME[name]
    found = counted(scenario, **changed)
    made = stress_checks(scenario, found, size=SIZE, topology=Topology())
    return [check.name for check in missing_premises(scenario, found, made)]


def too_little(name: str, **changed: Any) -> bool:
    scenario = BY_NAME[name]
    found = counted(scenario, **changed)
    made = stress_checks(scenario, found, size=SIZE, topology=Topology())
    return only_too_little(scenario, found, made)


def test_a_run_is_too_short_only_where_nothing_else_is_wrong() -> None:
    assert too_little("writers", looks=0)
    assert too_little("writers", pages_arrived=0)
    assert not too_little("writers")
    assert not too_little("writers", looks=0, pages_wrong=1)
    assert not too_little("writers", surprises=1)


def test_what_the_program_has_not_done_is_a_missing_premise() -> None:
    assert missing("writers", looks=0, compactions=0) == ["looks", "compactions"]
    assert missing("writers", looks=0, pages_arrived=0) == ["looks", "pages_arrived"]
    nothing = {"vmstat": {"pgmigrate_success": 0}, "used": device(0), "copies": 0}
    assert "descriptors" in missing("writers", looks=0, **nothing)


@pytest.mark.parametrize(
    "other",
    [
        {"surprises": 1},
        {"pages_wrong": 1},
        {"folios_failures": 1},
        {"used": device(errors=1)},
        {"used": device(descriptors=COPIES - 1)},
    ],
)
def test_what_the_kernel_did_wrong_is_a_verdict_however_short_the_run(
    other: dict[str, Any],
) -> None:
    assert missing("writers", looks=0, **other) == []


def test_what_the_kernel_did_not_let_happen_is_a_verdict() -> None:
    assert missing("writers", pages_arrived=0) == []
    assert missing("writers", vmstat={"pgmigrate_success": 0}) == []


def test_nothing_is_missing_of_a_run_that_passes() -> None:
    assert missing("fork") == []


def test_a_result_without_its_counts_is_no_measurement() -> None:
    writers = BY_NAME["writers"]
    with pytest.raises(PremiseError, match="vmstat"):
        counted(writers, vmstat=None)
    without = event(writers)
    del without["looks"]
    found = Counted.of(without, device(), COPIES, 0)
    with pytest.raises(PremiseError, match="looks"):
        stress_checks(writers, found, size=SIZE, topology=Topology())


def test_floors_grow_with_what_they_are_for() -> None:
    assert [Floor(3, per).count(SIZE) for per in Per] == [3, 3072, 768, 12, 6]
    assert all(floor.count(SIZE) > 0 for one in SCENARIOS for floor in one.floors.values())


def test_floors_come_from_what_the_program_does() -> None:
    def number(file: str, pattern: str) -> int:
        (found,) = re.findall(pattern, (SOURCES / file).read_text(encoding="utf-8"))
        return int(found)

    def entries(name: str) -> int:
        text = (SOURCES / "controls.c").read_text(encoding="utf-8")
        (body,) = re.findall(rf"\b{name}\[\] = {{(.*?)\n?}};", text, re.DOTALL)
        rows = re.findall(r"{[^}]*}|\"[^\"]*\"", body)
        return len(rows)

    assert number("ring.c", r"#define RING_PAGES (\d+)") == stress_scenarios._RING_PAGES
    assert number("storm.c", r"#define CHILDREN (\d+)") == stress_scenarios._CHILDREN
    assert number("storm.c", r"#define HOLE_PAGES (\d+)") == stress_scenarios._HOLE_PAGES
    assert number("controls.c", r"#define COUNTS (\d+)") == stress_scenarios._COUNT_CARDS
    assert entries("masks") == stress_scenarios._MASK_CARDS
    assert entries("counters") == stress_scenarios._RESET_CARDS
    assert entries("refused") == stress_scenarios._REFUSAL_CARDS


def planned(**given: Any) -> dict[str, StressMode]:
    return {mode.name: mode for mode in stress.plan(LabFile(), StressParameters(**given))}


def test_each_scenario_has_a_mode_and_some_one_on_the_vanilla_kernel() -> None:
    modes = planned()
    assert [name for name, mode in modes.items() if mode.patched] == list(BY_NAME)
    vanilla = {name for name, mode in modes.items() if not mode.patched}
    assert vanilla == {"vanilla-writers", "vanilla-gup", "vanilla-fork"}
    assert set(planned(vanilla=False)) == set(BY_NAME)
    assert set(planned(scenarios=("crowd",))) == {"crowd"}
    with pytest.raises(ConfigError, match="scenarios"):
        EXPERIMENT.choose({"scenarios": ["moon"]})


def test_the_size_is_the_region_and_the_cpus_that_may_go() -> None:
    modes = planned(mib=4, writers=3)
    size = StressParameters(mib=4, writers=3)
    assert size_of(size, modes["writers"]) == Size(pages=1024, writers=3, spare_cpus=0)
    assert size_of(size, modes["fork"]).pages == 3 * 1024
    assert size_of(size, modes["hotplug"]).spare_cpus == modes["hotplug"].cpus == 2


def test_a_crowd_has_fewer_channels_than_migrations() -> None:
    crowd = planned()["crowd"]
    assert (crowd.channels, crowd.movers) == (1, 8)
    assert crowd.machine.engine.channels == 2


def test_a_late_write_needs_a_clock_that_is_exact() -> None:
    host = LabFile(clock=Clock.HOST)
    modes = stress.plan(host, StressParameters(vanilla=False))
    late = ("late-write", "late-write-shmem")
    assert [mode.name for mode in modes] == [name for name in BY_NAME if name not in late]
    assert [mode.left_out for mode in modes if mode.left_out] == [late]
    assert not any(mode.left_out for mode in stress.plan(LabFile(), StressParameters()))
    with pytest.raises(ConfigError, match="virtual clock"):
        stress.plan(host, StressParameters(scenarios=("late-write",)))


class Having:
    """A guest with or without the project's own core, and the second provider."""

    def __init__(self, *, own: bool, module: bool) -> None:
        self._statuses = {"/proc/kallsyms": int(not own), "modules.dep": int(not module)}
        self.asked: list[str] = []

    def run(self, argv: list[str]) -> JobResult:
        self.asked.append(" ".join(argv))
        (status,) = [one for end, one in self._statuses.items() if argv[-1].endswith(end)]
        return JobResult(tuple(argv), status, None, [], [], [])


def meeting(guest: Having, name: str = "controls", **given: Any) -> Session[Any, Any]:
    return Session(
        guest=cast(Any, guest),
        mode=planned()[name],
        parameters=StressParameters(**given),
        findings=Findings(),
    )


def test_a_second_provider_comes_where_the_lab_has_one_for_the_kernel() -> None:
    session = meeting(Having(own=True, module=True))
    assert stress._meets_rival(session)
    assert session.findings.notes == []


def test_a_series_for_which_no_second_provider_is_built_is_played_without_and_says_so() -> None:
    assert RIVAL not in planned()["controls"].modules, "the mode would be refused for want of it"
    session = meeting(Having(own=False, module=False))
    assert not stress._meets_rival(session)
    assert session.findings.notes == [stress.NO_RIVAL]
    assert session.findings.details["rival"] is False


def test_the_projects_own_core_is_never_played_without_a_second_provider() -> None:
    session = meeting(Having(own=True, module=False))
    with pytest.raises(PremiseError, match=RIVAL):
        stress._meets_rival(session)


def test_a_rival_can_be_left_out() -> None:
    guest = Having(own=True, module=True)
    assert not stress._meets_rival(meeting(guest, rival=False))
    assert not stress._meets_rival(meeting(guest, name="writers"))
    assert guest.asked == []


@pytest.mark.parametrize("rival", [True, False])
def test_the_program_and_the_checks_are_told_of_the_same_rival(
    monkeypatch: pytest.MonkeyPatch, rival: bool
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(stress, "_play", lambda *_, rival: told.append(rival))

    def judge(*_: Any, rival: bool, **__: Any) -> list[Check]:
        told.append(rival)
        return []

    monkeypatch.setattr(stress, "stress_checks", judge)
    monkeypatch.setattr(stress, "only_too_little", lambda *_: False)
    session = meeting(Having(own=True, module=True))
    stress._play_long_enough(session, cast(Any, object()), rival=rival)
    assert told == [rival, rival]


def test_each_clock_has_its_own_length() -> None:
    assert run_ms(StressParameters(), Clock.VIRTUAL) < run_ms(StressParameters(), Clock.HOST)
    assert run_ms(StressParameters(run_ms=50), Clock.HOST) == 50


@pytest.mark.parametrize(
    ("slowdown", "max_run_ms", "lengths"),
    [(1.0, None, [50, 200, 800]), (8.0, None, [50, 200, 800, 3200]), (8.0, 300, [50, 200])],
)
def test_too_little_is_played_longer_and_longer(
    monkeypatch: pytest.MonkeyPatch, slowdown: float, max_run_ms: int | None, lengths: list[int]
) -> None:
    played = []
    monkeypatch.setattr(stress, "_play", lambda _session, _provider, ms, **_: played.append(ms))
    few = Check(name="writes", held=False, awaited="many", seen="few")
    monkeypatch.setattr(stress, "idle_checks", lambda *_, **__: [few])
    monkeypatch.setattr(stress, "only_too_little", lambda *_: True)
    session = Session(
        guest=cast(Any, None),
        mode=planned()["writers"],
        parameters=StressParameters(run_ms=50, max_run_ms=max_run_ms),
        findings=Findings(),
        slowdown=slowdown,
    )
    stress._play_long_enough(session, None)
    assert played == lengths == session.findings.details["run_ms"]
