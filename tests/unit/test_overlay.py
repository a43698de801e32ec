# SPDX-License-Identifier: GPL-2.0-or-later
"""Laying the device models over QEMU: what is right stays untouched, what is gone goes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from lab.build.overlay import lay, overlay_files
from lab.errors import BuildError

GLUE = """\
--- a/hw/Kconfig
+++ b/hw/Kconfig
@@ -1,2 +1,3 @@
 source a
 source b
+source ours
"""


class Trees:
    def __init__(self, root: Path) -> None:
        self.pristine = root / "pristine"
        self.source = root / "source"
        self.overlay = root / "overlay"
        self.log = root / "log"
        (self.pristine / "hw").mkdir(parents=True)
        (self.pristine / "hw" / "Kconfig").write_text("source a\nsource b\n")
        (self.pristine / "hw" / "other.c").write_text("other\n")
        shutil.copytree(self.pristine, self.source, copy_function=os.link)
        (self.overlay / "hw").mkdir(parents=True)
        (self.overlay / "hw" / "ours.c").write_text("int x;\n")
        (self.overlay / "glue.patch").write_text(GLUE)
        (self.overlay / "pins.toml").write_text("")

    def lay(self) -> list[str]:
        return lay(self.overlay, self.pristine, self.source, self.log)

    def times(self) -> dict[str, int]:
        return {
            str(path.relative_to(self.source)): path.stat().st_mtime_ns
            for path in self.source.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


def test_files_and_glue_are_laid_and_pristine_stays(trees: Trees) -> None:
    assert trees.lay() == ["hw/Kconfig", "hw/ours.c"]
    assert (trees.source / "hw" / "ours.c").read_text() == "int x;\n"
    assert (trees.source / "hw" / "Kconfig").read_text() == "source a\nsource b\nsource ours\n"
    assert (trees.pristine / "hw" / "Kconfig").read_text() == "source a\nsource b\n"
    assert not (trees.source / "pins.toml").exists()
    assert not (trees.source / "glue.patch").exists()


def test_a_second_time_touches_nothing(trees: Trees) -> None:
    trees.lay()
    before = trees.times()
    assert trees.lay() == []
    assert trees.times() == before


def test_only_a_changed_file_is_touched(trees: Trees) -> None:
    trees.lay()
    before = trees.times()
    (trees.overlay / "hw" / "ours.c").write_text("int y;\n")
    assert trees.lay() == ["hw/ours.c"]
    after = trees.times()
    assert {name for name in after if after[name] != before[name]} == {"hw/ours.c"}


def test_a_removed_file_and_a_removed_hunk_go(trees: Trees) -> None:
    trees.lay()
    stamp = (trees.source / "hw" / "Kconfig").stat().st_mtime_ns
    (trees.overlay / "hw" / "ours.c").unlink()
    (trees.overlay / "glue.patch").write_text("")
    assert trees.lay() == ["hw/Kconfig", "hw/ours.c"]
    assert not (trees.source / "hw" / "ours.c").exists()
    assert (trees.source / "hw" / "Kconfig").read_text() == "source a\nsource b\n"
    # ninja has to see that it changed, though its content is the old one
    assert (trees.source / "hw" / "Kconfig").stat().st_mtime_ns > stamp


def test_a_file_changed_in_the_source_tree_is_put_right(trees: Trees) -> None:
    trees.lay()
    (trees.source / "hw" / "ours.c").write_text("half-writ")
    assert trees.lay() == ["hw/ours.c"]
    assert (trees.source / "hw" / "ours.c").read_text() == "int x;\n"


def test_a_patch_that_doesnt_apply_is_named(trees: Trees) -> None:
    (trees.pristine / "hw" / "Kconfig").write_text("source c\n")
    with pytest.raises(BuildError, match=r"glue.patch applied") as caught:
        trees.lay()
    assert "FAILED" in caught.value.seen


def test_a_file_of_qemus_own_cant_be_hidden(trees: Trees) -> None:
    (trees.overlay / "hw" / "other.c").write_text("")
    with pytest.raises(BuildError, match=r"hw/other.c is QEMU's own"):
        trees.lay()


def test_what_is_ours_alone_is_not_laid(trees: Trees) -> None:
    (trees.overlay / "README.md").write_text("")
    (trees.overlay / "hw" / "__pycache__").mkdir()
    (trees.overlay / "hw" / "__pycache__" / "x.pyc").write_text("")
    (trees.overlay / "hw" / ".ours.c.swp").write_text("")
    assert overlay_files(trees.overlay) == [Path("hw/ours.c")]


def test_patches_apply_in_order_before_the_glue(trees: Trees) -> None:
    patches = trees.overlay / "patches"
    patches.mkdir()
    (patches / "0001-first.patch").write_text(
        "--- a/util/core.c\n+++ b/util/core.c\n@@ -1 +1 @@\n-core\n+first\n"
    )
    (patches / "0002-second.patch").write_text(
        "--- a/util/core.c\n+++ b/util/core.c\n@@ -1 +1 @@\n-first\n+second\n"
    )
    (trees.pristine / "util").mkdir()
    (trees.pristine / "util" / "core.c").write_text("core\n")
    assert "util/core.c" in trees.lay()
    assert (trees.source / "util" / "core.c").read_text() == "second\n"
    assert (trees.pristine / "util" / "core.c").read_text() == "core\n"
    assert not (trees.source / "patches").exists()
