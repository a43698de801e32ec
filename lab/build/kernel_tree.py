# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel source trees and the builds in them.

A base is unpacked once; the copy of a local tree is brought up to date. Output directories are
children of the source, so that kbuild writes relative paths. A patched tree is a copy by hard links
with a copy of the output directory of the tree that differs least, so that only what an edit
touches is compiled again.

An output directory without its stamp was not finished. If its lab was killed, it goes: kbuild
would take a half-written object for a new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.build import kconfig
from lab.build.fit import FIT, Fit, read_fit
from lab.build.inherit import choose_donor, set_times, write_changes
from lab.build.kconfig import split_known
from lab.build.kernel_plan import KernelPlan
from lab.build.local_tree import copy_tree
from lab.build.merge import apply_series
from lab.build.profiling import keep_notes, profiling_arguments
from lab.build.series import Series
from lab.build.source_tree import link_tree, unpack
from lab.build.toolchain import compiler_environment, count_jobs, find_compiler
from lab.cache import Cache, WorkTree
from lab.program import Program, Reading, run_program
from lab.progress import Progress

KEPT_SERIES_TREES = 2
_MAKE_TIMEOUT_S = 7200.0
_STAMP = ".dcbm-lab-built"
_VERSION = re.compile(r"^(?:VERSION|PATCHLEVEL) = (\d+)$", re.MULTILINE)
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
    return cache.root / "work" / "kernel" / plan.work_name / plan.tree_name / plan.out_name


@contextmanager
def open_build(cache: Cache, plan: KernelPlan, progress: Progress) -> Iterator[Path]:
    """The finished output directory of a kernel, this lab's alone until the context ends.

    Raises:
        BuildError: it doesn't build, or its configuration isn't what the fragments say.
    """
    label = plan.choice.label
    with cache.worktree("kernel", plan.work_name, progress, label) as tree:
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
                jobs = f"-j{count_jobs()}"
                argv = [*make, *profiling_arguments(plan, out), jobs, "vmlinux", "modules"]
                program = make_program(cache, argv, out, f"a built {label}", log)
                run_program(program, step, _count_objects())
            stamp.write_text(plan.key, encoding="utf-8")
            _prune(tree.path, keep=out.parent)
        yield out


def prepare_source(cache: Cache, plan: KernelPlan, progress: Progress) -> Fit:
    """Make sure of a kernel's source, patches applied, before anything is built.

    Returns:
        How the patches went on.

    Raises:
        SourceError: it can't be unpacked.
        BuildError: a patch doesn't apply.
    """
    with cache.worktree("kernel", plan.work_name, progress, plan.choice.label) as tree:
        if tree.interrupted:
            _sweep(tree)
        source = _prepare_source(tree.path, plan, log_path(cache, plan), progress)
        return read_fit(source / FIT) if plan.series is not None else Fit()


def keep_coverage(plan: KernelPlan, out: Path, directory: Path) -> None:
    """Keep what a kernel that counts its lines needs to be understood, in an artifact.

    Raises:
        BuildError: the build counts nothing.
    """
    others = _other_bases(out.parent.with_name("vanilla"))
    keep_notes(plan, out, directory, _label(plan), others)


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
    tree = _prepare_source(root, plan, log, progress)
    out = tree / plan.out_name
    if plan.series is not None and not out.is_dir():
        _inherit(plan, tree, log, progress)
    out.mkdir(exist_ok=True)


def _prepare_source(root: Path, plan: KernelPlan, log: Path, progress: Progress) -> Path:
    """Make sure of the source tree and return it."""
    vanilla = root / "vanilla"
    if plan.local is not None:
        if copy_tree(plan.local, vanilla, progress):
            # Finished, but no longer what the source there says.
            for stamp in vanilla.glob(f"out-*/{_STAMP}"):
                stamp.write_text("", encoding="utf-8")
    elif not vanilla.is_dir():
        unpack(plan.fetched, vanilla, log, progress)
    tree = root / plan.tree_name
    if plan.series is not None and not (tree / FIT).is_file():
        shutil.rmtree(tree, ignore_errors=True)
        _patch_tree(plan, plan.series, tree, log, progress)
    tree.touch()
    return tree


