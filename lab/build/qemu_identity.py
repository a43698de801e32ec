# SPDX-License-Identifier: GPL-2.0-or-later
"""What a QEMU is built from, in hashes that are the same on every host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.build.overlay import is_laid
from lab.build.port import open_port
from lab.build.qemu import sources_of_base
from lab.build.source_tree import identify
from lab.build.toolchain import identify_compiler
from lab.cache import Cache, hash_file, hash_tree, make_key
from lab.checkout import QEMU_DEVICES
from lab.progress import Progress
from lab.sources import fetch


@dataclass(frozen=True)
class QemuOrigin:
    """What a QEMU is built from.

    Attributes:
        base: its name in the lab file.
        source_version: version of the source, in its distributor's words.
        fallback: why another source than the pinned one was taken; None if it wasn't.
        source_hash: of the source.
        devices_hash: of the device models, and of all that is changed in that source.
        compiler: compiler and linker.
    """

    base: str
    source_version: str
    fallback: str | None
    source_hash: str
    devices_hash: str
    compiler: str


def identify_qemu(
    cache: Cache, base: str, progress: Progress, devices: Path = QEMU_DEVICES
) -> QemuOrigin:
    """What a QEMU base is built from, without building it.

    Raises:
        ConfigError: there is no such base.
        SourceError: its source can't be had.
        HostError: there is no compiler.
    """
    fetched = fetch(cache, sources_of_base(base), progress)
    port = open_port(devices, base)
    changes = [*port.patch_files, *port.glue_files]
    return QemuOrigin(
        base=base,
        source_version=fetched.version,
        fallback=fetched.fallback,
        source_hash=make_key(source=identify(fetched)),
        devices_hash=make_key(
            devices=hash_tree(devices, skip=lambda relative: not is_laid(relative)),
            patches=" ".join(hash_file(path) for path in changes),
            rules=port.rules.model_dump_json(),
        ),
        compiler=identify_compiler(),
    )
