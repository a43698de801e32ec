# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user brings instead of the lab's own kernels: a series, a tree or a built kernel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.build.given_kernel import GivenKernel, read_given_kernel
from lab.build.kernel_plan import KernelChoice
from lab.build.local_tree import inspect_tree
from lab.build.series import Series, read_series
from lab.config import ControlLayout, Kernel
from lab.errors import ConfigError


@dataclass(frozen=True)
class Inputs:
    """What was given; everything None or empty means the lab's own.

    Attributes:
        series: applied where a plan asks for a patched kernel, instead of the lab's own.
        tree: source instead of the base's. Without a series it boots in every mode as it is.
        fragments: configuration fragments on top of the variant's.
        kernel: boots in every mode.
        everywhere: the patched kernel boots in every mode, too.
    """

    series: Series | None = None
    tree: Path | None = None
    fragments: tuple[Path, ...] = ()
    kernel: GivenKernel | None = None
    everywhere: bool = False

    @property
    def given(self) -> bool:
        """Whether anything was."""
        return self != Inputs()

    def choose(self, wanted: Kernel, *, patched: bool) -> KernelChoice | GivenKernel:
        """The kernel for a mode that asks for a patched or an unpatched one of the lab file's.

        Raises:
            ConfigError: what was given can't have what the lab file wants of it.
        """
        self._assert_possible(wanted)
        if self.kernel is not None:
            return self.kernel
        patched = patched or self.everywhere
        carries = self.tree is not None and self.series is None
        return KernelChoice(
            base=wanted.base,
            variant=wanted.variant,
            patched=patched and not carries,
            # an unpatched kernel has no controls: it is the same one for every layout
            layout=wanted.layout if patched else ControlLayout.V6,
            driver_fixes=wanted.driver_fixes,
            tree=self.tree,
            series=self.series if patched else None,
            carries=carries,
            fragments=self.fragments,
            under_series=self.series is not None and not patched and bool(self.fragments),
        )

    def _assert_possible(self, wanted: Kernel) -> None:
        """Refuse what only a kernel that the lab builds can have."""
        if self.kernel is not None and wanted.driver_fixes:
            raise ConfigError(
                "a kernel that the lab builds, to put its driver fixes on",
                f"kernel.driver_fixes with the built {self.kernel.label}",
                hint="leave kernel.driver_fixes out, or give the source (--tree)",
            )
        if wanted.layout is not ControlLayout.V6 and (self.kernel or self.tree or self.series):
            raise ConfigError(
                "the lab's own series on a base of the lab, whose control files a layout moves",
                f"kernel.layout is {wanted.layout.value} with a series, tree or kernel of your own",
                hint="leave kernel.layout out: the lab finds out which controls a kernel has",
            )

    def assert_outside(self, folder: Path) -> None:
        """Refuse a folder for results within the tree that was given, which is only read.

        Raises:
            ConfigError: it is one.
        """
        if self.tree is not None and folder.resolve().is_relative_to(self.tree):
            raise ConfigError(
                f"a folder for the run outside of {self.tree}",
                f"{folder.resolve()}: its files would count as source",
                hint="choose another --output, or run it from another directory",
            )


def read_inputs(
    *,
    series: str | None = None,
    series_version: int | None = None,
    tree: Path | None = None,
    fragments: tuple[Path, ...] = (),
    kernel: Path | None = None,
    modules: Path | None = None,
    config: Path | None = None,
) -> Inputs:
    """Read what the options name, before anything is built.

    Raises:
        ConfigError: options that exclude each other, or something given that can't be used.
    """
    built = [
        name
        for name, value in (("--series", series), ("--tree", tree), ("--fragment", fragments))
        if value
    ]
    if kernel is not None and built:
        raise ConfigError(
            "either a kernel to boot or something to build one from",
            f"--kernel with {' and '.join(built)}",
            hint="leave one of them out",
        )
    if kernel is None and (modules is not None or config is not None):
        raise ConfigError(
            "a kernel that modules or configuration belong to",
            "--modules or --config without --kernel",
            hint="name the kernel image, too",
        )
    if series is None and series_version is not None:
        raise ConfigError(
            "a series to take a version of", "--series-version without --series", hint="give both"
        )
    fragments = tuple(path.expanduser().resolve() for path in fragments)
    for path in fragments:
        _assert_readable(path)
    if tree is not None:
        tree = inspect_tree(tree).path
    return Inputs(
        series=read_series(series, series_version) if series is not None else None,
        tree=tree,
        fragments=fragments,
        kernel=read_given_kernel(kernel, modules, config) if kernel is not None else None,
    )


def _assert_readable(fragment: Path) -> None:
    """Refuse a fragment that isn't there, before whoever first copies or reads it trips over it.

    Raises:
        ConfigError: it can't be read, or is no text.
    """
    awaited, hint = f"a configuration fragment at {fragment}", "name a file of .config lines"
    try:
        fragment.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(awaited, error.strerror or str(error), hint=hint) from error
    except UnicodeDecodeError as error:
        raise ConfigError(awaited, f"no text in UTF-8: {error.reason}", hint=hint) from error
