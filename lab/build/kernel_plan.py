# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel is made of, known before anything is built: choice, source, fragments, series."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from lab.build import kconfig
from lab.build.local_tree import LocalTree, inspect_tree
from lab.build.patch import make_patch
from lab.build.recipe import hash_recipe, identify_packages
from lab.build.series import Series, read_queue
from lab.build.source_tree import identify
from lab.build.toolchain import identify_compiler
from lab.cache import Cache, make_key
from lab.checkout import KERNEL_CONFIG
from lab.config import ControlLayout, Variant
from lab.errors import ConfigError
from lab.progress import Progress
from lab.sources import Fetched, fetch
from lab.sources.pins import Source, TreeSource, sources_of

_RECIPE = (
    "build/kernel.py",
    "build/kernel_plan.py",
    "build/kernel_tree.py",
    "build/fit.py",
    "build/git.py",
    "build/inherit.py",
    "build/kconfig.py",
    "build/local_tree.py",
    "build/merge.py",
    "build/obstacle.py",
    "build/profiling.py",
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
        patched: with a series: `series`, or the base's own queue.
        layout: the control files that our own series' dcbm has; V6 is what the queue makes.
        driver_fixes: with our corrections of the engines' driver on top.
        tree: a local source tree instead of the base's pinned source.
        series: what `patched` applies instead of the base's own queue.
        carries: whether the source as it is may carry a series: it gets the series' fragments.
        fragments: fragments on top of the variant's.
        under_series: a series of the user's goes on it, and `fragments` may want what only that
            series has.
    """

    base: str = "7.3"
    variant: Variant = Variant.PLAIN
    patched: bool = True
    layout: ControlLayout = ControlLayout.V6
    driver_fixes: bool = False
    tree: Path | None = None
    series: Series | None = None
    carries: bool = False
    fragments: tuple[Path, ...] = ()
    under_series: bool = False

    def below(self) -> KernelChoice:
        """The kernel without the series, from whose build that with it starts."""
        return replace(
            self,
            patched=False,
            layout=ControlLayout.V6,
            driver_fixes=False,
            series=None,
            under_series=self.series is not None and bool(self.fragments),
        )

    @property
    def label(self) -> str:
        """How messages call it."""
        kind = "patched" if self.patched else "unpatched" if self.carries else "vanilla"
        name = f"tree {self.tree.name}" if self.tree is not None else self.base
        if self.patched and self.layout is not ControlLayout.V6:
            kind += f" with {self.layout.value} controls"
        fixes = " with driver fixes" if self.driver_fixes else ""
        return f"kernel {name} {self.variant.value} {kind}{fixes}"


@dataclass(frozen=True)
class KernelPlan:
    """Everything that decides a kernel's bytes.

    Attributes:
        choice: what was asked for.
        fetched: its source.
        source_key: identity of that source.
        fragments: configuration fragments.
        series: the patches on it, our driver fixes among them; None without.
        compiler: compiler and linker.
        config_hash: SHA-256 of the fragments.
        local: the local tree that is its source; None for a pinned one.
    """

    choice: KernelChoice
    fetched: Fetched
    source_key: str
    fragments: tuple[Path, ...]
    series: Series | None
    compiler: str
    config_hash: str
    local: LocalTree | None = None

    @property
    def key(self) -> str:
        """Key of the artifact."""
        return make_key(
            recipe=hash_recipe(*_RECIPE),
            packages=identify_packages(*_PACKAGES),
            source=self.source_key,
            config=self.config_hash,
            under_series=str(self.choice.under_series),
            series=self.series.hash if self.series else "",
            compiler=self.compiler,
        )

    @property
    def work_name(self) -> str:
        """Work tree that holds its source: one for each content, or for each local tree's place."""
        return self.local.slot if self.local is not None else self.source_key

    @property
    def tree_name(self) -> str:
        """Directory of its source tree below the work tree."""
        if self.series is None:
            return "vanilla"
        if self.local is None:
            return f"patched-{self.series.hash[:12]}"
        return f"patched-{make_key(series=self.series.hash, source=self.source_key)[:12]}"

    @property
    def foreign(self) -> bool:
        """Whether source or series isn't the lab's, so that it need not have all symbols."""
        return self.local is not None or self.choice.series is not None

    @property
    def out_name(self) -> str:
        """Output directory below the source tree."""
        return f"out-{self.choice.variant.value}"


def pins_path() -> Path:
    """The file that names the bases and their sources."""
    return KERNEL_CONFIG / "pins.toml"


def series_path(base: str) -> Path:
    """The folder of our queue for a base, whether there is one or not."""
    return KERNEL_CONFIG / "series" / base


def make_plan(cache: Cache, choice: KernelChoice, progress: Progress) -> KernelPlan:
    """Fetch the source and read what belongs to the choice.

    Raises:
        ConfigError: no such base or variant, or no series for it.
        SourceError: the source can't be had.
        HostError: there is no compiler.
    """
    local = inspect_tree(choice.tree) if choice.tree is not None else None
    return plan_from(fetch(cache, check_choice(choice), progress), choice, local)


def check_choice(choice: KernelChoice) -> tuple[Source, ...]:
    """Make sure that there can be such a kernel; returns where its source comes from.

    Raises:
        ConfigError: no such base or variant, or no series for it.
    """
    sources: tuple[Source, ...]
    if choice.tree is not None:
        sources = (TreeSource(kind="tree", path=choice.tree.expanduser().resolve()),)
    else:
        sources = sources_of(pins_path(), choice.base)
    read_choice(choice)
    return sources


def plan_from(fetched: Fetched, choice: KernelChoice, local: LocalTree | None = None) -> KernelPlan:
    """The plan for a source that is there, `local` if it is a tree of the user's.

    Raises:
        ConfigError: no such variant, or no series or fragment for the base.
        HostError: there is no compiler.
    """
    fragments, series = read_choice(choice)
    texts = b"\0".join(path.read_bytes() for path in fragments)
    return KernelPlan(
        choice=choice,
        fetched=fetched,
        source_key=make_key(source=local.identity if local else identify(fetched)),
        fragments=tuple(fragments),
        series=series,
        compiler=identify_compiler(),
        config_hash=hashlib.sha256(texts).hexdigest(),
        local=local,
    )


def read_choice(choice: KernelChoice) -> tuple[list[Path], Series | None]:
    """The fragments and patches of a choice, all of them readable; None without any patch.

    Raises:
        ConfigError: no such variant, or no series or fragment for the base.
    """
    patched = choice.patched or choice.carries
    fragments = kconfig.select_fragments(
        KERNEL_CONFIG, choice.base, choice.variant.value, patched=patched
    )
    fragments += choice.fragments
    kconfig.read_fragments(fragments)
    return fragments, _series_of(choice)


def _series_of(choice: KernelChoice) -> Series | None:
    """Every patch of a choice in order.

    These are the series given, or the base's own and what moves its control files, then our
    driver fixes.
    """
    parts = []
    if choice.series is not None:
        parts.append(choice.series)
    elif choice.patched:
        parts.append(queue_of(choice.base))
        if choice.layout is not ControlLayout.V6:
            parts.append(layout_of(choice.base, choice.layout))
    if choice.driver_fixes:
        parts.append(driver_fixes_of(choice.base))
    if not parts:
        return None
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.followed_by(part)
    return whole


def layout_of(base: str, layout: ControlLayout) -> Series:
    """The patch that makes a layout: the base's own where its kernel needs one."""
    folder = KERNEL_CONFIG / "layouts"
    own = folder / base / f"{layout.value}.patch"
    path = own if own.is_file() else folder / f"{layout.value}.patch"
    patch = make_patch(path.name, f"controls as in {layout.value}", path.read_bytes())
    return Series(f"layout {layout.value}", (patch,))


def driver_fixes_of(base: str) -> Series:
    """Our corrections of the engines' driver for a base.

    Raises:
        ConfigError: there are none, or they can't be used.
    """
    return _read_own(
        KERNEL_CONFIG / "driver-fixes" / base,
        f"our driver fixes for base {base}",
        "leave kernel.driver_fixes out, or choose another base (--set kernel.base=…)",
    )


def queue_of(base: str) -> Series:
    """Our own series for a base.

    Raises:
        ConfigError: there is none, or it can't be used.
    """
    return _read_own(
        series_path(base),
        f"our series for base {base}",
        "choose another base (--set kernel.base=…), or give a series (--series)",
    )


def _read_own(queue: Path, awaited: str, hint: str) -> Series:
    if not queue.is_dir():
        raise ConfigError(awaited, f"no {queue}", hint=hint)
    return read_queue(queue)
