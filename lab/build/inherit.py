# SPDX-License-Identifier: GPL-2.0-or-later
"""A patched tree starts from the objects of the finished build that differs least from it.

make compares times, so a file that differs from the one that an inherited object was built from
has to be newer than every object, and one that doesn't keeps the time that it had there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.build.merge import Change
from lab.build.obstacle import find_obstacle

CHANGES = ".dcbm-lab-changes"
_HEADER_WEIGHT = 100  # a header is in many objects

Changes = Mapping[str, "Change | None"]


def write_changes(tree: Path, changes: Changes) -> None:
    """Keep what makes a patched tree differ from its base."""
    text = json.dumps(
        {path: [made.mode, made.blob] if made else None for path, made in changes.items()}
    )
    (tree / CHANGES).write_text(text, encoding="utf-8")


def read_changes(tree: Path) -> Changes:
    """What makes a tree differ from its base; nothing for the base itself.

    Raises:
        OSError, ValueError: a patched tree without a usable list.
    """
    data = json.loads((tree / CHANGES).read_text(encoding="utf-8"))
    return {path: Change(*made) if made else None for path, made in data.items()}


def choose_donor(donors: Sequence[Path], vanilla: Path, tree: Path) -> Path | None:
    """The one of `donors`, trees with a finished build, that differs least from `tree`."""
    wanted = read_changes(tree)
    best: tuple[int, Path] | None = None
    for other in donors:
        try:
            differing = _differing(wanted, _changes_of(other, vanilla))
        except (OSError, ValueError):
            continue
        if any((tree / path).is_symlink() for path in differing):
            continue  # make looks at the time of what a link leads to, which others share
        cost = sum(_HEADER_WEIGHT if path.endswith(".h") else 1 for path in differing)
        if best is None or cost < best[0]:
            best = (cost, other)
    return best[1] if best else None


def set_times(donor: Path, vanilla: Path, tree: Path) -> None:
    """Give the files of `tree` times that fit the objects of `donor`."""
    wanted, had = read_changes(tree), _changes_of(donor, vanilla)
    differing = _differing(wanted, had)
    for path in {*wanted, *had}:
        file = tree / path
        if find_obstacle(tree, path) is not None or not os.path.lexists(file):
            continue  # and a link's own time counts, not that of what it leads to
        if path not in differing:
            info = (donor / path).lstat()
            os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)
            continue
        if path not in wanted:
            _unshare(file)  # the base's own file: its time there means something too
        os.utime(file, follow_symlinks=False)


def _changes_of(tree: Path, vanilla: Path) -> Changes:
    return {} if tree == vanilla else read_changes(tree)


def _differing(one: Changes, other: Changes) -> set[str]:
    missing = object()
    return {path for path in {*one, *other} if one.get(path, missing) != other.get(path, missing)}


def _unshare(file: Path) -> None:
    """Make a file with several links one of its own."""
    partial = file.with_name(f".{file.name}.dcbm-lab-partial")
    shutil.copy2(file, partial, follow_symlinks=False)
    partial.replace(file)
