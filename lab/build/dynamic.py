# SPDX-License-Identifier: GPL-2.0-or-later
"""What a program of the host needs in the guest: its libraries and loader, or its interpreter."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from lab.errors import ConfigError
from lab.guest_files import GuestFile, GuestItem
from lab.program import ask_program

# Where the loader of this architecture looks by itself, without a cache of its own.
LIBRARIES = "/lib/x86_64-linux-gnu"
_ELF = b"\x7fELF"
_CLASS_64, _LITTLE_ENDIAN, _X86_64 = 2, 1, 62
_HEAD_BYTES, _PROGRAM_HEAD_BYTES = 64, 56
_PT_INTERP = 3
# libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…), or => not found; the loader has no arrow.
_FOUND = re.compile(r"\s*(?P<name>\S+) => (?P<path>/.*) \(0x[0-9a-f]+\)$")
_NOT_FOUND = re.compile(r"\s*(?P<name>\S+) => not found$")
_LOADER = re.compile(r"\s*(?P<path>/\S+) \(0x[0-9a-f]+\)$")


def with_libraries(items: Sequence[GuestItem]) -> list[GuestItem]:
    """The files, and the libraries that the programs among them are linked with.

    Raises:
        ConfigError: a program is for another machine, or the host lacks a library of it.
    """
    whole = list(items)
    taken = {item.path for item in items}
    for item in items:
        if not isinstance(item, GuestFile) or not item.runs or not is_dynamic(item):
            continue
        for library in libraries_of(item):
            if library.path not in taken:
                taken.add(library.path)
                whole.append(library)
    return whole


def is_dynamic(file: GuestFile) -> bool:
    """Whether it is a program that a loader has to start.

    Raises:
        ConfigError: it is an ELF file that the guest's processor can't run.
    """
    data = file.data
    if not data.startswith(_ELF):
        return False
    if len(data) < _HEAD_BYTES:
        raise ConfigError(f"a whole program in {file.origin}", f"{len(data)} bytes")
    machine = struct.unpack_from("<H", data, 18)[0]
    if data[4] != _CLASS_64 or data[5] != _LITTLE_ENDIAN or machine != _X86_64:
        raise ConfigError(
            f"a program for 64-bit x86 in {file.origin}",
            f"an ELF file of class {data[4]} for machine {machine}",
            hint="the guest is an x86-64 without 32-bit emulation",
        )
    offset, size, count = (
        struct.unpack_from("<Q", data, 32)[0],
        *struct.unpack_from("<HH", data, 54),
    )
    heads = [offset + size * index for index in range(count)]
    return any(
        head + _PROGRAM_HEAD_BYTES <= len(data)
        and struct.unpack_from("<I", data, head)[0] == _PT_INTERP
        for head in heads
    )


def libraries_of(file: GuestFile) -> list[GuestFile]:
    """Loader and libraries of a dynamic program of the host, as `ldd` finds them.

    Raises:
        ConfigError: the host lacks one; it is named.
    """
    said = ask_program(
        ["ldd", file.origin],
        awaited=f"the libraries of {file.origin}",
        error=ConfigError,
        hint="link it statically (-static)",
    )
    return [
        GuestFile(at, path.read_bytes(), runs=True, origin=str(path))
        for at, path in read_ldd(said, file.origin)
    ]


def read_ldd(said: str, program: str) -> list[tuple[str, Path]]:
    """Place in the guest and file of the host, for every library in what `ldd` said.

    Raises:
        ConfigError: a library wasn't found.
    """
    missing: list[str] = []
    found: list[tuple[str, Path]] = []
    for line in said.splitlines():
        if match := _NOT_FOUND.match(line):
            missing.append(match["name"])
        elif match := _FOUND.match(line):
            # By the name that the program asks for, where the guest's loader looks first.
            found.append((f"{LIBRARIES}/{PurePosixPath(match['name']).name}", Path(match["path"])))
        elif match := _LOADER.match(line):
            found.append((match["path"], Path(match["path"])))
    if missing:
        raise ConfigError(
            f"the libraries of {program} on this host",
            f"not found: {', '.join(missing)}",
            hint="link it statically (-static), or install what is missing",
        )
    return found


def assert_interpreters(items: Sequence[GuestItem], image: Collection[str]) -> None:
    """Make sure that the guest has what runs the scripts among the files.

    Args:
        items: all files that are brought.
        image: absolute paths of what the image has.

    Raises:
        ConfigError: an interpreter is in neither.
    """
    there = {item.path for item in items} | set(image)
    for item in items:
        if not isinstance(item, GuestFile) or not item.runs or not item.data.startswith(b"#!"):
            continue
        words = item.data[2:].split(b"\n", 1)[0].decode("utf-8", errors="replace").split()
        name = words[0] if words else ""
        if name not in there:
            raise ConfigError(
                f"the interpreter of the script {item.origin} in the guest",
                f"no {name or '(none named)'} there",
                hint="the guest has /bin/sh of busybox; bring another by --add, with its libraries",
            )
