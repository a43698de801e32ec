# SPDX-License-Identifier: GPL-2.0-or-later
"""How much longer a guest takes whose kernel is instrumented; every deadline is stretched by it.

Deadlines are host time and only guard against a hang. On the virtual clock the guest's own time
does not depend on them; the kernel's own watchdogs count that and stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lab.config import Variant

PROGRAM_TIMEOUT_S = 300.0
"""Host seconds that a program in a guest with a plain kernel may take."""

# docs/variants.md has the measurements, with their command.
_SLOWDOWN: Mapping[Variant, float] = MappingProxyType(
    {
        Variant.PLAIN: 1.0,
        Variant.DEBUG: 4.0,
        Variant.KASAN: 8.0,
        Variant.KCSAN: 8.0,
        Variant.UBSAN: 2.0,
        Variant.GCOV: 2.0,
    }
)


# What an instrument is called in a configuration (lib/Kconfig.debug, lib/Kconfig.*, mm/).
_INSTRUMENTS: Mapping[str, Variant] = MappingProxyType(
    {
        "CONFIG_KASAN": Variant.KASAN,
        "CONFIG_KMSAN": Variant.KASAN,  # shadow memory like KASAN's
        "CONFIG_KCSAN": Variant.KCSAN,
        "CONFIG_UBSAN": Variant.UBSAN,
        "CONFIG_GCOV_KERNEL": Variant.GCOV,
        "CONFIG_PROVE_LOCKING": Variant.DEBUG,
        "CONFIG_DEBUG_KMEMLEAK": Variant.DEBUG,
        "CONFIG_DEBUG_PAGEALLOC_ENABLE_DEFAULT": Variant.DEBUG,
        "CONFIG_SLUB_DEBUG_ON": Variant.DEBUG,
        "CONFIG_DEBUG_VM": Variant.DEBUG,
        "CONFIG_DMA_API_DEBUG": Variant.DEBUG,
    }
)


def instruments(options: Mapping[str, str | None]) -> set[Variant]:
    """The variants whose instruments are on in a resolved configuration, by symbols."""
    return {variant for symbol, variant in _INSTRUMENTS.items() if options.get(symbol) == "y"}


def slowdown(variant: Variant) -> float:
    """The factor by which deadlines grow for kernels of this variant."""
    return _SLOWDOWN[variant]


def stretch(timeout_s: float, variant: Variant) -> float:
    """A plain kernel's deadline as it is for this variant, in host seconds."""
    return timeout_s * slowdown(variant)


def slowdown_of(variant: Variant, options: Mapping[str, str | None]) -> float:
    """The factor for a kernel of which it isn't said, or not rightly, what it is.

    Args:
        variant: what is said.
        options: its configuration as far as it is known.
    """
    return max(slowdown(one) for one in {variant, *instruments(options)})
