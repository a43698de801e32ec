# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's memory (Documentation/filesystems/proc.rst, meminfo)."""

from __future__ import annotations

import re
from pathlib import Path

MEMINFO = Path("/proc/meminfo")


def available_bytes() -> int:
    """What can be had without swapping; 0 where the kernel doesn't say."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", MEMINFO.read_text("utf-8"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
