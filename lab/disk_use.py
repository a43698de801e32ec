# SPDX-License-Identifier: GPL-2.0-or-later
"""How much of the disk a directory takes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def size_on_disk(root: Path) -> int:
    """Bytes on disk of all that is below `root`, hard links counted once, holes not at all.

    What goes away meanwhile counts as nothing. Build trees have hundreds of thousands of files, so
    this makes no objects of them.
    """
    linked: set[tuple[int, int]] = set()
    total_bytes = 0
    folders = [os.fspath(root)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    info = entry.stat(follow_symlinks=False)
                    if info.st_nlink > 1:
                        identity = (info.st_dev, info.st_ino)
                        if identity in linked:
                            continue
                        linked.add(identity)
                    total_bytes += info.st_blocks * 512
    return total_bytes
