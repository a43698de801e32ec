# SPDX-License-Identifier: GPL-2.0-or-later
"""A user's own kernel tree: which files are its source, what they are, and a copy to build in.

Nothing is ever written into the tree, its ``.git`` included. What git ignores isn't source, so
that a tree with a build in it can be used. The copy is brought up to date file by file: an edit
costs what it touches.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from lab.build.git import Repository
from lab.build.obstacle import Parents, find_obstacle
from lab.build.source_tree import identify_tree
from lab.cache import hash_file
from lab.errors import BuildError, ConfigError
from lab.progress import Progress

_COPIED = ".dcbm-lab-copy.json"
_DOUBTED = ".dcbm-lab-copied.json"  # of versions that followed links: all is compared once more
_MAX_UNTRACKED_BYTES = 256 << 20
_EVERY = 2000
_SUBMODULE = b"160000"
_USUAL = (b"H 100644 ", b"H 100755 ", b"H 120000 ")  # nearly all of a hundred thousand
_OUTPUT = "out-"  # output directories are in the copy, and no source of what is patched there
_KERNEL_FILES = ("Makefile", "Kbuild", "Kconfig", "MAINTAINERS")
_DIFF = (
    *("diff", "HEAD", "--binary", "--full-index", "--no-renames", "--no-color", "--no-ext-diff"),
    *("--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "--unified=3"),
    *("--diff-algorithm=myers", "--submodule=short", "--inter-hunk-context=0"),
    *("--indent-heuristic", "-O/dev/null"),
)
_HINT = "name the top directory of a kernel's git tree or worktree, or of an unpacked release"


@dataclass(frozen=True)
class LocalTree:
    """A local tree as it is now.

    Attributes:
        path: its top directory.
        commit: its HEAD; None where it is no git tree.
        diff: SHA-256 over what differs from HEAD, files that git doesn't know included; None where
            nothing does.
        identity: what a key of anything built from it has to contain.
    """

    path: Path
    commit: str | None
    diff: str | None
    identity: str

    @property
    def slot(self) -> str:
        """Name of the work tree that holds its copy: one for each place, not for each content."""
        return "tree-" + hashlib.sha256(str(self.path).encode()).hexdigest()[:24]

    @property
    def version(self) -> str:
        """How records call it."""
        if self.commit is None:
            return "tree"
        return f"{self.commit[:12]}{'-dirty' if self.diff else ''}"


def inspect_tree(given: Path) -> LocalTree:
    """Look at a local tree.

    Raises:
        ConfigError: it isn't there, is no kernel, or can't be used.
    """
    path = given.expanduser().resolve()
    awaited = f"a kernel source tree at {path}"
    if not path.is_dir():
        raise ConfigError(awaited, "no such directory", hint=_HINT)
    missing = [name for name in _KERNEL_FILES if not (path / name).is_file()]
    if missing:
        raise ConfigError(awaited, f"no {', '.join(missing)} in it", hint=_HINT)
    if not (path / ".git").exists():
        return _inspect_plain(path, awaited)
    with _reader(path) as repository:
        head = repository.ask("rev-parse", "--verify", "HEAD")
        if not head.ok:
            raise ConfigError(f"{awaited} with a commit", head.said, hint=_HINT)
        tree = repository.tell("rev-parse", "HEAD^{tree}").decode().strip()
        digest = hashlib.sha256()
        diff = repository.tell(*_DIFF)
        digest.update(diff)
        untracked = _untracked(repository)
        _assert_small(path, untracked)
        for name in untracked:
            digest.update(_describe(path, name))
    changed = digest.hexdigest() if diff or untracked else None
    return LocalTree(path, head.text, changed, f"git {tree} {changed}")


def copy_tree(tree: LocalTree, target: Path, progress: Progress) -> bool:
    """Make `target` a copy of the tree's source; files whose content is the same are left alone.

    Changed files are replaced, with the present time as theirs, so that make builds again what
    depends on them.

    Returns:
        Whether the copy had to be changed.

    Raises:
        BuildError: the tree changed meanwhile.
        OSError: a file can't be read or written.
    """
    known_at = target.with_name(_COPIED)
    known = _read_known(known_at, target)
    target.with_name(_DOUBTED).unlink(missing_ok=True)
    known_at.unlink(missing_ok=True)  # half a copy knows nothing
    names = _source_names(tree)
    changed = False
    with progress.step(f"copying what changed in {tree.path}") as step:
        target.mkdir(parents=True, exist_ok=True)
        now = _signatures(tree.path, names)
        # First what is gone: a folder may have taken the place of a file or a link, or the reverse.
        for name in sorted(known.keys() - now.keys()):
            changed = True
            _remove(target, name)
        parents = Parents(target)
        for number, (name, signature) in enumerate(now.items()):
            if number % _EVERY == 0:
                step.update(name, number / len(now))
            obstacle = parents.obstacle(name)
            if obstacle is not None:
                (target / obstacle).unlink()
                parents = Parents(target)
            if known.get(name) != signature or not os.path.lexists(target / name):
                changed |= _copy(tree.path / name, target / name)
    if inspect_tree(tree.path).identity != tree.identity:
        raise BuildError(
            f"a tree that stays as it is while it is copied: {tree.path}",
            "it was changed meanwhile",
            hint="run it again",
        )
    known_at.write_text(json.dumps(now), encoding="utf-8")
    return changed


def _inspect_plain(path: Path, awaited: str) -> LocalTree:
    """A tree that git doesn't know, such as an unpacked release."""
    built = [name for name in (".config", "include/config", "vmlinux") if (path / name).exists()]
    for item in path.iterdir():
        if item.name.startswith(_OUTPUT):
            _refuse_source(path, f"{item.name}: the lab builds in {_OUTPUT}…", "rename it")
    if built:
        raise ConfigError(
            f"{awaited} without a build in it",
            f"{', '.join(built)}; without git nobody knows what is source there",
            hint="make mrproper in a copy of it, or make it a git tree",
        )
    return LocalTree(path, None, None, f"tree {identify_tree(path)}")


