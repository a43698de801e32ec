# SPDX-License-Identifier: GPL-2.0-or-later
"""Which lines of a kernel ran: by file, and of what each patch of the series added.

In a record these are ``details.coverage`` of a mode. Modes that booted the same kernel add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from pydantic import BaseModel, ConfigDict

KEY = "coverage"
# runs by line number, by path in the kernel's tree
Counts = Mapping[str, Mapping[int, int]]


class AddedLines(TypedDict):
    """What a patch added: its subject, and by file the text of each line under its number."""

    subject: str
    files: dict[str, dict[str, str]]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Line(_Model):
    """A line of source that never ran."""

    number: int
    text: str


class FileCoverage(_Model):
    """Lines of a file that hold code: how many there are, and which never ran."""

    path: str
    lines: int
    missed: tuple[int, ...]


class PatchFile(_Model):
    """What a patch added to a file: the lines with code, and those that never ran."""

    path: str
    lines: int
    missed: tuple[Line, ...]


class PatchCoverage(_Model):
    """What a patch added.

    Attributes:
        subject: the patch's.
        files: files to which it added code.
        not_built: files of C that it changes and that the kernel was built without.
        no_code: headers that it adds lines to and that no counted object has code of.
    """

    subject: str
    files: tuple[PatchFile, ...]
    not_built: tuple[str, ...] = ()
    no_code: tuple[str, ...] = ()

    @property
    def lines(self) -> int:
        """Lines with code that it added."""
        return sum(file.lines for file in self.files)

    @property
    def missed(self) -> int:
        """How many of them never ran."""
        return sum(len(file.missed) for file in self.files)


class Coverage(_Model):
    """What ran of a kernel; `patches` is empty for one without a series."""

    files: tuple[FileCoverage, ...]
    patches: tuple[PatchCoverage, ...] = ()

    @property
    def added(self) -> int:
        """Lines with code that the series added."""
        return sum(patch.lines for patch in self.patches)

    @property
    def added_and_run(self) -> int:
        """How many of them ran."""
        return self.added - sum(patch.missed for patch in self.patches)


def count(counts: Counts, sources: Iterable[str], patches: Sequence[AddedLines]) -> Coverage:
    """Sum up what the compiler's counters say.

    Args:
        counts: every file that the counted objects have code from.
        sources: those to show: what the objects were compiled from.
        patches: what each added, as `lab.build.profiling` keeps it.
    """
    files = tuple(
        FileCoverage(path=path, lines=len(lines), missed=_missed(lines))
        for path in sorted(set(sources))
        if (lines := counts.get(path))
    )
    return Coverage(files=files, patches=tuple(_of_patch(counts, patch) for patch in patches))


def _of_patch(counts: Counts, patch: AddedLines) -> PatchCoverage:
    files: list[PatchFile] = []
    not_built: list[str] = []
    no_code: list[str] = []
    for path, texts in patch["files"].items():
        lines = counts.get(path)
        if lines is None:
            # a header's code is in the objects that use it, and many headers have none
            not_built += [path] if path.endswith(".c") else []
            no_code += [path] if path.endswith(".h") and texts else []
            continue
        code = [number for number in sorted(int(key) for key in texts) if number in lines]
        missed = tuple(
            Line(number=number, text=texts[str(number)]) for number in code if not lines[number]
        )
        if code:
            files.append(PatchFile(path=path, lines=len(code), missed=missed))
    return PatchCoverage(
        subject=patch["subject"],
        files=tuple(files),
        not_built=tuple(not_built),
        no_code=tuple(no_code),
    )


def _missed(lines: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(sorted(number for number, runs in lines.items() if not runs))


def union(parts: Sequence[Coverage]) -> Coverage:
    """What ran in any of several boots of the same kernel.

    Raises:
        ValueError: they are of different kernels, or there is none.
    """
    if not parts:
        raise ValueError("no coverage")
    files = zip(*(part.files for part in parts), strict=True)
    patches = zip(*(part.patches for part in parts), strict=True)
    return Coverage(
        files=tuple(_union_files(same) for same in files),
        patches=tuple(_union_patches(same) for same in patches),
    )


def _union_files(files: Sequence[FileCoverage]) -> FileCoverage:
    first = files[0]
    if any((file.path, file.lines) != (first.path, first.lines) for file in files):
        raise ValueError(f"{first.path} is not the same in all kernels")
    missed = set(first.missed).intersection(*(file.missed for file in files))
    return first.model_copy(update={"missed": tuple(sorted(missed))})


def _union_patches(patches: Sequence[PatchCoverage]) -> PatchCoverage:
    first = patches[0]
    files = []
    for same in zip(*(patch.files for patch in patches), strict=True):
        if any((file.path, file.lines) != (same[0].path, same[0].lines) for file in same):
            raise ValueError(f"{same[0].path} is not the same in all kernels")
        missed = set(same[0].missed).intersection(*(file.missed for file in same))
        kept = tuple(line for line in same[0].missed if line in missed)
        files.append(same[0].model_copy(update={"missed": kept}))
    return first.model_copy(update={"files": tuple(files)})
