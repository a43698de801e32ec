# SPDX-License-Identifier: GPL-2.0-or-later
"""What a contributor brings, booted: a thread of mails, a tree of their own, a built kernel."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mails import make_thread
from test_runs import SMALL, dcbm_lab, only_mode

from lab.build.kernel import KernelChoice, build_kernel
from lab.build.kernel_plan import make_plan
from lab.build.kernel_tree import build_dir
from lab.build.local_tree import inspect_tree
from lab.build.series import read_queue
from lab.cache import Cache
from lab.checkout import KERNEL_CONFIG
from lab.config import Kernel
from lab.progress import Progress
from lab.results import Outcome

pytestmark = pytest.mark.guest

QUEUE = KERNEL_CONFIG / "series" / Kernel().base
# Without gc.auto a commit of this size leaves git packing in the background, in the very tree that
# is watched.
IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@b.invalid", "-c", "gc.auto=0")


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *IDENTITY, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_our_series_as_a_thread_of_mails_applies_and_offloads(tmp_path: Path) -> None:
    mbox = tmp_path / "t.mbox"
    mbox.write_bytes(make_thread(QUEUE))
    result = dcbm_lab(
        *("run", "compaction", "--series", mbox, "--output", tmp_path / "run", *SMALL),
        *("--mode", "dma"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    mode = only_mode(tmp_path / "run")
    assert mode.kernel is not None
    assert mode.kernel.series == read_queue(QUEUE).hash
    assert [(patch.subject, patch.patch_id) for patch in mode.kernel.patches] == [
        (patch.subject, patch.patch_id) for patch in read_queue(QUEUE).patches
    ]
    assert mode.dma_copies
    assert mode.device is not None
    assert mode.device.descriptors >= mode.dma_copies


@pytest.fixture
def tree(lab_cache: Cache, lab_progress: Progress, tmp_path: Path) -> Iterator[Path]:
    """A contributor's git tree with our series in it, a build's leavings and an edit."""
    plan = make_plan(lab_cache, KernelChoice(), lab_progress)
    build_kernel(lab_cache, KernelChoice(), lab_progress)
    source = build_dir(lab_cache, plan).parent
    tree = tmp_path / "linux"
    shutil.copytree(
        source, tree, symlinks=True, ignore=lambda at, _names: _OURS if Path(at) == source else ()
    )
    ignored = (tree / ".gitignore").read_text().replace("\n/*\n", "\n")  # the distributor's
    (tree / ".gitignore").write_text(ignored)
    git(tree, "init", "-q")
    git(tree, "-c", "core.compression=0", "-c", "core.looseCompression=0", "add", "-A")
    git(tree, "commit", "-qm", "mine")
    (tree / ".config").write_text("CONFIG_NUMA=n\n")
    (tree / "include" / "config").mkdir()
    (tree / "include" / "config" / "auto.conf").write_text("CONFIG_NUMA=n\n")
    with (tree / "mm" / "migrate.c").open("a") as file:
        file.write("/* not committed */\n")
    (tree / "mm" / "notes.txt").write_text("nor this\n")
    slot = inspect_tree(tree).slot
    yield tree
    # Nobody comes back to this tree: its copy would only fill the cache.
    shutil.rmtree(lab_cache.root / "work" / "kernel" / slot, ignore_errors=True)


_OURS = ["out-plain", "out-debug", "out-kasan", ".dcbm-lab-changes"]


def fingerprint(tree: Path) -> str:
    """Names, modes, times and contents of everything in a tree, its .git included."""
    digest = hashlib.sha256()
    for directory, folders, files in os.walk(tree):
        folders.sort()
        for name in sorted([*files, *folders, "."]):
            path = Path(directory) / name
            info = path.lstat()
            digest.update(f"{path} {info.st_mode} {info.st_mtime_ns} {info.st_ctime_ns}".encode())
            if path.is_file() and not path.is_symlink():
                digest.update(path.read_bytes())
    return digest.hexdigest()


@pytest.mark.bases  # a whole kernel is built
def test_a_tree_boots_as_it_is_and_stays_as_it_is(tree: Path, tmp_path: Path) -> None:
    before = fingerprint(tree)
    result = dcbm_lab(
        *("run", "compaction", "--tree", tree, "--output", tmp_path / "run", *SMALL),
        *("--mode", "dma"),
    )
    assert fingerprint(tree) == before
    assert result.returncode == 0, result.stdout + result.stderr
    mode = only_mode(tmp_path / "run")
    assert mode.kernel is not None
    assert (mode.kernel.base, mode.kernel.series) == ("tree", None)
    assert mode.kernel.commit == git(tree, "rev-parse", "HEAD")
    assert mode.kernel.diff == inspect_tree(tree).diff
    assert mode.dma_copies


def test_a_built_kernel_boots_and_what_needs_our_modules_is_refused_at_once(
    lab_cache: Cache, lab_progress: Progress, tmp_path: Path
) -> None:
    kernel = build_kernel(lab_cache, KernelChoice(patched=False), lab_progress)
    given = (
        *("--kernel", kernel.vmlinux, "--config", kernel.config),
        *("--modules", kernel.path / "root"),
    )
    result = dcbm_lab("run", "dmatest", "--quick", *given, "--output", tmp_path / "run")
    assert result.returncode == 0, result.stdout + result.stderr
    result = dcbm_lab(
        *("run", "compaction", "--mode", "baseline", *given, "--output", tmp_path / "no"),
    )
    assert result.returncode == Outcome.ERROR.exit_code
    mode = only_mode(tmp_path / "no")
    assert "no compact_trigger" in str(mode.error)
    assert not (tmp_path / "no" / "modes" / "baseline" / "console.log").exists()
