# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench: its statistics, what it chooses to measure, and the series that it makes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.build.series import read_queue
from lab.checkout import KERNEL_CONFIG
from lab.dev.changed_series import write_changed_series
from lab.dev.peers import NoPeer, kunit
from lab.dev.speed import FIGURES, Bench, Figure, choose, measure_figure, time_command
from lab.dev.statistics import Times, render
from lab.errors import MachineError
from lab.progress import SilentProgress

NO_BENCH: Any = Bench(None, SilentProgress(), Path())  # type: ignore[arg-type]


def figure(measure: Callable[[], float], *, slow: bool = False) -> Figure:
    @contextmanager
    def prepare(_bench: Bench) -> Iterator[Callable[[], float]]:
        yield measure

    return Figure("name", "what", prepare, slow=slow)


def test_a_figure_is_the_median_of_its_runs_without_the_first() -> None:
    seconds = iter([99.0, 3.0, 1.0, 2.0])
    times = measure_figure(figure(lambda: next(seconds)), NO_BENCH, 3)
    assert times.seconds == (3.0, 1.0, 2.0)
    assert times.median_s == 2.0
    seconds = iter([3.0, 1.0])
    assert measure_figure(figure(lambda: next(seconds), slow=True), NO_BENCH, 2).median_s == 2.0


@pytest.mark.parametrize(
    ("error", "failed"), [(NoPeer("there is none"), False), (MachineError("a", "none"), True)]
)
def test_what_cannot_be_measured_says_why(error: Exception, failed: bool) -> None:
    def broken() -> float:
        raise error

    times = measure_figure(figure(broken), NO_BENCH, 3)
    assert (times.seconds, times.median_s, times.failed) == ((), None, failed)
    assert "none" in times.why
    assert "not measured: " in render([times], "name")


def test_the_table_has_ratios() -> None:
    table = render([Times("a", "x", (1.0, 2.0, 4.0)), Times("b", "y", (1.0,))], "a").splitlines()
    assert table[1].split() == ["a", "2.000", "1.000", "4.000", "3", "1.00", "x"]
    assert table[2].split() == ["b", "1.000", "1.000", "1.000", "1", "0.50", "y"]


def test_slow_figures_are_asked_for() -> None:
    quick = choose([], slow=False)
    assert quick
    assert not any(chosen.slow for chosen in quick)
    assert choose([], slow=True) == list(FIGURES)
    slow = [chosen.name for chosen in FIGURES if chosen.slow]
    assert [chosen.name for chosen in choose(slow, slow=False)] == slow
    assert len({chosen.name for chosen in FIGURES}) == len(FIGURES)


def test_a_command_that_fails_has_no_time(tmp_path: Path) -> None:
    assert time_command(["true"], tmp_path) > 0
    with pytest.raises(MachineError, match="no such"):
        time_command(["sh", "-c", "echo no such thing; exit 1"], tmp_path)


def test_without_a_qemu_there_is_no_kunit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(NoPeer, match="qemu-system-x86"), kunit(NO_BENCH.cache, SilentProgress()):
        pass


@pytest.mark.parametrize("changed", ["mm/some.c", "include/some.h"])
def test_the_series_with_a_line_more_applies(changed: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    text = "".join(f"int line{number};\n" for number in range(20))
    text = f"#ifndef X\n{text}#endif\n" if changed.endswith(".h") else text
    (source / changed).parent.mkdir(parents=True)
    (source / changed).write_text(text, encoding="ascii")
    queue = KERNEL_CONFIG / "series" / "7.3"
    made = write_changed_series(queue, source, changed, "int more;", tmp_path / "series")
    patches = read_queue(made).patches
    assert len(patches) == len(read_queue(queue).patches) + 1
    assert patches[-1].paths == (changed,)
    diff = patches[-1].diff
    subprocess.run(["patch", "-p1", "--fuzz=0"], cwd=source, input=diff, check=True)
    after = (source / changed).read_text(encoding="ascii").splitlines()
    assert after.index("int more;") == (21 if changed.endswith(".h") else 20)
    assert len(after) == len(text.splitlines()) + 1
