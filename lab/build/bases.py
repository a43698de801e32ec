# SPDX-License-Identifier: GPL-2.0-or-later
"""The bases that a lab file may name: what there are pins for."""

from __future__ import annotations

from lab.build.kernel_plan import pins_path
from lab.build.qemu import sources_of_base
from lab.config import LabFile
from lab.sources.pins import sources_of


def check_bases(lab: LabFile) -> None:
    """Make sure that there are such a QEMU and kernel, before anything is written or built.

    Raises:
        ConfigError: there is no such base; names those that there are.
    """
    sources_of_base(lab.qemu.base)
    sources_of(pins_path(), lab.kernel.base)
