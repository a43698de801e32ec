# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiles the guest's C code for the host, with sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

IMAGES = Path(__file__).resolve().parents[2] / "images"
SOURCES = Path(__file__).resolve().parent / "guest_programs"
_WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]


def make_once(temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """What `make` makes at a path, once in a session: every worker has the tests of a module."""
    root = temporary.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    made = root / "made-once" / name
    made.parent.mkdir(exist_ok=True)
    with FileLock(f"{made}.lock"):
        if not made.exists():
            # A linker that is killed leaves half a program, and the next worker would run it.
            folder = temporary.mktemp(name)
            make(folder / name)
            (folder / name).rename(made)
    return made


def compile_c(binary: Path, *sources: Path) -> Path:
    """Compile and link `sources`; any step out of bounds ends the program with a report."""
    compiler = shutil.which("gcc")
    assert compiler, "the unit tests of the guest's C code need gcc"
    include = [f"-I{IMAGES / part}" for part in ("agent", "workloads", "include")]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
    language = ["-D_GNU_SOURCE", "-O1", "-std=gnu11"]
    command = [compiler, *language, *_WARNINGS, *sanitizers, *include, "-o", str(binary)]
    subprocess.run([*command, *map(str, sources)], check=True)
    return binary
