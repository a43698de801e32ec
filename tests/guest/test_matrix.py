# SPDX-License-Identifier: GPL-2.0-or-later
"""A few cells of `matrix` in real guests: offloaded for their reason, and for no other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.experiments.matrix_cells import KINDS
from lab.experiments.matrix_cells import TRIGGERS as TRIGGER_TABLE
from lab.results import CellVerdict, Mode, Record

pytestmark = pytest.mark.guest

RUN_TIMEOUT_S = 900
# One that a program asks for, one that the kernel decides on, one that needs the whole machine.
TRIGGERS = ("mbind", "numa_balancing", "demotion", "offline", "soft_offline")


def run(folder: Path, mode: str, *words: str, triggers: tuple[str, ...] = TRIGGERS) -> Mode:
    argv = [sys.executable, "-m", "lab.cli", "run", "matrix", "--mode", mode]
    argv += ["--set", f"triggers={json.dumps(triggers)}", "--set", 'kinds=["anon"]']
    argv += ["--output", str(folder), *words]
    subprocess.run(argv, capture_output=True, check=False, timeout=RUN_TIMEOUT_S)
    (only,) = Record.read(folder / "record.json").modes
    return only


def verdicts(mode: Mode) -> dict[str, CellVerdict]:
    return {cell.trigger: cell.verdict for cell in mode.cells}


def test_cells_are_offloaded_for_their_reason_alone_and_the_same_twice(tmp_path: Path) -> None:
    first = run(tmp_path / "first", "only")
    assert verdicts(first) == dict.fromkeys(TRIGGERS, CellVerdict.PASS), first.error
    assert all(cell.dma_copies for cell in first.cells)
    again = run(tmp_path / "again", "only")
    assert again.cells == first.cells
    assert again.device == first.device


def test_cells_are_copied_by_cpu_when_the_mask_has_every_other_reason(tmp_path: Path) -> None:
    mode = run(tmp_path / "run", "except")
    assert verdicts(mode) == dict.fromkeys(TRIGGERS, CellVerdict.PASS), mode.error
    assert [cell.dma_copies for cell in mode.cells] == [0] * len(TRIGGERS)
    assert all(cell.pages_moved for cell in mode.cells)


def test_the_quick_matrix_has_no_cell_without_a_reason(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "lab.cli", "run", "matrix", "--quick", "--mode", "only"]
    argv += ["--output", str(tmp_path / "run")]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=RUN_TIMEOUT_S)
    (mode,) = Record.read(tmp_path / "run/record.json").modes
    assert done.returncode == 0, mode.error
    told = {(cell.trigger, cell.kind): cell for cell in mode.cells}
    assert len(told) == len(mode.cells) == len(TRIGGER_TABLE) * len(KINDS)
    quick = {(t.name, k.name) for t in TRIGGER_TABLE if t.quick for k in KINDS if k.quick}
    held = {CellVerdict.PASS, CellVerdict.KNOWN_BUG, CellVerdict.NOT_APPLICABLE}
    for name, cell in told.items():
        assert cell.verdict in (held if name in quick else {CellVerdict.NOT_RUN}), cell
        stayed = cell.verdict is CellVerdict.PASS and not cell.pages_moved
        assert (cell.why is None) == (cell.verdict is CellVerdict.PASS and not stayed), cell
        assert not stayed or str(cell.why).startswith("stayed, as it has to: "), cell
    # The holes above are all that compaction is given: it has to move what lies below.
    compacted = told["compact_node", "anon"]
    assert compacted.pages_moved is not None
    assert compacted.pages is not None
    assert compacted.pages_moved >= compacted.pages // 2


def test_a_byte_that_an_engine_corrupts_is_seen_in_the_cell(tmp_path: Path) -> None:
    fault = ("--inject", "dma0:flip-byte:nth=5,offset=7")
    mode = run(tmp_path / "run", "on", *fault, triggers=("mbind",))
    assert verdicts(mode) == {"mbind": CellVerdict.FAIL}
    assert [check.name for check in mode.checks if not check.held] == [
        "mbind of anon: contents",
        # A forked child sees it, too.
        "mbind of anon: survived",
    ]


def test_a_machine_without_a_slow_node_demotes_nothing(tmp_path: Path) -> None:
    small = ("--set", "topology.nodes.0.memory_mib=384", "--set", "topology.nodes.1.memory_mib=384")
    mode = run(tmp_path / "run", "vanilla", *small, triggers=("demotion", "mbind"))
    assert verdicts(mode) == {
        "demotion": CellVerdict.NOT_APPLICABLE,
        "mbind": CellVerdict.PASS,
    }
