# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that a user brings: where they go, what comes with them, and what is refused."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from pathlib import Path

import pytest

from lab import guest_files
from lab.build import cpio
from lab.build.cpio_reader import NoArchive, read_archive
from lab.build.dynamic import LIBRARIES, read_ldd, with_libraries
from lab.build.extra_files import compile_program, compose_extra, gather, write_initramfs
from lab.cache import Cache
from lab.errors import BuildError, ConfigError
from lab.guest_files import (
    GuestDirectory,
    GuestFile,
    GuestLink,
    GuestProgram,
    describe_files,
    read_tree,
)
from lab.progress import SilentProgress

SILENT = SilentProgress()


@pytest.fixture
def image() -> dict[str, cpio.Item]:
    """What an image has, as far as it matters."""
    archive = cpio.Archive()
    archive.add_file("bin/busybox", b"bb", runs=True)
    archive.add_link("bin/sh", "busybox")
    archive.add_link("sbin", "bin")
    archive.add_directory("root")
    return archive.items


def run_bit(path: Path) -> Path:
    path.chmod(0o755)
    return path


def test_where_files_go(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("text")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    run_bit(script)
    assert GuestFile.of(tmp_path / "data").path == "/root/data"
    assert GuestFile.of(script).path == "/bin/script"
    assert GuestFile.of(script, "/opt/x/").path == "/opt/x/script"
    assert GuestFile.of(script, "/opt/y") == GuestFile("/opt/y", b"#!/bin/sh\n", True, str(script))


@pytest.mark.parametrize(
    "path", ["relative", "/", "/a/../b", "/a/", "", "/sys/x", "/proc/1", "/dev/x", "/a\0b"]
)
def test_places_that_no_file_can_have(path: str) -> None:
    with pytest.raises(ConfigError):
        GuestFile(path, b"")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        GuestFile.of(tmp_path / "none")
    with pytest.raises(ConfigError, match="no regular file"):
        GuestFile.of(tmp_path)


def test_a_tree_is_read_once_with_links_and_empty_directories(tmp_path: Path) -> None:
    (tmp_path / "sub" / "empty").mkdir(parents=True)
    (tmp_path / "sub" / "data").write_bytes(bytes(range(256)))
    (tmp_path / "link").symlink_to("/nowhere/at all")
    assert read_tree(tmp_path, "/share") == [
        GuestDirectory("/share"),
        GuestLink("/share/link", "/nowhere/at all"),
        GuestDirectory("/share/sub"),
        GuestFile("/share/sub/data", bytes(range(256)), False, str(tmp_path / "sub" / "data")),
        GuestDirectory("/share/sub/empty"),
    ]


def test_trees_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="nothing there"):
        read_tree(tmp_path / "none", "/share")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="neither file, link nor directory"):
        read_tree(tmp_path, "/share")
    (tmp_path / "pipe").unlink()
    (tmp_path / "large").write_bytes(b"x" * 2000)
    monkeypatch.setattr(guest_files, "MAX_BYTES", 1999)
    with pytest.raises(ConfigError, match="more than"):
        read_tree(tmp_path, "/share")
    monkeypatch.setattr(guest_files, "MAX_BYTES", 2000)
    assert len(read_tree(tmp_path, "/share")) == 2
    monkeypatch.setattr(guest_files, "MAX_NAMES", 0)
    with pytest.raises(ConfigError, match="more than"):
        read_tree(tmp_path, "/share")


def test_the_same_files_give_the_same_bytes_wherever_they_lie(
    tmp_path: Path, image: dict[str, cpio.Item]
) -> None:
    written = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("b", "a") if name == "second" else ("a", "b"):
            (folder / file).write_text(file)
            os.utime(folder / file, (len(name), 1000 + len(name)))
        out = io.BytesIO()
        compose_extra(read_tree(folder, "/share"), image).write(out)
        written.append(out.getvalue())
    assert written[0] == written[1]
    assert str(tmp_path).encode() not in written[0]


