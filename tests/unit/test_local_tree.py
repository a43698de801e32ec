# SPDX-License-Identifier: GPL-2.0-or-later
"""A user's own tree: what is source in it, what it is called, and that nothing touches it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.build import local_tree
from lab.build.local_tree import copy_tree, inspect_tree
from lab.errors import BuildError, ConfigError
from lab.progress import SilentProgress


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.invalid")
    return subprocess.run(
        ["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def fill(tree: Path) -> None:
    (tree / "mm").mkdir(parents=True)
    for name in ("Makefile", "Kbuild", "Kconfig", "MAINTAINERS"):
        (tree / name).write_text(f"# {name}\n")
    (tree / "mm" / "a.c").write_text("a\n")
    (tree / "mm" / "b.c").write_text("b\n")
    (tree / "scripts.sh").write_text("#!/bin/sh\n")
    (tree / "scripts.sh").chmod(0o755)
    (tree / "mm" / "link.c").symlink_to("a.c")
    (tree / ".gitignore").write_text("*.o\n.config\n/include/\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A git tree with a build in it."""
    tree = tmp_path / "linux"
    fill(tree)
    git(tree.parent, "init", "-q", "-b", "main", str(tree))
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "base")
    (tree / "mm" / "a.o").write_text("object")
    (tree / ".config").write_text("CONFIG_NUMA=y\n")
    (tree / "include" / "config").mkdir(parents=True)
    (tree / "include" / "config" / "auto.conf").write_text("x")
    return tree


