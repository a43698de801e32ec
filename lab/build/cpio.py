# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes an initramfs: a cpio archive in the "newc" format, the same bytes for the same content.

The format is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
Owners, times and inode numbers are fixed, names are sorted, and device nodes need no root rights.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_MAGIC = "070701"
_TRAILER = "TRAILER!!!"
_ALIGNMENT = 4
_BLOCK_BYTES = 512
DIRECTORY_MODE = 0o755


@dataclass(frozen=True)
class Item:
    """One name in the archive; `mode` has its type, `data` a file's content or a link's target."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


@dataclass
class Archive:
    """An initramfs under construction. Paths are relative to the guest's root."""

    items: dict[str, Item] = field(default_factory=dict)

    def add_directory(self, path: str) -> None:
        """Add a directory and those above it."""
        for parent in [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]:
            if str(parent) != ".":
                self.items.setdefault(str(parent), Item(stat.S_IFDIR | DIRECTORY_MODE))

    def add_file(self, path: str, data: bytes, *, runs: bool = False) -> None:
        """Add a file that everybody may read, and run if `runs`."""
        self._add(path, Item(stat.S_IFREG | (0o755 if runs else 0o644), data))

    def add_link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(path, Item(stat.S_IFLNK | 0o777, _encode(target)))

    def add_device(self, path: str, mode: int, major: int, minor: int) -> None:
        """Add a character device."""
        self._add(path, Item(stat.S_IFCHR | mode, device=(major, minor)))

    def add_tree(self, path: str, root: Path) -> None:
        """Add a directory of the host with everything below it."""
        self.add_directory(path)
        for item in sorted(root.rglob("*")):
            name = f"{path}/{item.relative_to(root).as_posix()}"
            if item.is_symlink():
                self.add_link(name, str(item.readlink()))
            elif item.is_dir():
                self.add_directory(name)
            else:
                self.add_file(name, item.read_bytes(), runs=bool(item.stat().st_mode & 0o100))

    def _add(self, path: str, item: Item) -> None:
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path!r} is not a path below the guest's root")
        if path in self.items:
            raise ValueError(f"{path!r} is in the image already")
        self.add_directory(str(PurePosixPath(path).parent))
        self.items[path] = item

    def write(self, file: BinaryIO) -> None:
        """Write the archive."""
        written = 0
        for inode, name in enumerate(sorted(self.items), 1):
            written += _write_item(file, name, self.items[name], inode)
        written += _write_item(file, _TRAILER, Item(0), 0)
        file.write(b"\0" * (-written % _BLOCK_BYTES))


def _write_item(file: BinaryIO, name: str, item: Item, inode: int) -> int:
    """Write one item with its padding; returns the bytes written."""
    encoded = _encode(name) + b"\0"
    links = 2 if stat.S_ISDIR(item.mode) else 1
    # inode mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    fields = (inode, item.mode, 0, 0, links, 0, len(item.data), 0, 0, *item.device, len(encoded), 0)
    head = (_MAGIC + "".join(f"{value:08x}" for value in fields)).encode() + encoded
    head += b"\0" * (-len(head) % _ALIGNMENT)
    body = item.data + b"\0" * (-len(item.data) % _ALIGNMENT)
    file.write(head)
    file.write(body)
    return len(head) + len(body)


def _encode(name: str) -> bytes:
    """A name as its file system has it, whether that is UTF-8 or not."""
    return name.encode("utf-8", errors="surrogateescape")
