# SPDX-License-Identifier: GPL-2.0-or-later
"""Data moves one way through the lab's parts; nothing imports what comes after it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lab

ROOT = Path(lab.__file__).parent
_RUNNING = {
    *("bench", "boot_states", "run", "run_mode", "run_folder", "each", "options", "input_options"),
    *("run_inputs", "run_bundle", "replay", "archive_file"),
    *("guest_coverage", "kernel_choices", "listing"),
    *("failures", "cli", "cli_kernel", "cli_exec", "cli_replay", "exec_mode", "mutations"),
    "pytest_plugin",
}
_JUDGING = {"dcbm", "experiments", "results", "report"}

# What a part must not import, not even for its types.
FORBIDDEN = {
    "errors": {path.stem for path in ROOT.iterdir()} - {"errors"},
    "outcome": {path.stem for path in ROOT.iterdir()} - {"outcome"},
    "option_values": {path.stem for path in ROOT.iterdir()} - {"option_values"},
    "results": {path.stem for path in ROOT.iterdir()} - {"results", "outcome"},
    "line_coverage": {path.stem for path in ROOT.iterdir()} - {"line_coverage"},
    "config": _RUNNING | _JUDGING | {"machine", "build", "sources", "cache"},
    "ktap": {path.stem for path in ROOT.iterdir()} - {"ktap"},
    "guest_files": {path.stem for path in ROOT.iterdir()} - {"guest_files", "errors"},
    "sources": _RUNNING | _JUDGING | {"machine", "build", "devices"},
    "build": _RUNNING | _JUDGING | {"machine", "devices"},
    "machine": _RUNNING | _JUDGING | {"build", "sources", "cache"},
    "experiments": _RUNNING | {"report", "build", "sources", "cache"},
    "devices": _RUNNING | _JUDGING | {"machine"},
    "report": _RUNNING | {"machine", "experiments", "build", "sources", "cache", "dcbm"},
}


def imported(path: Path) -> set[str]:
    """Parts of the lab that a file imports, at its top or anywhere else."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("lab.")}
    return found


@pytest.mark.parametrize("part", list(FORBIDDEN))
def test_nothing_imports_what_comes_after_it(part: str) -> None:
    at = ROOT / part
    files = sorted(at.rglob("*.py")) if at.is_dir() else [at.with_suffix(".py")]
    assert files
    assert {
        str(path.relative_to(ROOT)): wrong
        for path in files
        if (wrong := imported(path) & FORBIDDEN[part])
    } == {}


def test_nobody_imports_the_maintainers_tools() -> None:
    files = [path for path in ROOT.rglob("*.py") if path.parent.name != "dev"]
    assert [str(path) for path in files if "dev" in imported(path)] == []
