# SPDX-License-Identifier: GPL-2.0-or-later
"""How the experiment ``faults`` plays a scenario: which crash is awaited, and when hits count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.config import LabFile
from lab.errors import GuestCrash, PremiseError
from lab.experiments import faults
from lab.experiments.base import Findings
from lab.experiments.fault_ledger import known_bugs

COPY = (
    '{{"copy_number":{0},"length":4096,"told":"success","times_told":1,"told_ns":9,'
    '"status":"complete","wrong_when_told":0,"wrong":0,"first_wrong":-1,"unwritten":0,'
    '"source_wrong":0,"guard_wrong":0,"first_guard_wrong":0}}'
)
CRASH = GuestCrash(
    "an answer",
    "oops: Oops: general protection fault, probably for non-canonical address",
    excerpt="RIP: 0010:pt_cmd_callback+0x130/0x460 [ptdma]\n",
)


class ScriptedGuest:
    """A guest whose kernel dies in a step, and whose faults strike as told."""

    def __init__(self, *, dies_in: str | None = None, hits: int = 1) -> None:
        self.dies_in = dies_in
        self.hits = hits
        self.armed: list[str] = []
        self.accepted = False
        self.machine = SimpleNamespace(console=SimpleNamespace(path=None), log=None)

    def load_module(self, _name: str) -> None: ...

    def device_counters(self) -> dict[str, Any]:
        return {}

    def reports(self) -> list[object]:
        return []

    def inject_fault(self, _device: str, kind: str, **_arguments: object) -> None:
        self.armed.append(kind)

    def faults(self) -> list[dict[str, object]]:
        return [{"kind": kind, "hits": self.hits} for kind in self.armed]

    def clear_faults(self) -> None:
        self.armed.clear()

    def write(self, _path: str, text: str) -> None:
        if text == self.dies_in:
            raise CRASH

    def run(self, argv: list[str]) -> SimpleNamespace:
        if self.dies_in == "pass 200" and "sleep" in argv:
            raise CRASH
        return SimpleNamespace(stdout=[])

    def read(self, _path: str) -> str:
        return COPY.format(0)

    def accept_crash(self) -> None:
        self.accepted = True


@pytest.fixture(autouse=True)
def no_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted guest has no bus to look at."""
    monkeypatch.setattr(faults.premises, "bind_engines", lambda *_: None)
    monkeypatch.setattr(faults.engines, "growth", lambda *_: SimpleNamespace(total={}))


def session_of(guest: ScriptedGuest, name: str = "stall-never") -> faults.Run:
    parameters = faults.FaultsParameters(scenarios=(name,))
    (mode,) = faults.plan(LabFile(), parameters)
    session = faults.Session(
        guest=cast(Any, guest), mode=mode, parameters=parameters, findings=Findings()
    )
    session.say = lambda _text: None
    return session


def test_the_awaited_crash_in_its_step_is_taken() -> None:
    guest = ScriptedGuest(dies_in="pass 200")
    session = session_of(guest)
    faults.run(session)
    assert guest.accepted
    assert [check.held for check in session.findings.checks] == [True]


@pytest.mark.parametrize("step", ["prepare 1 4096 interrupt", "wait 100", "terminate"])
def test_the_same_crash_in_another_step_is_a_crash(step: str) -> None:
    guest = ScriptedGuest(dies_in=step)
    session = session_of(guest)
    with pytest.raises(GuestCrash):
        faults.run(session)
    assert not guest.accepted


def test_the_awaited_crash_without_its_fault_is_a_crash() -> None:
    guest = ScriptedGuest(dies_in="pass 200", hits=0)
    with pytest.raises(GuestCrash):
        faults.run(session_of(guest))
    assert not guest.accepted


def test_a_driver_that_survives_is_judged_by_the_hits_before_clear() -> None:
    session = session_of(ScriptedGuest())
    faults.run(session)
    assert [fault["hits"] for fault in cast(Any, session.findings.details["struck"])] == [1]
    (kernel, *_rest) = session.findings.checks
    assert not kernel.held
    assert "the bug is gone" in kernel.seen


def test_a_survivor_whose_fault_never_struck_is_an_error() -> None:
    with pytest.raises(PremiseError, match="stall 0 times"):
        faults.run(session_of(ScriptedGuest(hits=0)))


def test_a_crash_outside_of_the_module_names_the_caller() -> None:
    crash = GuestCrash(
        "an answer",
        "oops",
        excerpt=(
            "[ 0.1] RIP: 0010:string+0x4d/0xd0\n[ 0.1]  vsnprintf+0x1/0x2\n"
            "[ 0.1]  pt_check_status_trans+0x66/0xe0 [ptdma]\n"
        ),
    )
    assert faults.describe_crash(crash) == "oops in string below pt_check_status_trans"


def test_the_wild_name_may_crash_and_need_not() -> None:
    (mode,) = faults.plan(LabFile(), faults.FaultsParameters(scenarios=("error-lsb-parity",)))
    known = known_bugs("ptdma", "error-lsb-parity")
    died = faults.Seen(crash="oops in string below pt_check_status_trans")
    other = faults.Seen(crash="oops in pt_cmd_callback")
    assert [check.held for check in faults.judge(mode.scenario, died, known)] == [True]
    assert [check.held for check in faults.judge(mode.scenario, other, known)] == [False]
    alive = next(faults.judge(mode.scenario, faults.Seen(), known))
    assert alive.held
    warned = faults.Seen(reports=["WARNING: at x"])
    assert not next(faults.judge(mode.scenario, warned, known)).held
