# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that a user brings for the guest, beside those of the image.

They are read once, when the command or plan names them: what the guest gets doesn't change with
the host's files, and nothing of the host but names, contents and run bits gets in.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from lab.errors import ConfigError

MAX_BYTES = 256 << 20
_ELF_CLASS_64, _ELF_X86_64, _ELF64_HEADER_BYTES = 2, 62, 64
MAX_NAMES = 20_000
BIN = "/bin"
DATA = "/root"
SELFTESTS = "/kselftest"
NOT_BUILT = "not-built.json"
# File systems that the agent mounts there hide what the image has.
_MOUNTED = ("/proc", "/sys", "/dev", "/tmp")  # noqa: S108 - the guest's
_PROGRAM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class GuestFile:
    """A ready file.

    Attributes:
        path: absolute, in the guest.
        data: its content.
        runs: whether it may be run.
        origin: where it comes from, for messages.
    """

    path: str
    data: bytes = field(repr=False)
    runs: bool = False
    origin: str = ""

    def __post_init__(self) -> None:
        """Raises ConfigError for a path that no file can have in the guest."""
        check_guest_path(self.path)

    @classmethod
    def of(cls, source: Path, path: str | None = None) -> GuestFile:
        """A file of the host; without `path`, /bin gets what may be run and /root the rest.

        Raises:
            ConfigError: it isn't there, can't be read, is no file or too large.
        """
        awaited = f"a file for the guest at {source}"
        try:
            info = source.stat()
            if not stat.S_ISREG(info.st_mode):
                raise ConfigError(
                    awaited, "no regular file", hint="name files, each with an --add of its own"
                )
            if info.st_size > MAX_BYTES:
                raise ConfigError(awaited, f"{info.st_size:,} bytes, of at most {MAX_BYTES:,}")
            data = source.read_bytes()
        except OSError as error:
            raise ConfigError(
                awaited,
                error.strerror or str(error),
                hint="--add takes FILE, FILE:/path/in/guest or FILE:/directory/",
            ) from error
        runs = bool(info.st_mode & stat.S_IXUSR)
        if runs:
            _assert_runs_here(awaited, data)
        if path is None:
            path = f"{BIN if runs else DATA}/{source.name}"
        elif path.endswith("/"):
            path += source.name
        return cls(path, data, runs, str(source))


@dataclass(frozen=True)
class GuestLink:
    """A symbolic link of the guest."""

    path: str
    target: str

    def __post_init__(self) -> None:
        """Raises ConfigError for a path that no file can have in the guest."""
        check_guest_path(self.path)


@dataclass(frozen=True)
class GuestDirectory:
    """A directory of the guest."""

    path: str

    def __post_init__(self) -> None:
        """Raises ConfigError for a path that no file can have in the guest."""
        check_guest_path(self.path)


@dataclass(frozen=True)
class GuestProgram:
    """A program in C that is compiled like the image's own and put into ``/bin``.

    Static, C11 with GNU extensions, every warning an error. Headers beside the sources are found,
    and so are those of images/workloads and images/include.

    Attributes:
        name: of the program.
        sources: C files, absolute or relative to the working directory.
    """

    name: str
    sources: tuple[Path, ...]

    def __post_init__(self) -> None:
        """Raises ConfigError for a name that is none, and for sources that aren't there."""
        if not _PROGRAM_NAME.fullmatch(self.name):
            raise ConfigError("the name of a program for the guest's /bin", repr(self.name))
        missing = [str(source) for source in self.sources if not source.is_file()]
        if missing or not self.sources:
            raise ConfigError(
                f"C sources of the guest's program {self.name}",
                f"no file {', '.join(missing)}" if missing else "none",
                hint="name them relative to the experiment: Path(__file__).with_name(…)",
            )

    @property
    def path(self) -> str:
        """Where it is in the guest."""
        return f"{BIN}/{self.name}"


@dataclass(frozen=True)
class GuestSelftests:
    """Programs of the kernel's own selftests, built from the source of the kernel that boots.

    What doesn't build is left out; ``not-built.json`` beside the programs says why.

    Attributes:
        collection: directory below tools/testing/selftests.
        programs: names of its programs.
    """

    collection: str
    programs: tuple[str, ...]

    @property
    def path(self) -> str:
        """The directory in the guest that has them."""
        return f"{SELFTESTS}/{self.collection}"


GuestItem = GuestFile | GuestLink | GuestDirectory | GuestProgram | GuestSelftests


