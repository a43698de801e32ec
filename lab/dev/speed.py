# SPDX-License-Identifier: GPL-2.0-or-later
"""How long users wait for the lab, beside peers on the same host: figures, never a verdict.

    python -m lab.dev.speed [--runs N] [--only NAME]... [--all] [--output FILE]

All times are seconds of the host, from the start of what is asked for to its answer. Run it when
nothing else does. Figures marked with * take minutes for each run and are left out without --all
or --only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.boot_states import BootStates
from lab.build.image import build_image
from lab.build.kernel import KernelChoice, build_kernel
from lab.build.qemu import build_qemu
from lab.cache import Cache
from lab.checkout import KERNEL_CONFIG, ROOT
from lab.config import Clock, Engine, Kernel
from lab.dev.changed_series import write_changed_series
from lab.dev.peers import NoPeer, kunit, time_kunit, vanilla_source
from lab.dev.statistics import Times, render
from lab.errors import LabError, MachineError
from lab.machine.argv import BootFiles, MachineSpec
from lab.machine.session import boot
from lab.progress import Progress, open_progress

_BASE = "boot-fresh"
_ENGINES = 16
_TIMEOUT_S = 3600.0

# Times one run.
Measure = Callable[[], float]


@dataclass(frozen=True)
class Figure:
    """Something that users wait for.

    Attributes:
        name: as --only takes it.
        what: in words.
        prepare: a context in which it can be measured again and again.
        slow: a run takes minutes.
    """

    name: str
    what: str
    prepare: Callable[[Bench], contextlib.AbstractContextManager[Measure]]
    slow: bool = False


@dataclass(frozen=True)
class Bench:
    """What the figures are measured with."""

    cache: Cache
    progress: Progress
    folder: Path

    def files(self) -> BootFiles:
        """QEMU, vanilla kernel and image, built if they aren't yet."""
        qemu = build_qemu(self.cache, self.progress)
        kernel = build_kernel(self.cache, KernelChoice(patched=False), self.progress)
        return BootFiles.of(qemu, kernel, build_image(self.cache, kernel, self.progress))

    def new_folder(self) -> Path:
        """A folder that nobody has used, for one run."""
        return Path(tempfile.mkdtemp(dir=self.folder))


def time_boot(bench: Bench, files: BootFiles, *, restored: bool) -> float:
    """Seconds from nothing to an agent that answers, on the virtual clock with 16 engines.

    Raises:
        MachineError: the guest started the other way.
    """
    states = BootStates(bench.cache, bench.progress) if restored else None
    spec = MachineSpec(engine=Engine(count=_ENGINES))
    folder = bench.new_folder()
    started = time.monotonic()
    with boot(spec, files, folder, Clock.VIRTUAL, _TIMEOUT_S, states=states) as guest:
        took_s = time.monotonic() - started
        if guest.restored != restored:
            raise MachineError("a restored guest" if restored else "a booted guest", "the other")
    return took_s


def time_command(argv: Sequence[str], cwd: Path) -> float:
    """Seconds of a whole process, start of the interpreter included.

    Raises:
        MachineError: it failed.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
        )
        took_s = time.monotonic() - started
        if done.returncode:
            output.seek(0)
            said = output.read().decode("utf-8", errors="replace")
            raise MachineError(f"{' '.join(argv)} to succeed", said[-1000:])
    return took_s


def _lab(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("dcbm-lab")), *words]


@contextmanager
def _boot_fresh(bench: Bench) -> Iterator[Measure]:
    files = bench.files()
    yield lambda: time_boot(bench, files, restored=False)


@contextmanager
def _boot_restored(bench: Bench) -> Iterator[Measure]:
    files = bench.files()
    states = BootStates(bench.cache, bench.progress)
    spec = MachineSpec(engine=Engine(count=_ENGINES))
    with boot(spec, files, bench.new_folder(), Clock.VIRTUAL, _TIMEOUT_S, states=states):
        pass  # now there is a state
    yield lambda: time_boot(bench, files, restored=True)


def _command(
    *words: str,
) -> Callable[[Bench], contextlib.AbstractContextManager[Measure]]:
    @contextmanager
    def prepare(bench: Bench) -> Iterator[Measure]:
        yield lambda: time_command(_lab(*words), bench.new_folder())

    return prepare


@contextmanager
def _kunit(bench: Bench) -> Iterator[Measure]:
    with kunit(bench.cache, bench.progress) as command:
        source = vanilla_source(bench.cache, bench.progress)
        yield lambda: time_kunit(command, source)


def _series(
    changed: str, line: str
) -> Callable[[Bench], contextlib.AbstractContextManager[Measure]]:
    """A run of compaction on the lab's series with a line more, a new one each time."""

    @contextmanager
    def prepare(bench: Bench) -> Iterator[Measure]:
        source = vanilla_source(bench.cache, bench.progress)
        bench.files()

        def measure() -> float:
            folder = bench.new_folder()
            queue = KERNEL_CONFIG / "series" / Kernel().base
            text = line.replace("NONCE", f"{time.time_ns():x}")
            series = write_changed_series(queue, source, changed, text, folder / "series")
            return time_command(_lab("run", "compaction", "--series", str(series)), folder)

        yield measure

    return prepare


