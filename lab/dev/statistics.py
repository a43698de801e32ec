# SPDX-License-Identifier: GPL-2.0-or-later
"""Times of several runs: their medians, as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """What the runs of one figure took, in seconds of the host.

    `why` says why there are none, and `failed` whether there should have been some.
    """

    name: str
    what: str
    seconds: tuple[float, ...]
    why: str = ""
    failed: bool = False

    @property
    def median_s(self) -> float | None:
        """The median; None without a run."""
        return statistics.median(self.seconds) if self.seconds else None

    def to_json(self) -> dict[str, object]:
        """All of it, for a file."""
        return {
            "name": self.name,
            "what": self.what,
            "median_s": self.median_s,
            "seconds": list(self.seconds),
            "why": self.why,
        }


def render(all_times: Sequence[Times], base: str) -> str:
    """A table: median, minimum and maximum, and the ratio of each median to that of `base`."""
    medians = {times.name: times.median_s for times in all_times}
    of_base = medians.get(base)
    lines = [f"{'figure':<18} {'median s':>9} {'min':>8} {'max':>8} {'runs':>5} {'/' + base:>14}"]
    for times in all_times:
        median = times.median_s
        if median is None:
            lines.append(f"{times.name:<18} not measured: {times.why}")
            continue
        ratio = f"{median / of_base:>14.2f}" if of_base else f"{'-':>14}"
        lines.append(
            f"{times.name:<18} {median:>9.3f} {min(times.seconds):>8.3f} "
            f"{max(times.seconds):>8.3f} {len(times.seconds):>5} {ratio}  {times.what}"
        )
    return "\n".join(lines)
