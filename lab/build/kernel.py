# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels as artifacts: what boots, what documents it, and the modules that belong to it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.build.fit import FIT, Fit, read_fit
from lab.build.kernel_plan import KernelChoice, KernelPlan, make_plan
from lab.build.kernel_tree import (
    build_dir,
    keep_coverage,
    kernel_environment,
    log_path,
    make_command,
    make_program,
    open_build,
    prepare_source,
)
from lab.build.profiling import NOTES
from lab.cache import Cache
from lab.config import Variant
from lab.errors import BuildError
from lab.program import ask_program, run_program
from lab.progress import Progress

__all__ = ["KernelArtifact", "KernelChoice", "build_kernel"]

_FILES = {
    "vmlinux": "vmlinux",
    ".config": "config",
    "System.map": "System.map",
    "Module.symvers": "Module.symvers",
}
_KEPT_FIT = "fit.json"


@dataclass(frozen=True)
class KernelArtifact:
    """A built kernel.

    Attributes:
        path: its entry in the cache.
        release: ``uname -r``.
        build_dir: output directory it was built in; only `lab.build.modules` works in it.
        plan: everything it was built from.
    """

    path: Path
    release: str
    build_dir: Path
    plan: KernelPlan

    @property
    def vmlinux(self) -> Path:
        """Uncompressed image, started by PVH."""
        return self.path / "vmlinux"

    @property
    def config(self) -> Path:
        """Resolved configuration."""
        return self.path / "config"

    @property
    def system_map(self) -> Path:
        """Symbols and their addresses."""
        return self.path / "System.map"

    @property
    def modules_dir(self) -> Path:
        """``lib/modules/<release>`` with the kernel's own modules."""
        return self.path / "root" / "lib" / "modules" / self.release

    @property
    def coverage(self) -> Path | None:
        """What turns its counters into lines (`lab.build.profiling`); None if it counts none."""
        notes = self.path / NOTES
        return notes if notes.is_dir() else None

    @property
    def key(self) -> str:
        """Key in the cache."""
        return self.plan.key

    @property
    def base(self) -> str:
        """Name of the base, ``tree`` for a local one."""
        return self.plan.choice.base if self.plan.local is None else "tree"

    @property
    def variant(self) -> Variant:
        """Instrumentation."""
        return self.plan.choice.variant

    @property
    def series(self) -> str | None:
        """Hash of the series, None without one."""
        return self.plan.series.hash if self.plan.series else None

    @property
    def patches(self) -> list[tuple[str, str]]:
        """Subject and patch id of every patch of the series."""
        series = self.plan.series
        return [(patch.subject, patch.patch_id) for patch in series.patches] if series else []

    @property
    def fit(self) -> Fit:
        """How those patches went on."""
        return read_fit(self.path / _KEPT_FIT) if self.plan.series else Fit()

    @property
    def commit(self) -> str | None:
        """HEAD of the local tree that is its source; None for a pinned one."""
        return self.plan.local.commit if self.plan.local else None

    @property
    def diff(self) -> str | None:
        """SHA-256 of what that tree has on top of its HEAD; None where nothing."""
        return self.plan.local.diff if self.plan.local else None

    @property
    def version(self) -> str:
        """Version of the source, in its distributor's words."""
        return self.plan.local.version if self.plan.local else self.plan.fetched.version

    @property
    def source_hash(self) -> str:
        """Identity of the source."""
        return self.plan.source_key

    @property
    def config_hash(self) -> str:
        """SHA-256 of the fragments."""
        return self.plan.config_hash

    @property
    def compiler(self) -> str:
        """Compiler and linker."""
        return self.plan.compiler

    @property
    def fallback(self) -> str | None:
        """Why another source than the pinned one was taken; None if it wasn't."""
        return self.plan.fetched.fallback


def build_kernel(cache: Cache, choice: KernelChoice, progress: Progress) -> KernelArtifact:
    """The kernel, from the cache or built.

    Raises:
        ConfigError: no such base or variant, or fragments that contradict each other.
        SourceError: its source can't be had.
        BuildError: it doesn't build, or its configuration isn't what the fragments say.
    """
    plan = make_plan(cache, choice, progress)
    known = cache.find("kernel", plan.key) is not None
    if plan.series is not None and not known:
        # a patch that doesn't apply is said at once, and so is one that changes nothing
        prepare_source(cache, plan, progress).say(plan.series, progress)
        # its output directory is where the patched build starts
        build_kernel(cache, choice.below(), progress)

    def build(directory: Path) -> None:
        with open_build(cache, plan, progress) as out:
            _collect(cache, plan, out, directory)

    path = cache.entry("kernel", plan.key, build, title=choice.label, progress=progress)
    release = (path / "release").read_text(encoding="utf-8").strip()
    kernel = KernelArtifact(path, release, build_dir(cache, plan), plan)
    if plan.series is not None and known:
        kernel.fit.say(plan.series, progress)
    return kernel


def _collect(cache: Cache, plan: KernelPlan, out: Path, directory: Path) -> None:
    """Copy what others need out of the output directory."""
    for name, kept in _FILES.items():
        try:
            shutil.copyfile(out / name, directory / kept)
        except OSError as error:
            awaited = f"{name} from the build of {plan.choice.label}"
            raise BuildError(awaited, str(error), log=log_path(cache, plan)) from error
    if plan.series is not None:
        shutil.copyfile(out.parent / FIT, directory / _KEPT_FIT)
    release = ask_program(
        [*make_command(out), "-s", "kernelrelease"],
        awaited="the kernel's release",
        cwd=out.parent,
        env=kernel_environment(cache),
        error=BuildError,
    ).strip()
    (directory / "release").write_text(f"{release}\n", encoding="utf-8")
    keep_coverage(plan, out, directory)
    argv = [*make_command(out), "-s", f"INSTALL_MOD_PATH={directory / 'root'}", "modules_install"]
    run_program(make_program(cache, argv, out, "installed modules", log_path(cache, plan)))
    # it would lead the guest to a directory of this host
    (directory / "root" / "lib" / "modules" / release / "build").unlink(missing_ok=True)
