# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own fault injection: allocations that fail when an experiment asks for it.

Source: the kernel's Documentation/fault-injection/fault-injection.rst, lib/fault-inject.c,
mm/failslab.c and mm/fail_page_alloc.c. Each capability is a directory of debugfs, so there is one
fault of each at a time. All its settings are written, not only those that a fault asks for, and
read back; how often it struck is the difference of ``times``, which the kernel counts down. What is
taken back leaves every setting as it was found.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Protocol

from lab.config import Variant
from lab.errors import ConfigError, LabError, PremiseError
from lab.experiments.kernel_text import text_range
from lab.machine.jobs import GuestFileError, JobResult

DEVICE = "kernel"
VARIANTS = (Variant.DEBUG, Variant.KASAN)
"""Variants whose kernels can do it."""
DEBUGFS = "/sys/kernel/debug"
ENGINE_CACHE = "-dmaengine-desc-cache"
"""How the slab cache of every engine's descriptors ends (ptdma-dmaengine.c)."""
_MAKE_IT_FAIL = "/proc/1/make-it-fail"  # of the agent; what it starts inherits it
_SLAB = "/sys/kernel/slab"
# What no run reaches; the kernel's own "unlimited", -1, would not be counted down.
_UNLIMITED = 1_000_000_000
_ULONG_MAX = (1 << 64) - 1
_STACK_DEPTH = 32  # MAX_STACK_TRACE_DEPTH
_HINT = f"--set kernel.variant={VARIANTS[0].value} has it"


class Capability(StrEnum):
    """What can be made to fail: slab allocations, page allocations."""

    FAILSLAB = "failslab"
    FAIL_PAGE_ALLOC = "fail_page_alloc"


@dataclass(frozen=True)
class KernelFault:
    """Allocations that are to fail.

    Attributes:
        capability: which ones.
        probability: in percent, of those that the rest lets through.
        interval: only every Nth of these; exact, where a probability is chance.
        times: how often at most; None is without limit.
        space: bytes (slab) or pages that are allocated before anything fails.
        task: in tasks that are started from then on, in no others and in no interrupt.
        sleeping: allocations that may sleep (GFP_KERNEL), too; otherwise those that may not alone.
        min_order: fail_page_alloc: of at least this order.
        cache: failslab: from the slab caches whose name ends so, and no others.
        module: with a function of this module on the stack; needs a kernel with
            CONFIG_FAULT_INJECTION_STACKTRACE_FILTER.
        function: with this function on the stack; likewise. With `module`, that module's.
    """

    capability: Capability
    probability: int = 100
    interval: int = 1
    times: int | None = None
    space: int = 0
    task: bool = False
    sleeping: bool = False
    min_order: int = 0
    cache: str | None = None
    module: str | None = None
    function: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no kernel takes.

        Raises:
            ConfigError: a value out of range, or options that exclude each other.
        """
        slab = self.capability is Capability.FAILSLAB
        wrong = [
            *([] if 1 <= self.probability <= 100 else ["probability is 1 to 100 (percent)"]),  # noqa: PLR2004
            *([] if self.interval >= 1 else ["interval is at least 1"]),
            *([] if self.times is None or 1 <= self.times < _UNLIMITED else ["times is from 1"]),
            *([] if 0 <= self.space < 1 << 31 else ["space is 0 to 2147483647"]),
            *([] if 0 <= self.min_order <= 10 else ["min-order is 0 to 10"]),  # noqa: PLR2004
            *(["cache is for failslab"] if self.cache and not slab else []),
            *(["min-order is for fail_page_alloc"] if self.min_order and slab else []),
        ]
        if wrong:
            raise ConfigError(f"a {self.capability} that the kernel takes", "; ".join(wrong))

    @classmethod
    def of(cls, kind: str, arguments: Mapping[str, int | str | bool]) -> KernelFault:
        """The fault as ``--inject kernel:KIND:KEY=VALUE`` says it.

        Raises:
            ConfigError: no such capability or key, or a value of another type.
        """
        known = {item.name.replace("_", "-"): str(item.type) for item in fields(cls)[1:]}
        if kind not in set(Capability):
            raise ConfigError(f"{' or '.join(Capability)} to inject into the kernel", repr(kind))
        values: dict[str, Any] = {}
        for key, value in arguments.items():
            kinds = {"bool": bool, "int": int, "str": str}
            wanted = known.get(key, "").partition(" ")[0]
            if type(value) is not kinds.get(wanted):
                raise ConfigError(
                    f"a {wanted} for {key}" if wanted else f"one of {', '.join(known)}",
                    f"{key}={value}",
                )
            values[key.replace("-", "_")] = value
        return cls(Capability(kind), **values)


class Guest(Protocol):
    """What is needed of a guest."""

    def read(self, path: str) -> str:
        """Content of a file; GuestFileError if it can't be read."""

    def write(self, path: str, text: str) -> None:
        """Write to a file; GuestFileError if the guest refuses."""

    def run(self, argv: list[str]) -> JobResult:
        """Run a program to its end."""


