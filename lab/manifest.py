# SPDX-License-Identifier: GPL-2.0-or-later
"""The manifest of a cache entry: every file with size, run bits and SHA-256, and the check."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

SCHEMA = 1
MANIFEST = ".manifest.json"
_CHUNK_BYTES = 1 << 20
_RUN_BITS = 0o111
_SPARSE = "sparse:"
_BLOCK_BYTES = 1 << 16
_ZEROS = bytes(_BLOCK_BYTES)

# Hashes a file, perhaps from memory: a file, and what computes its hash.
Hasher = Callable[[Path, Callable[[Path], str]], str]


def compute_hash(path: Path, compute: Callable[[Path], str]) -> str:
    """A `Hasher` that knows nothing: what ``compute(path)`` gives."""
    return compute(path)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def hash_sparse(path: Path) -> str:
    """SHA-256 over size, and over place and content of each 64 KiB that aren't all zero.

    It reads only what the file system keeps, and doesn't depend on where that leaves holes.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(f"{os.fstat(file.fileno()).st_size}\n".encode())
        for offset, block in _data_blocks(file):
            digest.update(f"{offset}\n".encode() + block)
    return _SPARSE + digest.hexdigest()


def _data_blocks(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Offset and content of the 64 KiB blocks that hold anything but zeros."""
    offset = 0
    while True:
        try:
            data = os.lseek(file.fileno(), offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole until the end
                return
            raise
        end = os.lseek(file.fileno(), data, os.SEEK_HOLE)
        # From the start of the block that holds it, unless that was read with what came before.
        offset = max(offset, data // _BLOCK_BYTES * _BLOCK_BYTES)
        while offset < end:
            block = os.pread(file.fileno(), _BLOCK_BYTES, offset)
            if block != _ZEROS[: len(block)]:
                yield offset, block
            offset += _BLOCK_BYTES


def _is_sparse(path: Path) -> bool:
    info = path.stat()
    return info.st_size >= _CHUNK_BYTES and info.st_blocks * 512 < info.st_size


def describe(directory: Path, kind: str, key: str, title: str) -> dict[str, Any]:
    """The manifest of what lies in `directory`, whose files lose their write bits."""
    files: dict[str, list[Any]] = {}
    links: dict[str, str] = {}
    run_bits: dict[str, int] = {}
    for item in sorted(directory.rglob("*")):
        name = str(item.relative_to(directory))
        if item.is_symlink():
            links[name] = str(item.readlink())
        elif item.is_file():
            item.chmod(item.stat().st_mode & 0o555)
            hashed = hash_sparse(item) if _is_sparse(item) else hash_file(item)
            files[name] = [item.stat().st_size, hashed]
            run_bits[name] = item.stat().st_mode & _RUN_BITS
    return {
        "schema": SCHEMA,
        "kind": kind,
        "key": key,
        "title": title,
        "files": files,
        "links": links,
        "run_bits": run_bits,
    }


def names_in(directory: Path) -> set[str]:
    """Names of all files and links below `directory`, but for its manifest."""
    names = {
        str(item.relative_to(directory))
        for item in directory.rglob("*")
        if item.is_symlink() or not item.is_dir()
    }
    return names - {MANIFEST}


def read_manifest(path: Path) -> tuple[dict[str, Any], str | None]:
    """The manifest of an entry, and what is wrong with it."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        whole = (
            manifest["schema"] == SCHEMA
            and manifest["kind"] == path.parent.name
            and manifest["key"] == path.name
            and isinstance(manifest["files"], dict)
            and isinstance(manifest["links"], dict)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {}, f"its manifest can't be used ({error})"
    return (manifest, None) if whole else ({}, "its manifest is another entry's or malformed")


def find_damage(path: Path, manifest: dict[str, Any], hasher: Hasher = compute_hash) -> str | None:
    """What is wrong with an entry, or None; every file is hashed by `hasher`."""
    expected = {*manifest["files"], *manifest["links"]}
    extra = sorted(names_in(path) - expected)
    if extra:
        return f"{extra[0]} was not published with it"
    # an entry published before run bits were kept has none to compare
    run_bits = manifest.get("run_bits", {})
    for name, target in manifest["links"].items():
        link = path / name
        if not link.is_symlink() or str(link.readlink()) != target:
            return f"{name} no longer links to {target}"
    for name, (size_bytes, sha256) in manifest["files"].items():
        try:
            damage = _file_damage(path / name, size_bytes, sha256, run_bits.get(name), hasher)
        except OSError as error:
            damage = error.strerror
        if damage is not None:
            return f"{name}: {damage}"
    return None


def _file_damage(
    file: Path, size_bytes: int, sha256: str, run_bits: int | None, hasher: Hasher
) -> str | None:
    info = file.stat()
    if info.st_size != size_bytes:
        return f"{info.st_size} bytes instead of {size_bytes}"
    if run_bits is not None and info.st_mode & _RUN_BITS != run_bits:
        return f"run bits {info.st_mode & _RUN_BITS:o} instead of {run_bits:o}"
    compute = hash_sparse if sha256.startswith(_SPARSE) else hash_file
    if hasher(file, compute) != sha256:
        return "another content than was published"
    return None
