# SPDX-License-Identifier: GPL-2.0-or-later
"""Archives of named files: the same bytes for the same files, and a reader that trusts nobody.

An archive is a ``.tar.xz`` of plain files; ``manifest.json``, the first, has the SHA-256 of all
others. It is read into memory, never unpacked: what isn't exactly what `pack` makes of the files
that it says it has is refused, so that no link, device, odd name, double entry or trailing byte
gets by.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import lzma
import os
import re
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab.errors import ConfigError, HostError

SCHEMA = "dcbm-lab/bundle/1"
MANIFEST = "manifest.json"
MAX_BYTES = 512 << 20
MAX_FILES = 10_000
_MAX_NAME = 200
_MAX_LZMA_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20
_BLOCK = 512
_PRESET = 6
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_HINT = "get it again from whoever made it"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Entry(_Model):
    """Size in bytes and SHA-256 of a file."""

    size_bytes: int
    sha256: str


class Manifest(_Model):
    """What an archive holds."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    files: dict[str, Entry]


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of files by name, not yet compressed.

    Raises:
        ConfigError: a name that no archive may have, or too much.
    """
    for name in files:
        if not _usable(name) or name == MANIFEST:
            raise ConfigError("plain relative names of files", repr(name), hint="rename it")
    size_bytes = sum(len(content) for content in files.values())
    if size_bytes > MAX_BYTES // 2 or len(files) >= MAX_FILES:
        raise ConfigError(
            f"at most {MAX_BYTES >> 21} MiB in {MAX_FILES} files",
            f"{size_bytes >> 20} MiB in {len(files)}",
            hint="leave the kernel out, or have less in its modules",
        )
    manifest = Manifest(
        files={
            name: Entry(size_bytes=len(files[name]), sha256=hashlib.sha256(files[name]).hexdigest())
            for name in sorted(files)
        }
    )
    text = json.dumps(manifest.model_dump(by_alias=True), indent=1, sort_keys=True) + "\n"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in [(MANIFEST, text.encode()), *sorted(files.items())]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def write_archive(files: Mapping[str, bytes], path: Path, *, overwrite: bool = False) -> None:
    """Write an archive in one step: whoever looks sees all of it or nothing.

    Raises:
        ConfigError: there is a file already and `overwrite` is off, or the files can't be packed.
        HostError: it can't be written.
    """
    content = lzma.compress(pack(files), check=lzma.CHECK_CRC64, preset=_PRESET)
    partial: Path | None = None
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        partial = Path(name)
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        if overwrite:
            partial.replace(path)
        else:
            path.hardlink_to(partial)  # unlike a rename it never takes another file's place
    except FileExistsError:
        raise ConfigError(
            f"a new file {path}",
            "there is one already; it was not touched",
            hint="choose another name (--output), or say --force",
        ) from None
    except OSError as error:
        raise HostError.of(error) from error
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def read_archive(path: Path) -> dict[str, bytes]:
    """Every file of an archive by name, the manifest left out.

    Raises:
        ConfigError: it can't be read, is damaged, too large, or no archive that `pack` made.
    """
    awaited = f"a whole bundle at {path}"
    try:
        with path.open("rb") as file:
            data = _decompress(file, awaited)
    except OSError as error:
        raise ConfigError(awaited, error.strerror or str(error), hint="check the path") from error
    found = _members(data, awaited)
    files = _checked(found, awaited)
    if pack(files) != data:
        raise _refusal(awaited, "more or something else than its files and their names")
    return files


def _refusal(awaited: str, seen: str) -> ConfigError:
    return ConfigError(awaited, seen, hint=_HINT)


def _usable(name: str) -> bool:
    return len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None


def _decompress(file: io.BufferedReader, awaited: str) -> bytes:
    """All of a single xz stream, up to the limit."""
    reader = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MAX_LZMA_BYTES)
    parts: list[bytes] = []
    size_bytes = 0
    fed = b""
    try:
        while not reader.eof:
            if reader.needs_input:
                fed = file.read(_CHUNK_BYTES)
                if not fed:
                    raise _refusal(awaited, "it ends in the middle")
            part = reader.decompress(fed if reader.needs_input else b"", _CHUNK_BYTES)
            size_bytes += len(part)
            if size_bytes > MAX_BYTES:
                raise _refusal(awaited, f"more than {MAX_BYTES >> 20} MiB")
            parts.append(part)
    except lzma.LZMAError as error:
        raise _refusal(awaited, f"no whole xz file: {error}") from error
    if reader.unused_data or file.read(1):
        raise _refusal(awaited, "something behind its end")
    return b"".join(parts)


def _members(data: bytes, awaited: str) -> dict[str, bytes]:
    """Plain files of a tar archive by name; the first thing that is none ends it."""
    files: dict[str, bytes] = {}
    at = 0
    while True:
        header = data[at : at + _BLOCK]
        if len(header) < _BLOCK:
            raise _refusal(awaited, "it ends in the middle")
        if not any(header):
            return files
        name, size_bytes = _read_header(header, awaited)
        if name in files or len(files) >= MAX_FILES:
            raise _refusal(awaited, f"{name} twice, or more than {MAX_FILES} files")
        start = at + _BLOCK
        if start + size_bytes > len(data):
            raise _refusal(awaited, f"{name} is cut off")
        files[name] = data[start : start + size_bytes]
        at = start + -(-size_bytes // _BLOCK) * _BLOCK


def _read_header(header: bytes, awaited: str) -> tuple[str, int]:
    """Name and size of a plain file, as the ustar format has them."""
    try:
        name = header[:100].rstrip(b"\0").decode("ascii")
        prefix = header[345:500].rstrip(b"\0").decode("ascii")
        size_bytes = int(header[124:135], 8)
    except ValueError as error:
        raise _refusal(awaited, f"no header of a file: {error}") from error
    name = f"{prefix}/{name}" if prefix else name
    if header[156:157] != tarfile.REGTYPE:
        raise _refusal(awaited, f"{name!r} is no plain file")
    if not _usable(name):
        raise _refusal(awaited, f"the name {name!r}, which may lead out of a folder")
    if size_bytes < 0:
        raise _refusal(awaited, f"a size of {size_bytes} of {name}")
    return name, size_bytes


def _checked(found: dict[str, bytes], awaited: str) -> dict[str, bytes]:
    """The files, each as the manifest says."""
    if MANIFEST not in found:
        raise _refusal(awaited, f"no {MANIFEST} in it")
    try:
        manifest = Manifest.model_validate_json(found[MANIFEST])
    except ValidationError as error:
        raise _refusal(awaited, f"a {MANIFEST} of another schema: {error.error_count()}") from error
    if manifest.schema_ != SCHEMA:
        raise _refusal(awaited, f"the schema {manifest.schema_!r} instead of {SCHEMA}")
    files = {name: content for name, content in found.items() if name != MANIFEST}
    for name in sorted({*files, *manifest.files}):
        if name not in files:
            raise _refusal(awaited, f"no {name}, which its manifest lists")
        if name not in manifest.files:
            raise _refusal(awaited, f"{name}, which its manifest doesn't list")
        if hashlib.sha256(files[name]).hexdigest() != manifest.files[name].sha256:
            raise _refusal(awaited, f"{name} with another content than its manifest says")
    return files
