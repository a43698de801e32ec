# SPDX-License-Identifier: GPL-2.0-or-later
"""Series on bases: as they are, merged three ways, and refused with patch, file and hunk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lab.build.inherit import choose_donor, set_times, write_changes
from lab.build.merge import Change, added_lines, apply_series
from lab.build.series import Series, read_series
from lab.errors import BuildError

WORDS = [f"line {at}" for at in range(1, 41)]


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.invalid")
    return subprocess.run(
        ["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def write(tree: Path, words: list[str], path: str = "mm/a.c") -> None:
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text("".join(f"{word}\n" for word in words))


def changed(words: list[str], *lines: int, to: str = "new") -> list[str]:
    return [f"{word} {to}" if at in lines else word for at, word in enumerate(words, 1)]


class Author:
    """Who has made a series on a base of their own."""

    def __init__(self, root: Path) -> None:
        self.tree = root / "author"
        self.tree.mkdir()
        git(self.tree, "init", "-q", "-b", "main")
        self.out = root / "mails"

    def commit(self, title: str) -> None:
        git(self.tree, "add", "-A")
        git(self.tree, "commit", "-qm", title)

    def mails(self, since: str = "base") -> Series:
        """The series as mails, without anything of the author's repository."""
        git(self.tree, "format-patch", "-q", "-o", str(self.out), since)
        return read_series(self.out)


@pytest.fixture
def author(tmp_path: Path) -> Author:
    """A series of two: lines 10 and 12 of a file, a new file and one that goes."""
    author = Author(tmp_path)
    write(author.tree, WORDS)
    write(author.tree, ["gone"], "mm/old.c")
    author.commit("base")
    git(author.tree, "tag", "base")
    write(author.tree, changed(WORDS, 10))
    author.commit("mm: change line 10")
    write(author.tree, changed(WORDS, 10, 12, 30))
    write(author.tree, ["#!/bin/sh"], "scripts/new.sh")
    (author.tree / "scripts" / "new.sh").chmod(0o755)
    (author.tree / "mm" / "link.c").symlink_to("a.c")
    (author.tree / "mm" / "old.c").unlink()
    author.commit("mm: change line 12, and files")
    return author


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The same base as the author's, without history."""
    tree = tmp_path / "base"
    write(tree, WORDS)
    write(tree, ["gone"], "mm/old.c")
    return tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path / "patched"


def link(base: Path, tree: Path) -> None:
    subprocess.run(["cp", "-al", base, tree], check=True)


def test_a_series_changes_the_copy_and_not_the_base(author: Author, base: Path, tree: Path) -> None:
    link(base, tree)
    merge = apply_series(author.mails(), base, tree, label="base", others={})
    assert (tree / "mm" / "a.c").read_text().splitlines() == changed(WORDS, 10, 12, 30)
    assert (tree / "scripts" / "new.sh").stat().st_mode & 0o111
    assert (tree / "mm" / "link.c").readlink() == Path("a.c")
    assert not (tree / "mm" / "old.c").exists()
    assert (base / "mm" / "a.c").read_text().splitlines() == WORDS
    assert (base / "mm" / "old.c").read_text() == "gone\n"
    assert sorted(merge.changes) == ["mm/a.c", "mm/link.c", "mm/old.c", "scripts/new.sh"]
    assert merge.changes["mm/old.c"] is None
    assert (merge.merged, merge.known) == ([], [])
    assert sorted(path.name for path in tree.parent.iterdir() if path.name.startswith(".")) == []


def test_lines_that_have_moved_are_found(author: Author, base: Path, tree: Path) -> None:
    write(base, ["first", *WORDS])
    link(base, tree)
    merge = apply_series(author.mails(), base, tree, label="base", others={})
    assert (tree / "mm" / "a.c").read_text().splitlines() == ["first", *changed(WORDS, 10, 12, 30)]
    assert merge.merged == []


