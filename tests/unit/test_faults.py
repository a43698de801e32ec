# SPDX-License-Identifier: GPL-2.0-or-later
"""The fault scenarios, what is known of drivers in them, and the ledger of known bugs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import lab
from lab.build.inputs import Inputs
from lab.build.kernel import KernelChoice
from lab.build.kernel_plan import driver_fixes_of, queue_of, read_choice
from lab.checkout import KERNEL_CONFIG
from lab.config import LabFile
from lab.errors import ConfigError, GuestCrash
from lab.experiments import faults
from lab.experiments.fault_aspects import Scenario, Seen, kernel_lives
from lab.experiments.fault_ledger import CORRECTED, KNOWN, known_bugs
from lab.experiments.fault_scenarios import QUICK, SCENARIOS
from lab.experiments.probe import Copy
from lab.options import FAULT_ARGUMENTS, FAULT_OPTIONS
from lab.results import Check

LEDGER = Path(lab.__file__).parents[1] / "docs" / "known-bugs.md"
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
ERROR = BY_NAME["error-illegal-length"]
PTDMA = [scenario for scenario in SCENARIOS if "ptdma" in scenario.kinds]
AE4DMA = [scenario for scenario in SCENARIOS if "ae4dma" in scenario.kinds]
STOCK_LINE = "ptdma 0000:31:00.0: PTDMA error: ERR 12: ILLEGAL_MEM_SEL (0x9)"
RIGHT_LINE = "ptdma 0000:31:00.0: PTDMA error: ERR 09: ILLEGAL_BUFFER_LENGTH (0x9)"


def copy(number: int, **changed: Any) -> Copy:
    values: dict[str, Any] = {
        "copy_number": number,
        "length": 4096,
        "told": "success",
        "times_told": 1,
        "told_ns": 4865,
        "status": "complete",
        "wrong_when_told": 0,
        "wrong": 0,
        "first_wrong": -1,
        "unwritten": 0,
        "source_wrong": 0,
        "guard_wrong": 0,
        "first_guard_wrong": 0,
        **changed,
    }
    return Copy.model_validate(values)


NEVER_WRITTEN = {"wrong_when_told": 4096, "wrong": 4096, "first_wrong": 0, "unwritten": 4096}


def after_error(line: str = STOCK_LINE, **changed: Any) -> Seen:
    """What the stock driver makes of a failed descriptor, with something changed."""
    failed = copy(1, **{**NEVER_WRITTEN, **changed})
    return Seen(copies=[copy(0), failed, copy(2), copy(3)], driver_lines=[line])


def judge(
    scenario: Scenario, seen: Seen, expect: str = "ledger", kind: str = "ptdma"
) -> list[Check]:
    known = known_bugs(kind, scenario.name) if expect == "ledger" else {}
    return list(faults.judge(scenario, seen, known))


def failed(checks: Sequence[Check]) -> list[str]:
    return [check.name for check in checks if not check.held]


def entries() -> dict[str, str]:
    """The ledger's entries by id."""
    text = LEDGER.read_text(encoding="utf-8")
    parts = re.split(r"^#{2,3} .*$", text, flags=re.MULTILINE)
    found = [(re.findall(r"^Id: `([a-z0-9-]+)`", part, re.MULTILINE), part) for part in parts]
    assert all(len(ids) <= 1 for ids, _part in found), "an entry with two ids"
    ids = [ids[0] for ids, _part in found if ids]
    assert len(ids) == len(set(ids)), "an id twice"
    return {ids[0]: part for ids, part in found if ids}


def test_every_kind_of_fault_has_a_scenario() -> None:
    used = {fault.kind for scenario in AE4DMA for fault in scenario.faults}
    assert used == FAULT_ARGUMENTS.keys()
    # An engine with one descriptor under way has no order to lose.
    used = {fault.kind for scenario in PTDMA for fault in scenario.faults}
    assert used == FAULT_ARGUMENTS.keys() - {"out-of-order"}


def test_every_fault_has_the_arguments_that_the_device_takes() -> None:
    for scenario in SCENARIOS:
        for fault in scenario.faults:
            needed = set(FAULT_ARGUMENTS[fault.kind])
            assert needed <= fault.arguments.keys() <= needed | set(FAULT_OPTIONS), scenario.name


def test_scenarios_are_told_apart_and_ask_something() -> None:
    assert len(BY_NAME) == len(SCENARIOS)
    assert set(QUICK) <= BY_NAME.keys()
    for scenario in SCENARIOS:
        names = [kernel_lives().name, *(aspect.name for aspect in scenario.aspects)]
        assert len(set(names)) == len(names) > 1, scenario.name


def test_what_is_known_belongs_to_a_scenario_and_one_of_its_aspects() -> None:
    for kind, table in KNOWN.items():
        for (name, aspect), bug in table.items():
            assert kind in BY_NAME[name].kinds, name
            names = [kernel_lives().name, *(one.name for one in BY_NAME[name].aspects)]
            assert aspect in names, name
            re.compile(bug.reaction)


