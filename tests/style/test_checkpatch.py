# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's and the kernel's own style checkers on everything that is written for them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.build.checkpatch import Style, kernel_style, qemu_style
from lab.build.port import open_port
from lab.cache import Cache
from lab.checkout import IMAGES, KERNEL_CONFIG, QEMU_DEVICES
from lab.config import Qemu
from lab.errors import BuildError
from lab.progress import open_progress

pytestmark = pytest.mark.style

SOURCES = sorted(QEMU_DEVICES.rglob("*.[ch]"))
# The script tells tests from models by where a path begins
TESTS = [path.relative_to(QEMU_DEVICES) for path in SOURCES if "tests" in path.parts]
MODELS = [path for path in SOURCES if path.relative_to(QEMU_DEVICES) not in TESTS]
_PORT = open_port(QEMU_DEVICES, Qemu().base)
QEMU_PATCHES = [*_PORT.patch_files, *_PORT.glue_files]
# A mutation is made to be wrong, and goes nowhere.
KERNEL_PATCHES = sorted(
    path for path in KERNEL_CONFIG.rglob("*.patch") if path.parent.name != "mutations"
)
MODULES = sorted((IMAGES / "modules").glob("*.[ch]"))


@pytest.fixture(scope="module")
def qemu() -> Style:
    return qemu_style(Cache(), open_progress(sys.__stderr__))


@pytest.fixture(scope="module")
def kernel() -> Style:
    return kernel_style(Cache(), open_progress(sys.__stderr__))


def test_nothing_got_lost() -> None:
    assert len(MODELS) >= 20
    assert len(TESTS) >= 15
    assert len(QEMU_PATCHES) >= 7
    assert len(KERNEL_PATCHES) >= 6
    assert MODULES


def test_device_models(qemu: Style, tmp_path: Path) -> None:
    qemu.check(MODELS, tmp_path / "log", as_files=True)


def test_device_tests(qemu: Style, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(QEMU_DEVICES)
    qemu.check(TESTS, tmp_path / "log", as_files=True)


@pytest.mark.parametrize("patch", QEMU_PATCHES, ids=lambda path: path.name)
def test_patches_to_qemu(qemu: Style, patch: Path, tmp_path: Path) -> None:
    # The glue is a difference between two trees, not a commit
    options = (*qemu.options, "--no-signoff") if patch.name == "glue.patch" else qemu.options
    Style(qemu.script, options).check([patch], tmp_path / "log")


@pytest.mark.parametrize(
    "patch", KERNEL_PATCHES, ids=lambda path: str(path.relative_to(KERNEL_CONFIG))
)
def test_kernel_patches(kernel: Style, patch: Path, tmp_path: Path) -> None:
    kernel.check([patch], tmp_path / "log")


def test_kernel_modules(kernel: Style, tmp_path: Path) -> None:
    kernel.check(MODULES, tmp_path / "log", as_files=True)


@pytest.mark.parametrize("project", ["qemu", "kernel"])
def test_a_tab_or_a_brace_out_of_place_is_found(
    project: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    style: Style = request.getfixturevalue(project)
    source = tmp_path / "wrong.c"
    source.write_text("int f(void)\n{\n  if(1)\n\treturn 0 ;   \n}\n", encoding="utf-8")
    with pytest.raises(BuildError, match="without an error or a warning"):
        style.check([source], tmp_path / "log", as_files=True)