@contextmanager
def _reader(path: Path) -> Iterator[Repository]:
    """The tree's repository with a copy of its index, which git may refresh."""
    repository = Repository(path)
    index = repository.tell("rev-parse", "--path-format=absolute", "--git-path", "index")
    with tempfile.TemporaryDirectory(prefix="dcbm-lab-index-") as folder:
        copy = Path(folder) / "index"
        original = Path(os.fsdecode(index.rstrip(b"\n")))
        if original.is_file():
            # With its time: git doubts what is no older than the index, and compares it.
            shutil.copy2(original, copy)
        reader = Repository(path, variables={"GIT_INDEX_FILE": str(copy)})
        _look_at_all(reader)
        yield reader


def _look_at_all(reader: Repository) -> None:
    """Make git look at every file, also at those that it was told not to look at.

    Raises:
        ConfigError: source that the copy could not have, or that the lab's own files would hide.
    """
    unlooked = []
    output = f"\t{_OUTPUT}".encode()
    for entry in reader.tell("ls-files", "-z", "-v", "--stage").split(b"\0")[:-1]:
        if entry.startswith(_USUAL) and output not in entry:
            continue
        facts, _tab, raw = entry.partition(b"\t")
        kind, mode = facts.split(b" ")[:2]
        name = os.fsdecode(raw)
        file = reader.path / name
        if mode == _SUBMODULE and file.is_dir() and any(file.iterdir()):
            _refuse_source(
                reader.path,
                f"{name}, a submodule",
                "empty its folder, or give a worktree without it",
            )
        if name.startswith(_OUTPUT):
            _refuse_source(reader.path, f"{name}: the lab builds in {_OUTPUT}…", "rename it")
        if kind in {b"S", b"s"} and not os.path.lexists(file):
            _refuse_source(
                reader.path,
                f"{name} isn't checked out (git sparse-checkout)",
                "git sparse-checkout disable, or a worktree that has everything",
            )
        if kind.islower() or kind == b"S":
            unlooked.append(raw + b"\0")
    if unlooked:
        # In the copy of the index alone, which must not become two files, one of them the user's.
        command = ("-c", "core.splitIndex=false", "update-index", "-z")
        for option in ("--no-assume-unchanged", "--no-skip-worktree"):
            reader.tell(*command, option, "--stdin", stdin=b"".join(unlooked))


def _refuse_source(path: Path, seen: str, hint: str) -> NoReturn:
    raise ConfigError(f"source that can be copied out of {path}", seen, hint=hint)


