# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults that a run asks for: that they are injected, and what is said if they never strike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedBench, carry_out, experiment, passing

from lab.experiments.base import Experiment, Fault, ModePlan, Parameters, Session
from lab.results import Check, DeviceCounters, Outcome
from lab.run_mode import RunOptions


def test_faults_are_injected_and_their_hits_recorded(tmp_path: Path) -> None:
    def run(session: Session[Any, Any]) -> None:
        session.inject_faults()
        passing(session)

    bench = ScriptedBench()
    fault = Fault("dma0", "flip-byte", {"nth": 100})
    record = carry_out(experiment(run), tmp_path, RunOptions(faults=(fault,)), bench)
    assert bench.guests["one"].injected == [("dma0", "flip-byte", {"nth": 100})]
    assert record.modes[0].details["faults"][0]["hits"] == 1
    # A byte was changed, and the only check there is holds.
    (note,) = record.modes[0].notes
    assert note.startswith("flip-byte in dma0 struck, and no check saw it")
    assert record.parameters["faults"] == [{"device": "dma0", "kind": "flip-byte", "nth": 100}]


def test_a_flipped_byte_that_a_check_sees_needs_no_note(tmp_path: Path) -> None:
    def run(session: Session[Any, Any]) -> None:
        session.inject_faults()
        session.findings.check(Check(name="contents", held=False, awaited="a", seen="s"))

    record = carry_out(experiment(run), tmp_path, RunOptions(faults=(Fault("dma0", "flip-byte"),)))
    assert (record.outcome, record.modes[0].notes) == (Outcome.FAIL, [])


@pytest.mark.parametrize(
    ("patched", "descriptors", "hits", "noted"),
    [
        (True, 5, 0, True),
        (True, 0, 0, True),
        (False, 5, 0, True),
        (False, 0, 0, False),
        (True, 5, 1, False),
    ],
)
def test_a_fault_that_never_strikes_is_noted_but_for_idle_baselines(
    tmp_path: Path, patched: bool, descriptors: int, hits: int, noted: bool
) -> None:
    def run(session: Session[Any, Any]) -> None:
        session.inject_faults()
        session.guest.hits = hits  # type: ignore[attr-defined]
        session.findings.device = DeviceCounters(
            descriptors=descriptors, bytes=0, interrupts=0, errors=0
        )
        passing(session)

    what = Experiment(
        "scripted", "", Parameters, lambda lab, _p: [ModePlan("one", "", patched, lab)], run
    )
    record = carry_out(what, tmp_path, RunOptions(faults=(Fault("dma0", "flip-byte"),)))
    assert record.outcome is Outcome.PASS
    told = [note for note in record.modes[0].notes if "flip-byte in dma0 never struck" in note]
    assert len(told) == noted


class IdleFault:
    """A fault of the kernel's that struck `hits` times, in the engines' caches or in others."""

    device = "kernel"

    def __init__(self, kind: str, *, only_engines: bool, hits: int) -> None:
        self.kind, self.only_engines, self.hits = kind, only_engines, hits
        self.armed = True

    def release(self) -> None:
        self.armed = False

    def describe(self) -> dict[str, Any]:
        assert not self.armed, "counted before it was taken back"
        return {"kind": self.kind, "set": {}, "struck": self.hits}


@pytest.mark.parametrize(
    ("patched", "descriptors", "fault", "outcome"),
    [
        # What fails in any code has to fail in a baseline; idle engines ask for no descriptor.
        (False, 0, IdleFault("fail_page_alloc", only_engines=False, hits=0), Outcome.ERROR),
        (False, 0, IdleFault("fail_page_alloc", only_engines=False, hits=1), Outcome.PASS),
        (False, 0, IdleFault("failslab", only_engines=True, hits=0), Outcome.PASS),
        (False, 5, IdleFault("failslab", only_engines=True, hits=0), Outcome.ERROR),
        (True, 0, IdleFault("failslab", only_engines=True, hits=0), Outcome.ERROR),
        (True, 5, IdleFault("failslab", only_engines=False, hits=0), Outcome.ERROR),
        (True, 5, IdleFault("failslab", only_engines=True, hits=2), Outcome.PASS),
    ],
)
def test_a_fault_of_the_kernel_that_never_strikes_is_an_error(
    tmp_path: Path, patched: bool, descriptors: int, fault: Any, outcome: Outcome
) -> None:
    def run(session: Session[Any, Any]) -> None:
        session.armed.append(fault)
        session.findings.device = DeviceCounters(
            descriptors=descriptors, bytes=0, interrupts=0, errors=0
        )
        passing(session)

    what = Experiment(
        "scripted", "", Parameters, lambda lab, _p: [ModePlan("one", "", patched, lab)], run
    )
    record = carry_out(what, tmp_path, RunOptions(faults=(Fault("kernel", fault.kind),)))
    assert record.outcome is outcome
    if outcome is Outcome.ERROR:
        assert "none failed: nothing was tested" in (record.modes[0].error or "")


def test_a_fault_of_the_kernel_that_is_never_armed_is_an_error(tmp_path: Path) -> None:
    options = RunOptions(faults=(Fault("kernel", "failslab"),))
    record = carry_out(experiment(passing), tmp_path, options)
    assert record.outcome is Outcome.ERROR
    assert "never injects what was asked for" in (record.modes[0].error or "")
