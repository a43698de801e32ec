# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the numbers of the ``zen3`` timing profile come from: a fit to the published figures.

The model has one move_pages() of a folio take, in the published machine's time,

- A(size) + size / c on the CPU alone, and
- A(size) + max(d, (L + size / B) / channels, size / S) with the engines' help:

A is what migration costs beside the copy, free for each folio size; c the CPU's copy rate; d the
CPU's cost of a descriptor, during which the engines work already. L, B and S are theirs: fixed
cost of a descriptor, bandwidth of a channel, limit that all share. The fit is least squares of the
logarithm of measured over modelled throughput, every published cell with the same weight, by the
simplex method of Nelder and Mead.

A CPU of the virtual clock is slower than the published machine's, for every folio size by about the
same factor: k, the geometric mean over the sizes of both baselines. The device stretches its
latency and shrinks B and S by it.

L is not all the device's. A channel has one descriptor at a time, so between two of them the driver
takes its interrupt and starts the next; the guest's driver does that, too, in time t of the virtual
clock, which is measured with engines that take none. The device has the rest, L - t / k.

    python -m lab.timing_fit        # prints the fit, and compares the device's numbers with it
"""

from __future__ import annotations

import math
import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab.checkout import QEMU_DEVICES
from lab.errors import ConfigError

_DOCS = QEMU_DEVICES.parent / "docs"
PUBLISHED = _DOCS / "published-figures.toml"
OWN = _DOCS / "lab-figures.toml"
DEVICE = QEMU_DEVICES / "hw" / "dma" / "amd_dma_timing.c"
DIGITS = 3

# c, L, B, S, and several of d; ns and bytes per ns
_START = (12.0, 300.0, 10.0, 80.0)
_SUBMIT_NS = (50.0, 100.0, 200.0, 400.0)
_ROUNDS = 3
_STEPS = 120
_STEP = 0.3
_NEWTON_STEPS = 6


@dataclass(frozen=True)
class Cell:
    """A published throughput; no channels is the CPU alone."""

    source: str
    size: int
    size_bytes: int
    channels: int
    gb_per_s: float


@dataclass(frozen=True)
class Profile:
    """Numbers as they stand in the device: the published machine's, and the factor k.

    Attributes:
        latency_ns: fixed cost of a descriptor.
        bandwidth: of a channel, bytes per second.
        socket_bandwidth: of all channels of a socket, bytes per second.
        link_bandwidth: between the sockets, bytes per second.
        slowdown_permille: k in thousandths.
    """

    latency_ns: int
    bandwidth: int
    socket_bandwidth: int
    link_bandwidth: int
    slowdown_permille: int


@dataclass(frozen=True)
class Fit:
    """The fitted model; times in ns, rates in bytes per ns, which is GB/s."""

    overhead_ns: tuple[float, ...]
    cpu_rate: float
    latency_ns: float
    channel_rate: float
    shared_rate: float
    submit_ns: float

    @classmethod
    def of(cls, cells: Sequence[Cell], logarithms: Sequence[float]) -> Fit:
        """From the logarithms of all but A, which keeps them positive; A fits to them best."""
        without = cls((), *map(math.exp, logarithms))
        return replace(without, overhead_ns=without.fit_overhead(cells))

    def copy_ns(self, cell: Cell) -> float:
        """Time that a folio waits for its copy."""
        if not cell.channels:
            return cell.size_bytes / self.cpu_rate
        engines = (self.latency_ns + cell.size_bytes / self.channel_rate) / cell.channels
        return max(self.submit_ns, engines, cell.size_bytes / self.shared_rate)

    def fit_overhead(self, cells: Sequence[Cell]) -> tuple[float, ...]:
        """A for each folio size: Newton's steps to the least squares of its cells."""
        overhead = []
        for size in range(1 + max(cell.size for cell in cells)):
            row = [
                (self.copy_ns(cell), cell.size_bytes / cell.gb_per_s)
                for cell in cells
                if cell.size == size
            ]
            ns = min(measured for _, measured in row) / 2
            for _ in range(_NEWTON_STEPS):
                slopes = [1 / (ns + copy) for copy, _ in row]
                off = [math.log((ns + copy) / measured) for copy, measured in row]
                step = math.fsum(a * b for a, b in zip(slopes, off, strict=True))
                ns = max(1.0, ns - step / math.fsum(slope**2 for slope in slopes))
            overhead.append(ns)
        return tuple(overhead)

    def gb_per_s(self, cell: Cell) -> float:
        """The throughput that the model gives for a cell."""
        return cell.size_bytes / (self.overhead_ns[cell.size] + self.copy_ns(cell))

    def error(self, cell: Cell) -> float:
        """Modelled over published throughput, less 1."""
        return self.gb_per_s(cell) / cell.gb_per_s - 1


