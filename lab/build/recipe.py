# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the lab itself and of the host's packages decides an artifact's bytes."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from lab.program import ask_program

_LAB = Path(__file__).resolve().parent.parent


def hash_recipe(*names: str) -> str:
    """SHA-256 of files of the lab, named relative to ``lab/``: those that make the artifact.

    ``environment.py`` decides what reaches every program that they run, so it always counts.
    """
    digest = hashlib.sha256()
    for name in sorted({*names, "environment.py"}):
        digest.update(f"{name} {hashlib.sha256((_LAB / name).read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


@functools.cache
def identify_packages(*names: str) -> str:
    """Installed versions of Debian packages, of which headers, libraries or output get in.

    Raises:
        HostError: one of them isn't installed.
    """
    text = ask_program(
        ["dpkg-query", "-W", "-f", "${Package}:${Architecture} ${Version}\\n", *names],
        awaited=f"installed packages {' '.join(names)}",
        hint="make setup installs what is missing; dcbm-lab doctor lists it",
    )
    return "; ".join(sorted(text.splitlines()))
