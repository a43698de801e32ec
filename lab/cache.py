# SPDX-License-Identifier: GPL-2.0-or-later
"""Content-addressed artifacts, shared by every lab of a user.

An entry is a directory ``<root>/<kind>/<key>/`` that appears by one rename and never changes
afterwards. Its manifest holds the SHA-256 of every file; an entry is checked against it before use,
and a damaged one is built again. A work tree ``<root>/work/<kind>/<name>/`` is the opposite: it
may change, belongs to one lab at a time, and knows when its last user was killed in it.

Nothing here has to be repaired by hand: whoever is killed leaves a partial directory that the next
builder of the same entry, or the garbage collection, removes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from lab.disk_use import size_on_disk
from lab.errors import CacheError, HostError
from lab.hash_memo import HashMemo
from lab.manifest import (
    MANIFEST,
    describe,
    find_damage,
    hash_file,
    read_manifest,
)
from lab.program import ProgramLost
from lab.progress import Progress, SilentProgress
from lab.use_lock import InUse, UseLock

_PARTIAL = ".partial-"
_DAMAGED = ".damaged-"
_MEMORIES = ("kvm", "logs", "partial", "resolved")  # small files, each of use by itself
_REBUILT = ("apt", "ccache")  # folders with bounds of their own; only --days 0 empties them
_POLL_S = 0.2
# Kbuild refuses these, make and the shell take names apart at the others.
_UNUSABLE_IN_PATH = re.compile(r"[\s:#$%'\"\\]")

__all__ = [
    "MANIFEST",
    "Cache",
    "Collected",
    "EntryFacts",
    "WorkTree",
    "hash_file",
    "hash_tree",
    "make_key",
]


def default_root() -> Path:
    """``$XDG_CACHE_HOME/dcbm-lab``, or the platform's default for it."""
    return Path(platformdirs.user_cache_dir("dcbm-lab"))


def hash_tree(root: Path, *, skip: Callable[[Path], bool] | None = None) -> str:
    """SHA-256 over names, run bits, link targets and contents of every file below `root`."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if "__pycache__" in relative.parts or (skip is not None and skip(relative)):
            continue
        if path.is_symlink():
            digest.update(f"link {relative} {path.readlink()}\n".encode())
        elif path.is_file():
            run = "x" if path.stat().st_mode & stat.S_IXUSR else "-"
            digest.update(f"file {relative} {run} {hash_file(path)}\n".encode())
    return digest.hexdigest()


def make_key(**inputs: str) -> str:
    """Key of an artifact from everything that decides its bytes; the order doesn't matter."""
    text = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class EntryFacts:
    """An entry as ``dcbm-lab cache list`` shows it."""

    kind: str
    key: str
    title: str
    path: Path
    size_bytes: int
    used_at: float


@dataclass(frozen=True)
class Collected:
    """What a garbage collection removed."""

    paths: tuple[Path, ...]
    size_bytes: int


@dataclass(frozen=True)
class WorkTree:
    """A directory that is this lab's alone while the context is open.

    Attributes:
        path: the directory; it exists.
        interrupted: the last user was killed in it, so that a half-written file may lie anywhere.
    """

    path: Path
    interrupted: bool


