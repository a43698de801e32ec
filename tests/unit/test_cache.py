# SPDX-License-Identifier: GPL-2.0-or-later
"""The artifact cache: atomic, locked, checked on use, usable after any death."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab import cache as cache_module
from lab.cache import MANIFEST, Cache, hash_tree, make_key
from lab.errors import BuildError, CacheError, HostError
from lab.program import ProgramLost
from lab.progress import SilentProgress


def write_data(directory: Path) -> None:
    (directory / "bin").mkdir()
    (directory / "bin" / "tool").write_bytes(b"abc" * 1000)
    (directory / "bin" / "tool").chmod(0o755)
    (directory / "link").symlink_to("bin/tool")


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a script that says something on standard output when it is where the test wants it."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    builds = []

    def build(directory: Path) -> None:
        builds.append(directory)
        write_data(directory)

    first = cache.entry("tool", "k1", build)
    assert (first / "bin" / "tool").read_bytes() == b"abc" * 1000
    assert os.access(first / "bin" / "tool", os.X_OK)
    assert cache.entry("tool", "k1", build) == first
    assert Cache(tmp_path).entry("tool", "k1", build) == first
    assert len(builds) == 1


def test_published_files_cant_be_written(tmp_path: Path) -> None:
    entry = Cache(tmp_path).entry("tool", "k1", write_data)
    assert (entry / "bin" / "tool").stat().st_mode & 0o222 == 0


def test_a_failed_build_publishes_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(directory: Path) -> None:
        write_data(directory)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.entry("tool", "k1", fail)
    assert list((tmp_path / "tool").iterdir()) == []
    assert cache.find("tool", "k1") is None


def flip(path: Path) -> None:
    path.chmod(0o644)
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def truncate(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, 10)


@pytest.mark.parametrize(
    "harm",
    [
        lambda entry: flip(entry / "bin" / "tool"),
        lambda entry: truncate(entry / "bin" / "tool"),
        lambda entry: (entry / "bin" / "tool").unlink(),
        lambda entry: (entry / "link").unlink(),
        lambda entry: truncate(entry / MANIFEST),
        lambda entry: (entry / MANIFEST).unlink(),
        lambda entry: (entry / "bin" / "tool").chmod(0o444),
        lambda entry: (entry / "bin" / "more").write_text("x"),
        lambda entry: (entry / MANIFEST).write_text('{"schema": 1}'),
    ],
    ids=[
        "flipped",
        "truncated",
        "gone",
        "link gone",
        "manifest cut",
        "no manifest",
        "no run bit",
        "one more",
        "other",
    ],
)
def test_damage_is_noticed_and_built_again(tmp_path: Path, harm: object) -> None:
    entry = Cache(tmp_path).entry("tool", "k1", write_data)
    assert callable(harm)
    harm(entry)
    progress = SilentProgress()
    again = Cache(tmp_path).entry("tool", "k1", write_data, progress=progress)
    assert (again / "bin" / "tool").read_bytes() == b"abc" * 1000
    assert len(progress.warnings) == 1
    assert "tool/k1" in progress.warnings[0]


def test_damage_is_noticed_by_the_process_that_checked_before(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    entry = cache.entry("tool", "k1", write_data)
    assert cache.find("tool", "k1") == entry
    flip(entry / "bin" / "tool")
    assert cache.find("tool", "k1") is None


def test_verify_names_the_damaged_file(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    good = cache.entry("tool", "good", write_data)
    bad = cache.entry("tool", "bad", write_data)
    flip(bad / "bin" / "tool")
    damaged = cache.verify()
    assert list(damaged) == [bad]
    assert "bin/tool" in damaged[bad]
    assert good.exists()


BUILD_SLOWLY = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
from functools import partial
from pathlib import Path
from lab.cache import Cache
from lab.progress import SilentProgress
def build(directory):
    (directory / "half").write_text("x")
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")
    print("building", flush=True)
    time.sleep(float(sys.argv[3]))
    (directory / "whole").write_text("y")
entry = Cache(Path(sys.argv[1])).entry("tool", "k1", build)
print((entry / "whole").read_text(), flush=True)
"""


def test_two_labs_at_once_build_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    labs = [start(BUILD_SLOWLY, tmp_path / "cache", log, 0.7) for _ in range(2)]
    said = [lab.communicate(timeout=30)[0].split() for lab in labs]
    assert [lab.returncode for lab in labs] == [0, 0]
    assert sorted(said) == [["building", "y"], ["y"]]
    assert log.read_text() == "built\n"


