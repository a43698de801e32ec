# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the parts of the project lie that aren't Python: the lab runs from its checkout."""

from __future__ import annotations

from pathlib import Path

from lab.errors import HostError

ROOT = Path(__file__).resolve().parent.parent
QEMU_DEVICES = ROOT / "qemu-devices"
KERNEL_CONFIG = ROOT / "kernel-config"
IMAGES = ROOT / "images"


def assert_checkout(root: Path = ROOT) -> None:
    """Make sure that the parts which aren't Python are there.

    Raises:
        HostError: they aren't, as where the lab was installed as a copy.
    """
    missing = [
        part.name
        for part in (QEMU_DEVICES, KERNEL_CONFIG, IMAGES)
        if not (root / part.name).is_dir()
    ]
    if missing:
        raise HostError(
            f"the lab's checkout around {root / 'lab'}",
            f"no {', '.join(missing)} in {root}",
            hint="the lab runs from its checkout; install with --editable",
        )
