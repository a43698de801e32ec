# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlines on the host's monotonic clock, the guard against anything that hangs."""

from __future__ import annotations

import time


class Deadline:
    """A moment that must not pass; made once and handed down, so that waits don't add up.

    Attributes:
        timeout_s: the limit as it was asked for. Messages name this one: what is left of it differs
            from run to run.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s

    @classmethod
    def of(cls, deadline: Deadline | float) -> Deadline:
        """`deadline` itself, or a new one that many seconds from now."""
        return deadline if isinstance(deadline, Deadline) else cls(deadline)

    def within(self, timeout_s: float) -> Deadline:
        """A deadline `timeout_s` from now, but never later than this one."""
        remaining_s = self.remaining_s
        if timeout_s <= remaining_s:
            return Deadline(timeout_s)
        bounded = Deadline(remaining_s)
        bounded.timeout_s = self.timeout_s
        return bounded

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether the moment is over."""
        return self.remaining_s == 0.0
