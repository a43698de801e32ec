# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the parts of the project lie that aren't Python: the lab runs from its checkout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QEMU_DEVICES = ROOT / "qemu-devices"
KERNEL_CONFIG = ROOT / "kernel-config"
IMAGES = ROOT / "images"
