# SPDX-License-Identifier: GPL-2.0-or-later
"""The dcbm provider's controls: where a kernel keeps them, and what they must read back.

The control files moved and grew from version to version of the series; the guest is asked which it
has. A switch that was written is read back: an experiment with offloading silently off proves
nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from lab.errors import ConfigError, PremiseError
from lab.machine.jobs import GuestFileError, JobResult

MAX_CHANNELS = 16
# More than any kernel has: where asking bit by bit ends.
_MAX_REASONS = 32


@dataclass(frozen=True)
class Layout:
    """Where a version of the series keeps its control files, and which it has."""

    name: str
    directory: str
    files: frozenset[str]

    def path(self, file: str) -> str:
        """Path of a control file.

        Raises:
            ConfigError: this version doesn't have it.
        """
        if file not in self.files:
            raise ConfigError(
                f"a dcbm with {file}",
                f"the {self.name} control layout in {self.directory}, which has "
                + ", ".join(sorted(self.files)),
                hint="choose a kernel with a newer version, or leave this control out",
            )
        return f"{self.directory}/{file}"


_SWITCHES = frozenset({"offloading", "nr_dma_chan"})
_COUNTERS = frozenset({"folios_migrated", "folios_failures"})

# Newest first. Each probe file tells a layout from all that come after it.
LAYOUTS = (
    Layout("V6", "/sys/module/dcbm/parameters", _SWITCHES | _COUNTERS | {"reason_mask"}),
    Layout("V5", "/sys/module/dcbm", _SWITCHES | _COUNTERS),
    Layout("V4", "/sys/kernel/dcbm", _SWITCHES | _COUNTERS),
    Layout("V3", "/sys/kernel/dcbm", _SWITCHES),
)
_PROBES = {"V6": "offloading", "V5": "offloading", "V4": "folios_migrated", "V3": "offloading"}


@dataclass(frozen=True)
class Counters:
    """What dcbm counted, in folios, since the last write to a counter."""

    folios_migrated: int
    folios_failures: int


class Session(Protocol):
    """What dcbm needs of a guest."""

    def read(self, path: str) -> str:
        """Content of a file; GuestFileError if it can't be read."""

    def write(self, path: str, text: str) -> None:
        """Write to a file; GuestFileError if the guest refuses."""

    def run(self, argv: list[str]) -> JobResult:
        """Run a program to its end."""


def load(guest: Session) -> None:
    """Load the module; harmless where it is loaded or built in.

    Raises:
        PremiseError: the kernel does not take it, e.g. because it has no series.
    """
    result = guest.run(["/bin/busybox", "modprobe", "dcbm"])
    if not result.ok:
        raise PremiseError(
            "the dcbm module to load",
            result.describe(),
            hint="the baseline kernel has none; choose the patched one",
        )


