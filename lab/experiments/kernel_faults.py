# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own fault injection: allocations that fail when an experiment asks for it.

Source: the kernel's Documentation/fault-injection/fault-injection.rst, lib/fault-inject.c,
mm/failslab.c and mm/fail_page_alloc.c. Each capability is a directory of debugfs. What is set is
read back, and how often it struck is the difference of ``times``, which the kernel counts down.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Protocol

from lab.config import Variant
from lab.errors import ConfigError, PremiseError
from lab.machine.jobs import GuestFileError, JobResult

DEVICE = "kernel"
VARIANTS = (Variant.DEBUG, Variant.KASAN)
"""Variants whose kernels can do it."""
DEBUGFS = "/sys/kernel/debug"
_SLAB = "/sys/kernel/slab"
# What no run reaches; the kernel's own "unlimited", -1, would not be counted down.
_UNLIMITED = 1_000_000_000
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
        function: with this function on the stack; likewise.
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
            *(["module or function, not both"] if self.module and self.function else []),
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
    """A fault in a guest's kernel, until it is taken back."""

    guest: Guest
    fault: KernelFault
    times: int
    settings: dict[str, str]
    caches: list[str] = field(default_factory=list)

    @property
    def device(self) -> str:
        """What ``--inject`` calls it."""
        return DEVICE

    @property
    def directory(self) -> str:
        """Of the capability, in the guest."""
        return f"{DEBUGFS}/{self.fault.capability}"

    def struck(self) -> int:
        """How many allocations it made fail so far."""
        return self.times - int(self.guest.read(f"{self.directory}/times"))

    def release(self) -> None:
        """Let allocations succeed again."""
        self.guest.write(f"{self.directory}/probability", "0")
        for cache in self.caches:
            self.guest.write(f"{_SLAB}/{cache}/failslab", "0")

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


def arm(guest: Guest, fault: KernelFault) -> Armed:
    """Have the guest's kernel fail allocations, and make sure that it says so itself.

    Raises:
        ConfigError: the kernel can't do it; names the variant that can.
        PremiseError: it reads back something else, or has no such slab cache, module or function.
    """
    directory = f"{DEBUGFS}/{fault.capability}"
    try:
        guest.read(f"{directory}/probability")
    except GuestFileError as error:
        if error.errno != errno.ENOENT:
            raise
        raise ConfigError(
            f"a kernel with the fault injection {fault.capability}",
            f"no {directory} in the guest",
            hint=_HINT,
        ) from None
    times = fault.times or _UNLIMITED
    guest.write(f"{directory}/probability", "0")  # nothing fails while the rest is set
    wanted = _filters(guest, fault, directory)
    caches = _choose_caches(guest, fault)
    wanted |= {
        "interval": str(fault.interval),
        "space": str(fault.space),
        "verbose": "1",  # a line in the console for each, within its rate limit
        "task-filter": _yes(on=fault.task),
        "ignore-gfp-wait": _yes(on=not fault.sleeping),
        "times": str(times),
        "probability": str(fault.probability),
    }
    if fault.task:
        guest.write("/proc/1/make-it-fail", "1")  # the agent; what it starts inherits it
    for name, value in wanted.items():
        guest.write(f"{directory}/{name}", value)
    # space goes down with each allocation, times with each failure
    shown = {name: guest.read(f"{directory}/{name}").strip() for name in wanted}
    apart = [name for name in wanted if name not in {"space", "times"}]
    wrong = [
        f"{name} reads {shown[name]!r}" for name in apart if not _same(wanted[name], shown[name])
    ]
    if wrong:
        raise PremiseError(f"{directory} as it was set", ", ".join(wrong))
    return Armed(guest, fault, times, shown, caches)


def _filters(guest: Guest, fault: KernelFault, directory: str) -> dict[str, str]:
    """Settings that narrow a capability down in its own way."""
    if fault.capability is Capability.FAIL_PAGE_ALLOC:
        found = {"min-order": str(fault.min_order), "ignore-gfp-highmem": "Y"}
    else:
        found = {"cache-filter": _yes(on=fault.cache is not None)}
    if fault.module is None and fault.function is None:
        return found
    try:
        guest.read(f"{directory}/require-start")
    except GuestFileError as error:
        if error.errno != errno.ENOENT:
            raise
        raise ConfigError(
            "a kernel whose fault injection looks at stacks",
            f"no {directory}/require-start in the guest",
            hint="put CONFIG_FAULT_INJECTION_STACKTRACE_FILTER=y in a file and give it with "
            f"--fragment, on top of {_HINT.removesuffix(' has it')}; or choose by cache=…",
        ) from None
    start, end = text_range(
        guest.read("/proc/kallsyms"), module=fault.module, function=fault.function
    )
    return {
        **found,
        "stacktrace-depth": "32",
        "require-start": hex(start),
        "require-end": hex(end),
    }


def text_range(kallsyms: str, *, module: str | None, function: str | None) -> tuple[int, int]:
    """First address of a module's or function's code, and the first one behind it.

    Args:
        kallsyms: text of /proc/kallsyms as root reads it.
        module: a module's name.
        function: a function's name.

    Raises:
        PremiseError: there is no such code.
    """
    code: list[tuple[int, str, str]] = []
    for line in filter(None, kallsyms.splitlines()):
        address, kind, name, *owner = line.split()
        if kind in "tTwW":
            code.append((int(address, 16), name, owner[0].strip("[]") if owner else ""))
    code.sort()
    ours = [at for at, (_, name, owner) in enumerate(code) if name == function or owner == module]
    if not ours or not code[ours[0]][0]:
        raise PremiseError(
            f"the code of {module or function} in /proc/kallsyms",
            "nothing of that name",
            hint="is its module loaded?",
        )
    start, last = code[ours[0]][0], code[ours[-1]][0]
    behind = [address for address, _name, _owner in code[ours[-1] + 1 :] if address > last]
    return start, behind[0] if behind else last + 4096


def _choose_caches(guest: Guest, fault: KernelFault) -> list[str]:
    """Mark the slab caches that are to fail, and only them.

    Raises:
        PremiseError: there is no such cache, or it is shared with others.
    """
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
        guest.write(f"{_SLAB}/{name}/failslab", "1")
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
