# SPDX-License-Identifier: GPL-2.0-or-later
"""Patch queues, and source trees that share their files by hard links."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.build.series import apply_patches, hash_series, read_series
from lab.build.source_tree import identify_tree, link_tree
from lab.errors import BuildError, ConfigError
from lab.progress import SilentProgress

PATCH = """\
From: dcbm-lab maintainers <maintainers@dcbm-lab.invalid>
Subject: [PATCH] mm: change a line

---
--- a/mm/migrate.c
+++ b/mm/migrate.c
@@ -1,3 +1,3 @@
 one
-two
+2
 three
--- /dev/null
+++ b/mm/new.c
@@ -0,0 +1 @@
+new
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "vanilla"
    (tree / "mm").mkdir(parents=True)
    (tree / "mm" / "migrate.c").write_text("one\ntwo\nthree\n")
    (tree / "mm" / "other.c").write_text("other\n")
    (tree / "out-plain").mkdir()
    (tree / "out-plain" / "vmlinux").write_text("big")
    return tree


def queue(root: Path, *names: str, text: str = PATCH) -> list[Path]:
    folder = root / "series"
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(text)
    (folder / "series").write_text("# order\n" + "".join(f"{name}\n" for name in names))
    return read_series(folder)


def test_a_linked_tree_is_patched_and_the_original_keeps_its_files(
    source: Path, tmp_path: Path
) -> None:
    patched = tmp_path / "patched"
    link_tree(source, patched, tmp_path / "log")
    apply_patches(queue(tmp_path, "0001-x.patch"), patched, tmp_path / "log", SilentProgress())
    assert (patched / "mm" / "migrate.c").read_text() == "one\n2\nthree\n"
    assert (patched / "mm" / "new.c").read_text() == "new\n"
    assert (source / "mm" / "migrate.c").read_text() == "one\ntwo\nthree\n"
    assert not (source / "mm" / "new.c").exists()
    same = [tree / "mm" / "other.c" for tree in (source, patched)]
    assert same[0].stat().st_ino == same[1].stat().st_ino
    assert not (patched / "out-plain").exists()


def test_a_patch_that_doesnt_apply_is_named(source: Path, tmp_path: Path) -> None:
    bad = PATCH.replace("-two", "-zwei")
    patches = queue(tmp_path, "0007-bad.patch", text=bad)
    with pytest.raises(BuildError, match=r"0007-bad\.patch") as caught:
        apply_patches(patches, source, tmp_path / "log", SilentProgress())
    assert "FAILED" in caught.value.seen
    assert "refresh it" in str(caught.value.hint)


def test_fuzz_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "mm" / "migrate.c").write_text("ONE\ntwo\nthree\n")
    with pytest.raises(BuildError):
        apply_patches(queue(tmp_path, "x.patch"), source, tmp_path / "log", SilentProgress())


def test_the_order_and_every_content_count(tmp_path: Path) -> None:
    first = hash_series(queue(tmp_path / ".", "a.patch", "b.patch"))
    (tmp_path / "series" / "b.patch").write_text("x")
    second = hash_series(read_series(tmp_path / "series"))
    (tmp_path / "series" / "series").write_text("b.patch\na.patch\n")
    third = hash_series(read_series(tmp_path / "series"))
    assert len({first, second, third}) == 3


def test_a_queue_that_isnt_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="patch queue"):
        read_series(tmp_path / "no")
    with pytest.raises(ConfigError, match="names no patch"):
        queue(tmp_path)
    (tmp_path / "series" / "series").write_text("gone.patch\n")
    with pytest.raises(ConfigError, match=r"missing: gone\.patch"):
        read_series(tmp_path / "series")


def test_a_local_tree_has_another_identity_after_an_edit(source: Path) -> None:
    before = identify_tree(source)
    (source / ".git").mkdir()
    (source / ".git" / "index").write_text("x")
    assert identify_tree(source) == before
    (source / "mm" / "migrate.c").write_text("one\ntwo\nfour!\n")
    assert identify_tree(source) != before