@contextmanager
def _make_test(_bench: Bench) -> Iterator[Measure]:
    yield lambda: time_command(["make", "test"], ROOT)


FIGURES = (
    Figure(_BASE, "boot to an answering agent, 16 engines", _boot_fresh),
    Figure("boot-restored", "the same, restored", _boot_restored),
    Figure("kunit", "kunit.py exec, its example test, same kernel source", _kunit),
    Figure("help", "dcbm-lab --help", _command("--help")),
    Figure("exec-true", "dcbm-lab exec -- true", _command("exec", "--", "true")),
    Figure("run", "dcbm-lab run compaction, warm", _command("run", "compaction")),
    Figure(
        "run-fresh", "the same with --fresh", _command("run", "compaction", "--fresh"), slow=True
    ),
    Figure(
        "mm-line",
        "a line more in mm/compaction.c until the table",
        _series("mm/compaction.c", "/* NONCE */"),
        slow=True,
    ),
    Figure(
        "header-change",
        "a line more in linux/mm_types.h until the table",
        _series("include/linux/mm_types.h", "struct bench_NONCE;"),
        slow=True,
    ),
    Figure("make-test", "make test, warm", _make_test, slow=True),
)


def measure_figure(figure: Figure, bench: Bench, runs: int) -> Times:
    """The times of a figure: one run that isn't counted, unless it is slow, then `runs`.

    What kept it from being measured takes the place of the times.
    """
    seconds: list[float] = []
    try:
        with figure.prepare(bench) as measure:
            if not figure.slow:
                measure()
            for number in range(runs):
                seconds.append(measure())
                bench.progress.note(f"{figure.name} {number + 1}/{runs}: {seconds[-1]:.3f} s")
    except NoPeer as reason:
        return Times(figure.name, figure.what, (), str(reason))
    except LabError as error:
        return Times(figure.name, figure.what, (), str(error), failed=True)
    return Times(figure.name, figure.what, tuple(seconds))


def choose(names: Sequence[str], *, slow: bool) -> list[Figure]:
    """The figures of these names; without any those that are quick, or all."""
    if names:
        return [figure for figure in FIGURES if figure.name in names]
    return [figure for figure in FIGURES if slow or not figure.slow]


def main() -> int:
    """The command line."""
    known = [figure.name for figure in FIGURES]
    listed = ", ".join(f"{figure.name}{'*' * figure.slow}" for figure in FIGURES)
    parser = argparse.ArgumentParser(
        description="How long users wait for the lab.", epilog=f"Figures: {listed}"
    )
    parser.add_argument("--runs", type=int, default=5, help="of each figure (default: 5)")
    parser.add_argument("--only", action="append", default=[], choices=known, metavar="NAME")
    parser.add_argument("--all", action="store_true", help="those that take minutes, too")
    parser.add_argument("--output", type=Path, default=Path("runs/bench.json"), metavar="FILE")
    options = parser.parse_args()
    progress = open_progress(sys.stderr)
    with tempfile.TemporaryDirectory(prefix="dcbm-lab-bench-") as folder:
        bench = Bench(Cache(), progress, Path(folder))
        all_times = [
            measure_figure(figure, bench, options.runs)
            for figure in choose(options.only, slow=options.all)
        ]
    load = os.getloadavg()[2]
    host = {"cpus": os.cpu_count(), "machine": platform.machine(), "load_15_min": load}
    data = {"host": host, "figures": [times.to_json() for times in all_times]}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    print(render(all_times, _BASE))
    print(f"\nfigures: {options.output}")
    return 3 if any(times.failed for times in all_times) else 0


if __name__ == "__main__":
    sys.exit(main())
