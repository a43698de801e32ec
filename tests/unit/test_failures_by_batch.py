# SPDX-License-Identifier: GPL-2.0-or-later
"""The experiment ``failures`` with a series that counts by the batch, as the published ones do."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from test_failures import ONE, attempts, failed, measured

from lab.config import LabFile
from lab.experiments import failure_stage, failures
from lab.experiments.base import Findings, Session
from lab.experiments.failure_checks import (
    BY_FOLIO,
    BY_THE_BATCH,
    ByBatch,
    Measured,
    attempt_checks,
)
from lab.experiments.failure_mode import FailuresParameters
from lab.experiments.failure_resources import Resources
from lab.experiments.failure_scenarios import MOVES, Batch, Expect, hung
from lab.experiments.failure_stage import Stage
from lab.machine.jobs import JobResult

MOVED, COMPACTED = ByBatch(512), ByBatch(32)
STUCK = ByBatch(512, lasts=True)


def failed_by(promise: ByBatch, expect: Expect, seen: Measured) -> list[str]:
    made = list(attempt_checks("x", expect, seen, promise))
    assert all(BY_THE_BATCH in c.awaited for c in made if c.name in {"x: dcbm", "x: engines"})
    return [check.name for check in made if not check.held]


def by_batch(count: int, **changed: Any) -> Measured:
    """`count` folios failed with one, and the engine may have copied the others of them."""
    values = {"migrated": 1024 - count, "failures": count, "errors": 1, "descriptors": 1023}
    return measured(**{**values, **changed})


@pytest.mark.parametrize(("promise", "most"), [(MOVED, 512), (COMPACTED, 32)])
def test_another_series_may_fail_as_much_as_the_batch(promise: ByBatch, most: int) -> None:
    for count in (1, 2, most):
        assert failed_by(promise, ONE, by_batch(count)) == []
        assert failed_by(promise, ONE, by_batch(count, descriptors=1024 - count)) == []
    assert failed_by(promise, ONE, by_batch(most + 1)) == ["x: dcbm"]
    assert failed(ONE, by_batch(most)) == ["x: dcbm", "x: engines"]


@pytest.mark.parametrize(
    ("changed", "red"),
    [
        ({"lost": 1}, ["x: migration"]),
        ({"wrong": 1}, ["x: contents"]),
        ({"failures": 511}, ["x: dcbm", "x: engines"]),
        ({"failures": 513}, ["x: dcbm"]),
        ({"migrated": 511}, ["x: dcbm", "x: engines"]),
        ({"descriptors": 1024}, ["x: engines"]),
        ({"descriptors": 511}, ["x: engines"]),
        ({"errors": 0}, ["x: engines"]),
        ({"errors": 2}, ["x: engines"]),
    ],
)
def test_one_number_that_no_series_may_count_is_red(
    changed: dict[str, Any], red: list[str]
) -> None:
    assert failed_by(MOVED, ONE, by_batch(512, **changed)) == red


def test_descriptors_of_another_length_are_red() -> None:
    seen = by_batch(512)
    device = seen.device.model_copy(update={"bytes": seen.device.bytes - 64})
    assert failed_by(MOVED, ONE, replace(seen, device=device)) == ["x: engines"]


def test_an_error_that_another_series_does_not_notice_is_red() -> None:
    silent = measured(errors=1, descriptors=1023, wrong=1)
    assert failed_by(MOVED, ONE, silent) == ["x: contents", "x: dcbm", "x: engines"]


def test_where_nothing_fails_another_series_has_no_excuse() -> None:
    for promise in (MOVED, STUCK):
        assert failed_by(promise, Expect(), measured()) == []
        one = measured(migrated=1023, failures=1)
        assert failed_by(promise, Expect(), one) == ["x: dcbm"]
        assert failed_by(promise, Expect(), measured(migrated=1023)) == ["x: dcbm"]


def test_where_every_copy_fails_every_folio_is_a_failure_of_any_series() -> None:
    every = Expect(every=True)
    for errors in (1, 2, 1024):
        seen = measured(migrated=0, failures=1024, errors=errors)
        assert failed_by(STUCK, every, seen) == []
    assert "x: engines" in failed_by(STUCK, every, measured(migrated=0, failures=1024))
    one = measured(migrated=1, failures=1023, errors=1)
    assert failed_by(STUCK, every, one) == ["x: dcbm"]


def test_what_hangs_may_hold_the_way_back_up_or_leave_it_to_the_cpu() -> None:
    expect = hung(Batch(MOVES, 512), 256)
    # The move back finds no channel, or waits for the same one.
    assert failed_by(STUCK, expect, measured(migrated=0, failures=512)) == []
    assert failed_by(STUCK, expect, measured(migrated=0, failures=1024)) == []
    assert failed_by(STUCK, expect, measured(migrated=255, failures=257)) == []
    assert failed_by(STUCK, expect, measured(migrated=0, failures=256)) == ["x: dcbm"]
    few = measured(migrated=768, failures=256)
    assert failed_by(STUCK, expect, few) == ["x: dcbm"]
    quarter = Expect(128, 0)
    assert failed_by(STUCK, quarter, measured(migrated=0, failures=1024)) == []
    assert failed_by(STUCK, quarter, measured(migrated=895, failures=128)) == ["x: dcbm"]


def test_no_series_has_to_log_in_our_words() -> None:
    unfinished = Expect(failures=None, by_cpu=None)
    line = ("dcbm: dma copy failed: -110",)
    seen = measured(migrated=896, failures=32, lines=line)
    assert failed_by(COMPACTED, unfinished, seen) == []
    assert failed(unfinished, seen) == ["x: dcbm"]
    assert failed_by(COMPACTED, unfinished, measured(migrated=1024)) == ["x: dcbm"]
    more = measured(migrated=1000, failures=25)
    assert failed_by(COMPACTED, unfinished, more) == ["x: dcbm"]


def test_the_projects_own_series_is_told_by_its_contract() -> None:
    made = list(attempt_checks("x", ONE, measured(migrated=1023, failures=1, errors=1)))
    told = [check.name for check in made if check.awaited.endswith(BY_FOLIO)]
    assert told == ["x: dcbm", "x: engines"]


def moving(
    monkeypatch: pytest.MonkeyPatch, *, own: bool, seen: Measured, name: str
) -> tuple[Stage, Findings]:
    """A stage whose guest has our series or another, and whose migrations are `seen`."""
    parameters = FailuresParameters(scenarios=(name,), workloads=("moves",), paths=())
    (mode,) = failures.plan(LabFile(), parameters)
    result = JobResult((), 0 if own else 1, None, [], [], [])
    guest = SimpleNamespace(
        run=lambda _argv: result,
        engines=lambda: [SimpleNamespace(address="0", driver="ptdma")],
        reports=list,
        inject_fault=lambda *_, **__: 1,
        faults=lambda: [{"device": "dma0", "hits": 1}],
        clear_faults=lambda: None,
        machine=SimpleNamespace(log=None),
    )
    findings = Findings()
    session: Any = Session(
        guest=cast(Any, guest), mode=mode, parameters=parameters, findings=findings
    )
    for what in ("bind_engines", "settle"):
        monkeypatch.setattr(failure_stage.premises, what, lambda *_: {})
    monkeypatch.setattr(failure_stage, "load", lambda _guest: None)
    monkeypatch.setattr(failure_stage, "Dcbm", lambda _guest: SimpleNamespace(enable=id))
    monkeypatch.setattr(failure_stage.Resources, "read", lambda *_: Resources(1, 0))
    stage = Stage(session)
    monkeypatch.setattr(stage, "_measure", lambda *_, **__: measured())
    assert stage.prepare()
    monkeypatch.setattr(stage, "_measure", lambda *_, **__: seen)
    return stage, findings


@pytest.mark.parametrize(
    ("own", "count", "held"), [(True, 1, True), (True, 512, False), (False, 512, True)]
)
def test_the_kernel_says_which_contract_it_is_held_to(
    monkeypatch: pytest.MonkeyPatch, own: bool, count: int, held: bool
) -> None:
    name = "error-illegal-length"
    stage, findings = moving(monkeypatch, own=own, seen=by_batch(count), name=name)
    attempt = next(step for step in attempts(stage._session.mode.scenario, stage.batch))
    stage.play(attempt)
    assert all(check.held for check in stage.checks) == held
    assert findings.details["contract"] == (BY_FOLIO if own else BY_THE_BATCH)


def test_a_fault_that_stays_may_fail_the_way_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = measured(migrated=0, failures=1024)
    stage, _findings = moving(monkeypatch, own=False, seen=seen, name="one-of-four")
    attempt = next(step for step in attempts(stage._session.mode.scenario, stage.batch))
    monkeypatch.setattr(stage, "_assert_struck", lambda _attempt: None)
    stage.play(attempt)
    assert all(check.held for check in stage.checks)
