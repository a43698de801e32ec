# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs writer, read back by cpio itself and by a reader written from the format."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from pathlib import Path

import pytest

from lab.build.cpio import Archive

HEADER_BYTES = 110


def written(archive: Archive) -> bytes:
    file = io.BytesIO()
    archive.write(file)
    return file.getvalue()


def sample() -> Archive:
    archive = Archive()
    archive.add_file("init", b"#!/bin/sh\n", runs=True)
    archive.add_file("etc/odd", b"12345")
    archive.add_link("bin/sh", "busybox")
    archive.add_device("dev/console", 0o600, 5, 1)
    return archive


def read(data: bytes) -> dict[str, tuple[list[int], bytes]]:
    """Names with their header fields and contents, up to the trailer."""
    items = {}
    place = 0
    while True:
        assert place % 4 == 0
        assert data[place : place + 6] == b"070701"
        fields = [int(data[place + 6 + 8 * i : place + 14 + 8 * i], 16) for i in range(13)]
        name_end = place + HEADER_BYTES + fields[11]
        name = data[place + HEADER_BYTES : name_end - 1].decode()
        assert data[name_end - 1] == 0
        start = name_end + -name_end % 4
        if name == "TRAILER!!!":
            return items
        items[name] = (fields, data[start : start + fields[6]])
        place = start + fields[6] + -fields[6] % 4


def test_every_item_reads_back() -> None:
    items = read(written(sample()))
    assert list(items) == ["bin", "bin/sh", "dev", "dev/console", "etc", "etc/odd", "init"]
    assert items["init"][1] == b"#!/bin/sh\n"
    assert items["etc/odd"][1] == b"12345"
    assert items["bin/sh"][1] == b"busybox"
    modes = {name: fields[1] for name, (fields, _) in items.items()}
    assert modes["init"] == stat.S_IFREG | 0o755
    assert modes["etc/odd"] == stat.S_IFREG | 0o644
    assert modes["etc"] == stat.S_IFDIR | 0o755
    assert modes["bin/sh"] == stat.S_IFLNK | 0o777
    assert modes["dev/console"] == stat.S_IFCHR | 0o600
    assert items["dev/console"][0][9:11] == [5, 1]
    inodes = [fields[0] for fields, _ in items.values()]
    assert len(set(inodes)) == len(inodes)
    assert {tuple(fields[2:4] + fields[5:6]) for fields, _ in items.values()} == {(0, 0, 0)}


def test_the_order_of_adding_doesnt_matter() -> None:
    other = Archive()
    other.add_device("dev/console", 0o600, 5, 1)
    other.add_link("bin/sh", "busybox")
    other.add_file("etc/odd", b"12345")
    other.add_file("init", b"#!/bin/sh\n", runs=True)
    assert written(other) == written(sample())


def test_host_times_owners_and_write_bits_dont_matter(tmp_path: Path) -> None:
    def build(root: Path, when: int, mode: int) -> bytes:
        (root / "sub").mkdir(parents=True)
        (root / "sub" / "file").write_text("x")
        (root / "sub" / "file").chmod(mode)
        (root / "link").symlink_to("sub/file")
        os.utime(root / "sub" / "file", (when, when))
        archive = Archive()
        archive.add_tree("lib", root)
        return written(archive)

    first = build(tmp_path / "a", 1, 0o644)
    assert first == build(tmp_path / "b", 2_000_000_000, 0o440)
    assert first != build(tmp_path / "c", 1, 0o755)


def test_a_change_of_content_shows() -> None:
    other = sample()
    other.add_file("more", b"")
    assert written(other) != written(sample())


def test_cpio_unpacks_it(tmp_path: Path) -> None:
    archive = sample()
    archive.items.pop("dev/console")  # making a node needs root
    subprocess.run(["cpio", "-id"], input=written(archive), cwd=tmp_path, check=True)
    assert (tmp_path / "init").read_bytes() == b"#!/bin/sh\n"
    assert os.access(tmp_path / "init", os.X_OK)
    assert (tmp_path / "bin" / "sh").readlink() == Path("busybox")


@pytest.mark.parametrize("path", ["/absolute", "a/../b"])
def test_paths_that_leave_the_root_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a path below"):
        Archive().add_file(path, b"")


def test_a_name_cant_be_taken_twice() -> None:
    archive = sample()
    with pytest.raises(ValueError, match="already"):
        archive.add_link("init", "elsewhere")
