# SPDX-License-Identifier: GPL-2.0-or-later
"""What a CPU did over an interval, from the kernel's own account of it."""

from __future__ import annotations

from lab.errors import PremiseError
from lab.results import CpuShare


def cpu_share(cpustat_ns: dict[str, int], wall_ns: int) -> CpuShare:
    """Shares of a CPU from the kernel's own accounting of it.

    Args:
        cpustat_ns: growth of each field of the CPU's line in /proc/stat, in ns.
        wall_ns: length of the interval.

    Raises:
        PremiseError: the interval has no length.
    """
    if wall_ns <= 0:
        raise PremiseError("an interval longer than 0 ns", f"{wall_ns} ns")

    def pct(*fields: str) -> float:
        return sum(cpustat_ns.get(field, 0) for field in fields) * 100 / wall_ns

    return CpuShare(
        user_pct=pct("user", "nice"),
        sys_pct=pct("system"),
        idle_pct=pct("idle", "iowait"),
        irq_pct=pct("irq", "softirq", "steal"),
    )
