# SPDX-License-Identifier: GPL-2.0-or-later
"""The experiment ``failures``: its scenarios, and what its checks make of numbers."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import lab
from lab.config import LabFile
from lab.errors import ConfigError, PremiseError
from lab.experiments import failures
from lab.experiments.base import Findings
from lab.experiments.dma_path import DmaPath
from lab.experiments.failure_checks import Measured, attempt_checks, contents
from lab.experiments.failure_ledger import DEVIATIONS
from lab.experiments.failure_mode import FailuresParameters
from lab.experiments.failure_resources import Resources, leak_checks, unreferenced
from lab.experiments.failure_scenarios import (
    COMPACTION,
    MOVES,
    ON_EVERY_PATH,
    QUICK,
    SCENARIOS,
    Attempt,
    Batch,
    Expect,
    hung,
)
from lab.experiments.failure_workloads import Migration, Moves
from lab.machine.jobs import GuestFileError, JobResult
from lab.options import FAULT_ARGUMENTS, FAULT_OPTIONS
from lab.results import Check, DeviceCounters

LEDGER = Path(lab.__file__).parents[1] / "docs" / "known-bugs.md"
BATCHES = (Batch(MOVES, 512), Batch(MOVES, 1), Batch(COMPACTION, 32))
STEPS = re.compile(r"release|pass \d+|fill|look|unbind|bind|remove|rescan|hold|let go")
AE4DMA = LabFile.model_validate({"engine": {"kind": "ae4dma"}})


def attempts(scenario: Any, batch: Batch) -> list[Attempt]:
    return [step for step in scenario.steps(batch) if isinstance(step, Attempt)]


def test_every_kind_of_fault_is_played_with_what_it_takes() -> None:
    used = set()
    for scenario in SCENARIOS:
        for batch in BATCHES:
            for attempt in attempts(scenario, batch):
                if attempt.fault is None:
                    continue
                used.add(attempt.fault.kind)
                needed = set(FAULT_ARGUMENTS[attempt.fault.kind])
                given = attempt.fault.arguments.keys()
                assert needed <= given <= needed | set(FAULT_OPTIONS), scenario.name
    assert used == FAULT_ARGUMENTS.keys()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_steps_are_known_and_no_fault_outlives_them(scenario: Any) -> None:
    for batch in BATCHES:
        kept = False
        for step in scenario.steps(batch):
            if isinstance(step, Attempt):
                assert not (kept and step.fault), "two faults at once"
                kept |= step.keeps
            else:
                assert STEPS.fullmatch(step), step
                kept &= step != "release"
        assert not kept


def test_positions_are_in_the_batch() -> None:
    assert dict(Batch(MOVES, 512).positions()) == {"first": 1, "middle": 256, "last": 512}
    assert dict(Batch(MOVES, 1).positions()) == {"first": 1}


def test_a_channel_that_hangs_fails_what_it_has_not_told() -> None:
    assert hung(Batch(MOVES, 512), 256) == Expect(failures=257, by_cpu=257 + 512)
    assert hung(Batch(MOVES, 512), 512, completed=1) == Expect(1, 513, uncounted=1)
    assert hung(Batch(COMPACTION, 32), 16) == Expect(failures=None, by_cpu=None)


def measured(
    *, folios: int = 1024, migrated: int = 1024, failures: int = 0, wrong: int = 0, lost: int = 0,
    errors: int = 0, descriptors: int | None = None, lines: tuple[str, ...] = (),
) -> Measured:  # fmt: skip
    count = migrated if descriptors is None else descriptors
    return Measured(
        migration=Migration(folios, 4096, lost, folios, wrong),
        migrated=migrated,
        failures=failures,
        device=DeviceCounters(descriptors=count, bytes=count * 4096, interrupts=1, errors=errors),
        lines=lines,
    )


def failed(expect: Expect | None, seen: Measured) -> list[str]:
    return [check.name for check in attempt_checks("x", expect, seen) if not check.held]


ONE = Expect(failures=1, by_cpu=1, errors=1)


def test_what_a_sound_kernel_makes_of_an_error_holds() -> None:
    assert failed(ONE, measured(migrated=1023, failures=1, errors=1)) == []
    assert failed(Expect(), measured()) == []
    every = measured(migrated=0, failures=1024, errors=1024)
    assert failed(Expect(every=True), every) == []


@pytest.mark.parametrize(
    ("changed", "red"),
    [
        ({"lost": 1}, ["x: migration"]),
        ({"wrong": 1}, ["x: contents"]),
        ({"failures": 0}, ["x: dcbm"]),
        ({"failures": 2}, ["x: dcbm"]),
        ({"migrated": 1022}, ["x: dcbm"]),
        ({"descriptors": 1024}, ["x: engines"]),
        ({"errors": 0}, ["x: engines"]),
    ],
)
def test_one_number_that_is_off_turns_its_check_red(
    changed: dict[str, Any], red: list[str]
) -> None:
    assert failed(ONE, measured(**{"migrated": 1023, "failures": 1, "errors": 1, **changed})) == red


def test_damage_that_the_engine_lied_about_has_to_be_seen() -> None:
    lie = Expect(wrong=1)
    assert failed(lie, measured(wrong=1)) == []
    assert failed(lie, measured()) == ["x: corruption detected"]
    assert failed(lie, measured(wrong=2)) == ["x: corruption detected"]


def test_failures_of_compaction_are_those_that_dcbm_logs() -> None:
    unfinished = Expect(failures=None, by_cpu=None)
    line = ("dcbm: dma0chan0: 17 of 32 folios not copied",)
    assert failed(unfinished, measured(migrated=900, failures=17, lines=line)) == []
    assert failed(unfinished, measured(migrated=900, failures=16, lines=line)) == ["x: dcbm"]
    assert failed(unfinished, measured(migrated=900, failures=0)) == ["x: dcbm"]


def test_what_is_left_behind_is_red() -> None:
    before = Resources(free_pages=1000, isolated=0, mappings=7, bounce_slots=0)
    assert not [c for c in leak_checks(before, before, 0) if not c.held]
    after = Resources(free_pages=983, isolated=1, mappings=9, bounce_slots=2)
    red = [check.name for check in leak_checks(before, after, 16) if not check.held]
    assert red == ["isolated pages", "memory", "mappings", "bounce buffers"]
    assert len(leak_checks(Resources(1, 0), Resources(1, 0), 0)) == 2


ZONEINFO = """\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 0
      nr_free_cma  0
  pages free     60
