# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths in a tree that may have links: what stands where a folder is wanted is never followed.

A link in a copy of a user's tree may lead back into that tree, or anywhere.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


def find_obstacle(root: Path, name: str) -> str | None:
    """The first parent of a file that is no folder of the tree's own: a link, or a file.

    Args:
        root: top of the tree; how it is reached itself doesn't matter.
        name: the file's path below it, with slashes, whether it is there or not.

    Returns:
        The parent's path below `root`; None where all parents are folders, or aren't there.
    """
    return Parents(root).obstacle(name)


def describe_obstacle(root: Path, name: str) -> str:
    """What stands at a path that isn't the folder that it would have to be."""
    path = root / name
    return f"a link to {path.readlink()}" if path.is_symlink() else "a file"


class Parents:
    """Looks at the parents of many files of one tree, which must not change meanwhile."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._known: dict[str, str | None] = {"": None}

    def obstacle(self, name: str) -> str | None:
        """As `find_obstacle`."""
        return self._of_folder(name.rpartition("/")[0])

    def _of_folder(self, folder: str) -> str | None:
        """Which of a folder and its parents is none; None if all are, or from where none is."""
        if folder not in self._known:
            found = self._of_folder(folder.rpartition("/")[0])
            if found is None:
                try:
                    mode = os.lstat(f"{self._root}/{folder}").st_mode
                except FileNotFoundError:
                    pass
                else:
                    found = None if stat.S_ISDIR(mode) else folder
            self._known[folder] = found
        return self._known[folder]
