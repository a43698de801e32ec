# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.run_folder import RunFolder, default_folder, mode_folder_name

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def folder(path: Path) -> RunFolder:
    return RunFolder(path, "compaction", STARTED)


def leave_a_run(path: Path, text: str) -> None:
    with folder(path) as run:
        (run.mode("dma") / "console.log").write_text(text)
        (path / "record.json").write_text(text)


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    at = tmp_path / "a" / "b"
    with folder(at) as run:
        assert run.mode("busy-dma") == at / "modes" / "busy-dma"
        assert (at / "modes" / "busy-dma").is_dir()
    assert (at / "run.json").is_file()
    assert not (at / "record.json").exists()


def test_a_mode_cannot_leave_the_folder(tmp_path: Path) -> None:
    with folder(tmp_path) as run:
        assert run.mode("../../x").parent == tmp_path / "modes"


def test_files_that_no_run_left_are_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match=r"thesis\.tex"), folder(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_an_earlier_run_is_moved_aside_whole(tmp_path: Path) -> None:
    leave_a_run(tmp_path, "first")
    (tmp_path / "notes.txt").write_text("mine")
    leave_a_run(tmp_path, "second")
    leave_a_run(tmp_path, "third")
    earlier = tmp_path / "earlier-20260102T030405Z"
    again = tmp_path / "earlier-20260102T030405Z-2"
    for at, text in ((earlier, "first"), (again, "second"), (tmp_path, "third")):
        assert (at / "record.json").read_text() == text
        assert (at / "modes" / "dma" / "console.log").read_text() == text
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_interrupted_run_leaves_no_record_of_an_earlier_one(tmp_path: Path) -> None:
    leave_a_run(tmp_path, "first")
    with pytest.raises(KeyboardInterrupt), folder(tmp_path):
        raise KeyboardInterrupt
    assert not (tmp_path / "record.json").exists()
    leave_a_run(tmp_path, "third")
    assert (tmp_path / "record.json").read_text() == "third"


def test_two_runs_in_one_folder_are_kept_apart(tmp_path: Path) -> None:
    with folder(tmp_path):
        with pytest.raises(ConfigError, match="another run is at work"), folder(tmp_path):
            pass
        assert (tmp_path / "run.json").is_file()
    with folder(tmp_path):
        pass


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(ConfigError, match="a file"), folder(tmp_path / "x"):
        pass
    with pytest.raises(ConfigError), folder(tmp_path / "x" / "y"):
        pass


def test_default_folders_never_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = default_folder("compaction", STARTED)
    assert first == Path("runs/compaction-20260102T030405Z")
    assert first.is_dir()
    assert default_folder("compaction", STARTED) == Path("runs/compaction-20260102T030405Z-2")


def test_runs_that_start_in_one_second_get_a_folder_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    together = threading.Barrier(8, timeout=10)

    def start(_number: int) -> Path:
        together.wait()
        return default_folder("compaction", STARTED)

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(start, range(8)))
    assert len(set(folders)) == 8


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_mode_that_can_name_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="letter or digit"):
        mode_folder_name(name)
