# SPDX-License-Identifier: GPL-2.0-or-later
"""Our kernel series: a queue of patches for a base, applied in order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from lab.errors import BuildError, ConfigError
from lab.program import Program, run_program
from lab.progress import Progress

_PATCH = ("patch", "-p1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch", "-r", "-")


def read_series(folder: Path) -> list[Path]:
    """Patches of a queue in the order of its ``series`` file.

    Raises:
        ConfigError: there is no such file, it names a patch that isn't there, or names none.
    """
    order = folder / "series"
    hint = f"add the queue to {folder}, or run without the series"
    try:
        lines = order.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"a patch queue at {folder}", str(error), hint=hint) from error
    names = [line.partition("#")[0].strip() for line in lines]
    patches = [folder / name for name in names if name]
    missing = [patch.name for patch in patches if not patch.is_file()]
    if missing or not patches:
        seen = f"missing: {', '.join(missing)}" if missing else "it names no patch"
        raise ConfigError(f"the patches that {order} names", seen, hint=hint)
    return patches


def hash_series(patches: Sequence[Path]) -> str:
    """SHA-256 over the patches' contents, in order."""
    digest = hashlib.sha256()
    for patch in patches:
        digest.update(hashlib.sha256(patch.read_bytes()).digest())
    return digest.hexdigest()


def apply_patches(patches: Sequence[Path], tree: Path, log: Path, progress: Progress) -> None:
    """Apply patches to a tree; changed files are replaced, so that other links keep theirs.

    Raises:
        BuildError: one does not apply; the message names it.
    """
    with progress.step(f"applying {len(patches)} patches", log=log) as step:
        for number, patch in enumerate(patches, 1):
            step.update(patch.name, number / len(patches))
            run_program(
                Program(
                    [*_PATCH, "-i", patch],
                    awaited=f"{patch.name} applied to {tree}",
                    log=log,
                    cwd=tree,
                    error=BuildError,
                    hint=f"the base has changed under {patch.name}: refresh it",
                )
            )
