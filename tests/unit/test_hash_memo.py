# SPDX-License-Identifier: GPL-2.0-or-later
"""What was hashed before and has not changed isn't hashed again; what has changed is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from lab.hash_memo import HashMemo
from lab.manifest import describe, find_damage, hash_file, hash_sparse


class Counting:
    """Counts the files that are read."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.__name__ = "counting"

    def __call__(self, path: Path) -> str:
        self.read.append(path.name)
        return hash_file(path)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was last changed a while ago."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10**10)
    return path


def test_a_file_is_read_once_by_all_processes(file: Path, tmp_path: Path) -> None:
    compute = Counting()
    for _ in range(3):
        memo = HashMemo(tmp_path / "memo")
        assert {memo.hash(file, compute) for _ in range(2)} == {hash_file(file)}
        memo.save()
    assert compute.read == ["file"]


def test_a_file_that_has_changed_is_read_again(file: Path, tmp_path: Path) -> None:
    compute = Counting()
    memo = HashMemo(tmp_path / "memo")
    memo.hash(file, compute)
    before = file.stat()
    # Same size, same place, and even the same time.
    with file.open("r+b") as changed:
        changed.write(b"CONTENT")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert memo.hash(file, compute) == hash_file(file)
    file.unlink()
    file.write_bytes(b"another")
    assert memo.hash(file, compute) == hash_file(file)
    assert len(compute.read) == 3


def test_a_file_that_was_just_changed_is_not_remembered(tmp_path: Path) -> None:
    compute = Counting()
    memo = HashMemo(tmp_path / "memo")
    (tmp_path / "file").touch()
    for _ in range(2):
        memo.hash(tmp_path / "file", compute)
    assert len(compute.read) == 2


@pytest.mark.parametrize("memo", ["", "{", "[]", '{"counting FILE": [1, 2, "x"]}', '{"a": 1}'])
def test_an_unusable_memo_is_as_good_as_none(memo: str, file: Path, tmp_path: Path) -> None:
    at = tmp_path / "memo"
    at.write_text(memo.replace("FILE", str(file)), encoding="utf-8")
    found = HashMemo(at)
    assert found.hash(file, hash_file) == hash_file(file)
    found.save()
    assert len(json.loads(at.read_text(encoding="utf-8"))) == 1


def test_files_that_are_gone_are_forgotten(file: Path, tmp_path: Path) -> None:
    memo = HashMemo(tmp_path / "memo")
    memo.hash(file, hash_file)
    other = tmp_path / "other"
    other.touch()
    memo.hash(other, hash_file)
    file.unlink()
    memo.save()
    assert list(json.loads((tmp_path / "memo").read_text(encoding="utf-8"))) == [
        f"hash_file {other}"
    ]


def test_a_memo_that_cannot_be_kept_is_no_error(file: Path, tmp_path: Path) -> None:
    memo = HashMemo(tmp_path / "no" / "such" / "folder")
    assert memo.hash(file, hash_file) == hash_file(file)
    memo.save()


def sparse(path: Path, *blocks: tuple[int, bytes], size: int = 1 << 24) -> Path:
    with path.open("wb") as file:
        for offset, content in blocks:
            file.seek(offset)
            file.write(content)
        file.truncate(size)
    return path


def test_a_sparse_file_is_hashed_by_its_data(tmp_path: Path) -> None:
    blocks = [(5, b"a"), (70_000, b"b" * 9), ((1 << 24) - 3, b"end")]
    holes = sparse(tmp_path / "holes", *blocks)
    filled = tmp_path / "filled"
    filled.write_bytes(holes.read_bytes())
    assert holes.stat().st_blocks < filled.stat().st_blocks
    expected = hash_sparse(holes)
    assert hash_sparse(filled) == expected
    others = [
        sparse(tmp_path / "moved", (6, b"a"), *blocks[1:]),
        sparse(tmp_path / "block", blocks[0], (70_000 + (1 << 18), b"b" * 9), blocks[2]),
        sparse(tmp_path / "changed", (5, b"A"), *blocks[1:]),
        sparse(tmp_path / "longer", *blocks, size=(1 << 24) + 1),
        sparse(tmp_path / "shorter", *blocks[:2], size=(1 << 24) - 4),
        sparse(tmp_path / "lost", *blocks[:2]),
        sparse(tmp_path / "empty"),
    ]
    assert len({expected, *map(hash_sparse, others)}) == len(others) + 1


def test_damage_to_a_sparse_file_is_noticed(tmp_path: Path) -> None:
    entry = tmp_path / "kind" / "key"
    entry.mkdir(parents=True)
    state = sparse(entry / "machine", (5, b"a"), (9 << 20, b"b"))
    manifest = describe(entry, "kind", "key", "a state")
    assert find_damage(entry, manifest) is None
    state.chmod(0o644)
    with state.open("r+b") as file:
        file.seek(3 << 20)
        file.write(b"x")
    state.chmod(0o444)
    assert find_damage(entry, manifest) == "machine: another content than was published"
