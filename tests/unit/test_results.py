# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from records import compaction_mode, ended, record, sweep_mode

from lab.results import Outcome, Record, worst


def test_record_round_trip(tmp_path: Path) -> None:
    run = record(compaction_mode(), sweep_mode("dma-4", 4), ended(Outcome.CRASH))
    path = run.write(tmp_path)
    assert path == tmp_path / "record.json"
    assert Record.read(path) == run
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_record_holds_at_least_the_documented_fields(tmp_path: Path) -> None:
    data = json.loads(record(compaction_mode()).write(tmp_path).read_text())
    assert {"schema", "experiment", "outcome", "clock", "kernel", "modes"} <= data.keys()
    assert data["schema"] == "dcbm-lab/record/1"
    mode = data["modes"][0]
    assert {
        "name",
        "outcome",
        "wall_ms",
        "pages_migrated",
        "dma_copies",
        "folios_failures",
        "hog_iterations",
    } <= mode.keys()
    assert {"user_pct", "sys_pct", "idle_pct"} <= mode["cpu"].keys()
    assert mode["device"].keys() == {"descriptors", "bytes", "interrupts", "errors"}
    assert {"pages_verified", "pages_wrong"} <= mode["integrity"].keys()


@pytest.mark.parametrize("change", [{"outcome": "MAYBE"}, {"modes": 3}, {"surprise": 1}])
def test_what_is_no_record_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = record(compaction_mode()).write(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValidationError):
        Record.read(path)


def test_the_worst_part_names_the_whole() -> None:
    assert worst([Outcome.PASS, Outcome.FAIL]) is Outcome.FAIL
    assert worst([Outcome.FAIL, Outcome.CRASH, Outcome.PASS]) is Outcome.CRASH
    assert worst([Outcome.CRASH, Outcome.ERROR]) is Outcome.ERROR
    assert worst([Outcome.PASS, Outcome.PASS]) is Outcome.PASS
    assert worst([]) is Outcome.ERROR
