# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user's git tree has on top of its HEAD, as patches that make it again elsewhere."""

from __future__ import annotations

from pathlib import Path

from lab.build.git import Repository

# Private there: a change in that file would give every kernel another key and build it again.
from lab.build.local_tree import _DIFF, LocalTree, _reader, _untracked
from lab.errors import ConfigError

TRACKED, UNTRACKED = "tracked.patch", "untracked.patch"
_NO_INDEX = (
    *("diff", "--no-index", "--binary", "--full-index", "--no-color", "--no-ext-diff"),
    *("--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "--", "/dev/null"),
)


def write_changes(tree: LocalTree, folder: Path) -> list[str]:
    """Write the patches into a folder, which is made; returns their file names in order.

    ``tracked.patch`` is for ``git apply --index``, ``untracked.patch`` for ``git apply``: then git
    knows the same files there as here, and the tree has the same identity.

    Raises:
        ConfigError: git can't read the tree, or an untracked file is neither file nor link.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _reader(tree.path) as repository:
        tracked = repository.tell(*_DIFF)
        untracked = b"".join(_added(repository, name) for name in _untracked(repository))
    written = []
    for name, content in ((TRACKED, tracked), (UNTRACKED, untracked)):
        if content:
            (folder / name).write_bytes(content)
            written.append(name)
    return written


def _added(repository: Repository, name: str) -> bytes:
    # exit status 1 says that there is a difference, as there has to be
    answer = repository.ask(*_NO_INDEX, name)
    if answer.status > 1 or answer.said:
        raise ConfigError(
            f"{name} in {repository.path} as a patch",
            answer.said or f"git's exit status {answer.status}",
            hint="move it away, or name it in .git/info/exclude",
        )
    return answer.out