def test_the_ledger_and_the_experiment_name_the_same_bugs() -> None:
    named = {bug.bug for table in KNOWN.values() for bug in table.values()}
    listed = entries()
    assert named <= listed.keys()
    shown = {entry for entry, text in listed.items() if "dcbm-lab run faults" in text}
    assert shown == named


@pytest.mark.parametrize("number", range(len(entries())))
def test_a_ledger_entry_says_how_to_see_it_and_when_it_is_fixed(number: int) -> None:
    name, text = list(entries().items())[number]
    assert "*Fixed when*" in text, name
    for mode in re.findall(r"dcbm-lab run faults.*?--mode (\S+)", text):
        bugs = {bug.bug for table in KNOWN.values() for key, bug in table.items() if key[0] == mode}
        assert name in bugs, f"{name}: the mode {mode} does not show it"


def test_the_stock_reaction_passes_by_the_ledger_and_fails_without_it() -> None:
    checks = judge(ERROR, after_error())
    assert failed(checks) == []
    assert "known bug ptdma-error-as-success" in checks[1].awaited
    assert list(faults.remarks(checks, known_bugs("ptdma", ERROR.name))) == [
        "shows the known bug ptdma-error-as-success, see docs/known-bugs.md",
        "shows the known bug ptdma-error-name, see docs/known-bugs.md",
    ]
    assert failed(judge(ERROR, after_error(), "sound")) == ["faulted copy", "error's name"]


def test_a_bug_that_is_gone_is_reported() -> None:
    fixed = after_error(RIGHT_LINE, told="write failed", status="error")
    assert failed(judge(ERROR, fixed, "sound")) == []
    checks = judge(ERROR, fixed)
    assert failed(checks) == ["faulted copy", "error's name"]
    assert all("the bug is gone" in check.seen for check in checks if not check.held)
    assert list(faults.remarks(checks, known_bugs("ptdma", ERROR.name))) == [
        "the known bug ptdma-error-as-success did not show: is it fixed?",
        "the known bug ptdma-error-name did not show: is it fixed?",
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"told": "nothing", "times_told": 0, "status": "in progress"},
        {"times_told": 2},
        {"unwritten": 4000, "first_wrong": 96, "wrong": 4000},
        {"guard_wrong": 1},
        {"source_wrong": 1},
    ],
)
def test_another_wrong_reaction_than_the_known_one_fails(changed: dict[str, Any]) -> None:
    seen = after_error(**changed)
    assert failed(judge(ERROR, seen)) == ["faulted copy"]
    assert failed(judge(ERROR, seen, "sound")) == ["faulted copy", "error's name"]


def test_wrong_copies_beside_the_faulted_one_are_no_known_bug() -> None:
    seen = after_error()
    seen.copies[2] = copy(2, wrong=1, first_wrong=7)
    seen.copies.pop()
    checks = judge(ERROR, seen)
    assert failed(checks) == ["queued copy", "later copy"]
    assert checks[-1].seen == "there is no copy 3"


@pytest.mark.parametrize(
    ("name", "lie"),
    [
        ("flip-byte", {"wrong": 1, "first_wrong": 1000, "wrong_when_told": 1}),
        ("partial-copy", {"wrong": 2596, "first_wrong": 1500, "unwritten": 2596}),
        ("wrong-address", {**NEVER_WRITTEN, "guard_wrong": 4096, "first_guard_wrong": 4096}),
        ("interrupt-before-data", {"wrong_when_told": 4096}),
        ("stall-late", {"told_ns": 50_000_000}),
        ("slow-link", {"told_ns": 25_000_000}),
    ],
)
def test_a_fault_that_did_nothing_fails(name: str, lie: dict[str, Any]) -> None:
    copies = [copy(0), copy(1, **lie), copy(2), copy(3)]
    assert failed(judge(BY_NAME[name], Seen(copies=copies))) == []
    assert failed(judge(BY_NAME[name], Seen(copies=[copy(n) for n in range(4)]))) == [
        "faulted copy"
    ]


def test_a_known_crash_is_told_by_its_function_and_asks_nothing_more() -> None:
    scenario = BY_NAME["interrupt-descriptor"]
    crash = GuestCrash(
        "an answer",
        "oops: BUG: kernel NULL pointer dereference, address: 0000000000000360",
        excerpt="[    0.385458] RIP: 0010:pt_cmd_callback+0x2ca/0x460 [ptdma]\n",
    )
    seen = Seen(crash=faults.describe_crash(crash))
    assert seen.crash is not None
    assert seen.crash.endswith(" in pt_cmd_callback")
    assert [check.held for check in judge(scenario, seen)] == [True]
    assert failed(judge(scenario, seen, "sound")) == ["kernel"]
    lives = Seen(copies=[copy(0), copy(1, length=0)])
    assert failed(judge(scenario, lives)) == ["kernel"]
    assert failed(judge(scenario, lives, "sound")) == []


