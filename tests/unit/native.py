# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiles the guest's C code for the host, with sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[2] / "images"
SOURCES = Path(__file__).resolve().parent / "guest_programs"
_WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]


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
