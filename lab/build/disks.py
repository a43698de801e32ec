# SPDX-License-Identifier: GPL-2.0-or-later
"""Empty file systems for the guest's disks, made on the host: the guest has no mkfs for them.

What gets into the image is the list of those blocks that are not zero: each block's number in 8
bytes (little endian) and its 4096 bytes (``images/workloads/migrate/disk.c`` reads it).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.build.recipe import hash_recipe, identify_packages
from lab.build.toolchain import identify_compiler
from lab.cache import Cache, hash_tree, make_key
from lab.checkout import IMAGES
from lab.errors import BuildError
from lab.program import ask_program
from lab.progress import Progress

BLOCK_BYTES = 4096
_RECIPE = ("build/disks.py",)
_PRELOAD = IMAGES / "disks" / "fixed_time.c"
_UUID = "5f0c1a54-2b9e-4d1f-9a37-0d6c6bd1c0de"
_EXT4_TIME_S = "1767225600"
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"

# Features by name: which ones are the default is decided by a file of the host.
_EXT4 = (
    *("mke2fs", "-q", "-F", "-U", _UUID, "-I", "256", "-N", "64", "-J", "size=4"),
    *("-E", f"hash_seed={_UUID},lazy_itable_init=0,lazy_journal_init=0,nodiscard"),
    "-O",
    "none,has_journal,ext_attr,extent,64bit,flex_bg,dir_index,filetype,sparse_super,large_file,"
    "huge_file,dir_nlink,extra_isize,metadata_csum",
)


@dataclass(frozen=True)
class Disk:
    """A disk with an empty file system.

    Attributes:
        name: of its file in the image's ``/lib/disks``.
        mib: size; the guest's disk has to have the same.
        argv: the program that makes the file system, without the file's name.
    """

    name: str
    mib: int
    argv: tuple[str, ...]


DISKS = (
    Disk("ext4", 64, (*_EXT4, "-b", "4096")),
    Disk("ext4-1k", 64, (*_EXT4, "-b", "1024")),
    # mkfs.xfs makes none that is smaller than 300 MiB.
    Disk("xfs", 320, ("mkfs.xfs", "-q", "-f", "-m", f"uuid={_UUID}")),
)


def build_disks(cache: Cache, progress: Progress) -> Path:
    """Directory with one list of blocks for each of `DISKS`.

    Raises:
        BuildError: a file system can't be made.
    """
    key = make_key(
        recipe=hash_recipe(*_RECIPE),
        preload=hash_tree(_PRELOAD.parent),
        compiler=identify_compiler(),
        tools=identify_packages("e2fsprogs", "xfsprogs"),
    )

    def build(directory: Path) -> None:
        preload = directory / "fixed_time.so"
        compiler = ("gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")
        ask_program(
            [*compiler, "-o", preload, _PRELOAD],
            awaited="a clock that stands still, for mkfs",
            error=BuildError,
        )
        for disk in DISKS:
            whole = directory / f"{disk.name}.whole"
            with whole.open("wb") as file:
                file.truncate(disk.mib << 20)
            ask_program(
                [*disk.argv, whole],
                awaited=f"the file system {disk.name}",
                error=BuildError,
                env={
                    "PATH": _PATH,
                    "LD_PRELOAD": str(preload),
                    "E2FSPROGS_FAKE_TIME": _EXT4_TIME_S,
                    "MKE2FS_CONFIG": "/dev/null",
                },
            )
            (directory / disk.name).write_bytes(list_blocks(whole))
            whole.unlink()
        preload.unlink()

    return cache.entry("disks", key, build, title="file systems", progress=progress)


def list_blocks(whole: Path) -> bytes:
    """The blocks of a disk that are not zero, each after its number.

    Raises:
        BuildError: there is none.
    """
    zero = bytes(BLOCK_BYTES)
    listed = bytearray()
    number = 0
    with whole.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            if block != zero:
                listed += number.to_bytes(8, "little") + block
            number += 1
    if not listed:
        raise BuildError(f"a file system in {whole.name}", "zeros")
    return bytes(listed)
