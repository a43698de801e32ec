# SPDX-License-Identifier: GPL-2.0-or-later
"""Upstream source: what a pin names, had once, checked, and kept in the cache.

`fetch` goes through an ordered list of sources and takes the first that can be had. Taking another
than the first is said loudly and shows in the result, which ends up in the record.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from lab.cache import Cache, hash_file, make_key
from lab.errors import CacheError, SourceError
from lab.progress import Progress
from lab.sources.archive import Archive, PackageGone
from lab.sources.pins import DebianPackage, Source, TreeSource, UrlSource

GONE_FOR_S = 86400.0

__all__ = ["Fetched", "fetch", "find"]


@dataclass(frozen=True)
class Fetched:
    """Source that is there.

    Attributes:
        files: the files, or the one directory of a local tree.
        source: the pin that was taken.
        version: the version in the source's own words.
        identity: what a key of everything built from it has to contain.
        fallback: why an earlier source of the list wasn't taken; None if the first was.
    """

    files: tuple[Path, ...]
    source: Source
    version: str
    identity: str
    fallback: str | None = None

    def one(self, suffix: str) -> Path:
        """The file whose name ends with `suffix`.

        Raises:
            SourceError: there is none, or more than one.
        """
        found = [path for path in self.files if path.name.endswith(suffix)]
        if len(found) != 1:
            names = [path.name for path in self.files]
            raise SourceError(f"one file *{suffix} in {self.source.label}", f"{names}")
        return found[0]


def fetch(cache: Cache, sources: tuple[Source, ...], progress: Progress) -> Fetched:
    """The first of `sources` that can be had.

    Raises:
        SourceError: none can; the message says for each why not. Also when a source is there with
            another content than its pin says: that is never passed over in silence.
    """
    refusals: list[str] = []
    for source in sources:
        try:
            fetched = _fetch_one(cache, source, progress)
        except _ContentError as error:
            raise SourceError(error.awaited, error.seen, log=error.log, hint=error.hint) from error
        except SourceError as error:
            refusals.append(f"{source.label}: {' '.join(error.seen.split())[:400]}")
            continue
        if not refusals:
            return fetched
        progress.warn(f"taking the fallback {source.label} {fetched.version}; {refusals[0]}")
        return Fetched(
            fetched.files, source, fetched.version, fetched.identity, "; ".join(refusals)
        )
    raise SourceError(
        "upstream source from one of its pins",
        "\n".join(refusals) or "the list of pins is empty",
        hint="check the network and the host's package sources (dcbm-lab doctor), or give the "
        "base a newer pin or a local tree in its pins.toml",
    )


def find(cache: Cache, sources: tuple[Source, ...]) -> Fetched | None:
    """The first of `sources` that is on this host already; nobody is asked for it.

    Where the archive refused the first one once, `fetch` may take another than this.
    """
    for source in sources:
        if isinstance(source, TreeSource):
            if source.path.expanduser().is_dir():
                return _take_tree(source)
        elif isinstance(source, UrlSource):
            path = cache.find("download", source.sha256[:24])
            if path is not None:
                return _as_download(cache, path, source)
        else:
            version = source.version or _recall(_memory(cache, source)).get("version")
            path = cache.find("download", _package_key(source, version)) if version else None
            if version and path is not None:
                return _as_fetched(cache, path, source, version)
    return None


class _ContentError(SourceError):
    """What was got is not what the pin says."""


def _fetch_one(cache: Cache, source: Source, progress: Progress) -> Fetched:
    if isinstance(source, TreeSource):
        return _take_tree(source)
    if isinstance(source, UrlSource):
        return _fetch_url(cache, source, progress)
    return _fetch_package(cache, source, progress)


def _take_tree(source: TreeSource) -> Fetched:
    path = source.path.expanduser().resolve()
    if not path.is_dir():
        raise SourceError(f"a source tree at {path}", "there is no such directory")
    return Fetched((path,), source, f"tree {path.name}", f"tree {path}")


def _fetch_url(cache: Cache, source: UrlSource, progress: Progress) -> Fetched:
    name = _name_of(source)

    def build(directory: Path) -> None:
        # Here, because a run whose sources are there needs no HTTP.
        from lab.sources.download import download  # noqa: PLC0415

        partial = cache.root / "partial" / source.sha256
        with progress.step(f"downloading {name}") as step:
            download(source.url, partial, sha256=source.sha256, step=step)
            partial.replace(directory / name)

    path = cache.entry("download", source.sha256[:24], build, title=name, progress=progress)
    return _as_download(cache, path, source)


def _as_download(cache: Cache, path: Path, source: UrlSource) -> Fetched:
    # the entry is named after the content: another URL of the same file may have named it
    (kept,) = cache.hashes(path)
    return Fetched((path / kept,), source, _name_of(source), source.sha256)


def _name_of(source: UrlSource) -> str:
    return source.url.rstrip("/").rpartition("/")[2] or "download"


def _fetch_package(cache: Cache, source: DebianPackage, progress: Progress) -> Fetched:
    """A binary or source package: from the cache if it ever was fetched, else from the archive."""
    memory = _memory(cache, source)
    known = _recall(memory)
    if "gone" in known and time.time() - float(known["at"]) < GONE_FOR_S:
        raise PackageGone(f"{source.label} in the archive", f"{known['gone']} (asked today)")
    version = source.version or known.get("version")
    if version is not None:
        found = cache.find("download", _package_key(source, version), progress)
        if found is not None:
            return _as_fetched(cache, found, source, version)
    archive = Archive(cache, source.suite, progress)
    try:
        candidate = archive.find_package(source.package, source.version, source=source.is_source)
    except PackageGone as error:
        _remember(memory, {"gone": error.seen, "at": time.time()})
        raise

    def build(directory: Path) -> None:
        archive.download(candidate, directory, source=source.is_source)
        names = {path.name for path in directory.iterdir()}
        for name, sha256 in source.sha256.items():
            if name not in names:
                raise _ContentError(f"{name} in {source.label}", f"only {sorted(names)}")
            got = hash_file(directory / name)
            if got != sha256:
                raise _ContentError(f"SHA-256 {sha256} of {name}", f"{got}")

    title = f"{source.package} {candidate.version}"
    key = _package_key(source, candidate.version)
    path = cache.entry("download", key, build, title=title, progress=progress)
    _remember(memory, {"version": candidate.version, "at": time.time()})
    return _as_fetched(cache, path, source, candidate.version)


def _as_fetched(cache: Cache, path: Path, source: DebianPackage, version: str) -> Fetched:
    hashes = cache.hashes(path)
    files = tuple(path / name for name in sorted(hashes))
    return Fetched(files, source, version, make_key(**hashes))


def _package_key(source: DebianPackage, version: str) -> str:
    pin = json.dumps(source.sha256, sort_keys=True)
    return make_key(kind=source.kind, package=source.package, version=version, sha256=pin)


def _memory(cache: Cache, source: DebianPackage) -> Path:
    """The file that keeps what the archive said about a package."""
    return cache.root / "resolved" / f"{make_key(pin=source.model_dump_json())}.json"


def _recall(memory: Path) -> dict[str, str]:
    try:
        data = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in data.items()} if data else {}


def _remember(memory: Path, facts: dict[str, object]) -> None:
    """Keep what the archive said; losing it costs one more question."""
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        partial = memory.with_suffix(f".{time.monotonic_ns()}")
        partial.write_text(json.dumps(facts), encoding="utf-8")
        partial.replace(memory)
    except OSError as error:
        hint = "free room, or set XDG_CACHE_HOME to another place"
        raise CacheError(f"a file at {memory}", str(error), hint=hint) from error
