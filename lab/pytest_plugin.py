# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures for tests that boot guests, over the same parts as the command line.

Everything is built on first use and comes from the cache afterwards; the cache's locks make that
safe under pytest-xdist and beside a running lab. What can't be built is an error of the test that
needs it, never a skip.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache as memoise
from pathlib import Path

import pytest

from lab.build.image import build_image
from lab.build.kernel import KernelChoice, build_kernel
from lab.build.qemu import build_qemu
from lab.cache import Cache
from lab.config import Kernel, Qemu, Variant
from lab.machine.argv import BootFiles
from lab.progress import Progress, open_progress

BootFilesOf = Callable[..., BootFiles]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the same tests run on another QEMU."""
    parser.getgroup("dcbm-lab").addoption(
        "--qemu-base",
        default=Qemu().base,
        metavar="BASE",
        help="the QEMU to test on, as qemu.base in the lab file (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, for projects that use the plugin in tests of their own."""
    config.addinivalue_line("markers", "guest: boots a guest")


@pytest.fixture(scope="session")
def lab_cache() -> Cache:
    """The artifact cache."""
    return Cache()


@pytest.fixture(scope="session")
def lab_progress() -> Progress:
    """Where builds report; not captured, because the first one takes minutes."""
    return open_progress(sys.__stderr__)


@pytest.fixture(scope="session")
def qemu_base(pytestconfig: pytest.Config) -> str:
    """The QEMU to test on: ``--qemu-base``."""
    return str(pytestconfig.getoption("--qemu-base"))


@pytest.fixture(scope="session")
def boot_files(lab_cache: Cache, lab_progress: Progress, qemu_base: str) -> BootFilesOf:
    """A function that gives what to boot: ``boot_files(patched=…, variant=…, base=…)``.

    Raises what the builds raise.
    """

    @memoise
    def files_of(
        *, patched: bool, variant: Variant = Variant.PLAIN, base: str = Kernel().base
    ) -> BootFiles:
        qemu = build_qemu(lab_cache, lab_progress, qemu_base)
        choice = KernelChoice(base=base, variant=variant, patched=patched)
        kernel = build_kernel(lab_cache, choice, lab_progress)
        return BootFiles.of(qemu, kernel, build_image(lab_cache, kernel, lab_progress))

    return files_of


@pytest.fixture(scope="session")
def vanilla_files(boot_files: BootFilesOf) -> BootFiles:
    """The default base as it is upstream."""
    return boot_files(patched=False)


@pytest.fixture(scope="session")
def patched_files(boot_files: BootFilesOf) -> BootFiles:
    """The default base with the project's series."""
    return boot_files(patched=True)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A folder for the logs of one machine."""
    return tmp_path / "run"
