# SPDX-License-Identifier: GPL-2.0-or-later
"""Which lines of the device models the qtests and the fuzzing corpora run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.build.flavour import LLVM_COV, LLVM_PROFDATA
from lab.build.qemu import build_qtests, build_sanitized_qemu
from lab.build.toolchain import count_jobs
from lab.cache import Cache
from lab.devices.fuzzing import Fuzzer, list_corpus, list_targets
from lab.devices.qtest import run_qtest
from lab.devices.sanitizers import sanitizer_environment
from lab.errors import BuildError, LabError
from lab.program import Program, ask_program, run_program
from lab.progress import Progress

WANTED_PERCENT = 90.0
# Of an absolute path, what is in QEMU's tree
_IN_TREE = re.compile(r".*/(hw/(?:dma|misc)/[^/]+)$")


class CoverageError(LabError):
    """The tests fail, or reach too little of the models."""


@dataclass(frozen=True)
class FileCoverage:
    """Lines of one file that hold code, and how often they were run.

    Attributes:
        name: relative to QEMU's tree.
        counts: runs by line number.
    """

    name: str
    counts: dict[int, int]

    @property
    def missed(self) -> list[int]:
        """Numbers of the lines that nothing runs."""
        return sorted(line for line, count in self.counts.items() if not count)

    @property
    def percent(self) -> float:
        """Share of the lines that are run."""
        return percent([self])


def percent(files: Iterable[FileCoverage]) -> float:
    """Share of all lines of the files that are run, in percent; 0 if there are none."""
    counts = [count for file in files for count in file.counts.values()]
    return 100.0 * sum(1 for count in counts if count) / len(counts) if counts else 0.0


def read_lcov(text: str) -> list[FileCoverage]:
    """Files of a report in LCOV's format, sorted by name; files from elsewhere are left out."""
    found: dict[str, dict[int, int]] = {}
    counts: dict[int, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == "SF":
            where = _IN_TREE.match(value)
            counts = found.setdefault(where[1], {}) if where else {}
        elif key == "DA":
            number, count = (int(part) for part in value.split(",")[:2])
            counts[number] = max(count, counts.get(number, 0))
    return [FileCoverage(name, counts) for name, counts in sorted(found.items())]


def measure(cache: Cache, progress: Progress) -> list[FileCoverage]:
    """Run all qtests and corpora with counters.

    Raises:
        CoverageError: one of them fails.
        BuildError: QEMU doesn't build.
    """
    built = build_sanitized_qemu(cache, progress)
    qtests = build_qtests(cache, progress)
    log = cache.root / "logs" / "device-coverage.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="dcbm-lab-") as scratch:
        at = Path(scratch)
        # %m: files for each binary, which its processes merge into
        profiles = f"{at}/%4m.profraw"
        with progress.step("qtests with counters", log=log):
            _run_qtests(qtests, built.binary, at, profiles, log)
        fuzzer = Fuzzer(built.fuzzer, profiles)
        for target in list_targets():
            with progress.step(f"corpus of {target} with counters", log=log):
                fuzzer.replay(target, list_corpus(target), log)
        return _report(built.binary, at, log)


def _run_qtests(qtests: dict[str, Path], binary: Path, cwd: Path, profiles: str, log: Path) -> None:
    environment = sanitizer_environment(profiles, whole_stacks=True)

    def run(name: str) -> tuple[str, tuple[str, ...]]:
        done = run_qtest(qtests[name], binary, cwd, environment)
        with log.open("a", encoding="utf-8") as out:
            out.write(f"\n# {name}\n{done.output}\n")
        return name, done.problems

    with ThreadPoolExecutor(count_jobs()) as pool:
        problems = {name: found for name, found in pool.map(run, sorted(qtests)) if found}
    if problems:
        raise CoverageError(
            "qtests that pass",
            "; ".join(f"{name}: {', '.join(found)}" for name, found in problems.items()),
            log=log,
            hint="make check-device shows them one by one",
        )


def _report(binary: Path, profiles: Path, log: Path) -> list[FileCoverage]:
    raw = sorted(profiles.glob("*.profraw"))
    if not raw:
        raise CoverageError("counters from QEMU", f"no profile in {profiles}", log=log)
    merged = profiles / "merged.profdata"
    run_program(
        Program(
            [LLVM_PROFDATA, "merge", "-sparse", "-o", merged, *raw],
            awaited="merged counters",
            log=log,
            error=BuildError,
        )
    )
    text = ask_program(
        [LLVM_COV, "export", "-format=lcov", f"-instr-profile={merged}", binary],
        awaited="counters by line",
        error=CoverageError,
    )
    files = read_lcov(text)
    if not files:
        raise CoverageError("lines of the device models", "none in the report", log=log)
    return files


def show(files: list[FileCoverage]) -> str:
    """A table by file, the lines that nothing runs, and the percentage of all on the last line."""
    lines = [f"{'file':<32} {'lines':>6} {'run':>6} {'share':>7}  not run"]
    for file in files:
        missed = _ranges(file.missed)
        run = len(file.counts) - len(file.missed)
        line = f"{file.name:<32} {len(file.counts):>6} {run:>6} {file.percent:>6.1f}%  {missed}"
        lines.append(line.rstrip())
    lines.append(f"{percent(files):.1f}%")
    return "\n".join(lines)


def _ranges(numbers: list[int]) -> str:
    """``1-3, 7`` of 1, 2, 3, 7."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return ", ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in spans)
