# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's compiler: what it is, how many jobs it gets, and its cache."""

from __future__ import annotations

import functools
import os
import shutil

from lab.cache import Cache
from lab.program import ask_program

CCACHE_MAX_SIZE = "2G"


def count_jobs() -> int:
    """How many compilers to run at once: one for each CPU that this process may use."""
    return len(os.sched_getaffinity(0))


@functools.cache
def identify_compiler(compiler: str = "gcc") -> str:
    """First version line of the C compiler and of the linker.

    Raises:
        HostError: one of them isn't installed.
    """
    hint = "make setup installs what is missing; dcbm-lab doctor lists it"
    lines = [
        ask_program([name, "--version"], awaited=f"a working {name}", hint=hint).splitlines()[0]
        for name in (compiler, "ld")
    ]
    return "; ".join(lines)


def find_compiler(compiler: str = "gcc") -> str:
    """The C compiler's command line, through ccache where that is installed."""
    return f"ccache {compiler}" if shutil.which("ccache") else compiler


def compiler_environment(cache: Cache) -> dict[str, str]:
    """Variables for every build: a compiler cache that goes with ours, no make above it."""
    return {
        "CCACHE_DIR": str(cache.root / "ccache"),
        "CCACHE_MAXSIZE": CCACHE_MAX_SIZE,
        "CCACHE_NOHASHDIR": "1",
        "MAKEFLAGS": "",
        "MFLAGS": "",
    }
