# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose copy offload a guest has, and which of the lab's modules for it.

Series that offload differ in what a provider looks like, and in what they count and promise. The
project's own has a function that no other has: by that images/modules/Kbuild tells it in a tree,
and this file in a guest.
"""

from __future__ import annotations

from typing import Protocol

from lab.machine.jobs import JobResult

OWN_FUNCTION = "migrate_offload_folio_abandoned"
# Of images/modules, those that are providers: built for the project's own core alone.
RIVAL, LATE_WRITE = "offload_rival", "late_write"

_KALLSYMS = "/proc/kallsyms"
_GREP_FOUND_NOTHING = 1


class Asked(Protocol):
    """What is needed of a guest."""

    def run(self, argv: list[str]) -> JobResult:
        """Run a program to its end."""


def is_own(guest: Asked) -> bool:
    """Whether the kernel has the core of the project's own series.

    Raises:
        PremiseError: the kernel lists no functions.
    """
    argv = ["/bin/busybox", "grep", "-q", "-w", OWN_FUNCTION, _KALLSYMS]
    return _found(guest.run(argv), f"the kernel's functions in {_KALLSYMS}, with CONFIG_KALLSYMS=y")


def has_module(guest: Asked, name: str) -> bool:
    """Whether the image has a module of that name.

    Raises:
        PremiseError: it has no index of its modules.
    """
    script = f"grep -q '/{name}\\.ko:' /lib/modules/$(uname -r)/modules.dep"
    return _found(
        guest.run(["/bin/busybox", "sh", "-c", script]), "an index of the image's modules"
    )


def _found(result: JobResult, awaited: str) -> bool:
    if result.ok:
        return True
    if result.status == _GREP_FOUND_NOTHING:
        return False
    raise result.failure(awaited)