def test_waiting_for_another_lab_is_said(tmp_path: Path) -> None:
    lab = start(BUILD_SLOWLY, tmp_path / "cache", tmp_path / "log", 1.0)
    assert read_line(lab) == "building"
    titles: list[str] = []

    class Listening(SilentProgress):
        def step(self, title, *, log=None):  # type: ignore[no-untyped-def]
            titles.append(title)
            return super().step(title, log=log)

    Cache(tmp_path / "cache").entry("tool", "k1", write_data, title="a tool", progress=Listening())
    lab.communicate(timeout=30)
    assert titles == ["waiting for another lab: a tool"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_builder_leaves_a_usable_cache(tmp_path: Path, number: signal.Signals) -> None:
    lab = start(BUILD_SLOWLY, tmp_path / "cache", tmp_path / "log", 60)
    assert read_line(lab) == "building"
    os.kill(lab.pid, number)
    lab.communicate(timeout=30)
    cache = Cache(tmp_path / "cache")
    assert cache.find("tool", "k1") is None
    entry = cache.entry("tool", "k1", write_data)
    assert not (entry / "half").exists()
    assert [path.name for path in entry.parent.iterdir()] == ["k1"]


def test_collect_removes_what_dead_labs_left_and_spares_the_living(tmp_path: Path) -> None:
    dead = start(BUILD_SLOWLY, tmp_path / "dead", tmp_path / "log", 60)
    alive = start(BUILD_SLOWLY, tmp_path / "alive", tmp_path / "log", 60)
    assert [read_line(dead), read_line(alive)] == ["building", "building"]
    dead.kill()
    dead.communicate()
    assert len(Cache(tmp_path / "dead").collect().paths) == 1
    assert list((tmp_path / "dead" / "tool").iterdir()) == []
    for unused_days in (30.0, 0.0):
        with pytest.raises(CacheError, match="when it has ended"):
            Cache(tmp_path / "alive").collect(unused_days)
    assert len(list((tmp_path / "alive" / "tool").iterdir())) == 1
    alive.kill()
    alive.communicate()
    assert len(Cache(tmp_path / "alive").collect().paths) == 1


def test_collect_leaves_what_a_lab_only_reads(tmp_path: Path) -> None:
    Cache(tmp_path).entry("tool", "k1", write_data)
    reader = Cache(tmp_path)
    entry = reader.find("tool", "k1")
    with pytest.raises(CacheError, match="no other lab"):
        Cache(tmp_path).collect(0)
    assert entry is not None
    assert (entry / "bin" / "tool").exists()
    assert reader.collect(0).paths == (entry,)  # its own use doesn't keep it off
    with pytest.raises(CacheError, match="no other lab"):
        Cache(tmp_path).collect(0)  # and goes on afterwards
    del reader
    Cache(tmp_path).collect(0)


def test_zero_days_empty_the_cache(tmp_path: Path) -> None:
    for name in ("apt/suite/lists", "ccache/0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("x")
    Cache(tmp_path).collect(1)
    assert (tmp_path / "ccache" / "0" / "file").exists()
    Cache(tmp_path).collect(0)
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]


@pytest.mark.parametrize("name", ["two words", "a:b", "a#b", "a$b", "it's"])
def test_a_path_that_builds_break_at_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HostError, match="XDG_CACHE_HOME"):
        Cache(tmp_path / name)
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(name)
    with pytest.raises(HostError, match="XDG_CACHE_HOME"):
        Cache(tmp_path / "link")


def test_collect_removes_only_what_was_not_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    old = cache.entry("tool", "old", write_data)
    new = cache.entry("tool", "new", write_data)
    past = time.time() - 40 * 86400
    os.utime(old / MANIFEST, (past, past))
    assert cache.collect(unused_days=30).paths == (old,)
    assert new.exists()
    os.utime(new / MANIFEST, (past, past))
    assert cache.find("tool", "new") == new  # marks it as used
    assert cache.collect(unused_days=30).paths == ()


USE_WORKTREE = """
import sys, time
from functools import partial
from pathlib import Path
from lab.cache import Cache
from lab.progress import SilentProgress
with Cache(Path(sys.argv[1])).worktree("kernel", "w", SilentProgress(), "w") as tree:
    print("inside", flush=True)
    time.sleep(60)
"""


def test_a_worktree_knows_that_its_last_user_was_killed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.worktree("kernel", "w", SilentProgress(), "w") as tree:
        assert not tree.interrupted
        (tree.path / "file").write_text("kept")
    lab = start(USE_WORKTREE, tmp_path)
    assert read_line(lab) == "inside"
    lab.kill()
    lab.communicate()
    with cache.worktree("kernel", "w", SilentProgress(), "w") as tree:
        assert tree.interrupted
        assert (tree.path / "file").read_text() == "kept"
    with cache.worktree("kernel", "w", SilentProgress(), "w") as tree:
        assert not tree.interrupted


