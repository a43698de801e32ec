# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a cpio archive in the "newc" format: an initramfs, or what a guest has packed.

What a guest sends is not to be trusted: nothing is taken for a number, a name or a length before it
has been looked at.
"""

from __future__ import annotations

import stat

from lab.build.cpio import Item

_MAGIC = b"070701"
_FIELDS = 13
_HEAD_BYTES = len(_MAGIC) + 8 * _FIELDS
_MODE, _SIZE, _RDEV_MAJOR, _RDEV_MINOR, _NAME_SIZE = 1, 6, 9, 10, 11
_TRAILER = b"TRAILER!!!"


class NoArchive(ValueError):
    """The bytes are no whole archive; the text says where."""


def read_archive(data: bytes) -> dict[str, Item]:
    """The items of one archive by name, in their order; what follows its end is not looked at.

    Raises:
        NoArchive: it isn't one, or it is cut off.
    """
    items: dict[str, Item] = {}
    at = 0
    while True:
        head = data[at : at + _HEAD_BYTES]
        if len(head) < _HEAD_BYTES or not head.startswith(_MAGIC):
            raise NoArchive(f"no item at byte {at} of {len(data)}")
        fields = _numbers(head, at)
        name_at = at + _HEAD_BYTES
        name = _cut(data, name_at, fields[_NAME_SIZE])
        if not name.endswith(b"\0") or b"\0" in name[:-1]:
            raise NoArchive(f"no name at byte {name_at}")
        body_at = _aligned(name_at + len(name))
        if name[:-1] == _TRAILER and not fields[_MODE]:
            return items
        body = _cut(data, body_at, fields[_SIZE])
        at = _aligned(body_at + len(body))
        text = name[:-1].decode("utf-8", errors="surrogateescape")
        if text in items and not stat.S_ISDIR(fields[_MODE]):
            raise NoArchive(f"{text!r} twice")
        device = (fields[_RDEV_MAJOR], fields[_RDEV_MINOR])
        items[text] = Item(fields[_MODE], body, device)


def _numbers(head: bytes, at: int) -> list[int]:
    words = [head[len(_MAGIC) + 8 * index :][:8] for index in range(_FIELDS)]
    try:
        return [int(word.decode("ascii"), 16) for word in words]
    except ValueError as error:
        raise NoArchive(f"no number in the head at byte {at}") from error


def _cut(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise NoArchive(f"cut off: {size} bytes from byte {at} on, of {len(data)}")
    return data[at : at + size]


def _aligned(at: int) -> int:
    return at + -at % 4
