# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel bases: which there are, what of them is on this host, and what our series is on each.

Nothing is fetched or built to find out.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.build.kernel_plan import KernelChoice, pins_path, plan_from, queue_of, series_path
from lab.cache import Cache
from lab.config import Kernel, Variant
from lab.sources import find
from lab.sources.pins import Source, read_pins


@dataclass(frozen=True)
class BaseFacts:
    """A kernel base as ``dcbm-lab kernel list`` shows it.

    Attributes:
        name: as ``kernel.base`` in the lab file says it.
        pinned: where its source comes from first, in the source's own words.
        version: version of the source that is in the cache; None if none is.
        patches: length of our queue for this base, 0 without.
        series: hash of that queue, None without.
        built: kernels of this base in the cache, such as "plain vanilla".
    """

    name: str
    pinned: str
    version: str | None
    patches: int
    series: str | None
    built: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The base in words."""
        default = " (default)" if self.name == Kernel().base else ""
        return (
            f"{self.name}{default}",
            f"source  {self.version}, in the cache" if self.version else f"source  {self.pinned}",
            f"series  {self.patches} patches, {self.series[:12]}"
            if self.series
            else "series  none",
            f"built   {', '.join(self.built) or 'nothing'}",
        )


def list_bases(cache: Cache) -> list[BaseFacts]:
    """Every base that the pins name, in their order.

    Raises:
        ConfigError: pins, fragments or a series that can't be used.
        HostError: there is no compiler, without which no kernel can be told from another.
    """
    pins = read_pins(pins_path())
    return [_describe(cache, name, sources) for name, sources in pins.items()]


def _describe(cache: Cache, name: str, sources: tuple[Source, ...]) -> BaseFacts:
    queue = queue_of(name) if series_path(name).is_dir() else None
    fetched = find(cache, sources)
    built = []
    if fetched is not None:
        for variant in Variant:
            for patched in (False, True) if queue else (False,):
                plan = plan_from(fetched, KernelChoice(name, variant, patched))
                if cache.find("kernel", plan.key) is not None:
                    built.append(f"{variant.value} {'patched' if patched else 'vanilla'}")
    return BaseFacts(
        name=name,
        pinned=sources[0].label,
        version=fetched.version if fetched else None,
        patches=len(queue.patches) if queue else 0,
        series=queue.hash if queue else None,
        built=tuple(built),
    )