def test_an_initramfs_is_the_image_and_then_the_rest(
    tmp_path: Path, image: dict[str, cpio.Item]
) -> None:
    base, whole = tmp_path / "image", tmp_path / "whole"
    with base.open("wb") as file:
        cpio.Archive(dict(image)).write(file)
    extra = compose_extra([GuestFile("/root/é", b"\0\xff"), GuestLink("/root/l", "é")], image)
    write_initramfs(base, extra, whole)
    data = whole.read_bytes()
    size = base.stat().st_size
    assert size % 4 == 0
    assert read_archive(data).keys() == image.keys()
    assert read_archive(data[size:]) == extra.items
    # a second opinion on what follows the image
    listed = subprocess.run(
        ["cpio", "-it"], input=data[size:], capture_output=True, check=True
    ).stdout.decode()
    assert listed.splitlines() == ["root", "root/l", "root/é"]


def test_links_of_the_image_are_followed(image: dict[str, cpio.Item]) -> None:
    archive = compose_extra([GuestFile("/sbin/mine", b"")], image)
    assert "bin/mine" in archive.items
    assert "sbin" not in archive.items


@pytest.mark.parametrize(
    "item",
    [
        GuestFile("/bin/busybox", b""),
        GuestFile("/bin/sh", b""),
        GuestFile("/sbin/sh", b""),
        GuestFile("/root", b""),
        GuestLink("/bin/sh", "x"),
        GuestDirectory("/bin/busybox"),
        GuestFile("/bin/busybox/below", b""),
    ],
)
def test_what_the_image_has_stays(item: GuestFile, image: dict[str, cpio.Item]) -> None:
    with pytest.raises(ConfigError):
        compose_extra([item], image)


def test_two_files_for_one_place(image: dict[str, cpio.Item]) -> None:
    with pytest.raises(ConfigError, match="/sbin/a more than once"):
        compose_extra([GuestFile("/bin/a", b""), GuestFile("/sbin/a", b"")], image)


def test_scripts_need_their_interpreter(image: dict[str, cpio.Item]) -> None:
    script = GuestFile("/bin/s", b"#!/bin/python3 -u\n", runs=True, origin="s")
    with pytest.raises(ConfigError, match="no /bin/python3 there"):
        compose_extra([script], image)
    compose_extra([script, GuestFile("/bin/python3", b"", runs=True)], image)
    compose_extra([GuestFile("/bin/s", b"#!/bin/sh\n", runs=True)], image)


def test_programs_of_other_machines_are_refused(tmp_path: Path) -> None:
    own = compiled(tmp_path).read_bytes()
    for name, data, seen in (
        ("arm", own[:18] + (183).to_bytes(2, "little") + own[20:], "of 64 bits for machine 183"),
        ("i386", own[:4] + b"\1" + own[5:18] + b"\3\0" + own[20:], "of 32 bits for machine 3"),
        ("cut", own[:40], "40 bytes, cut off"),
        ("empty", b"", "empty"),
    ):
        file = tmp_path / name
        file.write_bytes(data)
        assert GuestFile.of(file).data == data
        with pytest.raises(ConfigError, match=seen):
            GuestFile.of(run_bit(file))


def compiled(tmp_path: Path, *flags: str, name: str = "program") -> Path:
    source = tmp_path / f"{name}.c"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", *flags, "-o", tmp_path / name, source], check=True)
    return tmp_path / name


def test_a_dynamic_program_brings_loader_and_library(tmp_path: Path) -> None:
    items = with_libraries([GuestFile.of(compiled(tmp_path))])
    paths = [item.path for item in items]
    assert paths[0] == "/bin/program"
    assert {f"{LIBRARIES}/libc.so.6", "/lib64/ld-linux-x86-64.so.2"} == set(paths[1:])
    for item in items:
        assert isinstance(item, GuestFile)
        assert item.data.startswith(b"\x7fELF")
    assert [item.path for item in with_libraries([*items, items[0]])].count(paths[1]) == 1


def test_a_static_program_brings_nothing(tmp_path: Path) -> None:
    assert len(with_libraries([GuestFile.of(compiled(tmp_path, "-static"))])) == 1


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    library = compiled(tmp_path, "-shared", name="libgone.so")
    program = compiled(tmp_path, f"-L{tmp_path}", "-Wl,--no-as-needed", "-l:libgone.so")
    library.unlink()
    with pytest.raises(ConfigError, match=r"not found: libgone\.so"):
        with_libraries([GuestFile.of(program)])


