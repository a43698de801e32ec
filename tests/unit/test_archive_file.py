# SPDX-License-Identifier: GPL-2.0-or-later
"""Archives: the same bytes for the same files, and nothing hostile or damaged gets in."""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import archive_file
from lab.archive_file import MANIFEST, pack, read_archive, write_archive
from lab.errors import ConfigError

FILES = {"record.json": b"{}\n", "inputs/series/0001.patch": b"\xff\x00diff", "empty": b""}


def made(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.tar.xz"
    path.write_bytes(lzma.compress(data))
    return path


def test_what_was_written_is_read_and_the_bytes_depend_on_it_alone(tmp_path: Path) -> None:
    write_archive(FILES, tmp_path / "a")
    write_archive(dict(reversed(FILES.items())), tmp_path / "b")
    assert read_archive(tmp_path / "a") == FILES
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_archive({**FILES, "empty": b"\n"}, tmp_path / "c")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()
    # what everybody has at hand can unpack it
    with tarfile.open(tmp_path / "a") as archive:
        assert archive.getnames() == [MANIFEST, *sorted(FILES)]
        assert {(item.mtime, item.uid, item.mode) for item in archive} == {(0, 0, 0o644)}


def test_long_names_fit(tmp_path: Path) -> None:
    name = "/".join(["inputs/applied", "a" * 64, "b" * 40, "0001.patch"])
    write_archive({name: b"x"}, tmp_path / "a")
    assert read_archive(tmp_path / "a") == {name: b"x"}


def test_a_file_that_is_there_stays_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="there is one already"):
        write_archive(FILES, path)
    assert path.read_text() == "mine"
    write_archive(FILES, path, overwrite=True)
    assert read_archive(path) == FILES
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive_file.os, "fsync", refuse)
    with pytest.raises(archive_file.HostError, match="No space left"):
        write_archive(FILES, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def foreign(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar archive that `pack` would not make."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def member(
    name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", size: int = 0
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, size, 0o644
    return info


@pytest.mark.parametrize(
    ("info", "seen"),
    [
        (member("../escape"), "lead out of a folder"),
        (member("a/../../escape"), "lead out of a folder"),
        (member("/etc/passwd"), "lead out of a folder"),
        (member("a//b"), "lead out of a folder"),
        (member(".git/hooks/x"), "lead out of a folder"),
        (member("-rf"), "lead out of a folder"),
        (member("a\nb"), "lead out of a folder"),
        (member("a\\b"), "lead out of a folder"),
        (member("link", tarfile.SYMTYPE, link="/etc/passwd"), "no plain file"),
        (member("hard", tarfile.LNKTYPE, link="record.json"), "no plain file"),
        (member("folder", tarfile.DIRTYPE), "no plain file"),
        (member("dev", tarfile.CHRTYPE), "no plain file"),
        (member("fifo", tarfile.FIFOTYPE), "no plain file"),
    ],
    ids=lambda value: value.name if isinstance(value, tarfile.TarInfo) else "",
)
def test_hostile_members_are_refused(tmp_path: Path, info: tarfile.TarInfo, seen: str) -> None:
    path = made(tmp_path, foreign((info, b"")))
    with pytest.raises(ConfigError, match=seen):
        read_archive(path)
    assert list(tmp_path.iterdir()) == [path]


def test_extended_headers_are_refused(tmp_path: Path) -> None:
    data = foreign((member("ä" * 10), b""), form=tarfile.PAX_FORMAT)
    with pytest.raises(ConfigError, match="no plain file"):
        read_archive(made(tmp_path, data))


def _swap(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) >= 1
    return data.replace(old, new)


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        (lambda data: data[:-512], "something else than its files"),
        (lambda data: data + bytes(512), "something else than its files"),
        (lambda data: data[:-1] + b"x", "something else than its files"),
        (lambda data: data[:700], "cut off|middle"),
        (lambda data: data[:512], "cut off|middle"),
        (lambda data: b"", "middle"),
        (lambda data: bytes(10240), f"no {MANIFEST}"),
        (lambda data: _swap(data, b"\xff\x00diff", b"\xff\x00dixf"), "another content"),
        (lambda data: _swap(data, b"0000644\x00", b"0000755\x00"), "something else than its files"),
        (lambda data: _swap(data, b"bundle/1", b"bundle/9"), "the schema"),
        (lambda data: _swap(data, b'"files"', b'"filez"'), "another schema"),
        (lambda data: _swap(data, b"00000000003\x00", b"-0000000003\x00"), "a size of -3"),
        (lambda data: _swap(data, b"00000000003\x00", b"77777777777\x00"), "cut off"),
        (lambda data: _swap(data, b"00000000003\x00", b"xxxxxxxxxxx\x00"), "no header"),
    ],
)
def test_damage_inside_is_found(
    tmp_path: Path, damage: Callable[[bytes], bytes], seen: str
) -> None:
    with pytest.raises(ConfigError, match=seen):
        read_archive(made(tmp_path, damage(pack(FILES))))


def test_a_double_or_an_unlisted_file_is_refused(tmp_path: Path) -> None:
    whole = pack(FILES)
    first = whole[: 512 * (1 + -(-int(whole[124:135], 8) // 512))]  # the manifest with its header
    twice = whole[len(first) :]
    extra = foreign((member("extra"), b""))[:512]
    for data, seen in (
        (first + first + twice, "manifest.json twice"),
        (first + extra + twice, "extra, which its manifest doesn't list"),
        (first + bytes(1024), "which its manifest lists"),
    ):
        with pytest.raises(ConfigError, match=seen):
            read_archive(made(tmp_path, data))


@pytest.mark.parametrize("at", [0, 10, 40, -30, -1])
def test_a_flipped_bit_of_the_file_is_found(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a"
    write_archive(FILES, path)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        read_archive(path)


def test_a_cut_a_tail_and_no_archive_at_all_are_refused(tmp_path: Path) -> None:
    write_archive(FILES, tmp_path / "a")
    data = (tmp_path / "a").read_bytes()
    for content, seen in (
        (data[:-9], "ends in the middle"),
        (data + b"\0", "behind its end"),
        (data + data, "behind its end"),
        (b"", "ends in the middle"),
        (b"PK\3\4 is a zip file\n", "no whole xz file"),
    ):
        (tmp_path / "b").write_bytes(content)
        with pytest.raises(ConfigError, match=seen):
            read_archive(tmp_path / "b")
    with pytest.raises(ConfigError, match="No such file"):
        read_archive(tmp_path / "c")


def test_what_swells_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_file, "MAX_BYTES", 4 << 20)
    path = made(tmp_path, bytes(64 << 20))
    assert path.stat().st_size < 20_000
    with pytest.raises(ConfigError, match="more than 4 MiB"):
        read_archive(path)
    with pytest.raises(ConfigError, match="at most 2 MiB"):
        pack({"a": bytes(3 << 20)})


def test_names_that_no_archive_may_have_are_not_written() -> None:
    for name in ("../a", "/a", "a/", "", MANIFEST, "a b", "x" * 201):
        with pytest.raises(ConfigError, match="plain relative names"):
            pack({name: b""})
