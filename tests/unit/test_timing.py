# SPDX-License-Identifier: GPL-2.0-or-later
"""Timing profiles: which one a run gets, and where the numbers of ``zen3`` come from."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lab import timing_fit
from lab.config import Engine, LabFile, Profile
from lab.errors import ConfigError
from lab.experiments import compaction, dmatest, move_pages
from lab.timing_fit import Cell, Fit

CELLS = timing_fit.read_cells()


def engines(experiment: Any, lab: LabFile) -> list[Engine]:
    found = experiment.EXPERIMENT
    return [plan.machine.engine for plan in found.plan(lab, found.choose({}))]


@pytest.mark.parametrize(
    ("experiment", "profile"),
    [
        (compaction, Profile.ZEN3),
        (move_pages, Profile.ZEN3),
        (dmatest, Profile.INSTANT),
    ],
)
def test_experiments_that_measure_time_have_a_model_of_time(
    experiment: Any, profile: Profile
) -> None:
    assert {engine.timing for engine in engines(experiment, LabFile())} == {profile}
    slow = LabFile(engine=Engine(profile=Profile.SLOW))
    assert {engine.timing for engine in engines(experiment, slow)} == {Profile.SLOW}
    custom = LabFile(engine=Engine(latency_ns=5))
    assert {engine.timing for engine in engines(experiment, custom)} == {Profile.CUSTOM}


@pytest.mark.parametrize("profile", ["instant", "slow", "zen3"])
@pytest.mark.parametrize(
    "number",
    [
        "latency_ns",
        "bandwidth_bytes_per_s",
        "fabric_bandwidth_bytes_per_s",
        "link_bandwidth_bytes_per_s",
    ],
)
def test_a_named_profile_takes_no_numbers(profile: str, number: str) -> None:
    with pytest.raises(ValidationError, match=f"profile = {profile} has its own"):
        Engine.model_validate({"profile": profile, number: 0})


def test_every_published_cell_is_fitted() -> None:
    assert len(CELLS) == 2 * 7 * 6
    assert {cell.channels for cell in CELLS} == {0, 1, 2, 4, 8, 12, 16}
    published = {(c.source, c.channels, c.size_bytes): c.gb_per_s for c in CELLS}
    assert published["v4", 16, 2 << 20] == 66.86
    assert published["v3", 0, 4096] == 3.73


def test_the_fit_finds_what_made_the_figures() -> None:
    """Cells computed from known parameters, each of which is the limit somewhere."""
    known = Fit((700.0, 1800.0, 6000.0, 17000.0, 60000.0, 13000.0), 10.0, 400.0, 6.0, 70.0, 300.0)
    cells = [dataclasses.replace(cell, gb_per_s=known.gb_per_s(cell)) for cell in CELLS]
    found = timing_fit.fit(cells)
    for name in ("cpu_rate", "latency_ns", "channel_rate", "shared_rate", "submit_ns"):
        assert math.isclose(getattr(found, name), getattr(known, name), rel_tol=0.01), name
    assert all(abs(found.error(cell)) < 0.001 for cell in cells)


def test_the_slowdown_is_a_geometric_mean(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[move_pages]\nfolio_kib = [4, 16]\nbaseline = [1.0, 2.0]\n", encoding="utf-8")
    cells = [
        Cell("x", 0, 4096, 0, 2.0),
        Cell("x", 1, 16384, 0, 16.0),
        Cell("x", 0, 4096, 1, 99.0),
    ]
    assert math.isclose(timing_fit.read_slowdown(cells, own), 4.0)


def test_the_driver_has_its_share_of_a_descriptor(tmp_path: Path) -> None:
    """A CPU half as fast: 4 KiB copied in 1000 ns of 5000; the driver needs 1500 instead."""
    own = tmp_path / "own.toml"
    own.write_text(
        f"[move_pages]\nfolio_kib = [4]\nbaseline = [{4096 / 5000}]\n"
        f"[move_pages_instant]\nfolio_kib = [4]\ndma.1 = [{4096 / 5500}]\n",
        encoding="utf-8",
    )
    model = Fit((), 4096 / 500, 2000.0, 8.0, 80.0, 100.0)
    turnaround_ns = timing_fit.read_turnaround_ns(model, 2.0, own)
    assert math.isclose(turnaround_ns, 1500.0)
    assert timing_fit.profile_of(model, 2.0, turnaround_ns).latency_ns == 1250


def test_a_device_without_the_profile_is_told(tmp_path: Path) -> None:
    source = tmp_path / "timing.c"
    source.write_text("[AMD_DMA_PROFILE_ZEN3] = {\n    .latency_ns = 1,\n},\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="bandwidth"):
        timing_fit.read_device(source)


def test_the_device_has_the_fitted_numbers_and_is_told_how_good_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert timing_fit.main() == 0  # 1 where the device has others
    shown = capsys.readouterr().out
    assert "84 cells: root mean square" in shown
    assert len([line for line in shown.splitlines() if line.startswith("16 ")]) == 2
