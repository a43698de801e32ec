# SPDX-License-Identifier: GPL-2.0-or-later
"""checkpatch, W=1 and sparse on series of a real kernel; nothing boots."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from test_runs import dcbm_lab

from lab.build.kernel import KernelChoice, build_kernel
from lab.build.kernel_plan import make_plan
from lab.build.kernel_tree import build_dir
from lab.cache import Cache
from lab.progress import Progress
from lab.results import Outcome

pytestmark = pytest.mark.guest

FILE = "mm/util.c"
ADDED = """
int lab_reads_a_user_pointer(int __user *from);
int lab_reads_a_user_pointer(int __user *from)
{
\tint unused = 0;

\tunused = 1;
  return *from;
}
"""


def test_our_series_has_no_finding() -> None:
    result = dcbm_lab("kernel", "check", "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    told = json.loads(result.stdout)
    assert {"mm/migrate.o", "mm/migrate_offload.o"} <= set(told["objects"])
    assert (told["findings"], told["unread"]) == ([], [])


def test_each_tool_finds_what_is_wrong_and_says_where(
    lab_cache: Cache, lab_progress: Progress, tmp_path: Path
) -> None:
    choice = KernelChoice(patched=False)
    build_kernel(lab_cache, choice, lab_progress)
    source = build_dir(lab_cache, make_plan(lab_cache, choice, lab_progress)).parent / FILE
    text = source.read_text()
    for at, content in (("a", text), ("b", text + ADDED)):
        (tmp_path / at / "mm").mkdir(parents=True)
        (tmp_path / at / FILE).write_text(content)
    diff = subprocess.run(
        ["diff", "-u", f"a/{FILE}", f"b/{FILE}"], cwd=tmp_path, capture_output=True, check=False
    ).stdout
    (tmp_path / "x.patch").write_bytes(b"Subject: [PATCH] mm: wrong\n\nWhy.\n---\n" + diff)
    result = dcbm_lab("kernel", "check", "--series", tmp_path / "x.patch", "--json")
    assert result.returncode == Outcome.FAIL.exit_code, result.stdout + result.stderr
    told = json.loads(result.stdout)
    assert told["objects"] == ["mm/util.o"]
    line = len(text.splitlines()) + ADDED.splitlines().index("  return *from;") + 1
    places = {
        (item["tool"], item["patch"], item["file"], item["line"]) for item in told["findings"]
    }
    assert ("sparse", 1, FILE, line) in places
    assert ("checkpatch", 1, FILE, line) in places
    assert ("checkpatch", 1, None, None) in places  # nobody signed it off
    assert ("W=1", 1, FILE, line - 3) in places
