# SPDX-License-Identifier: GPL-2.0-or-later
"""What the device tests run: QEMU plain and with sanitizers, and the qtest programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.build.bundle import bundle
from lab.build.qemu import SanitizedQemu, build_qemu, build_qtests, build_sanitized_qemu
from lab.cache import Cache
from lab.progress import Progress


@pytest.fixture(scope="session")
def plain(
    lab_cache: Cache,
    lab_progress: Progress,
    qemu_base: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The binary that users run, where it finds its firmware by itself."""
    qemu = build_qemu(lab_cache, lab_progress, qemu_base)
    assert f" version {qemu_base}." in qemu.version
    home = tmp_path_factory.mktemp("qemu")
    bundle([qemu.binary], qemu.firmware_dirs, home)
    return home / qemu.binary.name


@pytest.fixture(scope="session")
def sanitized(lab_cache: Cache, lab_progress: Progress) -> SanitizedQemu:
    return build_sanitized_qemu(lab_cache, lab_progress)


@pytest.fixture(scope="session")
def qtests(lab_cache: Cache, lab_progress: Progress, qemu_base: str) -> dict[str, Path]:
    return build_qtests(lab_cache, lab_progress, qemu_base)
