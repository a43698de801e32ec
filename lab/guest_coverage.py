# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the line counters of a guest whose kernel is of the variant ``gcov``.

The kernel shows them in debugfs (Documentation/dev-tools/gcov.rst): a ``.gcda`` file for each
object that counts, modules included once they are loaded. They are kept in the mode's folder beside
the compiler's notes, so that ``gcov`` can be asked again by hand, and summed up for the record.
"""

from __future__ import annotations

import base64
import binascii
import json
import posixpath
import shutil
from pathlib import Path
from typing import Any, Protocol

from lab.errors import HostError, PremiseError
from lab.line_coverage import Coverage, count
from lab.machine.jobs import JobResult
from lab.program import ask_program

FOLDER = "coverage"
_PATCHES = "patches.json"
_GCOV_FS = "/sys/kernel/debug/gcov"
_STAMP = slice(4, 12)  # version and stamp, behind the magic number of both files
_WRAP = "49152"  # characters of a line: the agent takes up to 64 KiB
_HINT = "the coverage of kernels that the lab didn't build as variant gcov can't be read"


class Reader(Protocol):
    """What is needed of a guest."""

    def run(self, argv: list[str]) -> JobResult:
        """Run a program to its end."""


def collect(guest: Reader, notes: Path, folder: Path) -> Coverage:
    """Take the counters out of a guest and sum them up.

    Args:
        guest: a guest whose kernel counts.
        notes: what its build kept (`lab.build.profiling`).
        folder: the mode's folder; gets the folder ``coverage``.

    Raises:
        PremiseError: the kernel shows no counters, or they are of another build.
        HostError: gcov can't be run.
    """
    kept = folder / FOLDER
    shutil.copytree(notes, kept, dirs_exist_ok=True)
    read = [_keep(kept, name, data) for name, data in read_counters(guest).items()]
    counts: dict[str, dict[int, int]] = {}
    sources: list[str] = []
    for counters in read:
        sources.append(f"{counters.relative_to(kept).with_suffix('')}.c")
        add_counts(counts, ask_gcov(kept, counters))
    # an object whose module was never loaded ran no line of it
    for lonely in sorted(kept.rglob("*.gcno")):
        if lonely.with_suffix(".gcda") not in read:
            sources.append(f"{lonely.relative_to(kept).with_suffix('')}.c")
            add_counts(counts, ask_gcov(kept, lonely))
    patches = json.loads((kept / _PATCHES).read_text(encoding="utf-8"))
    return count(counts, sources, patches)


def read_counters(guest: Reader) -> dict[str, bytes]:
    """The ``.gcda`` files that the guest's kernel shows, by the object's path in the build.

    Raises:
        PremiseError: there is none, or one can't be read.
    """
    listed = guest.run(["/bin/busybox", "find", _GCOV_FS, "-name", "*.gcda"])
    paths = sorted(line for line in listed.stdout if line.endswith(".gcda"))
    if not listed.ok or not paths:
        raise PremiseError(
            f"counters of the kernel in {_GCOV_FS}", listed.describe(), log=listed.log, hint=_HINT
        )
    counters: dict[str, bytes] = {}
    for path in paths:
        told = guest.run(["/bin/busybox", "base64", "-w", _WRAP, path])
        try:
            data = base64.b64decode("".join(told.stdout), validate=True)
        except binascii.Error as error:
            raise PremiseError(f"{path} in base64", str(error), log=told.log) from error
        if not told.ok or not data:
            raise PremiseError(f"counters in {path}", told.describe(), log=told.log)
        # gcc's -fprofile-dir has the path's slashes as number signs
        counters[path.rsplit("/", 1)[1].replace("#", "/")] = data
    return counters


def _keep(kept: Path, name: str, data: bytes) -> Path:
    """Put counters beside their notes.

    Raises:
        PremiseError: there are no such notes, or they are of another build.
    """
    path = kept / name
    if not path.resolve().is_relative_to(kept.resolve()) or not path.with_suffix(".gcno").is_file():
        raise PremiseError(
            f"the compiler's notes for the counters of {name}",
            "the kernel's build kept none",
            hint=_HINT,
        )
    stamps = [text[_STAMP].hex() for text in (path.with_suffix(".gcno").read_bytes(), data)]
    if stamps[0] != stamps[1]:
        # gcov would warn and count nothing
        raise PremiseError(
            f"counters of {name} with the version and stamp of the compiler's notes",
            f"{stamps[1]}, not {stamps[0]}",
            log=path.with_suffix(".gcno"),
            hint=_HINT,
        )
    path.write_bytes(data)
    return path


def ask_gcov(kept: Path, counters: Path) -> dict[str, Any]:
    """What gcov makes of an object's counters, or of its notes alone.

    Raises:
        HostError: gcov can't be run, or its answer isn't JSON.
    """
    name = str(counters.relative_to(kept))
    text = ask_program(
        ["gcov", "--json-format", "--stdout", name],
        awaited=f"lines of {name} from gcov",
        cwd=kept,
        hint="gcov comes with gcc",
    )
    try:
        answer: dict[str, Any] = json.loads(text)
        _ = [line["count"] for file in answer["files"] for line in file["lines"]]
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(f"JSON with files and lines from gcov {name}", text[:200]) from error
    return answer


def add_counts(counts: dict[str, dict[int, int]], answer: dict[str, Any]) -> None:
    """Add gcov's counts by file and line; inlined and cloned functions repeat a line."""
    for file in answer["files"]:
        path = source_path(file["file"])
        lines = counts.setdefault(path, {})
        for line in file["lines"]:
            number = int(line["line_number"])
            lines[number] = lines.get(number, 0) + int(line["count"])


def source_path(told: str) -> str:
    """A file's path in the kernel's tree; compilers run in a directory below it.

    A header that is included by ``../`` comes with the path of the file that includes it before
    that; what stands in front of the tree's top is the way up from the compiler's directory.
    """
    path = posixpath.normpath(told)
    while path.startswith("../"):
        path = path.removeprefix("../")
    return path
