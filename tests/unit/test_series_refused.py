# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged diffs and threads that are no whole series: each is refused, with its place."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from patch_mails import cover, diff, mail, own_diff_reply, patch_mail, reply
from patch_mails import mbox as mbox  # noqa: PLC0414 - a fixture

from lab.build.series import read_series
from lab.errors import ConfigError

BROKEN = {
    "short": (
        diff(2).replace(" line 9\n line 10\n", ""),
        r"hunk 1 of mm/a\.c \(@@ -1,10 \+1,10 @@\)",
    ),
    "long": (diff(2) + "+one more\n", "more lines than its header counts"),
    "cut by its counts": (diff(2) + " line 11\n+lost\n", "more lines than its header counts"),
    "submodule": (
        "diff --git a/sub b/sub\nnew file mode 160000\nindex 0000000..1234567\n"
        "--- /dev/null\n+++ b/sub\n@@ -0,0 +1 @@\n+Subproject commit 1234567\n",
        "a submodule: sub",
    ),
    "submodule moved": (
        "diff --git a/sub b/sub\nindex 1234568..1234567 160000\n"
        "--- a/sub\n+++ b/sub\n@@ -1 +1 @@\n-Subproject commit 1\n+Subproject commit 2\n",
        "a submodule: sub",
    ),
    "unbalanced": (diff(2).replace("+1,10 @@", "+1,9 @@"), "10 old and 9 new lines"),
    "wrapped": (diff(2).replace(" line 5\n", "line 5\n"), "'line 5'"),
    "no counts": (diff(2).replace("@@ -1,10 +1,10 @@", "@@ here @@"), "without counts"),
    "outside": (diff(2, path="../x"), "leads out of the tree"),
    "binary": (
        "diff --git a/logo.gif b/logo.gif\nindex 1..2 100644\nGIT binary patch\nliteral 1\nIc$}\n",
        r"a binary change of logo\.gif",
    ),
    "binary named": (
        "diff --git a/logo.gif b/logo.gif\nindex 1..2 100644\n"
        "Binary files a/logo.gif and b/logo.gif differ\n",
        r"a binary change of logo\.gif",
    ),
}


@pytest.mark.parametrize("kind", list(BROKEN))
def test_a_damaged_diff_is_refused_with_its_place(mbox: Callable[..., Path], kind: str) -> None:
    text, message = BROKEN[kind]
    path = mbox(patch_mail(1), patch_mail(2, body=text), patch_mail(3))
    with pytest.raises(ConfigError, match=message) as caught:
        read_series(path)
    assert "patch 2/3: mm: change line 2" in caught.value.awaited
    assert str(caught.value).count("awaited:") == 1


WRAPPED = diff(2).replace(" line 5\n", "line 5\n")


@pytest.mark.parametrize("kind", ["mbox", "folder", "queue", "bare", "crlf", "gzip", "latin-1"])
def test_the_place_of_damage_is_a_line_of_the_file(tmp_path: Path, kind: str) -> None:
    broken = patch_mail(2, body=f"Change it.\n\nMore.\n---\n{WRAPPED}")
    name = {"mbox": "t.mbox", "gzip": "t.mbox.gz"}.get(kind, "0002-x.patch")
    at = tmp_path / name
    if kind in {"mbox", "gzip"}:
        raw = (patch_mail(1) + broken + patch_mail(3)).encode()
        at.write_bytes(gzip.compress(raw) if kind == "gzip" else raw)
    else:
        raw = (WRAPPED if kind == "bare" else patch_mail(2, 2, body=WRAPPED)).encode()
        if kind == "crlf":
            raw = raw.replace(b"\n", b"\r\n")
        if kind == "latin-1":
            header = b"Content-Type: text/plain; charset=iso-8859-1\n"
            raw = raw.replace(b"Message-ID", header + b"Message-ID").replace(b" 1\n", b" \xe9\n", 1)
        at.write_bytes(raw)
        (tmp_path / "0001-x.patch").write_text(patch_mail(1, 2))
    if kind == "queue":
        (tmp_path / "series").write_text("0001-x.patch\n0002-x.patch\n")
    line = raw.splitlines().index(b"line 5") + 1
    given = at if kind in {"mbox", "gzip", "bare"} else tmp_path
    with pytest.raises(ConfigError) as caught:
        read_series(given)
    if kind == "latin-1":
        line -= 1 + raw.splitlines().index(b"")
        assert caught.value.seen.startswith(f"line {line} of the mail's body: hunk 1 of mm/a.c")
    else:
        assert caught.value.seen.startswith(f"{at}:{line}: hunk 1 of mm/a.c")