@dataclass
class Armed:
    """A fault in a guest's kernel, until it is taken back.

    Attributes:
        guest: where.
        fault: what was asked for.
        settings: files of the capability's directory, as they read back.
        caches: slab caches that are marked to fail.
        found: content of each file that was written, from before.
    """

    guest: Guest
    fault: KernelFault
    settings: dict[str, str] = field(default_factory=dict)
    caches: list[str] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)
    _released: int | None = None

    @property
    def device(self) -> str:
        """What ``--inject`` calls it."""
        return DEVICE

    @property
    def directory(self) -> str:
        """Of the capability, in the guest."""
        return f"{DEBUGFS}/{self.fault.capability}"

    @property
    def only_engines(self) -> bool:
        """Whether it can strike nothing but descriptors of the engines' driver."""
        return bool(self.caches) and all(name.endswith(ENGINE_CACHE) for name in self.caches)

    def struck(self) -> int:
        """How many allocations it made fail; so far, or until it was taken back."""
        return self._count() if self._released is None else self._released

    def _count(self) -> int:
        times = self.fault.times or _UNLIMITED
        return times - int(self.guest.read(f"{self.directory}/times"))

    def release(self) -> None:
        """Let allocations succeed again, count, and put back every setting as it was found."""
        if self._released is not None:
            return
        self.guest.write(f"{self.directory}/probability", "0")
        self._released = self._count()
        self._put_back()

    def _put_back(self) -> None:
        while self.found:
            path, content = self.found.popitem()  # the last one first: probability before filters
            self.guest.write(path, content)

    def disarm(self) -> int:
        """Let allocations succeed again, and return how many failed.

        Raises:
            PremiseError: none did, so nothing was tested.
        """
        self.release()
        struck = self.struck()
        if not struck:
            raise PremiseError(
                f"{self.fault.capability} to make an allocation fail",
                "it never struck",
                hint="let it reach more: another cache or module, sleeping=true, interval=1",
            )
        return struck

    def describe(self) -> dict[str, Any]:
        """What stands in the record about it."""
        return {"kind": str(self.fault.capability), "set": self.settings, "struck": self.struck()}

    def set_up(self) -> None:
        """Write all settings, probability last, and read them back.

        Raises:
            ConfigError, PremiseError: see `arm`.
        """
        wanted = _settings(self.guest, self.fault, self.directory)
        try:
            self._set(wanted)
        except BaseException:
            # What is told is why it can't be set, not what a guest that is gone says afterwards.
            with contextlib.suppress(LabError):
                self._put_back()
            raise

    def _set(self, wanted: dict[str, str]) -> None:
        self.caches = _choose_caches(self)
        if self.fault.task:
            self.write(_MAKE_IT_FAIL, "1")
        for name, value in wanted.items():
            self.write(f"{self.directory}/{name}", value)
        # space goes down with each allocation, times with each failure
        shown = {name: self.guest.read(f"{self.directory}/{name}").strip() for name in wanted}
        wrong = [
            f"{name} reads {shown[name]!r}"
            for name in wanted
            if name not in {"space", "times"} and not _same(wanted[name], shown[name])
        ]
        if wrong:
            raise PremiseError(f"{self.directory} as it was set", ", ".join(wrong))
        self.settings = shown

    def write(self, path: str, text: str) -> None:
        """Write a setting, and remember what it was."""
        self.found.setdefault(path, self.guest.read(path).strip())
        self.guest.write(path, text)


