# SPDX-License-Identifier: GPL-2.0-or-later
"""The bases that a lab file may name: what there are pins for."""

from __future__ import annotations

from lab.build.kernel_plan import pins_path
from lab.build.qemu import sources_of_base
from lab.config import LabFile
from lab.errors import ConfigError
from lab.sources.pins import read_pins


def check_bases(lab: LabFile) -> None:
    """Make sure that there are such a QEMU and kernel, before anything is written or built.

    Raises:
        ConfigError: there is no such base; names those that there are.
    """
    sources_of_base(lab.qemu.base)
    known = read_pins(pins_path())
    if lab.kernel.base not in known:
        raise ConfigError(
            "a kernel base",
            lab.kernel.base,
            hint=f"choose from: {', '.join(known)} (dcbm-lab kernel list), or give a kernel of "
            "your own with --tree",
        )
