# SPDX-License-Identifier: GPL-2.0-or-later
"""A series as commits, and the source trees that series go on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.build.series import read_series
from lab.build.source_tree import identify_tree, link_tree
from lab.errors import ConfigError


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.invalid")
    return subprocess.run(
        ["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "linux"
    (folder / "mm").mkdir(parents=True)
    file = folder / "mm" / "a.c"
    file.write_text("".join(f"line {at}\n\n" for at in range(1, 11)))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "base")
    git(folder, "tag", "v1")
    for at in (1, 2, 3):
        file.write_text(file.read_text().replace(f"line {at}\n", f"line {at} of {at}\n"))
        git(folder, "commit", "-qam", f"mm: change line {at}")
    return folder


def test_a_range_of_commits_is_a_series_whatever_the_users_settings(repository: Path) -> None:
    before = read_series(f"{repository}:v1..main")
    assert [patch.subject for patch in before.patches] == [
        f"mm: change line {number}" for number in (1, 2, 3)
    ]
    assert before.base_commit == git(repository, "rev-parse", "v1")
    for name, value in (
        ("diff.noprefix", "true"),
        ("diff.external", "/bin/false"),
        ("color.ui", "always"),
        ("diff.context", "0"),
        ("log.showSignature", "true"),
        ("diff.suppressBlankEmpty", "true"),
    ):
        git(repository, "config", name, value)
    assert read_series(f"{repository}:v1..").hash == before.hash


def test_an_empty_commit_such_as_a_cover_letter_is_left_out(repository: Path) -> None:
    before = read_series(f"{repository}:v1..main")
    git(repository, "checkout", "-q", "-b", "prepared", "v1")
    git(repository, "commit", "-q", "--allow-empty", "-m", "EDITME: cover")
    git(repository, "cherry-pick", "v1..main")
    series = read_series(f"{repository}:v1..prepared")
    assert series.hash == before.hash
    (note,) = series.notes
    assert note.startswith("left out, it changes nothing: commit ")
    assert note.endswith("EDITME: cover")
    with pytest.raises(ConfigError, match="commits that change nothing"):
        read_series(f"{repository}:v1..prepared~3")
    with pytest.raises(ConfigError, match="which is one version"):
        read_series(f"{repository}:v1..main", 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("v1..v1", "an empty range"),
        ("v1..no", "no commit 'no'"),
        ("main~1..merged", "has not one parent"),
    ],
)
def test_a_range_that_is_no_series_is_refused(repository: Path, given: str, message: str) -> None:
    git(repository, "checkout", "-q", "-b", "merged", "main~1")
    git(repository, "commit", "-q", "--allow-empty", "-m", "aside")
    git(repository, "merge", "-q", "--no-ff", "main", "-m", "merge")
    with pytest.raises(ConfigError, match=message):
        read_series(f"{repository}:{given}")


def test_a_repository_alone_is_told_to_name_commits(repository: Path) -> None:
    with pytest.raises(ConfigError, match="git repository") as caught:
        read_series(repository)
    assert "REPOSITORY:A..B" in str(caught.value.hint)


# -- trees that share their files ----------------------------------------------------------------


def test_a_linked_tree_leaves_output_directories_out(tmp_path: Path) -> None:
    source = tmp_path / "vanilla"
    (source / "mm").mkdir(parents=True)
    (source / "mm" / "a.c").write_text("one\n")
    (source / "out-plain").mkdir()
    link_tree(source, tmp_path / "copy", tmp_path / "log")
    assert (tmp_path / "copy" / "mm" / "a.c").samefile(source / "mm" / "a.c")
    assert not (tmp_path / "copy" / "out-plain").exists()


def test_a_local_tree_has_another_identity_after_an_edit(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("one\n")
    before = identify_tree(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index").write_text("x")
    assert identify_tree(tmp_path) == before
    (tmp_path / "a.c").write_text("four!\n")
    assert identify_tree(tmp_path) != before
