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
    assert added_messages(base, with_it, {}) == with_it[1:]
    assert added_messages(base, base, {}) == []
    assert added_messages([], with_it, {}) == with_it


def test_a_message_on_a_line_of_the_series_is_the_series_whatever_the_base_says() -> None:
    base = [said("W=1", 200, "unused variable 'ret'")]
    with_it = [said("W=1", 10, "unused variable 'ret'"), said("W=1", 205, "unused variable 'ret'")]
    lines = {"m.c": {10: 1}}
    assert added_messages(base, with_it, lines) == with_it[:1]
    # the base's own is gone, and there is one of the same kind elsewhere
    assert added_messages(base, with_it[:1], lines) == with_it[:1]
    assert added_messages(base, with_it[:1], {"n.c": {10: 1}}) == []


# What each tool says about a file in mm/, called as kbuild calls it (LC_ALL=C): gcc 12 with
# -Wunused-variable, its assembler, sparse 0.6.5~rc1, and "kernel-doc -none" of 6.12.117, 7.2.13
# and 7.3.4.
SAID = {
    "gcc": ("../mm/kd.c:7:13: warning: unused variable 'ret' [-Wunused-variable]", 7),
    "as": ("../mm/w.S:2: Warning: value 0x12c truncated to 0x2c", 2),
    "sparse": (
        "../mm/kd.c:5:5: warning: symbol 'foo' was not declared. Should it be static?",
        5,
    ),
    "kernel-doc of 6.12": (
        "../mm/kd.c:6: warning: Function parameter or struct member 'b' not described in 'foo'",
        6,
    ),
    "kernel-doc of 7.2": (
        "Warning: ../mm/kd.c:5 function parameter 'b' not described in 'foo'",
        5,
    ),
    "kernel-doc of 7.3": (
        "Warning: ../mm/kd.c:5 function parameter 'b' not described in 'foo'",
        5,
    ),
}


@pytest.mark.parametrize("tool", SAID)
def test_what_each_tool_says_is_read(tool: str) -> None:
    said_so, line = SAID[tool]
    log = f"  CC      mm/kd.o\n{said_so}\n    7 |         int ret;\nmake: Leaving directory\n"
    (found,) = object_check._messages("W=1", log)
    assert found.file == ("mm/w.S" if tool == "as" else "mm/kd.c")
    assert found.line == line
    assert said_so.endswith(found.text)
    assert found.text[:8] in {"unused v", "value 0x", "symbol '", "Function", "function"}


def test_no_file_of_a_series_is_passed_over(tmp_path: Path) -> None:
    out = tmp_path / "out-plain"
    built = ("mm/m.c", "arch/x86/lib/memcpy_64.S")
    touched = (
        *(*built, "mm/off.c", "arch/x86/lib/off.S", "mm/Kconfig", "mm/Kconfig.debug"),
        *("mm/Makefile", "rust/kernel/x.rs", "arch/arm/boot/dts/x.dts", "MAINTAINERS"),
        *("tools/x.c", "mm/x.lds", "lib/.kunitconfig"),
    )
    for name in touched:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in built:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / f"{name[:-2]}.o").touch()
    done = SeriesCheck("7.3", "0.6.5")
    objects = series_check._objects(out, [*touched, "mm/removed.rs"], done)
    assert objects == ["mm/m.o", "arch/x86/lib/memcpy_64.o"]
    unread = {item.file: item.tool for item in done.unread}
    assert unread == {
        **{"mm/off.c": "sparse", "arch/x86/lib/off.S": "W=1", "rust/kernel/x.rs": "W=1"},
        **{"arch/arm/boot/dts/x.dts": "W=1", "mm/x.lds": "W=1"},
    }
    assert {*objects, *unread, *done.skipped} >= {*touched} - {*built}
    assert object_check.source_of(tmp_path, objects[1]) == built[1]


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