def fingerprint(tree: Path) -> dict[str, tuple[object, ...]]:
    """Content, mode and times of everything below a directory, its .git included."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [tree, *sorted(tree.rglob("*"))]:
        info = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        facts = (info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
        found[str(path.relative_to(tree))] = (*facts, content)
    return found


def names(copy: Path) -> list[str]:
    return sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if not path.is_dir())


SOURCE = [
    *(".gitignore", "Kbuild", "Kconfig", "MAINTAINERS", "Makefile"),
    *("mm/a.c", "mm/b.c", "mm/link.c", "scripts.sh"),
]


def test_the_copy_has_the_source_and_the_tree_stays_as_it_was(tree: Path, tmp_path: Path) -> None:
    (tree / "mm" / "a.c").write_text("dirty\n")
    (tree / "mm" / "new.c").write_text("new\n")
    git(tree, "add", "mm/b.c")
    # As after a checkout that kept the content: git would like to refresh its index here.
    os.utime(tree / "mm" / "b.c", (1, 1))
    before = fingerprint(tree)
    facts = inspect_tree(tree)
    copy_tree(facts, tmp_path / "copy", SilentProgress())
    assert fingerprint(tree) == before
    assert names(tmp_path / "copy") == sorted([*SOURCE, "mm/new.c"])
    assert (tmp_path / "copy" / "mm" / "a.c").read_text() == "dirty\n"
    assert (tmp_path / "copy" / "scripts.sh").stat().st_mode & 0o111
    assert (tmp_path / "copy" / "mm" / "link.c").is_symlink()


def test_commit_and_difference_are_known(tree: Path) -> None:
    clean = inspect_tree(tree)
    assert clean.commit == git(tree, "rev-parse", "HEAD")
    assert clean.diff is None
    os.utime(tree / "mm" / "a.c")
    assert inspect_tree(tree) == clean, "a time is no difference"
    (tree / "mm" / "a.o").write_text("another object")
    assert inspect_tree(tree) == clean, "what git ignores is none either"
    seen = {clean.identity}
    for name, text in (
        ("mm/a.c", "x\n"),
        ("mm/a.c", "y\n"),
        ("mm/new.c", "n\n"),
        ("mm/new.c", "m\n"),
    ):
        (tree / name).write_text(text)
        dirty = inspect_tree(tree)
        assert dirty.commit == clean.commit
        assert dirty.diff is not None
        assert dirty.version.endswith("-dirty")
        seen.add(dirty.identity)
    assert len(seen) == 5
    (tree / "mm" / "new.c").unlink()
    git(tree, "checkout", "-q", "mm/a.c")
    assert inspect_tree(tree) == clean


def test_a_worktree_with_the_same_content_is_the_same_source(tree: Path, tmp_path: Path) -> None:
    git(tree, "worktree", "add", "-q", str(tmp_path / "wt"), "-b", "side")
    assert inspect_tree(tmp_path / "wt").identity == inspect_tree(tree).identity
    assert inspect_tree(tmp_path / "wt").slot != inspect_tree(tree).slot
    copy_tree(inspect_tree(tmp_path / "wt"), tmp_path / "copy", SilentProgress())
    assert names(tmp_path / "copy") == SOURCE


def test_a_second_copy_replaces_what_changed_and_nothing_else(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert copy_tree(inspect_tree(tree), copy, SilentProgress())
    (copy / "out-plain").mkdir()
    (copy / "out-plain" / "a.o").write_text("object")
    before = {name: (copy / name).lstat().st_ino for name in SOURCE}
    times = {name: (copy / name).lstat().st_mtime_ns for name in SOURCE}
    assert not copy_tree(inspect_tree(tree), copy, SilentProgress())
    (tree / "mm" / "a.c").write_text("edited\n")
    os.utime(tree / "mm" / "a.c", (1, 1))  # older than any object, as after cp -p
    os.utime(tree / "mm" / "b.c")  # touched, not changed
    git(tree, "rm", "-q", "scripts.sh")
    assert copy_tree(inspect_tree(tree), copy, SilentProgress())
    after = {name: (copy / name).lstat().st_ino for name in SOURCE if (copy / name).exists()}
    assert {name for name in after if after[name] != before[name]} == {"mm/a.c"}
    assert (copy / "mm" / "a.c").stat().st_mtime_ns > max(times.values())
    assert not (copy / "scripts.sh").exists()
    assert (copy / "out-plain" / "a.o").exists()


def test_half_a_copy_is_made_whole(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy_tree(inspect_tree(tree), copy, SilentProgress())
    (tmp_path / ".dcbm-lab-copy.json").unlink()
    (copy / "mm" / "b.c").write_text("half")
    (copy / "mm" / "stale.c").write_text("of another time")
    (copy / "out-plain").mkdir()
    (copy / "out-plain" / "a.o").write_text("object")
    copy_tree(inspect_tree(tree), copy, SilentProgress())
    assert names(copy) == sorted([*SOURCE, "out-plain/a.o"])
    assert (copy / "mm" / "b.c").read_text() == "b\n"


def test_an_edit_during_the_copy_is_noticed(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = inspect_tree(tree)
    (tree / "mm" / "a.c").write_text("meanwhile\n")
    with pytest.raises(BuildError, match="changed meanwhile"):
        copy_tree(facts, tmp_path / "copy", SilentProgress())


def test_a_tree_without_git_is_taken_unless_there_is_a_build_in_it(tmp_path: Path) -> None:
    tree = tmp_path / "linux-7.3"
    fill(tree)
    facts = inspect_tree(tree)
    assert facts.commit is None
    copy_tree(facts, tmp_path / "copy", SilentProgress())
    assert names(tmp_path / "copy") == SOURCE
    (tree / ".config").write_text("CONFIG_NUMA=y\n")
    with pytest.raises(ConfigError, match=r"\.config; without git") as caught:
        inspect_tree(tree)
    assert "mrproper" in str(caught.value.hint)


def test_what_is_no_kernel_tree_is_refused(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no such directory"):
        inspect_tree(tmp_path / "no")
    with pytest.raises(ConfigError, match="no Makefile, Kbuild"):
        inspect_tree(tree / "mm")
    monkeypatch.setattr(local_tree, "_MAX_UNTRACKED_BYTES", 10)
    (tree / "dump.bin").write_bytes(b"x" * 11)
    with pytest.raises(ConfigError, match=r"the largest is dump\.bin") as caught:
        inspect_tree(tree)
    assert ".git/info/exclude" in str(caught.value.hint)
    empty = tmp_path / "empty"
    fill(empty)
    git(tmp_path, "init", "-q", str(empty))
    with pytest.raises(ConfigError, match="with a commit"):
        inspect_tree(empty)


# -- files, links and folders that take each other's place ---------------------------------------


def put(tree: Path, kind: str) -> None:
    """Make ``mm/x`` a file, a folder with a file, or a link to the folder ``real``."""
    at = tree / "mm" / "x"
    if at.is_symlink() or at.is_file():
        at.unlink()
    elif at.is_dir():
        shutil.rmtree(at)
    if kind == "file":
        at.write_text("file\n")
    elif kind == "folder":
        at.mkdir()
        (at / "b").write_text("in folder\n")
    elif kind == "relative link":
        at.symlink_to("../real")
    elif kind == "absolute link":
        at.symlink_to(tree / "real")


KINDS = ("file", "folder", "relative link", "absolute link")


@pytest.mark.parametrize(("half", "commits"), [(False, False), (True, True)])
@pytest.mark.parametrize(
    ("was", "becomes"), [(one, other) for one in KINDS for other in KINDS if one != other]
)
def test_what_takes_anothers_place_is_copied_and_the_tree_stays_as_it_was(  # noqa: PLR0917
    tree: Path, tmp_path: Path, was: str, becomes: str, half: bool, commits: bool
) -> None:
    (tree / "real").mkdir()
    (tree / "real" / "b").write_text("real\n")
    copy = tmp_path / "copy"
    put(tree, was)
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", was)
    copy_tree(inspect_tree(tree), copy, SilentProgress())
    if half:
        (tmp_path / ".dcbm-lab-copy.json").unlink()
    put(tree, becomes)
    if commits:
        git(tree, "add", "-A")
        git(tree, "commit", "-qm", becomes)
    before = fingerprint(tree)
    assert copy_tree(inspect_tree(tree), copy, SilentProgress())
    assert fingerprint(tree) == before
    fresh = tmp_path / "other" / "copy"
    copy_tree(inspect_tree(tree), fresh, SilentProgress())
    assert contents(copy) == contents(fresh)
    assert not copy_tree(inspect_tree(tree), copy, SilentProgress())


def test_a_copy_that_an_older_version_spoiled_is_mended(tree: Path, tmp_path: Path) -> None:
    """It followed links in the copy; what it wrote down says that all is well."""
    copy = tmp_path / "copy"
    copy_tree(inspect_tree(tree), copy, SilentProgress())
    (tmp_path / ".dcbm-lab-copy.json").rename(tmp_path / ".dcbm-lab-copied.json")
    (copy / "mm" / "b.c").write_text("what a link led to\n")
    assert copy_tree(inspect_tree(tree), copy, SilentProgress())
    assert (copy / "mm" / "b.c").read_text() == "b\n"


def contents(copy: Path) -> dict[str, str]:
    """Every file and link of a copy with what it holds."""
    return {
        str(path.relative_to(copy)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in copy.rglob("*")
        if path.is_symlink() or path.is_file()
    }


# -- what git was told not to look at, and what it doesn't look into -----------------------------


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_an_edit_that_git_was_told_to_overlook_is_seen(
    tree: Path, tmp_path: Path, mark: str
) -> None:
    clean = inspect_tree(tree)
    git(tree, "update-index", mark, "mm/a.c")
    assert inspect_tree(tree) == clean
    (tree / "mm" / "a.c").write_text("edited\n")
    before = fingerprint(tree)
    dirty = inspect_tree(tree)
    assert dirty.version.endswith("-dirty")
    assert dirty.identity != clean.identity
    copy_tree(dirty, tmp_path / "copy", SilentProgress())
    assert (tmp_path / "copy" / "mm" / "a.c").read_text() == "edited\n"
    assert fingerprint(tree) == before


def test_a_sparse_checkout_is_refused(tree: Path) -> None:
    git(tree, "sparse-checkout", "set", "--no-cone", "/*", "!/mm/b.c")
    assert not (tree / "mm" / "b.c").exists()
    with pytest.raises(ConfigError, match=r"mm/b\.c isn't checked out"):
        inspect_tree(tree)


def test_a_repository_within_the_tree_is_refused_by_name(tree: Path) -> None:
    inner = tree / "drivers" / "mine"
    inner.mkdir(parents=True)
    git(inner, "init", "-q")
    (inner / "drv.c").write_text("x\n")
    with pytest.raises(ConfigError, match=r"drivers/mine/, a repository within it"):
        inspect_tree(tree)
    (tree / ".git" / "info" / "exclude").write_text("/drivers/mine\n")
    assert inspect_tree(tree).diff is None
    (tree / ".git" / "info" / "exclude").unlink()
    git(inner, "add", "-A")
    git(inner, "commit", "-qm", "mine")
    git(tree, "add", "drivers/mine")
    with pytest.raises(ConfigError, match=r"drivers/mine, a submodule"):
        inspect_tree(tree)


@pytest.mark.parametrize("known", ["tracked", "untracked", "no git"])
def test_source_where_the_lab_builds_is_refused(tree: Path, known: str) -> None:
    """A link there would have the lab build in what it leads to."""
    (tree / "out-plain").symlink_to("mm")
    if known == "tracked":
        git(tree, "add", "out-plain")
    elif known == "no git":
        for name in (".git", "include"):
            shutil.rmtree(tree / name)
        (tree / ".config").unlink()
    with pytest.raises(ConfigError, match="out-plain: the lab builds in out-"):
        inspect_tree(tree)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("suppressBlankEmpty", "true"),
        ("interHunkContext", "9"),
        ("indentHeuristic", "false"),
        ("orderFile", "order"),
        ("noprefix", "true"),
        ("context", "0"),
        ("renames", "copies"),
    ],
)
def test_a_setting_for_diffs_makes_no_difference(tree: Path, name: str, value: str) -> None:
    block = "if x\n\ta\nfi\n\n"
    (tree / "mm" / "a.c").write_text("a\n" + "\n" * 9 + block + "b\n")
    git(tree, "commit", "-qam", "empty lines")
    (tree / "mm" / "a.c").write_text("c\n" + "\n" * 9 + block * 2 + "d\n")
    (tree / "mm" / "b.c").write_text("changed\n")
    (tree / ".git" / "info" / "exclude").write_text("/order\n")
    (tree / "order").write_text("mm/b.c\nmm/a.c\n")
    before = inspect_tree(tree)
    git(tree, "config", f"diff.{name}", value)
    assert inspect_tree(tree) == before


def test_an_edit_in_the_moment_of_the_index_is_seen(tree: Path) -> None:
    """Size and time are those that the index has; only its own time tells git to look closer."""
    git(tree, "config", "core.trustctime", "false")
    times = (1_500_000_000, 1_500_000_000)
    (tree / "mm" / "a.c").write_text("b\n")
    os.utime(tree / "mm" / "a.c", times)
    git(tree, "commit", "-qam", "b")
    (tree / "mm" / "a.c").write_text("c\n")
    os.utime(tree / "mm" / "a.c", times)
    os.utime(tree / ".git" / "index", times)
    assert inspect_tree(tree).diff is not None
