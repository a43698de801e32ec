# SPDX-License-Identifier: GPL-2.0-or-later
"""From what was fetched to a source tree to build in."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from lab.errors import BuildError, SourceError
from lab.program import Program, run_program
from lab.progress import Progress
from lab.sources import Fetched
from lab.sources.pins import DebianPackage, TreeSource

_UNPACK_TIMEOUT_S = 1200.0
_NOT_SOURCE = {".git", ".hg"}


def identify_tree(tree: Path) -> str:
    """Identity of a local tree from the names, sizes and change times of its files."""
    digest = hashlib.sha256()
    for directory, names, files in os.walk(tree):
        names[:] = sorted(set(names) - _NOT_SOURCE)
        for name in sorted(files):
            path = Path(directory) / name
            info = path.lstat()
            line = f"{path.relative_to(tree)} {info.st_size} {info.st_mtime_ns} {info.st_mode}\n"
            digest.update(line.encode())
    return digest.hexdigest()


def identify(fetched: Fetched) -> str:
    """What a key of anything built from `fetched` has to contain."""
    if isinstance(fetched.source, TreeSource):
        return identify_tree(fetched.files[0])
    return fetched.identity


def unpack(fetched: Fetched, tree: Path, log: Path, progress: Progress) -> None:
    """Make `tree`, which doesn't exist, the source tree; half of it is never seen at that path.

    Raises:
        SourceError: the files can't be unpacked.
    """
    partial = tree.with_name(f".partial-{tree.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with progress.step(f"unpacking {fetched.source.label}", log=log) as step:
        for argv in _unpack_commands(fetched, partial):
            run_program(
                Program(
                    argv,
                    awaited=f"an unpacked {fetched.source.label}",
                    log=log,
                    timeout_s=_UNPACK_TIMEOUT_S,
                    error=SourceError,
                    hint="dcbm-lab cache verify shows whether the download is damaged",
                ),
                step,
            )
    top = partial / "source"
    if not top.is_dir():
        raise SourceError(f"a source tree in {fetched.source.label}", f"none at {top}", log=log)
    top.replace(tree)
    shutil.rmtree(partial, ignore_errors=True)


def _unpack_commands(fetched: Fetched, partial: Path) -> list[list[str | Path]]:
    """Commands that leave the tree at ``partial/source``."""
    top = partial / "source"
    source = fetched.source
    if isinstance(source, TreeSource):
        return [["cp", "-a", "--reflink=auto", fetched.files[0], top]]
    if isinstance(source, DebianPackage) and source.is_source:
        # the archive's signed lists vouch for the files; the maintainer's own signature need not
        # be known here
        return [["dpkg-source", "--no-check", "-x", fetched.one(".dsc"), top]]
    top.mkdir()
    if isinstance(source, DebianPackage):
        if source.member is None:
            raise SourceError(f"the member that is the source in {source.label}", "no member named")
        return [
            ["dpkg-deb", "-x", fetched.one(".deb"), partial / "package"],
            _untar(partial / "package" / source.member, top),
        ]
    return [_untar(fetched.files[0], top)]


def _untar(archive: Path, top: Path) -> list[str | Path]:
    return ["tar", "-xf", archive, "-C", top, "--strip-components=1", "--no-same-owner"]


def link_tree(source: Path, target: Path, log: Path, *, skip: str = "out-") -> None:
    """Make `target` a copy of `source` by hard links, without top directories named ``skip…``.

    Whoever changes a file in either tree has to replace it, never to write into it.

    Raises:
        BuildError: the copy fails.
    """
    partial = target.with_name(f".partial-{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    items = sorted(item for item in source.iterdir() if not item.name.startswith(skip))
    run_program(
        Program(
            ["cp", "-al", *items, partial],
            awaited=f"a linked copy of {source}",
            log=log,
            error=BuildError,
            hint="check the room that is left (dcbm-lab doctor)",
        )
    )
    partial.replace(target)
