# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel source trees and the builds in them.

A base is unpacked once. Its output directories are children of it, so that kbuild writes relative
paths. The patched tree is a copy by hard links with a copy of the output directory, so that
only what the series touches is compiled again.

An output directory without its stamp was not finished. If its lab was killed, it goes: kbuild
would take a half-written object for a new one.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.build import kconfig
from lab.build.kernel_plan import KernelPlan
from lab.build.series import apply_patches
from lab.build.source_tree import link_tree, unpack
from lab.build.toolchain import compiler_environment, count_jobs, find_compiler
from lab.cache import Cache, WorkTree
from lab.program import Program, Reading, run_program
from lab.progress import Progress

KEPT_SERIES_TREES = 2
_MAKE_TIMEOUT_S = 7200.0
_STAMP = ".dcbm-lab-built"
_PATCHED = re.compile(r"^\+\+\+ b/([^\t\n]+)", re.MULTILINE)
_TOOL_LINE = re.compile(r"^\s+(?:CC|LD|AR|AS|HOSTCC|HOSTLD)\s")
_USUAL_TOOL_LINES = 1600  # of a cold build; only the bar depends on it
_REPRODUCIBLE = {
    "ARCH": "x86_64",
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 2026",
    "KBUILD_BUILD_USER": "dcbm",
    "KBUILD_BUILD_HOST": "lab",
    "KBUILD_BUILD_VERSION": "1",
}


def log_path(cache: Cache, plan: KernelPlan) -> Path:
    """Where the output of this kernel's build is kept."""
    return cache.root / "logs" / f"kernel-{plan.key}.log"


def build_dir(cache: Cache, plan: KernelPlan) -> Path:
    """Output directory of this kernel, whether it exists or not."""
    return cache.root / "work" / "kernel" / plan.source_key / plan.tree_name / plan.out_name


@contextmanager
def open_build(cache: Cache, plan: KernelPlan, progress: Progress) -> Iterator[Path]:
    """The finished output directory of a kernel, this lab's alone until the context ends.

    Raises:
        BuildError: it doesn't build, or its configuration isn't what the fragments say.
    """
    label = plan.choice.label
    with cache.worktree("kernel", plan.source_key, progress, label) as tree:
        if tree.interrupted:
            _sweep(tree)
        out = build_dir(cache, plan)
        stamp = out / _STAMP
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != plan.key:
            log = log_path(cache, plan)
            log.unlink(missing_ok=True)
            _prepare(tree.path, plan, log, progress)
            stamp.unlink(missing_ok=True)
            _configure(cache, plan, out, log, progress)
            with progress.step(f"building {label}", log=log) as step:
                make = make_command(out)
                argv = [*make, f"-j{count_jobs()}", "vmlinux", "modules"]
                program = make_program(cache, argv, out, f"a built {label}", log)
                run_program(program, step, _count_objects())
            stamp.write_text(plan.key, encoding="utf-8")
            _prune(tree.path, keep=out.parent)
        yield out


def make_command(out: Path) -> list[str | Path]:
    """``make`` in the source tree for the output directory `out`, its child."""
    return ["make", f"O={out.name}", f"CC={find_compiler()}"]


def kernel_environment(cache: Cache) -> dict[str, str]:
    """Variables that kernels are built with; nothing of this host gets into them."""
    return {**_REPRODUCIBLE, **compiler_environment(cache)}


def make_program(
    cache: Cache, argv: list[str | Path], out: Path, awaited: str, log: Path
) -> Program:
    """A make run in the source tree of `out`, with the environment that kernels are built in."""
    return Program(
        argv,
        awaited=awaited,
        log=log,
        cwd=out.parent,
        env=kernel_environment(cache),
        timeout_s=_MAKE_TIMEOUT_S,
        hint="the log has the whole output; dcbm-lab doctor says whether a tool is missing",
    )


def _sweep(tree: WorkTree) -> None:
    """Remove what a killed lab left unfinished."""
    for out in tree.path.glob("*/out-*"):
        if not (out / _STAMP).exists():
            shutil.rmtree(out)


def _prepare(root: Path, plan: KernelPlan, log: Path, progress: Progress) -> None:
    """Make sure of the source tree and of an output directory to start from."""
    vanilla = root / "vanilla"
    if not vanilla.is_dir():
        unpack(plan.fetched, vanilla, log, progress)
    tree = root / plan.tree_name
    if not tree.is_dir():
        fresh = root / f".partial-{plan.tree_name}"
        shutil.rmtree(fresh, ignore_errors=True)
        link_tree(vanilla, fresh, log)
        apply_patches(plan.patches, fresh, log, progress)
        fresh.replace(tree)
    tree.touch()
    out = tree / plan.out_name
    base = vanilla / plan.out_name
    if not out.is_dir() and (base / _STAMP).is_file():
        partial = tree / f".partial-{plan.out_name}"
        shutil.rmtree(partial, ignore_errors=True)
        with progress.step(f"starting {plan.choice.label} from the vanilla build", log=log):
            run_program(
                Program(
                    ["cp", "-a", "--reflink=auto", base, partial],
                    awaited=f"a copy of {base}",
                    log=log,
                )
            )
        (partial / _STAMP).unlink()
        _rename_paths(partial, str(vanilla), str(tree))
        _touch_patched(plan.patches, tree)
        partial.replace(out)
    out.mkdir(exist_ok=True)


def _touch_patched(patches: tuple[Path, ...], tree: Path) -> None:
    """Make the files that the series changes newer than every object in a copied output directory.

    The tree may be older than the vanilla build that the objects come from: it was patched for
    another variant. make would take vanilla objects for those of the patched files.
    """
    for patch in patches:
        for name in _PATCHED.findall(patch.read_text(encoding="utf-8", errors="replace")):
            if (tree / name).is_file():
                os.utime(tree / name)


def _rename_paths(out: Path, old: str, new: str) -> None:
    """Give the tools' dependency files in a copied output directory the new place of the tree.

    The kernel proper is built with relative paths, its tools with absolute ones. Were objtool built
    again, so would be every object that it has checked.
    """
    for path in [*out.glob("tools/**/.*.cmd"), *out.glob("tools/**/.*.d")]:
        times = path.stat()
        text = path.read_bytes()
        path.write_bytes(text.replace(f"{old}/".encode(), f"{new}/".encode()))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _configure(cache: Cache, plan: KernelPlan, out: Path, log: Path, progress: Progress) -> None:
    wanted = out / ".dcbm-lab-fragments"
    wanted.write_bytes(b"\n".join(path.read_bytes() for path in plan.fragments))
    with progress.step(f"configuring {plan.choice.label}", log=log) as step:
        argv = [*make_command(out), "-s", f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig"]
        run_program(make_program(cache, argv, out, "a resolved configuration", log), step)
        kconfig.check_config(kconfig.read_fragments(plan.fragments), out / ".config", out.parent)


def _count_objects() -> Callable[[str], Reading | None]:
    count = 0

    def read(line: str) -> Reading | None:
        nonlocal count
        if not _TOOL_LINE.match(line):
            return None
        count += 1
        return f"{line.strip()} ({count} files)", min(count / _USUAL_TOOL_LINES, 0.99)

    return read


def _prune(root: Path, *, keep: Path) -> None:
    """Remove patched trees of older series; the newest few may be wanted for comparing."""
    trees = sorted(root.glob("patched-*"), key=lambda tree: -tree.stat().st_mtime)
    for tree in trees[KEPT_SERIES_TREES:]:
        if tree != keep:
            shutil.rmtree(tree)