def test_what_ldd_says() -> None:
    said = (
        "\tlinux-vdso.so.1 (0x00007ffe)\n\tliba.so.1 => /opt/with space/liba.so.1.2 (0x00007f)\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007f00)\n"
    )
    assert read_ldd(said, "p") == [
        (f"{LIBRARIES}/liba.so.1", Path("/opt/with space/liba.so.1.2")),
        ("/lib64/ld-linux-x86-64.so.2", Path("/lib64/ld-linux-x86-64.so.2")),
    ]


def test_programs_for_other_machines_are_refused(tmp_path: Path) -> None:
    data = bytearray(compiled(tmp_path, "-static").read_bytes())
    data[18] = 183  # aarch64
    with pytest.raises(ConfigError, match="machine 183"):
        with_libraries([GuestFile("/bin/p", bytes(data), runs=True, origin="p")])
    with pytest.raises(ConfigError, match="8 bytes"):
        with_libraries([GuestFile("/bin/p", b"\x7fELF....", runs=True, origin="p")])


SOURCE = (
    '#include "own header.h"\n#include <stdio.h>\nint main(void)\n{\n\treturn puts(TEXT) < 0;\n}\n'
)


def test_programs_in_c_are_compiled_like_the_images_own(tmp_path: Path) -> None:
    folder = tmp_path / "my sources"
    folder.mkdir()
    source = folder / "hello.c"
    source.write_text(SOURCE)
    header = folder / "own header.h"
    cache = Cache(tmp_path / "cache")
    built = []
    for text in ("one", "two"):
        header.write_text(f'#define TEXT "{text}"\n')
        program = GuestProgram("hello", (source,))
        (file,) = gather(cache, [program], SILENT)
        assert isinstance(file, GuestFile)
        assert (file.path, file.runs) == ("/bin/hello", True)
        binary = tmp_path / text
        binary.write_bytes(file.data)
        assert subprocess.check_output([run_bit(binary)], text=True) == f"{text}\n"
        assert str(tmp_path).encode() not in file.data
        built.append(file.data)
        assert compile_program(cache, program, SILENT).read_bytes() == file.data
    assert built[0] != built[1]
    (told,) = describe_files([program])
    assert told["path"] == "/bin/hello"
    assert list(told["sources"]) == ["hello.c"]


def test_a_warning_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    source = tmp_path / "bad.c"
    source.write_text("int main(void)\n{\n\tint unused;\n\treturn 0;\n}\n")
    with pytest.raises(BuildError, match=r"bad\.c:3:.*unused"):
        compile_program(Cache(tmp_path / "cache"), GuestProgram("bad", (source,)), SILENT)


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "a b"])
def test_names_of_programs(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("")
    with pytest.raises(ConfigError, match="name of a program"):
        GuestProgram(name, (tmp_path / "a.c",))
    with pytest.raises(ConfigError, match=r"none\.c"):
        GuestProgram("good", (tmp_path / "none.c",))


def packed(*items: tuple[str, int, bytes]) -> bytes:
    archive = cpio.Archive({name: cpio.Item(mode, data) for name, mode, data in items})
    out = io.BytesIO()
    archive.write(out)
    return out.getvalue()


def test_archives_from_a_guest_are_not_trusted() -> None:
    regular = stat.S_IFREG | 0o644
    good = packed(("a", regular, b"12345"), ("b", regular, b""))
    assert read_archive(good)["a"].data == b"12345"
    for cut in (0, 5, 109, 111, 115, 120, 250, 300):
        with pytest.raises(NoArchive):
            read_archive(good[:cut])
    with pytest.raises(NoArchive, match="no number"):
        read_archive(good.replace(b"070701000000", b"07070100000x", 1))
    with pytest.raises(NoArchive, match="cut off"):
        read_archive(good.replace(b"00000005", b"ffffffff", 1))
    with pytest.raises(NoArchive, match="twice"):
        read_archive(good.replace(b"b\0", b"a\0", 1))
