# SPDX-License-Identifier: GPL-2.0-or-later
"""The style checkers of QEMU and of the kernel, out of the very sources that we build.

Both projects' ``scripts/checkpatch.pl`` need only a few files beside them; these are kept in the
cache, so that a second run does not unpack a source tree.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.build.recipe import hash_recipe
from lab.build.source_tree import identify, unpack
from lab.cache import Cache, make_key
from lab.checkout import KERNEL_CONFIG, QEMU_DEVICES
from lab.config import Kernel, Qemu
from lab.errors import BuildError
from lab.program import Program, run_program
from lab.progress import Progress
from lab.sources import fetch
from lab.sources.pins import sources_of

_RECIPE = ("build/checkpatch.py", "build/source_tree.py")
_SCRIPT = "scripts/checkpatch.pl"
# Lists that the kernel's script reads, and says that it misses when they aren't there.
_DATA = ("scripts/spelling.txt", "scripts/const_structs.checkpatch")
_TIMEOUT_S = 300.0
_STRICT = ("--no-tree", "-q", "--strict", "--show-types", "--ignore", "FILE_PATH_CHANGES")


@dataclass(frozen=True)
class Style:
    """A project's ``checkpatch.pl``.

    Attributes:
        script: the program.
        options: what it is always called with.
    """

    script: Path
    options: tuple[str, ...]

    def check(self, paths: Sequence[Path], log: Path, *, as_files: bool = False) -> None:
        """Check patches, or whole files.

        Raises:
            BuildError: the script found something; `log` has all of it.
        """
        kind = ("-f",) if as_files else ()
        run_program(
            Program(
                ["perl", self.script, *self.options, *kind, *paths],
                awaited="source in the project's style, without an error or a warning",
                log=log,
                timeout_s=_TIMEOUT_S,
                error=BuildError,
                hint="each line names the rule and the place",
            )
        )


def qemu_style(cache: Cache, progress: Progress) -> Style:
    """QEMU's checker.

    Raises:
        SourceError: QEMU's source can't be had.
    """
    script = _script(cache, QEMU_DEVICES / "pins.toml", f"qemu-{Qemu().base}", progress)
    return Style(script, ("--no-tree", "-q"))


def kernel_style(cache: Cache, progress: Progress, base: str = Kernel().base) -> Style:
    """The kernel's checker, strict; that a new file needs a MAINTAINERS entry is for its posting.

    Raises:
        SourceError: the kernel's source can't be had.
    """
    script = _script(cache, KERNEL_CONFIG / "pins.toml", base, progress)
    return Style(script, _STRICT)


def style_of_tree(tree: Path) -> Style:
    """The checker of a kernel tree that lies unpacked, with the same options.

    Raises:
        BuildError: it has none.
    """
    script = tree / _SCRIPT
    if not script.is_file():
        raise BuildError(f"{_SCRIPT} in {tree}", "no such file")
    return Style(script, _STRICT)


def _script(cache: Cache, pins: Path, name: str, progress: Progress) -> Path:
    fetched = fetch(cache, sources_of(pins, name), progress)
    log = cache.root / "logs" / f"checkpatch-{name}.log"

    def build(directory: Path) -> None:
        tree = directory / "tree"
        unpack(fetched, tree, log, progress)
        (directory / "scripts").mkdir()
        for relative in (_SCRIPT, *_DATA):
            if (tree / relative).is_file():
                shutil.copy2(tree / relative, directory / relative)
        shutil.rmtree(tree)
        if not (directory / _SCRIPT).is_file():
            raise BuildError(f"{_SCRIPT} in {fetched.source.label}", "no such file")

    key = make_key(source=identify(fetched), recipe=hash_recipe(*_RECIPE))
    title = f"checkpatch of {fetched.source.label}"
    return cache.entry("checkpatch", key, build, title=title, progress=progress) / _SCRIPT