class Cache:
    """The artifacts below one root directory.

    From the first artifact or work tree that it gives until it is dropped or its process ends,
    it keeps the garbage collection of every other lab away.
    """

    def __init__(self, root: Path | None = None) -> None:
        """Raises HostError for a root that no build can work in."""
        self.root = default_root() if root is None else root
        self._memo = HashMemo(self.root / "hashes.json")
        self._use_lock = UseLock(self.root / "locks" / "in-use")
        for place in (self.root, self.root.resolve()):
            if _UNUSABLE_IN_PATH.search(str(place)):
                raise HostError(
                    "a cache path that make, kbuild and QEMU's build can work in",
                    f"{str(place)!r}",
                    hint="set XDG_CACHE_HOME to a path without spaces, colons, quotes, "
                    "backslashes and the characters # $ %",
                )

    # -- entries ---------------------------------------------------------------------------

    def path(self, kind: str, key: str) -> Path:
        """Where the entry is or would be."""
        return self.root / kind / key

    def find(self, kind: str, key: str, progress: Progress | None = None) -> Path | None:
        """The entry if it is there and whole, marked as used; damage is reported as a warning."""
        path = self.path(kind, key)
        if not path.is_dir():
            return None
        with contextlib.suppress(CacheError):  # a cache that can't be written can't be collected
            self._use(progress or SilentProgress())
        if not path.is_dir():
            return None  # collected in between
        damage = self._damage(path)
        if damage is None:
            with contextlib.suppress(OSError):
                os.utime(path / MANIFEST)
            return path
        (progress or SilentProgress()).warn(f"{kind}/{key} in the cache is damaged: {damage}")
        return None

    def hash_file(self, path: Path) -> str:
        """SHA-256 of a file, read only if it has changed since it was last asked for.

        Raises:
            OSError: it can't be read.
        """
        digest = self._memo.hash(path, hash_file)
        self._memo.save()
        return digest

    def hashes(self, path: Path) -> dict[str, str]:
        """SHA-256 of every file of an entry that `entry` or `find` gave, by name."""
        manifest, damage = read_manifest(path)
        if damage is not None:
            raise CacheError(f"a whole entry at {path}", damage, hint="run it again")
        return {name: sha256 for name, (_, sha256) in manifest["files"].items()}

    def entry(
        self,
        kind: str,
        key: str,
        build: Callable[[Path], None],
        *,
        title: str = "",
        progress: Progress | None = None,
    ) -> Path:
        """The entry, built by ``build(empty_directory)`` unless it is there and whole.

        Only one lab builds an entry; others wait for it and say so. `title` is for people.

        Raises:
            CacheError: the cache can't be read or written.
            LabError: whatever `build` raises; nothing is published then.
        """
        progress = progress or SilentProgress()
        found = self.find(kind, key, progress)
        if found is not None:
            return found
        self._use(progress)
        with self.lock(f"{kind}-{key}", progress, title or kind):
            found = self.find(kind, key)
            if found is not None:
                return found
            path = self.path(kind, key)
            partial = path.with_name(_PARTIAL + key)
            try:
                self._discard(path)
                self._discard(partial)
                partial.mkdir(parents=True)
            except OSError as error:
                raise self._unusable(error) from error
            try:
                build(partial)
                self._publish(partial, path, kind, title)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        return path

    def remove(self, kind: str, key: str) -> None:
        """Remove an entry, if it is there, so that it is built anew.

        Raises:
            OSError: it can't be removed.
        """
        self._discard(self.path(kind, key))

    @contextmanager
    def in_use(self, kind: str, key: str) -> Iterator[None]:
        """Keep `keep_within` away from an entry; `find` belongs inside. Any number of labs may.

        A cache that can't be written can't lose an entry either.
        """
        lock = UseLock(self._entry_lock(kind, key))
        with contextlib.suppress(OSError):
            lock.share(SilentProgress())
        try:
            yield
        finally:
            lock.drop()

    def keep_within(self, kind: str, limit_bytes: int) -> list[Path]:
        """Remove what of a kind was not used for longest, until the rest is within a limit on disk.

        What is in use stays, and so does what was used last. What killed labs left of the kind goes
        first; what can't be removed is left for the next call.

        Returns:
            The entries that are gone.
        """
        self._remove_leftovers(kind)
        used = {}
        for manifest in (self.root / kind).glob(f"*/{MANIFEST}"):
            with contextlib.suppress(OSError):  # another lab was faster
                used[manifest.parent] = manifest.stat().st_mtime
        sizes = {path: size_on_disk(path) for path in used}
        total_bytes = sum(sizes.values())
        removed: list[Path] = []
        for path in sorted(used, key=lambda path: used[path])[:-1]:
            if total_bytes <= limit_bytes:
                break
            # Whoever comes while this is held waits, and then finds the entry gone.
            with (
                contextlib.suppress(InUse, OSError),
                UseLock(self._entry_lock(kind, path.name)).alone(),
            ):
                self._discard(path)
                removed.append(path)
                total_bytes -= sizes[path]
        return removed

    def _remove_leftovers(self, kind: str) -> None:
        """Remove partial directories of builders that are dead, and what was set aside."""
        folder = self.root / kind
        for path in folder.glob(f"{_PARTIAL}*"):
            lock = FileLock(self._lock_path(f"{kind}-{path.name.removeprefix(_PARTIAL)}"))
            # Held until it is gone: the next builder of the same entry writes to the same place.
            with contextlib.suppress(Timeout, OSError), lock.acquire(timeout=0):
                shutil.rmtree(path, ignore_errors=True)
        for path in folder.glob(f"{_DAMAGED}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _entry_lock(self, kind: str, key: str) -> Path:
        return self.root / "locks" / f"{kind}-{key}.use"

    def _publish(self, partial: Path, path: Path, kind: str, title: str) -> None:
        manifest = describe(partial, kind, path.name, title)
        try:
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            raise self._unusable(error) from error

    def _damage(self, path: Path) -> str | None:
        """What is wrong with an entry; files that were found whole and haven't changed aren't read.

        The names in it are compared anyway: a file that was added or lost is damage.
        """
        manifest, damage = read_manifest(path)
        if damage is None:
            damage = find_damage(path, manifest, self._memo.hash)
            self._memo.save()
        return damage

    def _discard(self, path: Path) -> None:
        """Remove a directory so that no half of it can be seen under its own name."""
        aside = path.with_name(f"{_DAMAGED}{path.name}-{os.getpid()}-{time.monotonic_ns()}")
        with contextlib.suppress(FileNotFoundError):  # nothing there, or another lab was faster
            path.rename(aside)
            # Another lab may help; what is left is for the next collection.
            shutil.rmtree(aside, ignore_errors=True)

    # -- work trees ------------------------------------------------------------------------

    @contextmanager
    def worktree(self, kind: str, name: str, progress: Progress, title: str) -> Iterator[WorkTree]:
        """A directory for builds in place, locked until the context ends.

        Whoever comes next finds it interrupted if this lab is killed, and also if it lost sight of
        a program: that one may have been killed while it wrote.

        Raises:
            CacheError: the cache can't be written.
        """
        path = self.root / "work" / kind / name
        marker = path.with_name(f"{name}.in-use")
        self._use(progress)
        with self.lock(f"work-{kind}-{name}", progress, title):
            try:
                path.mkdir(parents=True, exist_ok=True)
                interrupted = marker.exists()
                marker.touch()
            except OSError as error:
                raise self._unusable(error) from error
            try:
                yield WorkTree(path, interrupted)
            except ProgramLost:
                raise
            except BaseException:
                self._leave(path, marker)
                raise
            self._leave(path, marker)

    @staticmethod
    def _leave(path: Path, marker: Path) -> None:
        """Note that nothing works in a work tree any more."""
        with contextlib.suppress(OSError):
            os.utime(path)
            marker.unlink()

    # -- locks -----------------------------------------------------------------------------

    @contextmanager
    def lock(self, name: str, progress: Progress, title: str) -> Iterator[None]:
        """Exclude every other lab from `name`; waiting is shown as a step.

        Raises:
            CacheError: the lock can't be made.
        """
        path = self._lock_path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                with progress.step(f"waiting for another lab: {title}"):
                    lock.acquire(poll_interval=_POLL_S)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            yield
        finally:
            lock.release()

    def _lock_path(self, name: str) -> Path:
        return self.root / "locks" / f"{name}.lock"

    def _use(self, progress: Progress) -> None:
        try:
            self._use_lock.share(progress)
        except OSError as error:
            raise self._unusable(error) from error

    def _is_free(self, name: str) -> bool:
        lock = FileLock(self._lock_path(name))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        lock.release()
        return True

    def _unusable(self, error: OSError) -> CacheError:
        return CacheError(
            f"a cache that can be written at {self.root}",
            str(error),
            hint="free room or correct its permissions, or set XDG_CACHE_HOME to another place",
        )

    # -- the user's verbs ------------------------------------------------------------------

    def list_entries(self) -> list[EntryFacts]:
        """Every published entry and work tree, most recently used first."""
        found = []
        for manifest in self.root.glob(f"*/*/{MANIFEST}"):
            path = manifest.parent
            if path.name.startswith("."):
                continue
            data, _ = read_manifest(path)
            title = str(data.get("title", "?"))
            try:
                used_at = manifest.stat().st_mtime
            except FileNotFoundError:
                continue  # another lab has just removed it
            found.append(
                EntryFacts(path.parent.name, path.name, title, path, size_on_disk(path), used_at)
            )
        for path in (self.root / "work").glob("*/*"):
            if path.is_dir() and not path.name.startswith("."):
                kind = f"work/{path.parent.name}"
                used_at = path.stat().st_mtime
                found.append(
                    EntryFacts(kind, path.name, "work tree", path, size_on_disk(path), used_at)
                )
        return sorted(found, key=lambda entry: -entry.used_at)

    def verify(self) -> dict[Path, str]:
        """Damage of every published entry that has any, by its path; all files are hashed."""
        damaged = {}
        for manifest in sorted(self.root.glob(f"*/*/{MANIFEST}")):
            path = manifest.parent
            if path.name.startswith("."):
                continue
            data, damage = read_manifest(path)
            damage = damage or find_damage(path, data)
            if damage is not None and path.is_dir():  # another lab may have removed it meanwhile
                damaged[path] = damage
        return damaged

    def collect(self, unused_days: float = 30.0) -> Collected:
        """Remove what dead labs left behind and what was not used for `unused_days` days.

        With 0 days also the compiler's cache and the package lists: all that the lab ever kept.

        Raises:
            CacheError: another lab uses the cache, which may need any part of it; nothing is
                removed then.
        """
        try:
            with self._use_lock.alone():
                return self._collect(unused_days)
        except InUse as error:
            raise CacheError(
                f"no other lab that uses the cache at {self.root}",
                "a build, a run or a test session does",
                hint="collect when it has ended",
            ) from error
        except OSError as error:
            raise self._unusable(error) from error

    def _collect(self, unused_days: float) -> Collected:
        oldest = time.time() - unused_days * 86400
        removed: list[Path] = []
        size_bytes = 0
        for path in self.root.glob("work/*/.damaged-*"):
            size_bytes += size_on_disk(path)
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
        for folder in _MEMORIES:
            for path in (self.root / folder).glob("*"):
                if path.is_file() and path.stat().st_mtime < oldest:
                    size_bytes += path.stat().st_size
                    path.unlink(missing_ok=True)
                    removed.append(path)
        for path in [*self.root.glob(f"*/{_PARTIAL}*"), *self.root.glob(f"*/{_DAMAGED}*")]:
            key = path.name.removeprefix(_PARTIAL)
            if path.name.startswith(_DAMAGED) or self._is_free(f"{path.parent.name}-{key}"):
                size_bytes += size_on_disk(path)
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
        for entry in self.list_entries():
            lock_name = f"{entry.kind.replace('/', '-')}-{entry.key}"
            if entry.used_at < oldest and self._is_free(lock_name):
                size_bytes += entry.size_bytes
                self._discard(entry.path)
                removed.append(entry.path)
        for folder in _REBUILT if unused_days <= 0 else ():
            path = self.root / folder
            if path.is_dir():
                size_bytes += size_on_disk(path)
                shutil.rmtree(path)
                removed.append(path)
        self._memo.forget_lost()
        return Collected(tuple(removed), size_bytes)