def _untracked(reader: Repository) -> list[str]:
    """Files that git neither knows nor ignores.

    Raises:
        ConfigError: a repository is among them, whose files git doesn't tell.
    """
    names = _names(reader.tell("ls-files", "-z", "--others", "--exclude-standard"))
    for name in names:
        if name.endswith("/"):
            hint = "move it away, or name it in .git/info/exclude: then it isn't copied"
            _refuse_source(reader.path, f"{name}, a repository within it", hint)
        if name.startswith(_OUTPUT):
            _refuse_source(reader.path, f"{name}: the lab builds in {_OUTPUT}…", "rename it")
    return names


def _names(listed: bytes) -> list[str]:
    return sorted(os.fsdecode(name) for name in listed.split(b"\0") if name)


def _source_names(tree: LocalTree) -> list[str]:
    """Relative names of all files that are source."""
    if tree.commit is not None:
        with _reader(tree.path) as repository:
            options = ("--cached", "--others", "--exclude-standard", "--deduplicate")
            return _names(repository.tell("ls-files", "-z", *options))
    found = []
    for directory, _folders, files in os.walk(tree.path):
        found += [os.path.relpath(os.path.join(directory, name), tree.path) for name in files]  # noqa: PTH118 - a hundred thousand of them
    return sorted(found)


def _assert_small(path: Path, names: list[str]) -> None:
    sizes = {name: (path / name).lstat().st_size for name in names if (path / name).exists()}
    total = sum(sizes.values())
    if total > _MAX_UNTRACKED_BYTES:
        raise ConfigError(
            f"at most {_MAX_UNTRACKED_BYTES >> 20} MiB of files that git doesn't know in {path}",
            f"{total >> 20} MiB, the largest is {max(sizes, key=lambda name: sizes[name])}",
            hint="move them away, or name them in .git/info/exclude: then they aren't copied",
        )


def _describe(path: Path, name: str) -> bytes:
    """Name, kind and content of a file that git doesn't know."""
    file = path / name
    if file.is_symlink():
        return f"link {name} {file.readlink()}\n".encode(errors="surrogateescape")
    if not file.is_file():
        return f"other {name}\n".encode(errors="surrogateescape")
    run = "x" if os.access(file, os.X_OK) else "-"
    return f"file {name} {run} {hash_file(file)}\n".encode(errors="surrogateescape")


def _signatures(tree: Path, names: list[str]) -> dict[str, list[int]]:
    """What changes when a file does, of all files and links that are there.

    What git knows below a folder that is a link now isn't there, whatever the link leads to.
    """
    found: dict[str, list[int]] = {}
    parents = Parents(tree)
    for name in names:
        if parents.obstacle(name) is not None:
            continue
        try:
            info = (tree / name).lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(info.st_mode) or stat.S_ISREG(info.st_mode):
            times = (info.st_mtime_ns, info.st_ctime_ns)
            found[name] = [info.st_ino, info.st_size, *times, info.st_mode]
    return found


def _read_known(path: Path, target: Path) -> dict[str, list[int]]:
    """What was copied last; after half a copy only which files are there."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        data = {}
        for directory, folders, files in os.walk(target):
            if Path(directory) == target:
                folders[:] = [name for name in folders if not name.startswith("out-")]
            links = [name for name in folders if (Path(directory) / name).is_symlink()]
            data.update(
                {os.path.relpath(Path(directory) / name, target): [] for name in (*files, *links)}
            )
    return dict(data)


def _remove(target: Path, name: str) -> None:
    """Remove a file of the copy; one that a link leads to is none of it."""
    file = target / name
    if find_obstacle(target, name) is None and (file.is_symlink() or not file.is_dir()):
        file.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> bool:
    """Make one file of the copy what it is in the tree; whether that changed it."""
    mode = 0o755 if os.access(source, os.X_OK) else 0o644
    if source.is_symlink():
        if target.is_symlink() and target.readlink() == source.readlink():
            return False
    elif target.is_file() and not target.is_symlink():
        same_mode = target.stat().st_mode & 0o777 == mode
        if same_mode and filecmp.cmp(source, target, shallow=False):
            return False
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)  # a folder has become a file
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.dcbm-lab-partial")
    partial.unlink(missing_ok=True)
    if source.is_symlink():
        partial.symlink_to(source.readlink())
    else:
        shutil.copyfile(source, partial)
        partial.chmod(mode)
    partial.replace(target)
    return True