Node 0, zone    DMA32
  pages free     40
        boost    0
    cpu: 0
              count:    7
Node 1, zone   Normal
  pages free     30
    cpu: 0
              count:    3
"""


class Files:
    """A guest of files alone."""

    def __init__(self, **files: str) -> None:
        self.files = files
        self.written: list[tuple[str, str]] = []
        self.status = 0

    def run(self, argv: Sequence[str], _timeout_s: float) -> JobResult:
        return JobResult(tuple(argv), self.status, None, [], [], [])

    def write(self, path: str, text: str, timeout_s: float = 0) -> None:
        if path.endswith("kmemleak") and "kmemleak" not in self.files:
            raise GuestFileError(path, 2)
        self.written.append((path, text))

    def read(self, path: str) -> str:
        name = path.rpartition("/")[2]
        if name not in self.files:
            raise GuestFileError(path, 2)
        return self.files[name]


def test_resources_are_read_with_what_the_per_cpu_lists_hold() -> None:
    files = {"zoneinfo": ZONEINFO, "vmstat": "nr_isolated_anon 4\nnr_isolated_file 1\n"}
    guest = Files(**files)
    assert Resources.read(cast(Any, guest), 1) == Resources(140, 5)
    debug = Files(**files, nr_total_entries="65536\n", num_free_entries="65530\n", io_tlb_used="2")
    assert Resources.read(cast(Any, debug), 1) == Resources(140, 5, mappings=6, bounce_slots=2)
    guest.status = 1
    with pytest.raises(PremiseError, match="slabs without unused pages"):
        Resources.read(cast(Any, guest), 1)


def test_kmemleak_is_asked_for_functions_of_the_offload() -> None:
    text = "unreferenced object\n  backtrace:\n    pt_core_init+0x1/0x2 [ptdma]\n    kmalloc+0x1\n"
    guest = Files(kmemleak=text)
    assert unreferenced(cast(Any, guest)) == ["pt_core_init"]
    assert [text for _path, text in guest.written] == ["scan", "scan"]
    assert unreferenced(cast(Any, Files())) is None


def moved(**changed: Any) -> dict[str, Any]:
    return {
        **{"event": "move", "from": 0, "to": 1, "folios": 512, "wall_ns": 9, "not_moved": 0},
        **{"folios_failed": 0, "folios_split": 0, "pages_elsewhere": 0, "pages_verified": 512},
        **{"pages_wrong": 0, "wrong": []},
        **changed,
    }


def moves_of(*events: dict[str, Any]) -> Migration:
    asked: list[list[str]] = []

    def run(argv: list[str], **_: Any) -> JobResult:
        asked.append(argv)
        return JobResult(tuple(argv), 0, None, list(events), [], [])

    guest = cast(Any, SimpleNamespace(run=run))
    return Moves(guest, folio_kib=4, cpu=1, timeout_s=1).migrate("sleep 1; true")


def test_two_moves_are_summed_up_and_a_folio_left_behind_is_seen() -> None:
    found = moves_of(moved(), moved())
    assert (found.folios, found.lost, found.pages_verified) == (1024, 0, 1024)
    for key in ("folios_failed", "folios_split", "pages_elsewhere", "not_moved"):
        assert moves_of(moved(), moved(**{key: 2})).lost == 2


def test_whoever_stays_is_looked_at() -> None:
    staying = 0
    for scenario in SCENARIOS:
        for batch in BATCHES:
            stays = False
            for step in scenario.steps(batch):
                if isinstance(step, Attempt):
                    assert not stays, scenario.name
                    assert not (step.stays and step.beside), scenario.name
                    stays = step.stays
                    staying += stays
                elif step == "look":
                    stays = False
            assert not stays, scenario.name
    assert staying


def test_pages_that_stay_in_use_are_compared_later_and_once() -> None:
    job = SimpleNamespace(results=[moved(), moved(), {"event": "ready"}])
    wrong = {"page": 7, "address": "0x1", "offset": 0, "expected": "0x2", "seen": "0x3"}
    stayed = {"event": "stayed", "pages_verified": 1024, "pages_wrong": 1, "wrong": [wrong]}
    asked: list[Any] = []

    def spawn(argv: list[str], **_: Any) -> Any:
        asked.append(argv[-1])
        return job

    guest = SimpleNamespace(
        spawn=spawn,
        signal=lambda _job, number: asked.append(number),
        wait=lambda _job, **_: JobResult((), 0, None, [stayed], [], []),
        machine=SimpleNamespace(log=None),
    )
    workload = Moves(cast(Any, guest), folio_kib=4, cpu=1, timeout_s=1)
    assert workload.migrate(stays=True).folios == 1024
    found = workload.stayed()
    assert found is not None
    assert asked == ["--stay", signal.SIGUSR1]
    assert not contents("late writes into pages in use", found, 0).held
    assert workload.stayed() is None
    job.results = [moved()]
    with pytest.raises(PremiseError, match="two moves"):
        workload.migrate(stays=True)


def names(machine: LabFile, **parameters: Any) -> list[str]:
    chosen = failures.FailuresParameters.model_validate(parameters)
    return [mode.name for mode in failures.plan(machine, chosen)]


def test_each_scenario_has_its_modes_and_a_few_have_every_way_to_memory() -> None:
    every = names(LabFile())
    assert len(set(every)) == len(every)
    for name in ON_EVERY_PATH:
        for path in DmaPath:
            shown = f"moves-{name}" + ("" if path is DmaPath.DIRECT else f"-{path}")
            assert shown in every
    assert "moves-bounce-buffers-full-swiotlb" in every
    assert "moves-error-write-decode" not in every
    fixed = names(LabFile.model_validate({"kernel": {"driver_fixes": True}}))
    assert "moves-error-write-decode" in fixed
    assert "moves-error-fatal" in names(AE4DMA)
    assert names(AE4DMA, scenarios=("error-fatal",), workloads=("compaction",)) == [
        "compaction-error-fatal"
    ]
    quick = failures.EXPERIMENT.choose({}, quick=True)
    modes = [mode.name for mode in failures.plan(LabFile(), quick)]
    assert modes == [f"moves-{scenario.name}" for scenario in SCENARIOS if scenario.name in QUICK]


def test_the_machine_is_small_unless_it_was_chosen() -> None:
    parameters = failures.FailuresParameters(scenarios=("one-of-four",))
    mode = failures.plan(LabFile(), parameters)[0]
    assert [node.memory_mib for node in mode.machine.topology.nodes] == [256, 256]
    assert mode.machine.engine.count == 4
    chosen = LabFile.model_validate({"topology": {"nodes": [{"memory_mib": 512}] * 2}})
    mode = failures.plan(chosen, parameters)[0]
    assert [node.memory_mib for node in mode.machine.topology.nodes] == [512, 512]


@pytest.mark.parametrize(
    ("sections", "parameters", "named"),
    [
        ({"engine": {"count": 2}}, {}, "engine.count is 2"),
        ({"kernel": {"layout": "v3"}}, {}, "v3"),
        ({}, {"scenarios": ("no-such",)}, "no-such"),
        ({}, {"scenarios": ("error-fatal",)}, "for ptdma"),
    ],
)
def test_what_cannot_be_played_is_refused(
    sections: dict[str, Any], parameters: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)):
        names(LabFile.model_validate(sections), **parameters)


def test_every_deviation_has_an_entry_and_a_mode_that_it_covers() -> None:
    listed = re.findall(r"^Id: `([a-z0-9-]+)`", LEDGER.read_text(encoding="utf-8"), re.MULTILINE)
    for deviation in DEVIATIONS:
        assert deviation.bug in listed
        re.compile(deviation.seen)
        machines = [LabFile.model_validate({"engine": {"kind": k}}) for k in deviation.engines]
        for machine in machines:
            assert any(deviation.covers("failures", name, machine) for name in names(machine))


def test_what_was_checked_before_a_missing_premise_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = Check(name="first: contents", held=False, awaited="0 wrong", seen="1 wrong")

    class Broken:
        def __init__(self, _session: Any) -> None:
            self.batch = BATCHES[0]
            self.checks = [before]

        def prepare(self) -> bool:
            raise PremiseError("the fault to strike", "0 times")

    monkeypatch.setattr(failures, "Stage", Broken)
    findings = Findings()
    session = SimpleNamespace(
        parameters=FailuresParameters(expect="sound"), findings=findings, mode=None
    )
    with pytest.raises(PremiseError):
        failures.run(cast(Any, session))
    assert findings.checks == [before]