def read_cells(path: Path = PUBLISHED) -> list[Cell]:
    """Every published throughput of move_pages(2)."""
    cells = []
    for source, tables in tomllib.loads(path.read_text(encoding="utf-8")).items():
        table = tables["move_pages"]
        rows = {0: table["baseline"], **{int(n): row for n, row in table["dma"].items()}}
        for channels, row in rows.items():
            for size, (kib, (mean, _deviation)) in enumerate(
                zip(table["folio_kib"], row, strict=True)
            ):
                cells.append(Cell(source, size, kib * 1024, channels, mean))
    return cells


def read_slowdown(cells: Sequence[Cell], path: Path = OWN) -> float:
    """k: how many times longer a CPU of the virtual clock takes than the published machine's."""
    own = tomllib.loads(path.read_text(encoding="utf-8"))["move_pages"]
    rates = dict(zip(own["folio_kib"], own["baseline"], strict=True))
    logarithms = [
        math.log(cell.gb_per_s / rates[cell.size_bytes // 1024])
        for cell in cells
        if not cell.channels
    ]
    return math.exp(math.fsum(logarithms) / len(logarithms))


def read_turnaround_ns(model: Fit, slowdown: float, path: Path = OWN) -> float:
    """t: virtual time that the driver adds to a copy on one channel that itself takes none.

    What a folio takes with an instant engine, less what it takes on the CPU without the copy.
    """
    own = tomllib.loads(path.read_text(encoding="utf-8"))
    rates = dict(zip(own["move_pages"]["folio_kib"], own["move_pages"]["baseline"], strict=True))
    instant = own["move_pages_instant"]
    turnarounds = []
    for kib, rate in zip(instant["folio_kib"], instant["dma"]["1"], strict=True):
        size_bytes = kib * 1024
        copy_ns = size_bytes / (model.cpu_rate / slowdown)
        turnarounds.append(size_bytes / rate - (size_bytes / rates[kib] - copy_ns))
    return math.fsum(turnarounds) / len(turnarounds)


def minimize(
    cost: Callable[[list[float]], float], start: list[float], step: float, steps: int
) -> list[float]:
    """The best point that `steps` moves of a simplex find, from `start` and its neighbours."""
    count = len(start)
    points = [start] + [
        [x + (step if axis == moved else 0.0) for axis, x in enumerate(start)]
        for moved in range(count)
    ]
    simplex = sorted((cost(point), point) for point in points)
    for _ in range(steps):
        worst_cost, worst = simplex[-1]
        others = [point for _, point in simplex[:-1]]
        centre = [math.fsum(axis) / count for axis in zip(*others, strict=True)]

        def along(
            factor: float, centre: list[float] = centre, worst: list[float] = worst
        ) -> tuple[float, list[float]]:
            point = [c + factor * (c - w) for c, w in zip(centre, worst, strict=True)]
            return cost(point), point

        best = along(1.0)
        if best[0] < simplex[0][0]:
            best = min(best, along(2.0))
        elif best[0] >= simplex[-2][0]:
            best = along(-0.5)
        if best[0] < worst_cost:
            simplex[-1] = best
        else:
            first = simplex[0][1]
            simplex = [simplex[0]] + [
                (cost(near), near)
                for _, point in simplex[1:]
                for near in [[(a + b) / 2 for a, b in zip(first, point, strict=True)]]
            ]
        simplex.sort()
    return simplex[0][1]


def fit(cells: Sequence[Cell]) -> Fit:
    """Least squares over all cells; the start is what a look at the table suggests."""

    def cost(logarithms: list[float]) -> float:
        model = Fit.of(cells, logarithms)
        return math.fsum(math.log(model.gb_per_s(cell) / cell.gb_per_s) ** 2 for cell in cells)

    def fit_from(submit_ns: float) -> tuple[float, list[float]]:
        point = [math.log(x) for x in (*_START, submit_ns)]
        # A simplex can get stuck while it is small; each round starts with a large one.
        for _ in range(_ROUNDS):
            point = minimize(cost, point, _STEP, _STEPS)
        return cost(point), point

    # Where d is never the largest nothing pulls at it, so there is more than one valley.
    return Fit.of(cells, min(fit_from(submit_ns) for submit_ns in _SUBMIT_NS)[1])


def rounded(value: float) -> int:
    """`value` to as many digits as the fit is good for."""
    return int(round(value, DIGITS - 1 - math.floor(math.log10(value))))


def profile_of(model: Fit, slowdown: float, turnaround_ns: float) -> Profile:
    """What the device has to say.

    Each published copy crosses the link once and a socket's path once, so the figures show one
    limit and not whose it is: both get it.
    """
    shared = rounded(model.shared_rate * 1e9)
    return Profile(
        latency_ns=rounded(model.latency_ns - turnaround_ns / slowdown),
        bandwidth=rounded(model.channel_rate * 1e9),
        socket_bandwidth=shared,
        link_bandwidth=shared,
        slowdown_permille=rounded(slowdown * 1000),
    )


def read_device(path: Path = DEVICE) -> Profile:
    """The profile as the device's source has it.

    Raises:
        ConfigError: the source has no such profile.
    """
    found = re.search(
        r"\[AMD_DMA_PROFILE_ZEN3\] = \{(?P<body>[^}]*)\}", path.read_text(encoding="utf-8")
    )
    values = dict(re.findall(r"\.(\w+) = (\d+)", found["body"])) if found else {}
    try:
        return Profile(**{name: int(values[name]) for name in Profile.__dataclass_fields__})
    except KeyError as error:
        raise ConfigError(f"profile zen3 with a {error} in {path}", str(values)) from error


def render(cells: Sequence[Cell], model: Fit, slowdown: float, turnaround_ns: float) -> str:
    """The fit, its parameters, and its error in each cell, for people."""
    sizes = sorted({cell.size_bytes for cell in cells})
    lines = [
        f"c {model.cpu_rate:.2f} GB/s   d {model.submit_ns:.0f} ns   L {model.latency_ns:.0f} ns   "
        f"B {model.channel_rate:.2f} GB/s   S {model.shared_rate:.1f} GB/s   k {slowdown:.2f}   "
        f"t {turnaround_ns:.0f} ns",
        "A " + "  ".join(f"{ns:.0f}" for ns in model.overhead_ns) + " ns",
    ]
    for source in dict.fromkeys(cell.source for cell in cells):
        head = "".join(f"{size // 1024:>8} KiB" for size in sizes)
        lines += ["", f"{source}: published, error of the model", f"{'channels':<10}{head}"]
        for channels in sorted({cell.channels for cell in cells}):
            row = [cell for cell in cells if (cell.source, cell.channels) == (source, channels)]
            shown = "".join(f"{cell.gb_per_s:>7.2f}{model.error(cell):>+5.0%}" for cell in row)
            lines.append(f"{channels or 'CPU':<10}{shown}")
    errors = sorted(abs(model.error(cell)) for cell in cells)
    square = math.sqrt(math.fsum(error**2 for error in errors) / len(errors))
    lines += [
        "",
        f"{len(errors)} cells: root mean square {square:.1%}, median "
        f"{errors[len(errors) // 2]:.1%}, worst {errors[-1]:.1%}",
    ]
    return "\n".join(lines)


def main() -> int:
    """Print the fit; 1 if the device has other numbers."""
    cells = read_cells()
    model, slowdown = fit(cells), read_slowdown(cells)
    turnaround_ns = read_turnaround_ns(model, slowdown)
    wanted, seen = profile_of(model, slowdown, turnaround_ns), read_device()
    print(render(cells, model, slowdown, turnaround_ns))
    print(f"\nfitted {wanted}\ndevice {seen}")
    if wanted != seen:
        print(f"\n{DEVICE} has to be changed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