def _patch_tree(
    plan: KernelPlan, series: Series, tree: Path, log: Path, progress: Progress
) -> None:
    """Make the patched tree beside the pristine one."""
    vanilla = tree.with_name("vanilla")
    fresh = tree.with_name(f".partial-{tree.name}")
    shutil.rmtree(fresh, ignore_errors=True)
    link_tree(vanilla, fresh, log)
    try:
        with progress.step(f"applying {len(series.patches)} patches of {series.origin}", log=log):
            others = _other_bases(vanilla)
            merge = apply_series(series, vanilla, fresh, label=_label(plan), others=others)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    write_changes(fresh, merge.changes)
    Fit(tuple(merge.merged), tuple(merge.known)).write(fresh / FIT)
    fresh.replace(tree)


def _label(plan: KernelPlan) -> str:
    """The source's name for messages."""
    if plan.local is not None:
        return f"{plan.local.path} ({plan.local.version})"
    return f"base {plan.choice.base} ({plan.fetched.version})"


def _other_bases(vanilla: Path) -> dict[str, Path]:
    """Pristine trees of other bases that were unpacked before, by version."""
    found: dict[str, Path] = {}
    for tree in sorted(vanilla.parent.parent.glob("*/vanilla")):
        if tree == vanilla or tree.parent.name.startswith("tree-"):
            continue
        with contextlib.suppress(OSError):
            numbers = _VERSION.findall((tree / "Makefile").read_text(encoding="utf-8"))
            found[".".join(numbers)] = tree
    return found


def _inherit(plan: KernelPlan, tree: Path, log: Path, progress: Progress) -> None:
    """Start from the finished build of another tree, if there is one."""
    vanilla = tree.with_name("vanilla")
    # Patched trees beside a local one may have been made from what it was before.
    patched = [] if plan.local is not None else sorted(tree.parent.glob("patched-*"))
    donors = [other for other in (vanilla, *patched) if (other / plan.out_name / _STAMP).is_file()]
    donor = choose_donor(donors, vanilla, tree)
    if donor is None:
        return
    partial = tree / f".partial-{plan.out_name}"
    shutil.rmtree(partial, ignore_errors=True)
    kind = "vanilla" if donor == vanilla else "last patched"
    with progress.step(f"starting {plan.choice.label} from the {kind} build", log=log):
        run_program(
            Program(
                ["cp", "-a", "--reflink=auto", donor / plan.out_name, partial],
                awaited=f"a copy of {donor / plan.out_name}",
                log=log,
            )
        )
    (partial / _STAMP).unlink()
    _rename_paths(partial, str(donor), str(tree))
    set_times(donor, vanilla, tree)
    partial.replace(tree / plan.out_name)


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
    wishes = kconfig.read_fragments(plan.fragments)
    # Whoever brings a source decides what it has; what it doesn't have of the lab's wishes is said,
    # not refused. What they wish themselves it has to have, or the series that goes on top of it.
    theirs = {wish.symbol for wish in kconfig.read_fragments(plan.choice.fragments)}
    lenient = [
        wish
        for wish in wishes
        if (plan.choice.under_series if wish.symbol in theirs else plan.foreign)
    ]
    if lenient:
        strict = [wish for wish in wishes if wish not in lenient]
        known, unknown = split_known(lenient, out.parent)
        wishes = [*strict, *known]
        for wish in unknown:
            progress.warn(f"{plan.choice.label} has no {wish.symbol} ({wish.fragment})")
    wanted = out / ".dcbm-lab-fragments"
    wanted.write_text("".join(f"{wish.line}\n" for wish in wishes), encoding="utf-8")
    with progress.step(f"configuring {plan.choice.label}", log=log) as step:
        argv = [*make_command(out), "-s", f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig"]
        run_program(make_program(cache, argv, out, "a resolved configuration", log), step)
        kconfig.check_config(wishes, out / ".config", out.parent)


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