def arm(guest: Guest, fault: KernelFault) -> Armed:
    """Have the guest's kernel fail allocations, and make sure that it says so itself.

    Raises:
        ConfigError: the kernel can't do it; names the variant that can.
        PremiseError: another fault of this capability is armed; the kernel reads back something
            else, or has no such slab cache, module or function. Nothing stays armed.
    """
    directory = f"{DEBUGFS}/{fault.capability}"
    try:
        probability = guest.read(f"{directory}/probability").strip()
    except GuestFileError as error:
        if error.errno != errno.ENOENT:
            raise
        raise ConfigError(
            f"a kernel with the fault injection {fault.capability}",
            f"no {directory} in the guest",
            hint=_HINT,
        ) from None
    if probability != "0":
        raise PremiseError(
            f"one fault of {fault.capability} at a time",
            f"one is armed: {directory}/probability reads {probability!r}",
            hint="take it back first; with --inject, give one of each kind, and none for an "
            "experiment that brings its own",
        )
    armed = Armed(guest, fault)
    armed.set_up()
    return armed


def _settings(guest: Guest, fault: KernelFault, directory: str) -> dict[str, str]:
    """All settings of a capability, in the order in which they are written.

    What the fault doesn't ask for gets the value that lets everything through, so that nothing of
    another fault is left.
    """
    if fault.capability is Capability.FAIL_PAGE_ALLOC:
        own = {"min-order": str(fault.min_order), "ignore-gfp-highmem": "Y"}
    else:
        own = {"cache-filter": _yes(on=fault.cache is not None)}
    return {
        **own,
        **_stack_filter(guest, fault, directory),
        "interval": str(fault.interval),
        "space": str(fault.space),
        "verbose": "1",  # a line in the console for each, within its rate limit
        "task-filter": _yes(on=fault.task),
        "ignore-gfp-wait": _yes(on=not fault.sleeping),
        "times": str(fault.times or _UNLIMITED),
        "probability": str(fault.probability),  # the last: nothing fails while the rest is set
    }


def _stack_filter(guest: Guest, fault: KernelFault, directory: str) -> dict[str, str]:
    """What has to be on the stack; nothing where the kernel doesn't look, and needn't."""
    wanted = fault.module is not None or fault.function is not None
    try:
        guest.read(f"{directory}/require-start")
    except GuestFileError as error:
        if error.errno != errno.ENOENT:
            raise
        if not wanted:
            return {}
        raise ConfigError(
            "a kernel whose fault injection looks at stacks",
            f"no {directory}/require-start in the guest",
            hint="put CONFIG_FAULT_INJECTION_STACKTRACE_FILTER=y in a file and give it with "
            f"--fragment, on top of {_HINT.removesuffix(' has it')}; or choose by cache=…",
        ) from None
    start, end = 0, _ULONG_MAX  # any stack, as lib/fault-inject.c has it
    if wanted:
        start, end = text_range(
            guest.read("/proc/kallsyms"), module=fault.module, function=fault.function
        )
    return {
        "stacktrace-depth": str(_STACK_DEPTH),
        "require-start": hex(start),
        "require-end": hex(end),
        "reject-start": "0x0",
        "reject-end": "0x0",
    }


def _choose_caches(armed: Armed) -> list[str]:
    """Mark the slab caches that are to fail.

    Raises:
        PremiseError: there is no such cache, or it doesn't take the mark.
    """
    guest, fault = armed.guest, armed.fault
    if fault.cache is None:
        return []
    names = guest.run(["/bin/busybox", "ls", _SLAB]).stdout
    found = [name for name in names if name.endswith(fault.cache)]
    if not found:
        raise PremiseError(
            f"a slab cache whose name ends in {fault.cache!r}",
            f"none of {len(names)} in {_SLAB}",
            hint="is the module loaded that makes it?",
        )
    for name in found:
        armed.write(f"{_SLAB}/{name}/failslab", "1")
        seen = guest.read(f"{_SLAB}/{name}/failslab").strip()
        if seen != "1":
            raise PremiseError(f"slab cache {name} marked to fail", f"it reads {seen!r}")
    return found


def _yes(*, on: bool) -> str:
    return "Y" if on else "N"


def _same(written: str, seen: str) -> bool:
    """Whether a setting reads back; the kernel shows addresses in its own form."""
    if written.startswith("0x"):
        return int(written, 16) == int(seen, 16)
    return written == seen