@pytest.mark.parametrize(("error", "interrupted"), [(ProgramLost, True), (BuildError, False)])
def test_a_worktree_knows_that_a_program_was_lost_in_it(
    tmp_path: Path, error: type[BuildError | ProgramLost], interrupted: bool
) -> None:
    with pytest.raises(error), Cache(tmp_path).worktree("kernel", "w", SilentProgress(), "w"):
        raise error("an end", "none")
    with Cache(tmp_path).worktree("kernel", "w", SilentProgress(), "w") as tree:
        assert tree.interrupted == interrupted


def test_a_cache_that_cant_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="XDG_CACHE_HOME"):
        Cache(tmp_path / "file" / "below").entry("tool", "k1", write_data)


def test_keys_depend_on_every_input_and_on_nothing_else() -> None:
    assert make_key(a="1", b="2") == make_key(b="2", a="1")
    assert len({make_key(a="1"), make_key(a="2"), make_key(b="1"), make_key(a="1", b="")}) == 4


def test_a_tree_hash_sees_names_contents_links_and_run_bits(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    seen = [hash_tree(tmp_path)]
    (tmp_path / "a").chmod(0o755)
    seen.append(hash_tree(tmp_path))
    (tmp_path / "a").write_text("y")
    seen.append(hash_tree(tmp_path))
    (tmp_path / "a").rename(tmp_path / "b")
    seen.append(hash_tree(tmp_path))
    (tmp_path / "l").symlink_to("b")
    seen.append(hash_tree(tmp_path))
    assert len(set(seen)) == len(seen)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "c").write_text("")
    assert hash_tree(tmp_path) == seen[-1]


def test_a_kind_is_kept_within_a_limit_oldest_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    paths = []
    for number in range(4):
        key = f"{number:024}"
        build = partial(write_block, number)
        paths.append(cache.entry("state", key, build))
        os.utime(paths[-1] / MANIFEST, (number, number))
    other = cache.entry("kernel", "0" * 24, partial(write_block, 9))
    os.utime(other / MANIFEST, (0, 0))
    one_bytes = sum(info.st_blocks * 512 for info in (path.stat() for path in paths[0].iterdir()))
    assert cache.keep_within("state", 4 * one_bytes) == []
    cache.find("state", paths[0].name)
    # The oldest by use, and as many as it takes; the first one is the youngest now.
    assert cache.keep_within("state", 2 * one_bytes) == [paths[1], paths[2]]
    assert [path.is_dir() for path in (*paths, other)] == [True, False, False, True, True]
    # What was used last stays, however small the limit is.
    assert cache.keep_within("state", 0) == [paths[3]]
    assert [path.name for path in (tmp_path / "state").iterdir()] == [paths[0].name]


USE_ENTRY = """
import sys, time
from pathlib import Path
from lab.cache import Cache
cache = Cache(Path(sys.argv[1]))
with cache.in_use("state", sys.argv[2]):
    print(cache.find("state", sys.argv[2]), flush=True)
    time.sleep(60)
"""


