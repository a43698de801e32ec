# SPDX-License-Identifier: GPL-2.0-or-later
"""What is where in the guest image."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest

from lab.build.image import compose


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path, Path]:
    busybox, programs, root = (tmp_path / name for name in ("busybox", "programs", "root"))
    for folder in (busybox, programs, root / "lib" / "modules" / "7.3.4"):
        folder.mkdir(parents=True)
    (busybox / "busybox").write_bytes(b"bb")
    (busybox / "applets").write_text("sh\ncompact\nmodprobe\n")
    (busybox / ".manifest.json").write_text("{}")
    (programs / "agent").write_bytes(b"agent")
    (programs / "compact").write_bytes(b"ours")
    (programs / ".manifest.json").write_text("{}")
    (root / "lib" / "modules" / "7.3.4" / "modules.dep").write_text("x.ko:\n")
    return busybox, programs, root


def test_the_agent_is_the_first_program(parts: tuple[Path, Path, Path]) -> None:
    items = compose(*parts).items
    assert items["init"].data == b"agent"
    assert items["init"].mode & 0o111
    assert items["bin/agent"].data == b"/init"


def test_our_programs_go_before_applets(parts: tuple[Path, Path, Path]) -> None:
    items = compose(*parts).items
    assert items["bin/compact"].data == b"ours"
    assert (items["bin/sh"].data, items["bin/modprobe"].data) == (b"busybox", b"busybox")
    assert items["sbin"].data == b"bin"


def test_what_early_boot_needs_is_there(parts: tuple[Path, Path, Path]) -> None:
    items = compose(*parts).items
    assert stat.S_ISCHR(items["dev/console"].mode)
    assert {"proc", "sys", "tmp", "dev"} <= set(items)
    assert items["lib/modules/7.3.4/modules.dep"].data == b"x.ko:\n"


def test_nothing_of_the_cache_gets_in(parts: tuple[Path, Path, Path]) -> None:
    assert not [name for name in compose(*parts).items if "manifest" in name]


def test_the_same_parts_give_the_same_bytes(parts: tuple[Path, Path, Path]) -> None:
    first, second = io.BytesIO(), io.BytesIO()
    compose(*parts).write(first)
    (parts[1] / "agent").touch()
    compose(*parts).write(second)
    assert first.getvalue() == second.getvalue()
    assert len(first.getvalue()) % 512 == 0