class Dcbm:
    """The provider in a guest.

    Raises:
        PremiseError: the guest has no dcbm in any known layout.
    """

    def __init__(self, guest: Session) -> None:
        self._guest = guest
        self.layout = _find_layout(guest)

    def enable(self, channels: int = 1, reasons: str | Iterable[str] | None = None) -> None:
        """Offload copies over up to `channels` channels, and for `reasons` alone if given.

        `reasons` are migration reasons (``compaction``, ``syscall_or_cpuset`` …), one of the words
        ``all`` and ``none``, or the mask as a number.

        Raises:
            ConfigError: a channel count that no dcbm takes, or reasons that this one doesn't know.
            PremiseError: the guest refused, or reads back something else.
        """
        if not 1 <= channels <= MAX_CHANNELS:
            raise ConfigError(f"1 to {MAX_CHANNELS} channels", str(channels))
        if reasons is not None:
            self.limit_to(reasons)
        self._set("nr_dma_chan", str(channels))
        self._set("offloading", "1")

    def disable(self) -> None:
        """Copy by CPU again.

        Raises:
            PremiseError: the guest refused, or reads back something else.
        """
        self._set("offloading", "0")

    @property
    def counts(self) -> bool:
        """Whether this version has counters that can be read."""
        return self.layout.files >= _COUNTERS

    def counters(self) -> Counters:
        """The folio counters.

        Raises:
            ConfigError: this version counts nothing.
        """
        return Counters(
            folios_migrated=self._number("folios_migrated"),
            folios_failures=self._number("folios_failures"),
        )

    def reset_counters(self) -> None:
        """Set both counters to 0: any write does."""
        for file in sorted(_COUNTERS):
            self._guest.write(self.layout.path(file), "0")

    @property
    def offloading(self) -> bool:
        """Whether copies are offloaded now."""
        return self._value("offloading") == "1"

    @property
    def channels(self) -> int:
        """``nr_dma_chan`` as the guest reads it."""
        return self._number("nr_dma_chan")

    @property
    def reason_mask(self) -> str:
        """``reason_mask`` as the guest reads it."""
        return self._value("reason_mask")

    def limit_to(self, reasons: str | Iterable[str]) -> None:
        """Offload for `reasons` alone from now on, whether offloading or not; as in `enable`.

        Raises:
            ConfigError: this version has no mask of reasons.
            PremiseError: the guest refused, or reads back something else.
        """
        self._set_reasons(reasons if isinstance(reasons, str) else ",".join(reasons))

    def reason_names(self) -> tuple[str, ...]:
        """The reasons that this kernel knows, in the order of their bits; ends with the mask `all`.

        Raises:
            ConfigError: this version has no mask of reasons.
            PremiseError: the guest refused, or shows something else than one name for one bit.
        """
        path = self.layout.path("reason_mask")
        names: list[str] = []
        for bit in range(_MAX_REASONS):
            try:
                self._guest.write(path, str(1 << bit))
            except GuestFileError as error:
                if error.errno == errno.EINVAL and names:
                    break
                raise
            names.append(self.reason_mask)
        self._set_reasons("all")
        if len(set(names)) != len(names) or any("," in name for name in names):
            raise PremiseError(f"a name of its own for each bit of {path}", ", ".join(names))
        return tuple(names)

    def _set_reasons(self, text: str) -> None:
        path = self.layout.path("reason_mask")
        self._guest.write(path, text)
        seen = self.reason_mask
        if not _same_reasons(text, seen):
            raise PremiseError(
                f"{path} to read {text} after that was written",
                repr(seen),
                hint="the console log may say why; every reason together is written as: all",
            )

    def _value(self, file: str) -> str:
        value = self._guest.read(self.layout.path(file)).strip()
        # A bool parameter of the module loader reads Y or N, an attribute 1 or 0.
        return {"Y": "1", "N": "0"}.get(value, value)

    def _number(self, file: str) -> int:
        value = self._value(file)
        if not value.isascii() or not value.isdecimal():
            raise PremiseError(f"a number in {self.layout.path(file)}", repr(value))
        return int(value)

    def _set(self, file: str, value: str) -> None:
        self._guest.write(self.layout.path(file), value)
        seen = self._value(file)
        if seen != value:
            raise PremiseError(
                f"{self.layout.path(file)} to read {value} after that was written",
                repr(seen),
                hint="the console log may say why",
            )


def _same_reasons(written: str, seen: str) -> bool:
    """Whether what the kernel shows can be what was written; it shows names in its own order."""
    try:
        mask = int(written, 0)
    except ValueError:
        return _names(seen) == _names(written)
    # Which bit is which name only the kernel knows, but not how many there are.
    if seen in {"none", "all"}:
        return (mask == 0) == (seen == "none") and mask & (mask + 1) == 0
    return mask.bit_count() == len(_names(seen))


def _names(reasons: str) -> frozenset[str]:
    return frozenset(word.strip() for word in reasons.split(","))


def _find_layout(guest: Session) -> Layout:
    for layout in LAYOUTS:
        try:
            guest.read(layout.path(_PROBES[layout.name]))
        except GuestFileError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                continue
            raise
        return layout
    raise PremiseError(
        "dcbm's control files in the guest",
        "none in " + ", ".join(dict.fromkeys(layout.directory for layout in LAYOUTS)),
        hint="load the module first (modprobe dcbm); the baseline kernel has none",
    )
