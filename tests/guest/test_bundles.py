# SPDX-License-Identifier: GPL-2.0-or-later
"""A run goes into one file, and that file runs again: the same to the last digit, or it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_runs import SMALL, dcbm_lab, only_mode

from lab.archive_file import read_archive, write_archive
from lab.results import Record

pytestmark = pytest.mark.guest

RECORD, INPUTS = "record.json", "inputs/inputs.json"
MODE = ("--mode", "dma", "--set", "engine.latency_ns=2000")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of one small run."""
    folder = tmp_path_factory.mktemp("bundle")
    result = dcbm_lab("run", "compaction", "--output", folder / "run", *SMALL, *MODE)
    assert result.returncode == 0, result.stdout + result.stderr
    result = dcbm_lab("bundle", folder / "run", "-o", folder / "b.tar.xz")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "b.tar.xz"


def test_a_replay_is_identical_in_every_field_but_host(bundle: Path, tmp_path: Path) -> None:
    mode = only_mode(bundle.parent / "run")
    assert mode.boot is not None
    assert mode.dma_copies
    record = Record.read(bundle.parent / "run" / RECORD)
    assert record.qemu is not None
    result = dcbm_lab("replay", bundle, "--output", tmp_path / "again")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.rstrip().endswith("replay: identical")
    assert "differs:" not in result.stdout
    again = Record.read(tmp_path / "again" / RECORD)
    assert again.model_dump(exclude={"host"}) == record.model_dump(exclude={"host"})


def test_another_latency_is_named_with_what_came_of_it(bundle: Path, tmp_path: Path) -> None:
    files = read_archive(bundle)

    def change(name: str, *keys: str) -> None:
        data: Any = json.loads(files[name])
        into = data
        for key in keys:
            into = into[key]
        assert into["latency_ns"] == 2000
        into["latency_ns"] = 4000
        files[name] = json.dumps(data).encode()

    # As if the sender had told another latency than the run had.
    change(INPUTS, "lab_file", "engine")
    change(RECORD, "parameters", "lab_file", "engine")
    write_archive(files, tmp_path / "other.tar.xz")
    result = dcbm_lab("replay", tmp_path / "other.tar.xz", "--output", tmp_path / "again")
    assert result.returncode == 1, result.stdout + result.stderr
    assert result.stdout.rstrip().endswith("replay: different")
    assert "record: modes[dma].wall_ms: " in result.stdout
    assert "identical" not in result.stdout
