# SPDX-License-Identifier: GPL-2.0-or-later
"""Which patch of a series a line of the patched source comes from."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lab.build.git import Repository
from lab.build.series import Series
from lab.errors import HostError

_LINE = re.compile(rb"^([0-9a-f]{40}) \d+ (\d+)(?: \d+)?$", re.MULTILINE)


def blame_lines(series: Series, base: Path, tree: Path) -> Mapping[str, dict[int, int]]:
    """For each file that a series names, its lines by number with the patch's index, from 0.

    Lines of the base aren't there. Where a patch only applied by a three-way merge, its lines and
    those of the patches after it are counted to the last patch that names the file.

    Raises:
        HostError: git fails.
    """
    paths = sorted({path for patch in series.patches for path in patch.paths})
    with tempfile.TemporaryDirectory(prefix="dcbm-lab-blame-") as folder:
        place = Path(folder)
        git = Repository(place, own=True)
        made = git.ask("init", "--quiet", "--template=")
        if not made.ok:
            raise HostError(f"a scratch repository at {place}", made.said)
        _copy(base, place, paths)
        commits = {_commit(git, "base"): -1}
        merged = False
        for number, patch in enumerate(series.patches):
            merged = (
                merged
                or not git.ask("apply", "--index", "--whitespace=nowarn", "-", stdin=patch.diff).ok
            )
            if merged:
                break
            commits[_commit(git, patch.name)] = number
        _copy(tree, place, paths)
        commits[_commit(git, "as it is")] = len(series.patches)
        return {path: _blame(git, series, commits, path) for path in paths}


def _copy(source: Path, place: Path, paths: list[str]) -> None:
    for path in paths:
        target = place / path
        target.unlink(missing_ok=True)
        if (source / path).is_file() and not (source / path).is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, target)


def _commit(git: Repository, message: str) -> str:
    git.tell("add", "--force", "--all", ".")
    git.tell("commit", "--quiet", "--allow-empty", "--no-verify", "-m", message)
    return git.tell("rev-parse", "HEAD").decode().strip()


def _blame(
    git: Repository, series: Series, commits: Mapping[str, int], path: str
) -> dict[int, int]:
    answer = git.ask("blame", "--porcelain", "HEAD", "--", path)
    if not answer.ok:  # the series removes it
        return {}
    naming = [number for number, patch in enumerate(series.patches) if path in patch.paths]
    found = {}
    for commit, line in _LINE.findall(answer.out):
        number = commits[commit.decode()]
        if number >= 0:
            found[int(line)] = min(number, naming[-1])
    return found