def test_the_plan_has_one_engine_and_the_scenarios_asked_for() -> None:
    machine = LabFile()
    ae4dma = LabFile.model_validate({"engine": {"kind": "ae4dma"}})
    modes = faults.plan(machine, faults.FaultsParameters())
    assert [mode.name for mode in modes] == [scenario.name for scenario in PTDMA]
    assert {mode.machine.engine.count for mode in modes} == {1}
    assert not any(mode.patched for mode in modes)
    quick = faults.EXPERIMENT.choose({}, quick=True)
    for lab_file, scenarios in ((machine, PTDMA), (ae4dma, AE4DMA)):
        wanted = [scenario.name for scenario in scenarios if scenario.name in QUICK]
        assert sorted(mode.name for mode in faults.plan(lab_file, quick)) == sorted(wanted)
        assert len(wanted) >= 5
    with pytest.raises(ConfigError, match=r"engine\.count is 4"):
        faults.plan(LabFile.model_validate({"engine": {"count": 4}}), faults.FaultsParameters())
    with pytest.raises(ConfigError, match="no-such"):
        faults.plan(machine, faults.FaultsParameters(scenarios=("no-such",)))
    with pytest.raises(ConfigError, match="for ptdma"):
        faults.plan(machine, faults.FaultsParameters(scenarios=("out-of-order",)))
    two = LabFile.model_validate({"engine": {"kind": "ae4dma", "queues": 2}})
    with pytest.raises(ConfigError, match=r"engine\.queues is 2"):
        faults.plan(two, faults.FaultsParameters())


def test_a_copy_that_ae4dma_never_starts_is_known_and_stale_data_are_not() -> None:
    scenario = BY_NAME["out-of-order"]
    waits = {**NEVER_WRITTEN, "told": "nothing", "times_told": 0, "status": "in progress"}
    held, behind = copy(1, **waits), copy(2, **waits)
    seen = Seen(
        copies=[copy(0), copy(1), copy(2), copy(3, **waits)],
        marks={"waited": [copy(0), held, behind]},
    )
    assert failed(judge(scenario, seen, kind="ae4dma")) == []
    assert failed(judge(scenario, seen, "sound")) == ["copy behind it", "later copy"]
    seen.copies[1] = copy(1, wrong_when_told=4096)
    assert failed(judge(scenario, seen, kind="ae4dma")) == ["faulted copy"]
    deep = Seen(
        copies=[copy(number) for number in range(4)],
        marks={"waited": [copy(0), held, copy(2)]},
    )
    assert failed(judge(scenario, deep, "sound")) == []


def test_an_error_that_is_logged_again_and_again_is_no_sound_reaction() -> None:
    seen = after_error(RIGHT_LINE, told="aborted", status="error")
    assert failed(judge(ERROR, seen, "sound")) == []
    seen.driver_lines *= 2
    assert failed(judge(ERROR, seen, "sound")) == ["error's lines"]


def test_a_copy_is_described_in_one_line() -> None:
    assert copy(0).describe() == "told success (status complete); 0 of 4,096 bytes wrong"
    lost = copy(1, **NEVER_WRITTEN, times_told=2, source_wrong=3)
    assert lost.describe() == (
        "told success 2 times (status complete); 4,096 of 4,096 bytes wrong from 0 on, "
        "4,096 never written; 3 bytes of the source changed"
    )
    early = copy(1, wrong_when_told=110)
    assert early.describe() == (
        "told success (status complete); 110 bytes wrong when told, 0 of 4,096 bytes wrong"
    )


def test_a_corrected_driver_is_excused_for_less() -> None:
    named = {bug.bug for table in KNOWN.values() for bug in table.values()}
    assert named > CORRECTED
    assert set(known_bugs("ptdma", ERROR.name)) == {"faulted copy", "error's name"}
    assert known_bugs("ptdma", ERROR.name, driver_fixes=True) == {}
    assert known_bugs("ae4dma", "error-fatal", driver_fixes=True) == {}
    assert known_bugs("ptdma", "rebind", driver_fixes=True) == known_bugs("ptdma", "rebind") != {}


def test_driver_fixes_are_a_choice_of_the_lab_file() -> None:
    fixed = LabFile.model_validate({"kernel": {"driver_fixes": True}})
    for machine, wanted in ((LabFile(), False), (fixed, True)):
        mode = faults.plan(machine, faults.FaultsParameters(scenarios=QUICK[:1]))[0]
        choice = Inputs().choose(mode.machine.kernel, patched=mode.patched)
        assert isinstance(choice, KernelChoice)
        assert choice.driver_fixes is wanted
        assert ("driver fixes" in choice.label) is wanted
    base = LabFile().kernel.base
    fixes = driver_fixes_of(base)
    files = list((KERNEL_CONFIG / "driver-fixes" / base).glob("*.patch"))
    assert len(fixes.patches) == len(files)
    _fragments, alone = read_choice(KernelChoice(base, patched=False, driver_fixes=True))
    assert alone == fixes
    _fragments, both = read_choice(KernelChoice(base, driver_fixes=True))
    assert both is not None
    assert both.patches == queue_of(base).patches + fixes.patches
    with pytest.raises(ConfigError, match=r"our driver fixes for base 1\.0"):
        driver_fixes_of("1.0")
