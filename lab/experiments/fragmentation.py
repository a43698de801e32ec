# SPDX-License-Identifier: GPL-2.0-or-later
"""Fragmented memory and allocations that have to compact it: the steps that experiments share.

The programs are ``images/workloads/fragment.c`` and ``compact.c``; images/README.md says what each
of them proves about itself.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from lab.errors import PremiseError
from lab.experiments import premises
from lab.results import Integrity

if TYPE_CHECKING:
    from lab.machine.guest import Guest
    from lab.machine.jobs import Job

ORDER = 9
TRIGGER_MODULE = "compact_trigger"
# Freed pages that wait on per-CPU lists are in compaction's way. On the published machine the lists
# are nothing beside 250 GB; here they would swallow a quarter of what was freed.
SMALL_PCP_LISTS = {"/proc/sys/vm/percpu_pagelist_high_fraction": "256"}
# Of the node's free blocks: what may be left whole. The fill stops short of the watermarks, and
# `compact` takes whole blocks out of the way before it measures.
_WHOLE_BLOCKS_LIMIT = 0.05


def fragment(
    guest: Guest, *, node: int, cpu: int, fill_percent: int, timeout_s: float
) -> tuple[Job, dict[str, Any]]:
    """Fragment a node and prove that it worked.

    Args:
        guest: with background memory management settled.
        node: the NUMA node.
        cpu: CPU that the program is pinned to.
        fill_percent: how much of the node's free memory is filled before every second page goes.
        timeout_s: host seconds that the program may take.

    Returns:
        The program that holds the pages, and what there is to keep in the record.

    Raises:
        PremiseError: free blocks of order 9 are left, or the program gave up.
    """
    before = guest.read("/proc/buddyinfo")
    job = fill(guest, node=node, cpu=cpu, fill_percent=fill_percent, timeout_s=timeout_s)
    blocks_before = premises.free_blocks(before, node, ORDER)
    blocks = premises.free_blocks(guest.read("/proc/buddyinfo"), node, ORDER)
    limit = int(blocks_before * _WHOLE_BLOCKS_LIMIT)
    if blocks > limit:
        raise PremiseError(
            f"at most {limit} free blocks of order {ORDER} on node {node} once it is fragmented",
            f"{blocks} of {blocks_before} before",
            hint="fill more of the node (--set fill_percent=100)",
        )
    return job, {
        **{key: value for key, value in (job.ready or {}).items() if key != "event"},
        "host_free_order9_before": blocks_before,
        "host_free_order9_after": blocks,
    }


def fill(guest: Guest, *, node: int, cpu: int, fill_percent: int, timeout_s: float) -> Job:
    """Take a node's free memory and give every second page back; `fragment` proves more.

    Raises:
        PremiseError: the program gave up.
    """
    return guest.spawn(
        [
            "fragment",
            *("--node", str(node)),
            *("--cpu", str(cpu)),
            *("--fill-percent", str(fill_percent)),
        ],
        timeout_s=timeout_s,
    )


def allocation(*, node: int, cpu: int, count: int, hog: bool = False) -> list[str]:
    """The program that has the kernel allocate `count` blocks of order 9 on a node."""
    return [
        "compact",
        *("--cpu", str(cpu)),
        *("--node", str(node)),
        *("--order", str(ORDER)),
        *("--count", str(count)),
        *(["--hog"] if hog else []),
    ]


def verify(guest: Guest, job: Job, timeout_s: float) -> tuple[Integrity, dict[str, Any]]:
    """Compare every page that ``fragment`` has kept, which ends it.

    Returns:
        What was found, and all that the program said.

    Raises:
        PremiseError: the program gave up.
    """
    guest.signal(job, signal.SIGUSR1)
    found = guest.wait(job, timeout_s=timeout_s).result("verified")
    keys = ("pages_verified", "pages_wrong", "wrong")
    return Integrity.model_validate({key: found[key] for key in keys}), found
