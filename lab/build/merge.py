# SPDX-License-Identifier: GPL-2.0-or-later
"""Applies a series to a source tree, with three-way merges, in a scratch repository.

A source tree has no history, so the repository gets only the files that the series names. A patch
is applied as it is: lines may have moved, not changed. Where that fails it is merged three ways,
if the blob is at hand that its ``index`` line says it was made from: from the base itself, from
another base of the lab (with what the earlier patches of the series made of it), or from the
repository that the series comes from.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.build.git import Repository
from lab.build.obstacle import describe_obstacle, find_obstacle
from lab.build.patch import Patch
from lab.build.series import Series
from lab.errors import BuildError, HostError

_FAILED = re.compile(r"^error: patch failed: (.+):(\d+)$", re.MULTILINE)
_SEARCHED = re.compile(r"^error: while searching for:\n(.*?)\nerror: ", re.MULTILINE | re.DOTALL)
_OTHER_ERROR = re.compile(r"^error: (.+)$", re.MULTILINE)
_SHOWN_LINES = 6
_LINK = "120000"
_EXECUTABLE = "100755"
_OLD_BLOB = re.compile(rb"^index ([0-9a-f]{40,64})\.\.", re.MULTILINE)
# In git blame --porcelain each line of the file has one: commit, line then, line now.
_BLAMED = re.compile(r"^([0-9a-f]{40,64}) \d+ (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Change:
    """What the series makes of a file: its mode and blob as git names them; None: it is gone."""

    mode: str
    blob: str


@dataclass
class Merge:
    """What became of a series on a base.

    Attributes:
        changes: every file that differs from the base, by path; None where it is deleted.
        merged: numbers, from 1, of the patches that needed a three-way merge.
        known: numbers of those that change nothing: the base has them already.
        trees: git's names of what the base was and of what each patch made of it.
    """

    changes: dict[str, Change | None] = field(default_factory=dict)
    merged: list[int] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    trees: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Refusal:
    """Why a patch doesn't apply."""

    patch: Patch
    seen: str


def apply_series(
    series: Series, base: Path, tree: Path, *, label: str, others: Mapping[str, Path]
) -> Merge:
    """Apply a series to `tree`, a copy of `base`; changed files are replaced, never written into.

    Args:
        series: what to apply.
        base: pristine source.
        tree: where the result goes; links that its files have elsewhere stay as they are.
        label: the base's name for messages.
        others: pristine source of other bases, which may fit better.

    Raises:
        BuildError: a patch does not apply; names patch, file and hunk, and a base that fits.
        HostError: git fails.
    """
    place = tree.with_name(f".merging-{tree.name}")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        scratch = _Scratch(place, series)
        merge = _merge(scratch, base, label, others)
        scratch.write(merge, tree)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return merge


def added_lines(
    series: Series, base: Path, *, label: str, others: Mapping[str, Path]
) -> list[dict[str, list[int]]]:
    """For each patch the lines that it added and no later one took: by path, as numbered at last.

    Raises:
        BuildError: a patch does not apply.
        HostError: git fails.
    """
    with tempfile.TemporaryDirectory(prefix="dcbm-lab-") as place:
        scratch = _Scratch(Path(place), series)
        merge = _merge(scratch, base, label, others)
        return scratch.blame(merge)


def _merge(scratch: _Scratch, base: Path, label: str, others: Mapping[str, Path]) -> Merge:
    series = scratch.series
    merge, refusal = scratch.apply_to(base)
    if refusal is not None and others:
        # Their blobs, and what the series makes of them, are what three-way merges need.
        fitting = [name for name, other in others.items() if scratch.apply_to(other)[1] is None]
        merge, refusal = scratch.apply_to(base)
        if refusal is not None:
            raise _as_error(series, refusal, label, list(others), fitting)
    if refusal is not None:
        raise _as_error(series, refusal, label, list(others), [])
    return merge


