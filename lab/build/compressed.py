# SPDX-License-Identifier: GPL-2.0-or-later
"""Decompresses what kernel builds compress: images, modules and the configuration in a kernel."""

from __future__ import annotations

import bz2
import lzma
import shutil
import subprocess
import zlib

from lab.errors import HostError

_GZIP_WINDOW = 31  # zlib's way to say: with a gzip header
_TIMEOUT_S = 120.0
# Formats that the standard library doesn't read: the program that does.
_PROGRAMS = {
    b"\x28\xb5\x2f\xfd": ("zstd", "-d", "-c"),
    b"\x02\x21\x4c\x18": ("lz4", "-d", "-c"),
}


def decompress(data: bytes) -> bytes:
    """The content of `data`, whatever follows it; data in no known format is its own content.

    Raises:
        HostError: the program for its format isn't installed.
        ValueError: it is damaged.
    """
    try:
        if data.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(_GZIP_WINDOW).decompress(data)
        if data.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(data)
        if data.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
            return lzma.LZMADecompressor().decompress(data)
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise ValueError(f"damaged: {error}") from error
    for magic, argv in _PROGRAMS.items():
        if data.startswith(magic):
            return _by_program(argv, data)
    return data


def _by_program(argv: tuple[str, ...], data: bytes) -> bytes:
    program = shutil.which(argv[0])
    if program is None:
        raise HostError(
            f"{argv[0]}, which the kernel is compressed with",
            "it isn't installed",
            hint=f"apt-get install {argv[0]}",
        )
    done = subprocess.run(
        [program, *argv[1:]], input=data, capture_output=True, timeout=_TIMEOUT_S, check=False
    )
    # What follows the compressed data makes the program fail at its end.
    if not done.stdout:
        raise ValueError(f"damaged: {done.stderr.decode(errors='replace').strip()[:200]}")
    return done.stdout
