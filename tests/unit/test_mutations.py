# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of mutations, and when one counts as caught."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lab import experiments
from lab.build.kernel_plan import queue_of
from lab.build.patch import make_patch
from lab.config import LabFile
from lab.errors import ConfigError
from lab.mutations import (
    MUTATIONS,
    Mutation,
    Result,
    Results,
    Run,
    Trial,
    attempt,
    read_mutations,
    signs,
)
from lab.options import choose_parameters, override, parse_fault, split_settings
from lab.results import Check, HostFacts, Mode, Outcome, Record


def record(*checks: tuple[str, bool], outcome: Outcome | None = None, error: str = "") -> Record:
    made = [Check(name=name, held=held, awaited="a", seen="s") for name, held in checks]
    verdict = Outcome.PASS if all(check.held for check in made) else Outcome.FAIL
    mode = Mode(name="dma", outcome=outcome or verdict, checks=made, error=error or None)
    facts = HostFacts(
        started=datetime.now(UTC).isoformat(),
        duration_s=0,
        lab_version="",
        qemu_version="",
        folder="",
    )
    return Record(
        experiment="compaction",
        outcome=mode.outcome,
        clock="virtual",
        kernel=[],
        parameters={},
        modes=[mode],
        host=facts,
    )


def mutation(**changed: Any) -> Mutation:
    values = {
        "id": "x",
        "breaks": "b",
        "experiment": "compaction",
        "mode": "dma",
        "red": "^dma: contents$",
        **changed,
    }
    return Mutation.model_validate(values)


@pytest.mark.parametrize("entry", read_mutations(), ids=lambda entry: entry.id)
def test_each_mutation_can_be_run(entry: Mutation) -> None:
    chosen = experiments.find(entry.experiment)
    machine, parameters = split_settings(entry.settings)
    lab = override(LabFile(), machine)
    values = choose_parameters(chosen, lab, parameters, quick=False)
    modes = {mode.name: mode for mode in chosen.plan(lab, values)}
    assert modes[entry.mode].patched
    for fault in entry.inject:
        parse_fault(fault)


@pytest.mark.parametrize("entry", read_mutations(), ids=lambda entry: entry.id)
def test_each_patch_breaks_what_our_series_brings(entry: Mutation) -> None:
    patch = make_patch(entry.id, entry.breaks, (MUTATIONS / f"{entry.id}.patch").read_bytes())
    ours = {path for one in queue_of("7.3").patches for path in one.paths}
    assert set(patch.paths) <= ours


def test_there_are_enough_of_them() -> None:
    assert len(read_mutations()) >= 12


def test_a_patch_without_an_entry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mutations.toml").write_text(
        '[[mutation]]\nid = "a"\nbreaks = "b"\nexperiment = "compaction"\nmode = "dma"\nred = "x"\n'
    )
    (tmp_path / "b.patch").write_text("")
    with pytest.raises(ConfigError, match="a, b"):
        read_mutations(tmp_path)


def test_either_red_or_green() -> None:
    with pytest.raises(ValueError, match="either"):
        mutation(green="x")
    with pytest.raises(ValueError, match="either"):
        mutation(red=None)


def test_red_is_the_check_that_was_named() -> None:
    entry = mutation()
    assert entry.shows(signs(record(("contents", False))))
    assert not entry.shows(signs(record(("contents", True), ("bytes", False))))


def test_green_is_a_check_that_ceased_to_be_red() -> None:
    entry = mutation(red=None, green="^dma: contents$")
    assert entry.shows(signs(record(("contents", True))))
    assert not entry.shows(signs(record(("contents", False))))
    unbuilt = record(outcome=Outcome.ERROR, error="doesn't build")
    assert not entry.shows(signs(unbuilt))


def test_an_end_by_something_else_than_checks_is_a_sign_of_its_own() -> None:
    found = signs(record(("contents", True), outcome=Outcome.CRASH, error="oops\nin f"))
    assert found == ["dma: CRASH: oops / in f"]


def shown(found: Record) -> Trial:
    return Trial(signs=tuple(signs(found)), seconds=1.5)


def tried(entry: Mutation, sound: Record, broken: Record) -> Result:
    asked: list[bool] = []

    def run(_mutation: Mutation, _name: str, is_broken: bool) -> Trial:
        asked.append(is_broken)
        return shown(broken if is_broken else sound)

    (result,) = attempt([entry], run)
    assert asked[0] is False
    return result


def test_caught_where_only_the_broken_series_is_red() -> None:
    sound, broken = record(("contents", True)), record(("contents", False))
    assert tried(mutation(), sound, broken).caught
    assert not tried(mutation(), sound, sound).caught


def test_what_is_red_anyway_proves_nothing() -> None:
    red = record(("contents", False))
    result = tried(mutation(), red, red)
    assert not result.caught
    assert "unbroken" in result.seen


def test_an_unbroken_series_that_did_not_run_proves_nothing() -> None:
    lost = record(("contents", True), outcome=Outcome.ERROR, error="no QEMU")
    result = tried(mutation(), lost, record(("contents", False)))
    assert not result.caught


def counting(trial: Trial, asked: list[str]) -> Run:
    def run(_mutation: Mutation, name: str, _broken: bool) -> Trial:
        asked.append(name)
        return trial

    return run


KNOWN = read_mutations()[0]


def test_a_score_goes_on_where_it_was(tmp_path: Path) -> None:
    red, asked = shown(record(("contents", False))), list[str]()
    for _ in range(2):
        kept = Results(tmp_path / "out" / "results.json").keeping(counting(red, asked))
        assert kept(KNOWN, "broken", True) == red
        assert kept(KNOWN, "sound", False) == red
    assert asked == ["broken", "sound"]


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.TIMEOUT, Outcome.LOST])
def test_what_came_to_no_verdict_is_tried_again(tmp_path: Path, outcome: Outcome) -> None:
    lost, asked = shown(record(outcome=outcome, error="doesn't build")), list[str]()
    for _ in range(2):
        kept = Results(tmp_path / "results.json").keeping(counting(lost, asked))
        assert kept(KNOWN, "broken", True) == lost
    assert len(asked) == 2


def test_a_crash_is_a_verdict(tmp_path: Path) -> None:
    crash, asked = shown(record(outcome=Outcome.CRASH, error="oops")), list[str]()
    for _ in range(2):
        Results(tmp_path / "results.json").keeping(counting(crash, asked))(KNOWN, "broken", True)
    assert asked == ["broken"]


def test_a_result_is_of_its_run_and_of_its_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    key = Results(path).key(KNOWN, broken=True)
    assert Results(path).key(KNOWN, broken=True) == key
    assert Results(path).key(KNOWN, broken=False) != key
    assert Results(path).key(KNOWN.model_copy(update={"mode": "other"}), broken=True) != key
    monkeypatch.setattr("lab.mutations.hash_inputs", lambda: "another")
    assert Results(path).key(KNOWN, broken=True) != key


def test_a_file_of_results_that_is_none_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"a": {"signs": 3}}'):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(ConfigError, match="results"):
            Results(tmp_path / "results.json")


def test_the_time_of_a_mutation_is_told() -> None:
    result = tried(mutation(), record(("contents", True)), record(("contents", False)))
    assert result.line == "caught  x (2 s): dma: contents"
