# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits of waits, and that messages name what was asked for, not what happened to be left."""

from __future__ import annotations

import io
import time

import pytest
from replay import ReplayMachine

from lab.errors import GuestTimeout
from lab.machine.argv import MachineSpec
from lab.machine.deadline import Deadline
from lab.machine.guest import Guest


def test_a_part_ends_with_the_whole_and_names_the_limit_that_binds() -> None:
    whole = Deadline(50.0)
    assert whole.within(7.0).timeout_s == 7.0
    late = whole.within(80.0)
    assert late.timeout_s == 50.0
    assert late.remaining_s <= whole.remaining_s + 0.01
    time.sleep(0.01)
    assert whole.within(50.0).timeout_s == 50.0


class Silent(ReplayMachine):
    """Takes a request and says nothing until time is up."""

    def next(self, deadline: Deadline) -> None:
        time.sleep(deadline.remaining_s)

    def _answer(self, _fields: list[str]) -> None:
        pass


@pytest.mark.parametrize(("session_s", "asked_s", "named"), [(60, 0.03, "0.03"), (0.04, 9, "0.04")])
def test_a_timeout_names_the_limit_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, session_s: float, asked_s: float, named: str
) -> None:
    monkeypatch.setattr("lab.machine.guest.examine", lambda *_: "all CPUs idle")
    monkeypatch.setattr("replay._Console.tail", lambda _self, _lines: "last", raising=False)
    machine = Silent(MachineSpec(), [], [], 1)
    deadline = Deadline(session_s)
    time.sleep(0.005)
    guest = Guest(machine, io.StringIO(), deadline)  # type: ignore[arg-type]
    with pytest.raises(GuestTimeout) as caught:
        guest.read("/proc/version", timeout_s=asked_s)
    assert caught.value.awaited.endswith(f", within {named} s")
