# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU beside its firmware, where a binary from a build tree looks for it.

libqtest and libFuzzer start QEMU without ``-L``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

_BUNDLE = Path("qemu-bundle/usr/local/share/qemu")


def bundle(binaries: Iterable[Path], firmware_dirs: Iterable[Path], home: Path) -> None:
    """Copy binaries into `home`, and the firmware to where they find it.

    Of files of one name, the first directory's is taken.
    """
    data = home / _BUNDLE
    data.mkdir(parents=True)
    for binary in binaries:
        shutil.copy2(binary, home)
    for directory in firmware_dirs:
        for path in sorted(directory.iterdir()):
            if path.is_file() and not (data / path.name).exists():
                shutil.copy2(path, data)
