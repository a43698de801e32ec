# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel image says about itself: format, release and the configuration inside it.

Sources: the kernel's Documentation/arch/x86/boot.rst (bzImage), the ELF specification and
include/xen/interface/elfnote.h (PVH), kernel/configs.c (IKCONFIG).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lab.build.compressed import decompress
from lab.errors import ConfigError, HostError

_HDRS_AT, _VERSION_AT, _SETUP_SECTS_AT = 0x202, 0x20E, 0x1F1
_SYSSIZE_AT, _PROTOCOL_AT, _XLOADFLAGS_AT = 0x1F4, 0x206, 0x236
_PAYLOAD_AT = 0x248
_SECTOR_BYTES = 512
_PARAGRAPH_BYTES = 16  # what syssize counts
_HAS_XLOADFLAGS = 0x020C  # boot protocol 2.12
_XLF_KERNEL_64 = 1
_PT_NOTE = 4
_XEN_PVH_NOTE = 18
_IKCONFIG = re.compile(rb"IKCFG_ST(\x1f\x8b.*?)IKCFG_ED", re.DOTALL)
_BANNER = re.compile(rb"Linux version (\S+) ")
_EM_X86_64 = 62
_HINT = "give a bzImage or vmlinux for x86-64"


class Format(StrEnum):
    """How an image is booted."""

    BZIMAGE = "bzImage"
    VMLINUX = "vmlinux"


@dataclass(frozen=True)
class ImageFacts:
    """What an image says.

    Attributes:
        format: bzImage (by firmware and its boot protocol) or vmlinux (by PVH).
        release: ``uname -r``.
        config: the configuration inside it; None where there is none or it can't be read.
        config_problem: why not.
    """

    format: Format
    release: str
    config: str | None
    config_problem: str | None = None


def read_image(path: Path) -> ImageFacts:
    """Look into a kernel image.

    Raises:
        ConfigError: it is no kernel image that can be booted here.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"a kernel image at {path}", error.strerror or "", hint=_HINT) from error
    try:
        if data[_HDRS_AT : _HDRS_AT + 4] == b"HdrS":
            return _read_bzimage(path, data)
        if data.startswith(b"\x7fELF"):
            return _read_vmlinux(path, data)
    except (struct.error, IndexError) as error:
        raise ConfigError(f"a whole kernel image at {path}", "it is cut off", hint=_HINT) from error
    raise ConfigError(f"a kernel image at {path}", "neither bzImage nor ELF", hint=_HINT)


def _read_bzimage(path: Path, data: bytes) -> ImageFacts:
    (version_at,) = struct.unpack_from("<H", data, _VERSION_AT)
    text = data[version_at + _SECTOR_BYTES : version_at + 2 * _SECTOR_BYTES].split(b"\0")[0]
    release = text.decode("ascii", errors="replace").partition(" ")[0]
    if not version_at or not release:
        raise ConfigError(f"a release in the header of {path}", "none", hint=_HINT)
    sectors = data[_SETUP_SECTS_AT] or 4
    (protocol,) = struct.unpack_from("<H", data, _PROTOCOL_AT)
    (flags,) = struct.unpack_from("<H", data, _XLOADFLAGS_AT)
    if protocol >= _HAS_XLOADFLAGS and not flags & _XLF_KERNEL_64:
        raise ConfigError(
            f"a 64-bit kernel at {path}", "a 32-bit one (XLF_KERNEL_64 is off)", hint=_HINT
        )
    (paragraphs,) = struct.unpack_from("<I", data, _SYSSIZE_AT)
    offset, length = struct.unpack_from("<II", data, _PAYLOAD_AT)
    setup_bytes = (sectors + 1) * _SECTOR_BYTES
    start = setup_bytes + offset
    whole = max(setup_bytes + paragraphs * _PARAGRAPH_BYTES, start + length)
    if len(data) < whole:
        raise ConfigError(
            f"a whole kernel image at {path}",
            f"it is cut off: {len(data)} bytes, and its header says at least {whole}",
            hint=f"copy it again, or {_HINT}",
        )
    try:
        vmlinux = decompress(data[start : start + length])
    except (HostError, ValueError) as error:
        seen = error.seen if isinstance(error, HostError) else str(error)
        return ImageFacts(Format.BZIMAGE, release, None, f"the kernel in it can't be read: {seen}")
    return ImageFacts(Format.BZIMAGE, release, *_read_config(vmlinux))


def _read_vmlinux(path: Path, data: bytes) -> ImageFacts:
    is_64bit = data[4] == 2  # noqa: PLR2004 - ELFCLASS64
    if not is_64bit or struct.unpack_from("<H", data, 18)[0] != _EM_X86_64:
        raise ConfigError(f"a kernel image at {path}", "an ELF file of another kind", hint=_HINT)
    banner = _BANNER.search(data)
    if banner is None:
        raise ConfigError(f"a kernel image at {path}", "an ELF file that is no Linux", hint=_HINT)
    if not _has_pvh_note(data):
        raise ConfigError(
            f"a vmlinux that can be started: with CONFIG_PVH, at {path}",
            "it has no PVH note",
            hint="give the bzImage of the same build: it boots through the firmware",
        )
    return ImageFacts(Format.VMLINUX, banner[1].decode(errors="replace"), *_read_config(data))


def _has_pvh_note(data: bytes) -> bool:
    """Whether a program header of type PT_NOTE holds Xen's note of a 32-bit entry point."""
    (headers_at,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for index in range(count):
        at = headers_at + index * size
        if struct.unpack_from("<I", data, at)[0] != _PT_NOTE:
            continue
        offset, _vaddr, _paddr, length = struct.unpack_from("<QQQQ", data, at + 8)
        end = min(offset + length, len(data) - 12)
        while offset < end:
            name_bytes, desc_bytes, kind = struct.unpack_from("<III", data, offset)
            name = data[offset + 12 : offset + 12 + name_bytes].rstrip(b"\0")
            if kind == _XEN_PVH_NOTE and name == b"Xen":
                return True
            offset += 12 + (name_bytes + 3) // 4 * 4 + (desc_bytes + 3) // 4 * 4
    return False


def _read_config(vmlinux: bytes) -> tuple[str | None, str | None]:
    found = _IKCONFIG.search(vmlinux)
    if found is None:
        return None, "there is none in it (CONFIG_IKCONFIG is off)"
    try:
        return decompress(found[1]).decode("utf-8", errors="replace"), None
    except ValueError as error:
        return None, str(error)