def test_a_line_of_encoded_text_is_one_of_the_mails_body(mbox: Callable[..., Path]) -> None:
    body = base64.encodebytes(WRAPPED.encode()).decode()
    path = mbox(mail("[PATCH] x", body, "Content-Transfer-Encoding: base64"))
    line = WRAPPED.splitlines().index("line 5") + 1
    with pytest.raises(ConfigError, match=rf"line {line} of the mail's body: hunk 1") as caught:
        read_series(path)
    assert str(path) not in caught.value.seen


def test_flowed_text_is_named_as_the_likely_cause(mbox: Callable[..., Path]) -> None:
    kind = "Content-Type: text/plain; charset=utf-8; format=flowed"
    body = diff(1).replace(" line 5\n", "line 5\n")
    with pytest.raises(ConfigError, match="format=flowed"):
        read_series(mbox(mail("[PATCH] x", body, kind)))


REFUSED = {
    "missing": ([patch_mail(1), patch_mail(3), cover()], "missing: 2/3"),
    "no diff": (
        [patch_mail(1), patch_mail(2, body="Oops."), patch_mail(3)],
        "mail 2 of t.mbox has that number and no diff",
    ),
    "older is whole": (
        [
            *(patch_mail(number) for number in (1, 2, 3)),
            patch_mail(2, prefix="PATCH v2"),
        ],
        "--series-version 1",
    ),
    "two series": (
        [*(patch_mail(at) for at in (1, 2, 3)), patch_mail(1, 2)],
        "2, of 2 and 3 patches",
    ),
    "two differ": (
        [*(patch_mail(at) for at in (1, 2, 3)), patch_mail(2, body=diff(9))],
        "two that differ: mail 2 of t.mbox and mail 4 of t.mbox",
    ),
    "cover of a newer one": (
        [patch_mail(1, 1, prefix="PATCH v3"), cover(2, "PATCH v4"), reply(1, 2, "PATCH v4")],
        "all 2 patches of version 4",
    ),
    "newest without a diff": (
        [patch_mail(1, 1, prefix="PATCH v3"), patch_mail(1, 1, prefix="PATCH v4", body="Lost.")],
        "(--series-version 3)",
    ),
    "newest without a number": (
        [mail("[PATCH v3] x", diff(1)), mail("[PATCH v4] x", "Lost.")],
        "mail 2 of t.mbox has no diff: [PATCH v4] x",
    ),
    "cover counts others": ([cover(2), mail("[PATCH] x", diff(1))], "missing: 1/2, 2/2"),
    "cover of another": ([cover(2), patch_mail(1, 1)], "2, of 1 and 2 patches"),
    "above the total": (
        [patch_mail(1, 2), patch_mail(2, 2), patch_mail(3, 2)],
        "one with the number 3: mail 3 of t.mbox",
    ),
    "spaces differ": (
        [patch_mail(1, 1), patch_mail(1, 1, body=diff(1).replace("line 1 of 1", "line 1  of 1"))],
        "two that differ: mail 1 of t.mbox and mail 2 of t.mbox",
    ),
    "empty": ([""], "it is empty"),
    "blank": (["\n\n"], "it is empty"),
    "replies": ([reply(1), own_diff_reply()], "2 mail(s), all of them replies"),
    "cover alone": ([cover(), reply(1)], "none has a diff of its own"),
    "prose": (["Dear all,\n\nthis is no patch.\n"], "none is a patch"),
    "charset": (
        [mail("[PATCH] x", diff(1), "Content-Type: text/plain; charset=klingon")],
        "can't be read as that",
    ),
    "undecodable": (
        [mail("[PATCH] x", diff(1) + "\u00e9", "Content-Type: text/plain; charset=iso-2022-jp")],
        "can't be read as that",
    ),
}


@pytest.mark.parametrize("kind", list(REFUSED))
def test_what_is_no_whole_series_gives_one_clear_error(
    mbox: Callable[..., Path], kind: str
) -> None:
    mails, message = REFUSED[kind]
    with pytest.raises(ConfigError) as caught:
        read_series(mbox(*mails))
    assert message in str(caught.value)
    assert caught.value.hint


def test_paths_that_are_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing at"):
        read_series(tmp_path / "no.mbox")
    with pytest.raises(ConfigError, match=r"no file \*\.patch"):
        read_series(tmp_path)
    with pytest.raises(ConfigError, match="nothing at"):
        read_series(f"{tmp_path}/no:a..b")
    (tmp_path / "cut.mbox.gz").write_bytes(gzip.compress(b"x" * 1000)[:-12])
    with pytest.raises(ConfigError, match="readable series"):
        read_series(tmp_path / "cut.mbox.gz")
