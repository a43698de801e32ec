# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of folio in real guests: what each cell shows, and how it looks when it is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.results import CellVerdict, Mode, Outcome, Record

pytestmark = pytest.mark.guest

TINY = (
    *("--set", "topology.nodes.0.memory_mib=384", "--set", "topology.nodes.1.memory_mib=384"),
    *("--set", "mib=2", "--set", 'triggers=["move_pages"]', "--jobs", "1"),
)
RUN_TIMEOUT_S = 900
# One for each path of the kernel, and each way to prove a kind.
FEW = ("anon-mlocked", "uffd-wp", "swapcache", "hugetlb", "ext4-dirty", "xfs-dirty", "pinned-pipe")
OFFLOADED = {"anon-mlocked", "uffd-wp", "swapcache", "xfs-dirty"}


def run_matrix(folder: Path, kinds: tuple[str, ...], *words: str) -> Mode:
    argv = [sys.executable, "-m", "lab.cli", "run", "matrix", *TINY, "--output", str(folder)]
    argv += ["--set", f"kinds={json.dumps(kinds)}", *words]
    subprocess.run(argv, capture_output=True, check=False, timeout=RUN_TIMEOUT_S)
    (mode,) = Record.read(folder / "record.json").modes
    return mode


def without_host(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "record.json").read_text())
    record.pop("host")
    return record


def test_each_kind_is_offloaded_or_not_and_all_of_it_survives(tmp_path: Path) -> None:
    mode = run_matrix(tmp_path / "first", FEW, "--mode", "on")
    assert mode.outcome is Outcome.PASS, mode.error
    assert mode.cells is not None
    copies = {cell.kind: cell.dma_copies for cell in mode.cells}
    assert {kind for kind, count in copies.items() if count} == OFFLOADED
    moved = {cell.kind: cell.pages_moved for cell in mode.cells}
    assert moved.pop("pinned-pipe") == 0
    assert set(moved.values()) == {512}
    again = run_matrix(tmp_path / "second", FEW, "--mode", "on")
    assert again.outcome is Outcome.PASS
    assert without_host(tmp_path / "first") == without_host(tmp_path / "second")


def test_a_byte_that_the_engine_changes_is_found_in_every_way(tmp_path: Path) -> None:
    inject = ("--inject", "dma0:flip-byte:nth=3,offset=5")
    mode = run_matrix(tmp_path / "run", ("xfs-dirty",), "--mode", "on", *inject)
    assert mode.outcome is Outcome.FAIL
    assert mode.cells is not None
    (cell,) = mode.cells
    assert cell.verdict is CellVerdict.FAIL
    for way in ("in a child", "through another mapping", "through read(2)", "through direct I/O"):
        assert f"1 pages are wrong {way}" in str(cell.why)