class _Scratch:
    """A repository with the files of a base that a series names."""

    def __init__(self, place: Path, series: Series) -> None:
        self.place = place
        self.series = series
        self.paths = sorted({path for patch in series.patches for path in patch.paths})
        self.git = Repository(place, own=True)
        made = self.git.ask("init", "--quiet", "--template=")
        if not made.ok:
            raise HostError(f"a scratch repository at {place}", made.said, hint="see to room there")
        info = place / ".git" / "info"
        info.mkdir(exist_ok=True)
        (info / "attributes").write_text("* -text -filter -ident\n")
        if series.objects is not None:
            self._take_blobs(series.objects)

    def apply_to(self, base: Path) -> tuple[Merge, _Refusal | None]:
        """Apply the series to a base's files; what it made so far stays known as blobs."""
        start = self._seed(base)
        merge = Merge(trees=[start])
        for number, patch in enumerate(self.series.patches, 1):
            before = merge.trees[-1]
            obstacle = self._obstacle(base, patch)
            if obstacle is not None:
                return merge, _Refusal(patch, obstacle)
            plain = self.git.ask("apply", "--index", "--whitespace=nowarn", "-", stdin=patch.diff)
            if not plain.ok:
                three = self.git.ask(
                    "apply", "--index", "--3way", "--whitespace=nowarn", "-", stdin=patch.diff
                )
                if not three.ok:
                    refusal = _Refusal(patch, self._diagnose(patch, before, three.said))
                    return merge, refusal
                merge.merged.append(number)
            merge.trees.append(self._tree())
            if merge.trees[-1] == before:
                merge.known.append(number)
        merge.changes = self._changes(start)
        return merge, None

    def blame(self, merge: Merge) -> list[dict[str, list[int]]]:
        """Which lines of the result each patch added."""
        commits: list[str] = []
        for tree in merge.trees:
            parent = ("-p", commits[-1]) if commits else ()
            made = self.git.tell("commit-tree", tree, *parent, "-m", str(len(commits)))
            commits.append(made.decode().strip())
        added: list[dict[str, list[int]]] = [{} for _ in self.series.patches]
        for path, change in merge.changes.items():
            if change is None or change.mode == _LINK:
                continue
            blamed = self.git.tell("blame", "--porcelain", commits[-1], "--", path)
            for commit, line in _BLAMED.findall(blamed.decode("utf-8", errors="replace")):
                step = commits.index(commit)
                if step:
                    added[step - 1].setdefault(path, []).append(int(line))
        return added

    def write(self, merge: Merge, tree: Path) -> None:
        """Bring the changes into a tree; nothing in it that is a link is followed.

        Raises:
            BuildError: a file's place is taken by what the series doesn't remove.
        """
        for path, change in merge.changes.items():
            if change is None and find_obstacle(tree, path) is None:
                (tree / path).unlink(missing_ok=True)
        for path, change in merge.changes.items():
            if change is not None:
                self._write_file(tree, path, change)

    def _write_file(self, tree: Path, path: str, change: Change) -> None:
        target = tree / path
        obstacle = find_obstacle(tree, path)
        if obstacle is not None:
            seen = f"{obstacle} is {describe_obstacle(tree, obstacle)}"
            raise BuildError(f"a folder for {path} in the patched tree", seen)
        if target.is_dir() and not target.is_symlink():
            for folder, _folders, _files in os.walk(target, topdown=False):
                Path(folder).rmdir()  # the series has removed what was in it
        target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = self.git.tell("cat-file", "blob", change.blob)
        if change.mode == _LINK:
            target.symlink_to(content.decode("utf-8", errors="surrogateescape"))
            return
        target.write_bytes(content)
        target.chmod(0o755 if change.mode == _EXECUTABLE else 0o644)

    def _take_blobs(self, objects: Path) -> None:
        """Copy the blobs that the patches were made from out of a user's repository.

        Were it an alternate, git would give new times to the objects there that it finds again.
        """
        known = [found for patch in self.series.patches for found in _OLD_BLOB.findall(patch.diff)]
        wanted = b"".join(blob + b"\n" for blob in dict.fromkeys(known))
        # In quotes, because git takes a colon for the end of a directory.
        quoted = str(objects).replace("\\", "\\\\").replace('"', '\\"')
        variables = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{quoted}"'}
        theirs = Repository(self.place, own=True, variables=variables)
        answer = theirs.tell("cat-file", "--batch-check", stdin=wanted)
        there = [line.split()[0] for line in answer.splitlines() if line.split()[1:2] == [b"blob"]]
        packed = theirs.tell(
            "pack-objects", "--stdout", "--quiet", stdin=b"".join(blob + b"\n" for blob in there)
        )
        self.git.tell("unpack-objects", "-q", stdin=packed)

    def _obstacle(self, base: Path, patch: Patch) -> str | None:
        """Why a file that a patch names can't be at its place, which git doesn't always say."""
        for path in patch.paths:
            for root, decided in ((base, self.paths), (self.place, patch.paths)):
                # What the series itself, or this patch, makes of it is seen in the next round.
                parent = find_obstacle(root, path)
                if parent is not None and parent not in decided:
                    return f"{path}: {parent} is {describe_obstacle(root, parent)}, not a folder"
                if (root / path).is_symlink() or parent is not None:
                    continue
                for folder, _folders, files in os.walk(root / path):
                    inside = (Path(folder, name).relative_to(root).as_posix() for name in files)
                    if any(name not in decided for name in inside):
                        return f"{path} is a folder, not a file"
        return None

    def _seed(self, base: Path) -> str:
        """Make index and working files those of a base; returns their git tree."""
        self.git.tell("read-tree", "--empty")
        for item in self.place.iterdir():
            if item.name != ".git":
                shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
        for path in self.paths:
            source, target = base / path, self.place / path
            if find_obstacle(base, path) is not None:
                continue  # not in the base, whatever a link leads to
            if source.is_symlink() or source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target, follow_symlinks=False)
        self.git.tell("add", "--force", "--all", ".")
        return self._tree()

    def _tree(self) -> str:
        return self.git.tell("write-tree").decode().strip()

    def _diagnose(self, patch: Patch, before: str, said: str) -> str:
        """Which hunk of which file doesn't fit; leaves everything as it was before the patch."""
        conflicts = re.findall(r"^U (.+)$", said, re.MULTILINE)
        self.git.tell("read-tree", "--reset", "-u", before)
        if self.git.ask("apply", "--index", "--check", "--reverse", "-", stdin=patch.diff).ok:
            return "everything that it changes is changed there already"
        answer = self.git.ask("apply", "--index", "--check", "-v", "-", stdin=patch.diff)
        found = _FAILED.search(answer.said)
        if found is None:
            problem = _OTHER_ERROR.search(answer.said) or _OTHER_ERROR.search(said)
            return problem[1] if problem else (answer.said or said)[-500:]
        path, line = found[1], int(found[2])
        hunks = [hunk for change in patch.changes if path in change.paths for hunk in change.hunks]
        which = next((hunk for hunk in hunks if hunk.old_start == line), None)
        where = f"hunk {which.number} of {len(hunks)} ({which.header})" if which else f"line {line}"
        seen = f"{path}: {where} doesn't fit"
        if path in conflicts:
            seen += ", and merging three ways leaves a conflict"
        searched = _SEARCHED.search(answer.said)
        if searched:
            lines = searched[1].splitlines()[:_SHOWN_LINES]
            seen += "; these lines aren't there:\n" + "\n".join(f"  {text}" for text in lines)
        return seen

    def _changes(self, start: str) -> dict[str, Change | None]:
        raw = self.git.tell(
            "diff-index", "--cached", "--raw", "-z", "--no-renames", "--full-index", start
        )
        fields = raw.decode("utf-8", errors="surrogateescape").split("\0")
        changes: dict[str, Change | None] = {}
        for facts, path in zip(fields[::2], fields[1::2], strict=False):
            _old_mode, mode, _old, blob, status = facts.lstrip(":").split()
            changes[path] = None if status == "D" else Change(mode, blob)
        return changes


def _as_error(
    series: Series, refusal: _Refusal, label: str, tried: list[str], fitting: list[str]
) -> BuildError:
    patch = refusal.patch
    seen = refusal.seen + (f"\n{patch.remark}" if patch.remark else "")
    said = (
        f"; the series says that it is for commit {series.base_commit}"
        if series.base_commit
        else ""
    )
    if series.prerequisites:
        said += f" and needs {len(series.prerequisites)} patches before it, which aren't in it"
    if fitting:
        hint = f"it applies to base {' and '.join(fitting)}: --set kernel.base={fitting[0]}"
    elif tried:
        hint = f"the other bases at hand ({', '.join(tried)}) don't take it either"
        hint += "; rebase the series, or give the tree that it is for (--tree)"
    else:
        hint = "rebase the series, or give the tree that it is for (--tree)"
    return BuildError(f"{patch.name}: applied to {label}{said}", seen, hint=hint)
