# SPDX-License-Identifier: GPL-2.0-or-later
"""How a run ends, and the exit status that stands for it."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a run ended. The six are never merged."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    CRASH = "CRASH"
    TIMEOUT = "TIMEOUT"
    LOST = "LOST"
    ERROR = "ERROR"

    @property
    def exit_code(self) -> int:
        """Exit status of the command line for this outcome."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    Outcome.PASS: 0,
    Outcome.FAIL: 1,
    Outcome.ERROR: 3,
    Outcome.CRASH: 4,
    Outcome.TIMEOUT: 5,
    Outcome.LOST: 6,
}

# What a whole is called when its parts differ: the first of these that any part has.
_SEVERITY = (
    Outcome.ERROR,
    Outcome.LOST,
    Outcome.CRASH,
    Outcome.TIMEOUT,
    Outcome.FAIL,
    Outcome.PASS,
)


def worst(outcomes: list[Outcome]) -> Outcome:
    """Outcome of a whole from its parts'; nothing at all is an ERROR, never a pass."""
    for outcome in _SEVERITY:
        if outcome in outcomes:
            return outcome
    return Outcome.ERROR
