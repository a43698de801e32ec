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


def slowdown(variant: Variant) -> float:
    """The factor by which deadlines grow for kernels of this variant."""
    return _SLOWDOWN[variant]


def stretch(timeout_s: float, variant: Variant) -> float:
    """A plain kernel's deadline as it is for this variant, in host seconds."""
    return timeout_s * slowdown(variant)
