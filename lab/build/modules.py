# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own kernel modules, built against a kernel of ours."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.build.kernel import KernelArtifact
from lab.build.kernel_tree import make_program, open_build
from lab.build.recipe import hash_recipe
from lab.build.toolchain import count_jobs, find_compiler
from lab.cache import Cache, hash_tree, make_key
from lab.checkout import IMAGES
from lab.errors import BuildError
from lab.program import run_program
from lab.progress import Progress

_RECIPE = ("build/modules.py", "build/kernel_tree.py", "build/toolchain.py")


def build_modules(cache: Cache, kernel: KernelArtifact, progress: Progress) -> Path:
    """Directory with the modules of ``images/modules/`` for this kernel.

    Raises:
        BuildError: one doesn't build, or none came out.
    """
    key = make_key(
        recipe=hash_recipe(*_RECIPE),
        kernel=kernel.key,
        modules=hash_tree(IMAGES / "modules"),
        headers=hash_tree(IMAGES / "include"),
    )
    log = cache.root / "logs" / f"modules-{key}.log"

    def build(directory: Path) -> None:
        # kbuild writes beside the sources, so it gets a copy of them
        copy = directory / "build"
        shutil.copytree(IMAGES / "modules", copy / "modules")
        shutil.copytree(IMAGES / "include", copy / "include")
        log.unlink(missing_ok=True)
        label = f"modules for {kernel.plan.choice.label}"
        with (
            open_build(cache, kernel.plan, progress) as out,
            progress.step(f"building {label}", log=log) as step,
        ):
            argv: list[str | Path] = ["make", f"-C{out}", f"M={copy / 'modules'}"]
            argv += [f"CC={find_compiler()}", f"KCFLAGS=-ffile-prefix-map={copy}=."]
            argv += [f"-j{count_jobs()}", "W=1", "modules"]
            run_program(make_program(cache, argv, out, f"built {label}", log), step)
        built = sorted((copy / "modules").glob("*.ko"))
        if not built:
            raise BuildError(f"modules from {IMAGES / 'modules'}", "no .ko file", log=log)
        for module in built:
            module.replace(directory / module.name)
        shutil.rmtree(copy)

    return cache.entry("modules", key, build, title="our kernel modules", progress=progress)