def test_what_another_lab_uses_is_not_removed_and_its_death_ends_that(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    old, new = (cache.entry("state", key, partial(write_block, 0)) for key in ("old", "new"))
    lab = start(USE_ENTRY, tmp_path, "old")
    assert read_line(lab) == str(old)
    os.utime(old / MANIFEST, (0, 0))
    assert cache.keep_within("state", 0) == []
    with cache.in_use("state", "old"):  # any number of labs
        lab.kill()
        lab.communicate()
        assert cache.keep_within("state", 0) == []
    assert cache.keep_within("state", 0) == [old]
    assert new.is_dir()


def test_who_comes_while_an_entry_is_removed_finds_it_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    for number in range(2):
        os.utime(cache.entry("state", str(number), partial(write_block, 0)) / MANIFEST, (0, number))
    removing, go_on = threading.Event(), threading.Event()

    def discard(path: Path) -> None:
        removing.set()
        assert go_on.wait(30)
        shutil.rmtree(path)

    def use() -> Path | None:
        with Cache(tmp_path).in_use("state", "0"):
            return Cache(tmp_path).find("state", "0")

    monkeypatch.setattr(cache, "_discard", discard)
    with ThreadPoolExecutor() as pool:
        remover = pool.submit(cache.keep_within, "state", 0)
        assert removing.wait(30)
        user = pool.submit(use)
        assert not wait([user], timeout=0.2).done
        go_on.set()
        assert len(remover.result(30)) == 1
        assert user.result(30) is None


def test_what_dead_builders_left_goes_first_and_the_living_are_spared(tmp_path: Path) -> None:
    dead = start(BUILD_SLOWLY, tmp_path / "dead", tmp_path / "log", 60)
    alive = start(BUILD_SLOWLY, tmp_path / "alive", tmp_path / "log", 60)
    assert [read_line(dead), read_line(alive)] == ["building", "building"]
    dead.kill()
    dead.communicate()
    for name in ("dead", "alive"):
        (tmp_path / name / "tool" / ".damaged-k0-1-1").mkdir()
        assert Cache(tmp_path / name).keep_within("tool", 1 << 30) == []
    assert list((tmp_path / "dead" / "tool").iterdir()) == []
    (left,) = (tmp_path / "alive" / "tool").iterdir()
    assert (left / "half").exists()
    alive.kill()
    alive.communicate()


def test_what_is_removed_meanwhile_is_neither_listed_nor_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    read = cache_module.read_manifest

    def read_and_lose(path: Path) -> tuple[dict[str, Any], str | None]:
        manifest = read(path)
        cache.remove(path.parent.name, path.name)
        return manifest

    monkeypatch.setattr(cache_module, "read_manifest", read_and_lose)
    for look in (cache.list_entries, cache.verify):
        cache.entry("state", "k1", partial(write_block, 0))
        assert not look()


KEEP_WITHIN = """
import sys
from pathlib import Path
from lab.cache import Cache
cache = Cache(Path(sys.argv[1]))
for number in range(20):
    key = f"{sys.argv[2]}-{number}"
    cache.entry("state", key, lambda folder: (folder / "block").write_bytes(bytes(1 << 16)))
    cache.keep_within("state", 3 << 16)
    cache.list_entries()
"""


def test_two_labs_at_once_keep_a_kind_within_its_limit(tmp_path: Path) -> None:
    labs = [start(KEEP_WITHIN, tmp_path, name) for name in ("a", "b")]
    for lab in labs:
        lab.communicate(timeout=60)
    assert [lab.returncode for lab in labs] == [0, 0]
    Cache(tmp_path).keep_within("state", 3 << 16)
    left = list((tmp_path / "state").iterdir())
    assert 1 <= len(left) <= 3
    assert Cache(tmp_path).verify() == {}


FILL_DISK = """
import resource, sys
from pathlib import Path
from lab.cache import Cache
def build(directory):
    (directory / "small").write_bytes(bytes(1000))
    for number in range(int(sys.argv[2])):  # names of files, for a manifest that is too long
        (directory / f"{number:0200}").touch()
    (directory / "large").write_bytes(bytes(int(sys.argv[3])))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    Cache(Path(sys.argv[1])).entry("tool", "k1", build)
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("names", "size_bytes", "error"),
    [(0, 1 << 17, "OSError"), (300, 0, "CacheError")],
    ids=["in the build", "in the manifest"],
)
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, names: int, size_bytes: int, error: str
) -> None:
    lab = start(FILL_DISK, tmp_path, names, size_bytes)
    assert lab.communicate(timeout=30)[0].strip() == error
    assert list((tmp_path / "tool").iterdir()) == []
    assert Cache(tmp_path).entry("tool", "k1", write_data).is_dir()


def test_the_sizes_of_entries_are_what_they_take_on_disk(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        with (folder / "sparse").open("wb") as file:
            file.write(b"x" * (1 << 16))
            file.truncate(1 << 32)
        (folder / "below").mkdir()
        (folder / "below" / "again").hardlink_to(folder / "sparse")
        (folder / "loop").symlink_to(".")

    cache = Cache(tmp_path)
    cache.entry("state", "k1", build)
    (entry,) = cache.list_entries()
    assert 1 << 16 <= entry.size_bytes < 1 << 17
    assert cache.verify() == {}
    assert cache.collect(0).paths == (entry.path,)


def test_the_memo_goes_with_what_it_is_about(tmp_path: Path) -> None:
    paths = [Cache(tmp_path).entry("tool", key, write_data) for key in ("k1", "k2")]
    memo = tmp_path / "hashes.json"
    names = [f"hash_file {path / 'bin' / 'tool'}" for path in paths]
    memo.write_text(json.dumps({name: [1, 2, 3, 4, 5, "x"] for name in names}))
    os.utime(paths[0] / MANIFEST, (0, 0))
    Cache(tmp_path).collect(1)
    assert list(json.loads(memo.read_text())) == names[1:]
    Cache(tmp_path).collect(0)
    assert not memo.exists()


def write_block(number: int, folder: Path) -> None:
    (folder / "block").write_bytes(bytes([number + 1]) * (1 << 16))
