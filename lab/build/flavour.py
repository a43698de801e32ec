# SPDX-License-Identifier: GPL-2.0-or-later
"""The two ways QEMU is built: as users run it, and instrumented for the device models' tests.

The instrumented build serves sanitized qtests, fuzzing, the replay of the corpora and the
measurement of coverage, so that QEMU is compiled with clang only once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.build.toolchain import find_compiler, identify_compiler

CLANG = "clang-14"
LLVM_COV = "llvm-cov-14"
LLVM_PROFDATA = "llvm-profdata-14"
LLVM_SYMBOLIZER = "llvm-symbolizer-14"
# Sources whose coverage is measured, as clang's -fprofile-list has it
_MEASURED = "measured-sources"
_MEASURED_SOURCES = "src:*hw/dma/amd_*\nsrc:*hw/misc/lab_mailbox.c\n"


@dataclass(frozen=True)
class Flavour:
    """How QEMU is configured and compiled.

    Attributes:
        name: in titles and in the names of logs.
        compiler: the C compiler's name.
        configure: options on top of those of every build.
        files: written into the build's tree before it is configured, by name.
        flags: further options of configure, which need the tree's path.
    """

    name: str
    compiler: str
    configure: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    flags: Callable[[Path], tuple[str, ...]] = lambda _tree: ()

    @property
    def identity(self) -> str:
        """What of the flavour decides the bytes that are built, its compiler included.

        Raises:
            HostError: the compiler isn't installed.
        """
        files = " ".join(f"{name}={text}" for name, text in sorted(self.files.items()))
        options = [*self.configure, *self.flags(Path("tree"))]
        return f"{identify_compiler(self.compiler)}; {' '.join(options)}; {files}"

    @property
    def command(self) -> str:
        """The C compiler's command line."""
        return find_compiler(self.compiler)

    def prepare(self, tree: Path) -> None:
        """Write the files that the compiler reads beside the sources."""
        for name, text in self.files.items():
            at = tree / name
            if not at.is_file() or at.read_text(encoding="utf-8") != text:
                at.write_text(text, encoding="utf-8")


def _instrumented_flags(tree: Path) -> tuple[str, ...]:
    compile_flags = (
        "-gline-tables-only",
        "-fprofile-instr-generate",
        "-fcoverage-mapping",
        f"-fprofile-list={tree / _MEASURED}",
    )
    return (
        f"--extra-cflags={' '.join(compile_flags)}",
        "--extra-ldflags=-fprofile-instr-generate",
    )


PLAIN = Flavour("plain", "gcc")
SANITIZED = Flavour(
    "sanitized",
    CLANG,
    configure=("--enable-asan", "--enable-ubsan", "--enable-fuzzing", "-Doptimization=1"),
    files={_MEASURED: _MEASURED_SOURCES},
    flags=_instrumented_flags,
)
