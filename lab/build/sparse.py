# SPDX-License-Identifier: GPL-2.0-or-later
"""sparse, the kernel's semantic checker, built from Debian's newest source package."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.build.recipe import hash_recipe
from lab.build.source_tree import identify, unpack
from lab.build.toolchain import compiler_environment, count_jobs, identify_compiler
from lab.cache import Cache, make_key
from lab.checkout import KERNEL_CONFIG
from lab.errors import BuildError
from lab.program import Program, run_program
from lab.progress import Progress
from lab.sources import fetch
from lab.sources.pins import sources_of

_RECIPE = ("build/sparse.py", "build/source_tree.py")
_TIMEOUT_S = 600.0
# What its other programs need; Debian's package names a compiler that only its suite has.
_OPTIONS = ("CC=gcc", "HAVE_SQLITE=no", "HAVE_GTK=no", "HAVE_LLVM=no", "HAVE_LIBXML=no")


@dataclass(frozen=True)
class Sparse:
    """A built sparse.

    Attributes:
        program: the program.
        version: of its source package: it still calls itself 0.6.4.
    """

    program: Path
    version: str


def build_sparse(cache: Cache, progress: Progress) -> Sparse:
    """Sparse, from the cache or built.

    Raises:
        SourceError: its source can't be had.
        BuildError: it doesn't build.
    """
    fetched = fetch(cache, sources_of(KERNEL_CONFIG / "tools.toml", "sparse"), progress)
    log = cache.root / "logs" / "sparse.log"

    def build(directory: Path) -> None:
        tree = directory / "tree"
        unpack(fetched, tree, log, progress)
        with progress.step("building sparse", log=log) as step:
            run_program(
                Program(
                    ["make", f"-j{count_jobs()}", *_OPTIONS, "sparse"],
                    awaited="a built sparse",
                    log=log,
                    cwd=tree,
                    env=compiler_environment(cache),
                    timeout_s=_TIMEOUT_S,
                    error=BuildError,
                ),
                step,
            )
        shutil.copy2(tree / "sparse", directory / "sparse")
        shutil.rmtree(tree)

    key = make_key(
        source=identify(fetched), recipe=hash_recipe(*_RECIPE), compiler=identify_compiler()
    )
    title = f"sparse {fetched.version}"
    path = cache.entry("sparse", key, build, title=title, progress=progress)
    return Sparse(path / "sparse", fetched.version)
