# SPDX-License-Identifier: GPL-2.0-or-later
"""What the end of a guest's program says about the kernel."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from lab.errors import PremiseError, ProgramDied
from lab.machine.jobs import JobResult


def ended(by: int | None, *results: dict[str, Any]) -> JobResult:
    status = 0 if by is None else None
    return JobResult(("compact", "--node", "1"), status, by, list(results), [], [])


def test_the_one_result_of_a_program_is_given() -> None:
    assert ended(None, {"event": "compacted", "pages": 7}).result("compacted")["pages"] == 7


@pytest.mark.parametrize("by", [signal.SIGSEGV, signal.SIGBUS, signal.SIGILL])
def test_a_program_that_finds_its_memory_changed_is_a_verdict(by: signal.Signals) -> None:
    with pytest.raises(ProgramDied) as caught:
        ended(by).result("compacted")
    assert caught.value.seen == f"ended by {by.name}"


@pytest.mark.parametrize("by", [None, signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_any_other_end_is_a_missing_premise(by: signal.Signals | None) -> None:
    with pytest.raises(PremiseError) as caught:
        ended(by).result("compacted")
    assert not isinstance(caught.value, ProgramDied)