def _assert_runs_here(awaited: str, data: bytes) -> None:
    """Refuse a program that the guest's kernel would (elf(5)): of other machines, or cut off.

    Raises:
        ConfigError: it is one.
    """
    seen = None
    if not data:
        seen = "an empty file that is executable"
    elif data.startswith(b"\x7fELF"):
        machine = int.from_bytes(data[18:20], "little")
        if len(data) < _ELF64_HEADER_BYTES:
            seen = f"an ELF file of {len(data)} bytes, cut off in its header"
        elif data[4] != _ELF_CLASS_64 or machine != _ELF_X86_64:
            bits = "64" if data[4] == _ELF_CLASS_64 else "32"
            seen = f"an ELF file of {bits} bits for machine {machine}"
    if seen:
        raise ConfigError(
            awaited,
            seen,
            hint="the guest runs 64-bit x86 (machine 62); chmod -x makes it a file like others",
        )


def check_guest_path(path: str) -> None:
    """Refuse what can't be, or can't be seen, in the guest.

    Raises:
        ConfigError: it is so.
    """
    awaited = "an absolute path in the guest"
    parts = PurePosixPath(path).parts
    if (
        not path.startswith("/")
        or "\0" in path
        or ".." in parts
        or len(parts) < 2  # noqa: PLR2004 - the root and a name
        or path.endswith("/")
    ):
        raise ConfigError(awaited, repr(path), hint="as in /root/data, without ..")
    hidden = next((at for at in _MOUNTED if PurePosixPath(path).is_relative_to(at)), None)
    if hidden:
        raise ConfigError(
            awaited,
            f"{path!r}: a file system that is mounted on {hidden} hides it",
            hint=f"choose another place, such as {DATA}",
        )


def read_tree(source: Path, path: str) -> list[GuestItem]:
    """A directory of the host as it is now, with everything below it, for `path` in the guest.

    Links are taken as links, whatever they lead to.

    Raises:
        ConfigError: it is no directory, can't be read, is too large, or holds something that is
            no file, link or directory.
    """
    awaited = f"a directory for the guest at {source}"
    if not source.is_dir():
        raise ConfigError(
            awaited,
            "no directory" if source.exists() else "nothing there",
            hint="--share takes a directory of the host; a file goes in by --add",
        )
    items: list[GuestItem] = [GuestDirectory(path)]
    total = 0
    try:
        for found in _walk(source):
            at = f"{path}/{found.relative_to(source).as_posix()}"
            info = found.lstat()
            if stat.S_ISLNK(info.st_mode):
                items.append(GuestLink(at, str(found.readlink())))
            elif stat.S_ISDIR(info.st_mode):
                items.append(GuestDirectory(at))
            elif stat.S_ISREG(info.st_mode):
                total += info.st_size
                _check_size(awaited, total, len(items))
                runs = bool(info.st_mode & stat.S_IXUSR)
                items.append(GuestFile(at, found.read_bytes(), runs, str(found)))
            else:
                raise ConfigError(awaited, f"{found}: neither file, link nor directory")
            _check_size(awaited, total, len(items))
    except OSError as error:
        raise ConfigError(awaited, f"{error.strerror or error}: {error.filename}") from error
    return items


def _walk(source: Path) -> list[Path]:
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise error

    for directory, names, files in os.walk(source, onerror=refuse):
        found += [Path(directory) / name for name in (*names, *files)]
        if len(found) > MAX_NAMES:
            break
    return sorted(found)


def _check_size(awaited: str, size_bytes: int, names: int) -> None:
    if size_bytes > MAX_BYTES or names > MAX_NAMES:
        raise ConfigError(
            awaited,
            f"more than {MAX_BYTES >> 20} MiB or {MAX_NAMES:,} names",
            hint="everything is copied into the guest's memory: bring less",
        )


def describe_files(items: Sequence[GuestItem]) -> list[dict[str, Any]]:
    """What a record says about them: path, size and SHA-256 of content, or of sources."""
    told: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, GuestFile):
            digest = hashlib.sha256(item.data).hexdigest()
            told.append({"path": item.path, "bytes": len(item.data), "sha256": digest})
        elif isinstance(item, GuestLink):
            told.append({"path": item.path, "target": item.target})
        elif isinstance(item, GuestDirectory):
            told.append({"path": item.path})
        elif isinstance(item, GuestSelftests):
            told.append({"path": item.path, "programs": list(item.programs)})
        else:
            hashes = {
                source.name: hashlib.sha256(source.read_bytes()).hexdigest()
                for source in item.sources
            }
            told.append({"path": item.path, "sources": hashes})
    return told
