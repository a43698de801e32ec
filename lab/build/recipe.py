# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the lab itself and of the host's packages decides an artifact's bytes."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from lab.errors import HostError
from lab.program import ask_program

_LAB = Path(__file__).resolve().parent.parent
_HINT = "make setup installs what is missing; dcbm-lab doctor lists it"


def hash_recipe(*names: str) -> str:
    """SHA-256 of files of the lab, named relative to ``lab/``: those that make the artifact.

    ``environment.py`` decides what reaches every program that they run, so it always counts.
    """
    digest = hashlib.sha256()
    for name in sorted({*names, "environment.py"}):
        digest.update(f"{name} {hashlib.sha256((_LAB / name).read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def identify_packages(*names: str) -> str:
    """Installed versions of Debian packages, of which headers, libraries or output get in.

    Raises:
        HostError: one of them isn't installed.
    """
    installed = _installed_packages()
    missing = [name for name in names if name not in installed]
    if missing:
        raise HostError(
            f"installed packages {' '.join(names)}", f"no {' and no '.join(missing)}", hint=_HINT
        )
    return "; ".join(sorted(line for name in names for line in installed[name]))


@functools.cache
def _installed_packages() -> dict[str, list[str]]:
    """Every installed package by name, as "name:architecture version", once for each architecture.

    All of them at once: reading its data base is what takes dpkg-query time, whatever is asked.
    """
    text = ask_program(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}:${Architecture} ${Version}\\n"],
        awaited="the list of installed packages",
        hint=_HINT,
    )
    installed: dict[str, list[str]] = {}
    for line in text.splitlines():
        status, _, package = line.partition(" ")
        if status == "installed":
            installed.setdefault(package.partition(":")[0], []).append(package)
    return installed
