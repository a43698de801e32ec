# SPDX-License-Identifier: GPL-2.0-or-later
"""The figures of move_pages(2) experiments as an SVG, beside what was published.

The same record gives the same bytes: no date, no random identifier, and letters drawn with the
font that comes with matplotlib.
"""

from __future__ import annotations

import io
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.checkout import ROOT
from lab.config import Clock
from lab.errors import ConfigError
from lab.report.figures import harmless, size_name
from lab.results import Mode, MovePoint, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PUBLISHED = ROOT / "docs" / "published-figures.toml"
_COLUMNS = 2
_PANEL_INCHES = (6.0, 3.9)
# The baseline is black; channels go from light to dark, so that a line keeps its colour whatever
# else is shown. Okabe and Ito's colours, which people tell apart who don't see some of them.
_COLOURS = {
    "baseline": "#000000",
    "dma-1": "#e69f00",
    "dma-2": "#56b4e9",
    "dma-4": "#009e73",
    "dma-8": "#cc79a7",
    "dma-12": "#0072b2",
    "dma-16": "#d55e00",
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_OTHER_COLOUR = "#666666"
_RC: dict[Any, Any] = {
    "svg.hashsalt": "dcbm-lab",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "#ffffff",
}


@dataclass(frozen=True)
class Line:
    """One line of a panel: a mode's values by size or number; deviations where there are any."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    deviation: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Panel:
    """One diagram.

    Attributes:
        title: what it shows, and of which time.
        x_label: of the logarithmic axis.
        y_label: with its unit.
        lines: at least one.
        x_name: how a value of the axis is written.
        wide_range: the values span decades, which only a logarithmic axis shows.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_name: Callable[[int], str]
    wide_range: bool = False


def has_plot(record: Record) -> bool:
    """Whether there is anything to draw."""
    return bool(panels(record))


def svg_text(record: Record) -> str:
    """The record's diagrams as an SVG document.

    Raises:
        ConfigError: the record has no figures by folio size or number of folios.
    """
    found = panels(record)
    if not found:
        raise ConfigError(
            "a record of move-pages or folio-count with at least one point",
            f"one of {harmless(record.experiment)} without",
            hint="`dcbm-lab report` shows what there is as a table",
        )
    import matplotlib as mpl  # noqa: PLC0415 - takes a second, which no other format needs
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    rows = -(-len(found) // _COLUMNS)
    columns = min(_COLUMNS, len(found))
    with mpl.rc_context(_RC):
        figure = Figure(
            figsize=(columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1]), layout="constrained"
        )
        axes: Any = figure.subplots(rows, columns, squeeze=False)
        for at, area in enumerate(axes.flat):
            if at < len(found):
                _draw(area, found[at])
            else:
                area.set_axis_off()
        # One for all, below them: within a panel it would lie on some line.
        entries = {
            label: entry
            for area in axes.flat
            for entry, label in zip(*area.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            entries.values(), entries.keys(), loc="outside lower center", ncols=7, frameon=False
        )
        text = io.StringIO()
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(
            text,
            metadata={"Date": None, "Creator": "dcbm-lab", "Title": harmless(record.experiment)},
        )
    return text.getvalue()


def inline_svg(record: Record) -> str:
    """The same to stand in an HTML page: without the XML declaration."""
    text = svg_text(record)
    return text[text.index("<svg") :]


def panels(record: Record) -> list[Panel]:
    """The diagrams that a record has figures for, in the order in which they are drawn."""
    modes = [mode for mode in record.modes if mode.moves]
    if not modes or any(point.tasks > 1 for mode in modes for point in mode.moves):
        return []
    sizes = {point.folio_kib for mode in modes for point in mode.moves}
    counts = {point.folios_per_move for mode in modes for point in mode.moves}
    by_count = len(sizes) == 1 and len(counts) > 1
    time = "emulated time" if record.clock == Clock.VIRTUAL.value else "host clock: no figures"
    if by_count:
        axis = _Axis("folios in a call", str, lambda point: point.folios_per_move)
        what = f"{size_name(min(sizes))} folios"
        published = _published_counts()
    else:
        axis = _Axis("folio size", size_name, lambda point: point.folio_kib)
        what = "move_pages(2)"
        published = _published_sizes()
    found = [
        axis.panel(
            f"{what}: throughput, {time}",
            "GB/s",
            modes,
            lambda point: point.gb_per_s_mean,
            lambda point: point.gb_per_s_stdev,
            wide_range=True,
        ),
        Panel(
            f"{what}: throughput, published, EPYC Zen 3",
            axis.label,
            "GB/s",
            tuple(published),
            axis.name,
            wide_range=True,
        ),
    ]
    found += _latency_panels(axis, modes, time)
    found += _cpu_panels(axis, modes, time)
    return found


@dataclass(frozen=True)
class _Axis:
    """What the points of a record differ in."""

    label: str
    name: Callable[[int], str]
    of: Callable[[MovePoint], int]

    def panel(
        self,
        title: str,
        y_label: str,
        modes: Sequence[Mode],
        value: Callable[[MovePoint], float | None],
        deviation: Callable[[MovePoint], float] | None = None,
        *,
        wide_range: bool = False,
    ) -> Panel:
        """A panel with a line for each mode that has values."""
        lines = []
        for mode in modes:
            points = sorted(
                (self.of(point), seen, deviation(point) if deviation else 0.0)
                for point in mode.moves
                if (seen := value(point)) is not None
            )
            if points:
                x, y, apart = zip(*points, strict=True)
                lines.append(Line(harmless(mode.name), x, y, apart if deviation else None))
        return Panel(title, self.label, y_label, tuple(lines), self.name, wide_range)


def _latency_panels(axis: _Axis, modes: Sequence[Mode], time: str) -> list[Panel]:
    """When the first and the last folio can be used again, where that was measured."""
    found = []
    for which in ("first", "last"):

        def usable_ms(point: MovePoint, key: str = f"{which}_ns") -> float | None:
            return None if point.latency is None else getattr(point.latency, key) / 1e6

        panel = axis.panel(
            f"{which} folio usable again after the call, {time}", "ms", modes, usable_ms
        )
        if panel.lines:
            found.append(panel)
    return found


def _cpu_panels(axis: _Axis, modes: Sequence[Mode], time: str) -> list[Panel]:
    """CPU time of a GB: of the calling task, and of its CPU with interrupts."""
    wanted: list[tuple[str, Callable[[MovePoint], float | None]]] = [
        ("calling task", lambda point: point.task_cpu_ms_per_gb),
        ("its CPU, interrupts included", lambda point: point.cpu_busy_ms_per_gb),
    ]
    found = [
        axis.panel(f"CPU time, {who}, {time}", "ms per GB moved", modes, value)
        for who, value in wanted
    ]
    return [panel for panel in found if panel.lines]


def _published(path: Path = PUBLISHED) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _published_sizes() -> list[Line]:
    """The newest published table of throughputs by folio size."""
    table = _published()["v4"]["move_pages"]
    rows = {"baseline": table["baseline"], **{f"dma-{n}": row for n, row in table["dma"].items()}}
    sizes = tuple(table["folio_kib"])
    return [
        Line(name, sizes, *(tuple(column) for column in zip(*row, strict=True)))
        for name, row in rows.items()
    ]


def _published_counts() -> list[Line]:
    """The published throughputs by number of folios."""
    table = _published()["v3"]["folio_count"]
    rows = {"baseline": table["baseline"], **{f"dma-{n}": row for n, row in table["dma"].items()}}
    return [Line(name, tuple(table["count"]), tuple(row)) for name, row in rows.items()]


def _draw(area: Axes, panel: Panel) -> None:
    names = list(_COLOURS)
    for at, line in enumerate(panel.lines):
        known = names.index(line.name) if line.name in names else at
        area.errorbar(
            line.x,
            line.y,
            yerr=line.deviation,
            label=line.name,
            color=_COLOURS.get(line.name, _OTHER_COLOUR),
            marker=_MARKERS[known % len(_MARKERS)],
            markersize=4.5,
            linewidth=1.4,
            capsize=2.5,
            elinewidth=0.8,
        )
    ticks = sorted({int(value) for line in panel.lines for value in line.x})
    area.set_xscale("log", base=2)
    area.set_xticks(ticks, [panel.x_name(tick) for tick in ticks])
    area.minorticks_off()
    if panel.wide_range:
        area.set_yscale("log", base=2)
        area.yaxis.set_major_formatter(lambda value, _at: f"{value:g}")
    else:
        area.set_ylim(bottom=0)
    area.set_title(panel.title, loc="left", fontsize=9.5, fontweight="bold")
    area.set_xlabel(panel.x_label)
    area.set_ylabel(panel.y_label)