def test_a_changed_line_beside_is_merged_with_the_authors_base(
    author: Author, base: Path, tree: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    link(base, other)
    # Line 11 is context of both hunks: as it is, neither patch applies.
    (base / "mm" / "a.c").unlink()
    write(base, changed(WORDS, 14, to="moved on"))
    link(base, tree)
    series = author.mails()
    with pytest.raises(BuildError, match="hunk 1 of 2"):
        apply_series(series, base, tree, label="7.3", others={})
    merge = apply_series(series, base, tree, label="7.3", others={"7.2": other})
    wanted = changed(changed(WORDS, 14, to="moved on"), 10, 12, 30)
    assert (tree / "mm" / "a.c").read_text().splitlines() == wanted
    assert merge.merged == [2]


def test_a_range_of_commits_is_merged_with_its_own_history(
    author: Author, base: Path, tree: Path
) -> None:
    write(base, changed(WORDS, 14, to="moved on"))
    link(base, tree)
    series = read_series(f"{author.tree}:base..main")
    merge = apply_series(series, base, tree, label="7.3", others={})
    wanted = changed(changed(WORDS, 14, to="moved on"), 10, 12, 30)
    assert (tree / "mm" / "a.c").read_text().splitlines() == wanted
    assert len(merge.merged) == 1


def test_a_conflict_names_patch_file_hunk_and_the_base_that_fits(
    author: Author, base: Path, tree: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    link(base, other)
    (base / "mm" / "a.c").unlink()
    write(base, changed(WORDS, 30, to="otherwise"))
    link(base, tree)
    with pytest.raises(BuildError) as caught:
        apply_series(author.mails(), base, tree, label="base 7.3", others={"7.2": other})
    told = str(caught.value)
    assert "patch 2/2: mm: change line 12, and files: applied to base 7.3" in told
    assert "mm/a.c: hunk 2 of 2 (@@ -27,7 +27,7 @@" in told
    assert "merging three ways leaves a conflict" in told
    assert "  line 30" in told
    assert "it applies to base 7.2: --set kernel.base=7.2" in told
    # A tree that was not patched to the end is not patched at all.
    assert (tree / "mm" / "a.c").read_text() == (base / "mm" / "a.c").read_text()
    assert not (tree / "scripts").exists()


def test_the_commit_that_a_series_is_for_is_said_where_none_of_the_bases_fits(
    author: Author, base: Path, tree: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write(other, ["something else"])
    write(base, ["something else"])
    link(base, tree)
    series = author.mails()
    commit = "0123456789ab" * 3
    series = Series(series.origin, series.patches, commit, prerequisites=("x", "y"))
    with pytest.raises(BuildError) as caught:
        apply_series(series, base, tree, label="7.3", others={"7.2": other})
    assert f"it is for commit {commit}" in str(caught.value)
    assert "needs 2 patches before it" in str(caught.value)
    assert "(7.2) don't take it either" in str(caught.value.hint)


def test_a_file_that_isnt_there_is_named(author: Author, base: Path, tree: Path) -> None:
    (base / "mm" / "old.c").unlink()
    link(base, tree)
    with pytest.raises(BuildError, match=r"mm/old\.c: does not exist"):
        apply_series(author.mails(), base, tree, label="7.3", others={})


def test_a_series_that_the_base_has_is_told_apart_from_one_that_doesnt_fit(
    author: Author, base: Path, tree: Path
) -> None:
    write(base, changed(WORDS, 10))
    link(base, tree)
    with pytest.raises(BuildError, match="is changed there already"):
        apply_series(author.mails(), base, tree, label="7.3", others={})


def test_a_users_git_settings_change_nothing(
    author: Author, base: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = author.mails()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text(
        "[core]\nautocrlf = true\n[apply]\nwhitespace = error\nignoreWhitespace = change\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    link(base, tree)
    apply_series(series, base, tree, label="base", others={})
    assert (tree / "mm" / "a.c").read_text().splitlines() == changed(WORDS, 10, 12, 30)
    write(base, ["line  9" if word == "line 9" else word for word in WORDS])
    with pytest.raises(BuildError, match="hunk 1 of 1"):
        apply_series(series, base, tree, label="base", others={})


def test_each_line_belongs_to_the_patch_that_added_it(author: Author, base: Path) -> None:
    write(base, ["first", *WORDS])
    write(author.tree, changed(changed(WORDS, 10, 12), 30, to="newer"))
    author.commit("mm: change line 30 again")
    added = added_lines(author.mails(), base, label="base", others={})
    # numbered as in the result, where a line came before all
    assert [lines.get("mm/a.c") for lines in added] == [[11], [13], [31]]
    assert added[1]["scripts/new.sh"] == [1]
    assert not any("mm/link.c" in lines or "mm/old.c" in lines for lines in added)


def test_lines_of_a_series_that_does_not_apply_are_not_told(author: Author, base: Path) -> None:
    write(base, ["other"] * 40)
    with pytest.raises(BuildError, match="hunk 1 of 1"):
        added_lines(author.mails(), base, label="base", others={})


# -- links, files and folders that take each other's place ---------------------------------------

NEW = "diff --git a/{0} b/{0}\nnew file mode {1}\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+new\n"
GONE = (
    "diff --git a/{0} b/{0}\ndeleted file mode {1}\n"
    "--- a/{0}\n+++ /dev/null\n@@ -1 +0,0 @@\n-{2}\n{3}"
)
NO_END = "\\ No newline at end of file\n"
EDIT = "--- a/{0}\n+++ b/{0}\n@@ -1 +1 @@\n-old\n+new\n"


def given(root: Path, *diffs: str) -> Series:
    folder = root / "given"
    folder.mkdir()
    for number, diff in enumerate(diffs):
        (folder / f"{number}.patch").write_text(diff)
    return read_series(folder)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's that a link in a tree leads to."""
    folder = tmp_path / "outside"
    write(folder, ["old"], "f.c")
    return folder


@pytest.mark.parametrize("diff", [EDIT, NEW, GONE], ids=["edit", "new", "gone"])
def test_a_patch_reaches_nothing_through_a_link(
    base: Path, tree: Path, outside: Path, tmp_path: Path, diff: str
) -> None:
    (base / "inc").symlink_to(outside)
    link(base, tree)
    path = "inc/f.c" if diff is not NEW else "inc/new.c"
    series = given(tmp_path, diff.format(path, 100644, "old", ""))
    with pytest.raises(BuildError, match=f"{path}: inc is a link to {outside}, not a folder"):
        apply_series(series, base, tree, label="base", others={})
    assert [(file.name, file.read_text()) for file in outside.iterdir()] == [("f.c", "old\n")]


def test_a_folder_takes_the_place_of_a_link_or_a_file(
    base: Path, tree: Path, outside: Path, tmp_path: Path
) -> None:
    (base / "inc").symlink_to(outside)
    write(base, ["old"], "file")
    link(base, tree)
    series = given(
        tmp_path,
        GONE.format("inc", 120000, outside, NO_END) + GONE.format("file", 100644, "old", ""),
        NEW.format("inc/f.c", 100644) + NEW.format("file/f.c", 100644),
    )
    apply_series(series, base, tree, label="base", others={})
    assert not (tree / "inc").is_symlink()
    assert [(tree / name / "f.c").read_text() for name in ("inc", "file")] == ["new\n"] * 2
    assert (outside / "f.c").read_text() == "old\n"


def test_a_file_takes_the_place_of_a_folder_that_the_series_empties(
    base: Path, tree: Path, tmp_path: Path
) -> None:
    write(base, ["old"], "sub/deep/f.c")
    link(base, tree)
    gone = GONE.format("sub/deep/f.c", 100644, "old", "")
    series = given(tmp_path, gone, NEW.format("sub", 100644))
    apply_series(series, base, tree, label="base", others={})
    assert (tree / "sub").read_text() == "new\n"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("mm/a.c/new.c", r"mm/a\.c/new\.c: mm/a\.c is a file, not a folder"),
        ("mm", "mm is a folder, not a file"),
    ],
)
def test_a_file_whose_place_is_taken_is_refused_with_its_patch(
    base: Path, tree: Path, tmp_path: Path, path: str, message: str
) -> None:
    link(base, tree)
    series = given(tmp_path, NEW.format("mm/new.c", 100644))
    series = Series(series.origin, (*series.patches, *given_one(tmp_path, path).patches))
    with pytest.raises(BuildError, match=message) as caught:
        apply_series(series, base, tree, label="base", others={})
    assert caught.value.awaited.startswith("taken.patch: ")
    assert not (tree / "mm" / "new.c").exists()


def given_one(root: Path, path: str) -> Series:
    (root / "taken.patch").write_text(NEW.format(path, 100644))
    return read_series(root / "taken.patch")


def test_a_files_time_is_never_set_through_a_link(
    base: Path, tree: Path, outside: Path, tmp_path: Path
) -> None:
    """The link is the same in both, the file has changed, and the donor has what is a link here."""
    donor = tmp_path / "donor"
    for folder in (base, tree, donor):
        write(folder, ["x"], "b.c")
        (folder / "same.c").symlink_to(outside / "f.c")
    (tree / "inc").symlink_to(outside)
    write(donor, ["x"], "inc/f.c")
    same = {"same.c": Change("120000", "1")}
    write_changes(tree, {**same, "b.c": Change("100644", "2")})
    write_changes(donor, {**same, "b.c": Change("100644", "3"), "inc/f.c": Change("100644", "4")})
    before = (outside / "f.c").stat().st_mtime_ns
    set_times(donor, base, tree)
    assert (outside / "f.c").stat().st_mtime_ns == before
    assert (tree / "b.c").stat().st_mtime_ns > before
    assert choose_donor([donor], base, tree) == donor
    (tree / "b.c").unlink()
    (tree / "b.c").symlink_to(outside / "f.c")
    assert choose_donor([donor], base, tree) is None


@pytest.mark.parametrize("name", ["linux", 'a:b "c" \\d'])
def test_objects_of_a_users_repository_keep_their_times(
    author: Author, base: Path, tree: Path, name: str
) -> None:
    author.tree = author.tree.rename(author.tree.with_name(name))
    objects = author.tree / ".git" / "objects"
    for path in objects.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    before = {path: path.stat().st_mtime_ns for path in objects.rglob("*")}
    write(base, changed(WORDS, 14, to="moved on"))
    link(base, tree)
    merge = apply_series(
        read_series(f"{author.tree}:base..main"), base, tree, label="7.3", others={}
    )
    assert merge.merged == [2], "a blob of that repository was needed"
    assert {path: path.stat().st_mtime_ns for path in objects.rglob("*")} == before


def test_patches_without_a_blob_apply_beside_a_repository(
    author: Author, base: Path, tree: Path, tmp_path: Path
) -> None:
    link(base, tree)
    new = given(tmp_path, NEW.format("mm/new.c", 100644))
    series = Series(new.origin, new.patches, objects=author.tree / ".git" / "objects")
    apply_series(series, base, tree, label="base", others={})
    assert (tree / "mm" / "new.c").read_text() == "new\n"
