# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel is made of, known before anything is built: choice, source, fragments, series."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lab.build import kconfig
from lab.build.recipe import hash_recipe, identify_packages
from lab.build.series import hash_series, read_series
from lab.build.source_tree import identify
from lab.build.toolchain import identify_compiler
from lab.cache import Cache, make_key
from lab.checkout import KERNEL_CONFIG
from lab.config import Variant
from lab.progress import Progress
from lab.sources import Fetched, fetch
from lab.sources.pins import Source, TreeSource, sources_of

_RECIPE = (
    "build/kernel.py",
    "build/kernel_plan.py",
    "build/kernel_tree.py",
    "build/series.py",
    "build/source_tree.py",
    "build/toolchain.py",
)
_PACKAGES = ("kmod", "libelf-dev")  # depmod's index; objtool rewrites objects


@dataclass(frozen=True)
class KernelChoice:
    """Which kernel to build.

    Attributes:
        base: name of a base in ``kernel-config/pins.toml``.
        variant: its instrumentation.
        patched: with our series.
        driver_fixes: with our corrections of the engines' driver.
        tree: a local source tree instead of the base's pinned source.
    """

    base: str = "7.3"
    variant: Variant = Variant.PLAIN
    patched: bool = True
    driver_fixes: bool = False
    tree: Path | None = None

    @property
    def label(self) -> str:
        """How messages call it."""
        kind = "patched" if self.patched else "vanilla"
        fixes = " with driver fixes" if self.driver_fixes else ""
        return f"kernel {self.base} {self.variant.value} {kind}{fixes}"


@dataclass(frozen=True)
class KernelPlan:
    """Everything that decides a kernel's bytes.

    Attributes:
        choice: what was asked for.
        fetched: its source.
        source_key: identity of that source.
        fragments: configuration fragments.
        patches: our series and our driver fixes in order; empty without both.
        compiler: compiler and linker.
    """

    choice: KernelChoice
    fetched: Fetched
    source_key: str
    fragments: tuple[Path, ...]
    patches: tuple[Path, ...]
    compiler: str
    config_hash: str
    series: str | None

    @property
    def key(self) -> str:
        """Key of the artifact."""
        return make_key(
            recipe=hash_recipe(*_RECIPE),
            packages=identify_packages(*_PACKAGES),
            source=self.source_key,
            config=self.config_hash,
            series=self.series or "",
            compiler=self.compiler,
        )

    @property
    def tree_name(self) -> str:
        """Directory of its source tree below the base's work tree."""
        return f"patched-{self.series[:12]}" if self.series else "vanilla"

    @property
    def out_name(self) -> str:
        """Output directory below the source tree."""
        return f"out-{self.choice.variant.value}"


def make_plan(cache: Cache, choice: KernelChoice, progress: Progress) -> KernelPlan:
    """Fetch the source and read what belongs to the choice.

    Raises:
        ConfigError: no such base or variant, or no series for it.
        SourceError: the source can't be had.
        HostError: there is no compiler.
    """
    fragments = kconfig.select_fragments(
        KERNEL_CONFIG, choice.variant.value, patched=choice.patched
    )
    kconfig.read_fragments(fragments)
    patches = read_series(KERNEL_CONFIG / "series" / choice.base) if choice.patched else []
    if choice.driver_fixes:
        patches += read_series(KERNEL_CONFIG / "driver-fixes" / choice.base)
    compiler = identify_compiler()
    sources: tuple[Source, ...]
    if choice.tree is not None:
        sources = (TreeSource(kind="tree", path=choice.tree),)
    else:
        sources = sources_of(KERNEL_CONFIG / "pins.toml", choice.base)
    fetched = fetch(cache, sources, progress)
    texts = b"\0".join(path.read_bytes() for path in fragments)
    return KernelPlan(
        choice=choice,
        fetched=fetched,
        source_key=make_key(source=identify(fetched)),
        fragments=tuple(fragments),
        patches=tuple(patches),
        compiler=compiler,
        config_hash=hashlib.sha256(texts).hexdigest(),
        series=hash_series(patches) if patches else None,
    )
