# SPDX-License-Identifier: GPL-2.0-or-later
"""What tools say about a series: what is the series' own, whose patch it is, what nobody read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import call

from lab import cli_kernel
from lab.build import object_check, series_check, sparse_file
from lab.build.blame import blame_lines
from lab.build.checkpatch import Style
from lab.build.object_check import Message, ObjectCheck
from lab.build.patch import make_patch
from lab.build.series import Series
from lab.build.series_check import Finding, SeriesCheck, Unread, added_messages
from lab.errors import BuildError
from lab.results import Outcome

BASE = "one\ntwo\nthree\nfour\n"
FIRST = b"""\
Says why.

Signed-off-by: A <a@b.invalid>
---
--- a/m.c
+++ b/m.c
@@ -1,2 +1,3 @@
+first
 one
 two
"""
SECOND = b"""\
--- a/m.c
+++ b/m.c
@@ -4,2 +4,3 @@
 three
+second
 four
"""


def said(tool: str, line: int, text: str, file: str = "m.c") -> Message:
    return Message(tool, file, line, text)


def test_what_the_base_says_as_well_is_not_the_series() -> None:
    base = [said("sparse", 5, "context imbalance in 'f'"), said("W=1", 9, "unused 'x'")]
    with_it = [
        said("sparse", 7, "context imbalance in 'f'"),  # moved
        said("sparse", 30, "context imbalance in 'f'"),  # once more
        said("sparse", 9, "unused 'x'"),  # of another tool
        said("W=1", 11, "unused 'x'", "n.c"),  # in another file
    ]
    assert added_messages(base, with_it) == with_it[1:]
    assert added_messages(base, base) == []
    assert added_messages([], with_it) == with_it


def test_a_line_is_put_down_to_its_patch(tmp_path: Path) -> None:
    for name, text in (("base", BASE), ("tree", "first\none\ntwo\nthree\nsecond\nfour\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.c").write_text(text)
    series = Series("s", (make_patch("1", "1", FIRST), make_patch("2", "2", SECOND)))
    found = blame_lines(series, tmp_path / "base", tmp_path / "tree")
    assert found == {"m.c": {1: 0, 5: 1}}


def test_the_message_before_a_diff_is_kept_and_makes_no_difference() -> None:
    patch = make_patch("1", "1", FIRST)
    assert patch.message.endswith(b"Signed-off-by: A <a@b.invalid>\n---\n")
    assert patch == make_patch("1", "1", FIRST.replace(b"Says why", b"Says more"))


# -- sparse ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.exit(0)", None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
        ("import sys; sys.exit(3)", "exit status was 3"),
        ("import time; time.sleep(60)", "did not end"),
    ],
)
def test_how_sparse_ends_on_a_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, why: str | None
) -> None:
    monkeypatch.setattr(sparse_file, "TIMEOUT_S", 2 if "sleep" in program else 60)
    log = tmp_path / "log"
    sparse_file.main(str(log), sys.executable, "-c", program, "../mm/m.c")
    found = ObjectCheck()
    object_check._read_sparse(log.read_text(), found)
    if why is None:
        assert (found.read, found.unread) == ({"mm/m.c"}, {})
    else:
        assert found.read == set()
        assert why in found.unread["mm/m.c"]


def test_it_runs_as_a_program_and_shows_kbuild_what_was_said(tmp_path: Path) -> None:
    program = (
        "import sys; sys.stderr.write('../m.c:3:4: warning: bad\\n/tmp/x.c:1:1: error: no\\n')"
    )
    command = [sys.executable, "-I", sparse_file.__file__, tmp_path / "log"]
    done = subprocess.run(
        [*command, sys.executable, "-c", program, "../m.c"], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr.count(b"warning: bad")) == (0, 1)
    found = ObjectCheck()
    object_check._read_sparse((tmp_path / "log").read_text(), found)
    assert found.messages == [said("sparse", 3, "bad")]
    # kbuild tries the checker on a file of its own, which is no source
    object_check._read_sparse(
        json.dumps({"file": "/somewhere/tmp.Xy", "status": -11, "said": ""}), found
    )
    assert found.unread == {}


# -- checkpatch --------------------------------------------------------------------------------


def style(tmp_path: Path, text: str, status: int) -> Style:
    """Something that says this instead of checkpatch."""
    script = tmp_path / "checkpatch.pl"
    script.write_text(f"print <<'END';\n{text}END\nexit {status};\n")
    return Style(script, ())


def test_findings_of_checkpatch_have_a_place(tmp_path: Path) -> None:
    text = (
        "mm/m.c:3: CHECK:SPACING: no space\n"
        "mm/m.c:9: ERROR:MISSING_SIGN_OFF: Missing Signed-off-by: line(s)\n"
    )
    found = series_check._checkpatch(style(tmp_path, text, 1), make_patch("1", "1", FIRST))
    assert found == [
        ("mm/m.c", 3, "CHECK:SPACING: no space"),
        (None, None, "ERROR:MISSING_SIGN_OFF: Missing Signed-off-by: line(s)"),
    ]


@pytest.mark.parametrize(("text", "status"), [("", 1), ("m.c:3: CHECK:A: b\n", 0), ("", 2)])
def test_a_checkpatch_that_contradicts_itself_is_no_pass(
    tmp_path: Path, text: str, status: int
) -> None:
    with pytest.raises(BuildError, match="verdict of checkpatch"):
        series_check._checkpatch(style(tmp_path, text, status), make_patch("1", "1", FIRST))


# -- the verb ----------------------------------------------------------------------------------

FINDING = Finding("sparse", 2, "second", "mm/m.c", 5, "bad")
UNREAD = Unread("sparse", "mm/n.c", "it was ended by SIGSEGV")


@pytest.mark.parametrize(
    ("done", "outcome"),
    [
        (SeriesCheck("7.3.4", "0.6.5", ["mm/m.o"]), Outcome.PASS),
        (SeriesCheck("7.3.4", "0.6.5", findings=[FINDING]), Outcome.FAIL),
        (SeriesCheck("7.3.4", "0.6.5", unread=[UNREAD]), Outcome.ERROR),
        (SeriesCheck("7.3.4", "0.6.5", findings=[FINDING], unread=[UNREAD]), Outcome.ERROR),
    ],
)
def test_statuses_and_both_forms(
    monkeypatch: pytest.MonkeyPatch, done: SeriesCheck, outcome: Outcome
) -> None:
    monkeypatch.setattr(series_check, "check_series", lambda *_words: done)
    result = call("kernel", "check")
    assert result.exit_code == outcome.exit_code, result.output
    assert ("sparse: patch 2: mm/m.c:5: bad" in result.stdout) == bool(done.findings)
    assert ("sparse could not read this file: mm/n.c" in result.stdout) == bool(done.unread)
    result = call("kernel", "check", "--json")
    assert result.exit_code == outcome.exit_code
    told = json.loads(result.stdout)
    assert told["outcome"] == outcome.value
    assert len(told["findings"]) == len(done.findings)


def test_a_tree_without_a_series_has_nothing_to_check(tmp_path: Path) -> None:
    from test_cli_inputs import kernel_tree  # noqa: PLC0415 - this test alone

    result = call("kernel", "check", "--tree", kernel_tree(tmp_path))
    assert result.exit_code == 2
    assert "--series" in result.stderr
    assert cli_kernel.worst([Outcome.FAIL, Outcome.ERROR]) is Outcome.ERROR
