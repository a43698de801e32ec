# SPDX-License-Identifier: GPL-2.0-or-later
"""Diagrams of a record: what they show, and that the same record gives the same bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from records import compaction_mode, record, sweep_mode

from lab.errors import ConfigError
from lab.report import Format, render
from lab.report.plot import panels, svg_text
from lab.results import Mode, MoveLatency, Record


def sweep() -> Record:
    return record(sweep_mode("baseline", 0), sweep_mode("dma-16", 16), experiment="move-pages")


def measured(mode: Mode) -> Mode:
    latency = MoveLatency(moves=2, wall_ns=9e6, first_ns=2e6, middle_ns=5e6, last_ns=8e6, reads=50)
    points = [
        point.model_copy(
            update={"latency": latency, "task_cpu_ms_per_gb": 7.0, "cpu_busy_ms_per_gb": 9.0}
        )
        for point in mode.moves
    ]
    return mode.model_copy(update={"moves": points})


def by_count(mode: Mode) -> Mode:
    points = [
        mode.moves[1].model_copy(update={"folios_per_move": count, "gb_per_s_mean": 2.0 + count})
        for count in (1, 64)
    ]
    return mode.model_copy(update={"moves": points})


def test_this_run_and_the_published_one_are_told_apart() -> None:
    own, published = panels(sweep())
    assert "emulated time" in own.title
    assert "published, EPYC Zen 3" in published.title
    assert [(line.name, line.x, line.y) for line in own.lines] == [
        ("baseline", (4, 2048), (0.04, 20.48)),
        ("dma-16", (4, 2048), (16.04, 2048 / 100 + 16)),
    ]
    (fastest,) = [line for line in published.lines if line.name == "dma-16"]
    assert fastest.y[-1] == 66.86
    host = sweep().model_copy(update={"clock": "host"})
    assert "no figures" in panels(host)[0].title


def test_what_was_not_measured_has_no_panel() -> None:
    whole = record(measured(sweep_mode("baseline", 0)), experiment="move-pages")
    titles = " ".join(panel.title for panel in panels(whole))
    assert len(panels(whole)) == 6
    assert "first folio usable" in titles
    assert "CPU time" in titles
    first = next(panel for panel in panels(whole) if panel.title.startswith("first"))
    assert first.lines[0].y == (2.0, 2.0)


def test_numbers_of_folios_have_their_own_axis_and_published_figures() -> None:
    own, published = panels(record(by_count(sweep_mode("dma-1", 1)), experiment="folio-count"))
    assert own.lines[0].x == (1, 64)
    assert own.x_label == "folios in a call"
    assert published.lines[1].y == (6.52, 11.21, 12.61, 12.81)


def test_the_same_record_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    sweep().write(folder)
    command = [sys.executable, "-m", "lab.cli", "report", str(folder)]
    subprocess.run([*command, "--plot", str(tmp_path / "there.svg")], check=True)
    drawn = (tmp_path / "there.svg").read_bytes()
    assert svg_text(sweep()).encode() == drawn
    root = ElementTree.fromstring(drawn)  # noqa: S314
    assert root.tag.endswith("svg")
    other = record(sweep_mode("baseline", 1), experiment="move-pages")
    assert svg_text(other).encode() != drawn


def test_a_record_without_figures_is_refused() -> None:
    with pytest.raises(ConfigError, match="without"):
        svg_text(record(compaction_mode()))


def test_the_page_has_the_diagrams_where_there_are_any() -> None:
    assert render(sweep(), Format.HTML).count("<svg") == 1
    assert "<svg" not in render(record(compaction_mode()), Format.HTML)
