# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that a user brings, put behind an image: one initramfs out of two archives.

QEMU takes one file, and the kernel unpacks archives that follow each other in it one after the
other (Documentation/driver-api/early-userspace/buffer-format.rst). Owners, times and inode numbers
are those of `lab.build.cpio`: the same files give the same guest wherever they lay.
"""

from __future__ import annotations

import re
import shlex
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from lab.build import cpio
from lab.build.cpio_reader import read_archive
from lab.build.dynamic import assert_interpreters, with_libraries
from lab.build.given_kernel import GivenArtifact
from lab.build.kernel import KernelArtifact
from lab.build.recipe import hash_recipe, identify_packages
from lab.build.selftests import build_selftests
from lab.build.toolchain import compiler_environment, find_compiler, identify_compiler
from lab.cache import Cache, hash_file, make_key
from lab.checkout import IMAGES
from lab.errors import BuildError, ConfigError
from lab.guest_files import (
    MAX_BYTES,
    GuestDirectory,
    GuestFile,
    GuestItem,
    GuestLink,
    GuestProgram,
    GuestSelftests,
)
from lab.program import Program, ask_program, run_program
from lab.progress import Progress

_BLANKS = re.compile(r"(?<!\\)\s+")
_RECIPE = ("build/extra_files.py", "build/toolchain.py")


def gather(
    cache: Cache,
    items: Sequence[GuestItem],
    progress: Progress,
    kernel: KernelArtifact | GivenArtifact | None = None,
) -> list[GuestItem]:
    """The files as they go into the guest: programs compiled, libraries beside what needs them.

    Selftests are built from the source of `kernel`.

    Raises:
        BuildError: a program doesn't compile.
        ConfigError: selftests of a kernel without source, a program can't run in the guest, or all
            of it is too much.
    """
    ready: list[GuestItem] = []
    for item in items:
        if isinstance(item, GuestProgram):
            binary = compile_program(cache, item, progress)
            ready.append(GuestFile(item.path, binary.read_bytes(), runs=True, origin=item.name))
        elif isinstance(item, GuestSelftests):
            ready += _selftests(cache, item, progress, kernel)
        else:
            ready.append(item)
    whole = with_libraries(ready)
    size = sum(len(item.data) for item in whole if isinstance(item, GuestFile))
    if size > MAX_BYTES:
        raise ConfigError(
            f"at most {MAX_BYTES >> 20} MiB for the guest",
            f"{size:,} bytes, with libraries",
            hint="everything is copied into the guest's memory: bring less",
        )
    return whole


def _selftests(
    cache: Cache,
    item: GuestSelftests,
    progress: Progress,
    kernel: KernelArtifact | GivenArtifact | None,
) -> list[GuestItem]:
    if not isinstance(kernel, KernelArtifact):
        raise ConfigError(
            "the source of the kernel, to build its selftests from",
            "a kernel that was built elsewhere",
            hint="give the source: --tree DIR, or a series on a base of the lab",
        )
    built = build_selftests(cache, kernel, item, progress)
    return [
        GuestFile(f"{item.path}/{file.name}", file.read_bytes(), file.suffix != ".json", str(file))
        for file in sorted(built.iterdir())
        if not file.name.startswith(".")
    ]


def compile_program(cache: Cache, program: GuestProgram, progress: Progress) -> Path:
    """A program of the user's, compiled with the flags of the image's own, from the cache or built.

    Raises:
        BuildError: it doesn't compile; the message has the compiler's first error.
    """
    sources = [source.resolve() for source in program.sources]
    flags = shlex.split(
        ask_program(
            ["make", "--no-print-directory", "-s", "-C", IMAGES, "flags"],
            awaited="the compiler flags of the image's programs",
            error=BuildError,
            env=compiler_environment(cache),
        )
    )
    log = cache.root / "logs" / f"guest-program-{program.name}.log"
    log.unlink(missing_ok=True)
    awaited = f"the guest's program {program.name} from {', '.join(map(str, program.sources))}"
    key = make_key(
        recipe=hash_recipe(*_RECIPE),
        name=program.name,
        flags=shlex.join(flags),
        inputs=_hash_inputs(sources, flags, awaited),
        compiler=identify_compiler(),
        libraries=identify_packages("libc6-dev", "linux-libc-dev"),
    )

    def build(directory: Path) -> None:
        # Whatever __FILE__ gets into: the same program wherever its sources lie.
        maps = [f"-ffile-prefix-map={folder}=." for folder in {file.parent for file in sources}]
        argv = [*shlex.split(find_compiler()), *flags, *sorted(maps)]
        argv += ["-o", str(directory / program.name), *map(str, sources)]
        with progress.step(f"building {program.name} for the guest", log=log) as step:
            run_program(
                Program(
                    argv, awaited=awaited, log=log, cwd=IMAGES, env=compiler_environment(cache)
                ),
                step,
            )

    title = f"guest program {program.name}"
    return cache.entry("guest-program", key, build, title=title, progress=progress) / program.name


def _hash_inputs(sources: Sequence[Path], flags: Sequence[str], awaited: str) -> str:
    """Hashes of the sources and of every header that isn't the system's."""
    said = ask_program(
        ["gcc", *flags, "-MM", *map(str, sources)], awaited=awaited, cwd=IMAGES, error=BuildError
    )
    # target.o: source.c header.h …, with lines continued by a backslash
    words = _BLANKS.split(said.replace("\\\n", " ").strip())
    files = sorted({IMAGES / word.replace("\\ ", " ") for word in words if not word.endswith(":")})
    return "\n".join(f"{path.name} {hash_file(path)}" for path in files)


def compose_extra(items: Sequence[GuestItem], image: Mapping[str, cpio.Item]) -> cpio.Archive:
    """An archive to unpack after the image's.

    Args:
        items: as `gather` gives them.
        image: what the image has, by name.

    Raises:
        ConfigError: two files, or a file and the image, want the same place.
    """
    assert_interpreters(items, [f"/{name}" for name in image])
    archive = cpio.Archive()
    for item in items:
        name = _place(item, image)
        try:
            match item:
                case GuestFile():
                    archive.add_file(name, item.data, runs=item.runs)
                case GuestLink():
                    archive.add_link(name, item.target)
                case GuestDirectory():
                    archive.add_directory(name)
                case GuestProgram() | GuestSelftests():
                    raise TypeError(f"{item.path} is not built")
        except ValueError as error:
            raise ConfigError(
                "files that each have a place of their own in the guest",
                f"{item.path} more than once",
                hint="give one of them another place: --add FILE:GUESTPATH",
            ) from error
    _assert_parents(archive, image)
    return archive


def _place(item: GuestItem, image: Mapping[str, cpio.Item]) -> str:
    """An item's name in the archive: links on the way to it, such as /sbin, are followed."""
    parts = PurePosixPath(item.path).parts[1:]
    at = ""
    for part in parts[:-1]:
        at = f"{at}/{part}".lstrip("/")
        found = image.get(at)
        if found is not None and stat.S_ISLNK(found.mode):
            at = found.data.decode()
    name = f"{at}/{parts[-1]}".lstrip("/")
    there = image.get(name)
    if there is not None and not (isinstance(item, GuestDirectory) and stat.S_ISDIR(there.mode)):
        raise ConfigError(
            f"a place for {item.path} that the image leaves free",
            "the image has something there",
            hint="give another place or name: --add FILE:GUESTPATH",
        )
    return name


def _assert_parents(archive: cpio.Archive, image: Mapping[str, cpio.Item]) -> None:
    """Refuse a file below a file, which would take its place when the archive is unpacked."""
    for name, item in archive.items.items():
        there = image.get(name)
        if stat.S_ISDIR(item.mode) and there is not None and not stat.S_ISDIR(there.mode):
            raise ConfigError(
                f"a directory /{name} in the guest, for what is to be below",
                "the image has a file or link there",
                hint="give another place: --add FILE:GUESTPATH",
            )


def write_initramfs(image: Path, extra: cpio.Archive, target: Path) -> None:
    """Write the image with the extra files behind it."""
    with target.open("wb") as file:
        with image.open("rb") as source:
            shutil.copyfileobj(source, file)
        extra.write(file)


def read_image(initramfs: Path) -> dict[str, cpio.Item]:
    """What an image of ours has, by name."""
    return read_archive(initramfs.read_bytes())
