# SPDX-License-Identifier: GPL-2.0-or-later
"""A series as mails, as a folder of patches and as commits: what is read."""

from __future__ import annotations

import base64
import gzip
import quopri
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from patch_mails import LINES, cover, diff, mail, own_diff_reply, patch_mail, reply, subjects
from patch_mails import mbox as mbox  # noqa: PLC0414 - a fixture

from lab.build import patch
from lab.build.mail import read_mails, read_tag
from lab.build.series import read_queue, read_series
from lab.checkout import KERNEL_CONFIG
from lab.errors import ConfigError

OURS = KERNEL_CONFIG / "series" / "7.3"


def test_a_thread_gives_its_patches_in_their_order(mbox: Callable[..., Path]) -> None:
    base = "base-commit: 0123456789abcdef0123456789abcdef01234567\n"
    needs = f"prerequisite-patch-id: {'ab' * 20}\n"
    path = mbox(
        *(patch_mail(3), reply(1), cover(more=base + needs), patch_mail(1), own_diff_reply()),
        *(patch_mail(2), reply(3)),
    )
    series = read_series(path)
    assert subjects(series) == LINES
    assert [patch.name for patch in series.patches][1] == "patch 2/3: mm: change line 2"
    assert series.base_commit == "0123456789abcdef0123456789abcdef01234567"
    assert series.prerequisites == ("ab" * 20,)
    assert series.patches[0].paths == ("mm/a.c",)
    assert series.patches[0].diff.decode() == diff(1)
    assert series.notes == ()


def test_every_form_of_one_series_is_the_same_series(
    mbox: Callable[..., Path], tmp_path: Path
) -> None:
    plain = read_series(mbox(cover(), *(patch_mail(number) for number in (1, 2, 3))))
    zipped = tmp_path / "t.mbox.gz"
    zipped.write_bytes(gzip.compress((tmp_path / "t.mbox").read_bytes()))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "0000-cover-letter.patch").write_text(cover())
    maildir = tmp_path / "maildir"
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    for number in (1, 2, 3):
        (folder / f"000{number}-x.patch").write_text(patch_mail(number))
        # In a maildir the order of names says nothing.
        (maildir / "new" / f"{9 - number}.x").write_text(patch_mail(number).partition("\n")[2])
    bare = tmp_path / "bare"
    bare.mkdir()
    for number in (1, 2, 3):
        (bare / f"{number}.diff").write_text(diff(number))
    for path in (zipped, folder, maildir, bare):
        other = read_series(path)
        assert other.hash == plain.hash, path
        assert [patch.patch_id for patch in other.patches] == [
            patch.patch_id for patch in plain.patches
        ]


def test_our_own_queue_is_the_same_as_mails_and_as_a_queue(mbox: Callable[..., Path]) -> None:
    files = sorted(OURS.glob("*.patch"))
    raw = b"".join(path.read_bytes() for path in reversed(files))
    assert read_series(mbox(raw)).hash == read_queue(OURS).hash
    assert len(read_queue(OURS).patches) == len(files)


@pytest.mark.parametrize("encoding", ["quoted-printable", "base64", "8bit", "latin-1", "utf-16"])
def test_the_encoding_of_a_mail_does_not_matter(mbox: Callable[..., Path], encoding: str) -> None:
    text = diff(1).replace(" line 10\n", " line 10 by J\u00f6rg = x\n")
    body = f"By J\u00f6rg.\n---\n{text}"
    charset = encoding if encoding in {"latin-1", "utf-16"} else "utf-8"
    raw = body.encode(charset)
    transfer = {"latin-1": "8bit", "utf-16": "base64"}.get(encoding, encoding)
    if transfer == "quoted-printable":
        raw = quopri.encodestring(raw)
    elif transfer == "base64":
        raw = base64.encodebytes(body.replace("\n", "\r\n").encode(charset))
    head = (
        "From x Thu Jan  1 00:00:00 2026\nFrom: A <a@b.invalid>\n"
        "Subject: =?utf-8?q?=5BPATCH=5D_J=C3=B6rg?=\nMIME-Version: 1.0\n"
        f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {transfer}\n\n"
    )
    (patch,) = read_series(mbox(head.encode() + raw)).patches
    assert patch.subject == "J\u00f6rg"
    assert patch.diff.decode() == text


def test_bytes_that_are_no_utf8_reach_the_diff_as_they_are(mbox: Callable[..., Path]) -> None:
    raw = diff(1).encode().replace(b" line 5\n", b" line \xe9\n")
    (patch,) = read_series(mbox(raw, name="x.patch")).patches
    assert b" line \xe9\n" in patch.diff


def test_a_patch_that_is_attached_is_found(mbox: Callable[..., Path]) -> None:
    body = (
        "--b\nContent-Type: text/plain\n\nSee the attachment.\n"
        "--b\nContent-Type: text/html\n\n<p>diff --git</p>\n"
        f"--b\nContent-Type: text/x-patch; name=x.patch\n\n{diff(1)}\n--b--\n"
    )
    kind = "Content-Type: multipart/mixed; boundary=b"
    series = read_series(mbox(mail("[PATCH] mm: attached", body, "MIME-Version: 1.0", kind)))
    assert series.patches[0].diff.decode() == diff(1)


def test_a_line_that_starts_with_from_divides_nothing(mbox: Callable[..., Path]) -> None:
    body = f"From here on it is 12:30 in 2026:\nthe end.\n---\n{diff(1)}"
    series = read_series(mbox(mail("[PATCH] mm: change line 1", body), name="x.mbox"))
    assert subjects(series) == LINES[:1]


def test_the_newest_version_is_taken_or_the_one_asked_for(mbox: Callable[..., Path]) -> None:
    new = [mail(f"[PATCH v10 {at}/2] mm: new {at}", diff(at), ident=f"n{at}") for at in (1, 2)]
    old = [patch_mail(number, prefix="PATCH v9") for number in (1, 2, 3)]
    path = mbox(*new, *old, reply(1, prefix="PATCH v9"))
    series = read_series(path)
    assert subjects(series) == ["mm: new 1", "mm: new 2"]
    assert "taking v10, leaving v9" in series.notes[0]
    assert subjects(read_series(path, version=9)) == LINES
    with pytest.raises(ConfigError, match="versions 9, 10"):
        read_series(path, version=3)


def test_a_patch_that_came_twice_counts_once(mbox: Callable[..., Path]) -> None:
    path = mbox(*(patch_mail(number) for number in (1, 2, 2, 3, 1)))
    assert subjects(read_series(path)) == LINES


def test_a_patch_without_a_number_is_left_out_of_a_numbered_series(
    mbox: Callable[..., Path],
) -> None:
    extra = mail("[PATCH] mm: a fix on top", diff(8))
    series = read_series(mbox(*(patch_mail(number) for number in (1, 2, 3)), extra))
    assert subjects(series) == LINES
    assert "a fix on top" in series.notes[0]


def test_patches_without_numbers_keep_their_order(mbox: Callable[..., Path]) -> None:
    path = mbox(*(mail(f"[PATCH] mm: change line {at}", diff(at)) for at in (2, 1)))
    assert subjects(read_series(path)) == ["mm: change line 2", "mm: change line 1"]


def test_tags_are_read() -> None:
    assert (read_tag("[RFC PATCH v3 02/06]").version, read_tag("[PATCH RFC V4]").version) == (3, 4)
    assert (read_tag("[PATCH net-next 02/16]").number, read_tag("[PATCH 2/16]").total) == (2, 16)
    assert read_tag("[PATCH 6.1.y 1/2]").version == 1
    assert read_tag("[PATCHv3 1/2]") == read_tag("[PATCH v3 1/2]") == read_tag("[RFC PATCHv3 1/2]")
    assert read_tag("[PATCH 5.10/5.15]").number is None
    assert read_tag("[PATCH 5.10/5.15 2/4]").number == read_tag("[PATCH 6/7 2/4]").number == 2


@pytest.mark.parametrize("title", ["fw: load it", "re: do", "vs: x", "sv: x", "aw: x", "fwd: x"])
def test_a_title_like_an_answers_is_a_patch_behind_its_tag(
    mbox: Callable[..., Path], title: str
) -> None:
    thread = "In-Reply-To: <cover>"
    mails = [mail(f"[PATCH] {title}", diff(1)), mail("[PATCH] mm: next", diff(2), thread)]
    assert subjects(read_series(mbox(*mails))) == [title, "mm: next"]
    assert subjects(read_series(mbox(mail(title, diff(1))))) == [title]
    numbered = [mail(f"[RFC 1/2] {title}", diff(1), thread), mail("[RFC 2/2] mm: next", diff(2))]
    assert subjects(read_series(mbox(*numbered))) == [title, "mm: next"]


@pytest.mark.parametrize("subject", ["Re: [PATCH 2/3] mm: x", "[list] Re: [PATCH] x", "AW: x"])
def test_an_answer_is_none(mbox: Callable[..., Path], subject: str) -> None:
    answer = mail(subject, diff(9), "In-Reply-To: <x>")
    series = read_series(mbox(*(patch_mail(number) for number in (1, 2, 3)), answer))
    assert (subjects(series), series.notes) == (LINES, ())


def test_replies_to_a_version_that_is_not_there_are_told(mbox: Callable[..., Path]) -> None:
    series = read_series(mbox(patch_mail(1, 1, prefix="PATCH v3"), reply(1, 1, "PATCH v4")))
    assert series.notes == ("t.mbox has replies to v4, but nothing of v4 itself",)


def test_a_resend_on_another_base_counts_once(mbox: Callable[..., Path]) -> None:
    moved = diff(1).replace("@@ -1,10 +1,10 @@", "@@ -3,10 +3,10 @@ int f(void)")
    assert subjects(read_series(mbox(patch_mail(1, 1), patch_mail(1, 1, body=moved)))) == LINES[:1]
    twice = [mail("[PATCH] x", diff(1)), mail("[PATCH] x", moved), mail("[PATCH] x", diff(2))]
    assert len(read_series(mbox(*twice)).patches) == 2


def test_a_patch_without_a_number_that_answers_a_mail_is_told(mbox: Callable[..., Path]) -> None:
    mails = [mail("[PATCH] a", diff(1)), mail("[PATCH] b", diff(2), "In-Reply-To: <x>")]
    series = read_series(mbox(*mails, mail("[PATCH] c", "Lost.")))
    assert subjects(series) == ["a", "b"]
    assert series.notes == (
        "mail 3 of t.mbox is left out, it has no diff: [PATCH] c",
        "mail 2 of t.mbox answers another mail and is applied all the same: [PATCH] b",
    )


@pytest.mark.parametrize("inline", [True, False])
def test_an_attached_interdiff_is_no_part_of_the_patch(
    mbox: Callable[..., Path], inline: bool
) -> None:
    patch = diff(1) if inline else f"See.\n--b\nContent-Type: text/x-patch\n\n{diff(1)}"
    body = (
        f"--b\nContent-Type: text/plain\n\n{patch}\n--b\nContent-Type: text/x-patch\n"
        f"Content-Disposition: attachment; filename=interdiff.patch\n\n{diff(2)}\n--b--\n"
    )
    kind = "Content-Type: multipart/mixed; boundary=b"
    series = read_series(mbox(mail("[PATCH] x", body, "MIME-Version: 1.0", kind)))
    assert [item.diff.decode() for item in series.patches] == [diff(1)]
    assert series.notes == ("an attachment of t.mbox is left out: interdiff.patch",)


def test_a_line_of_many_dates_is_read_in_no_time(mbox: Callable[..., Path]) -> None:
    line = b"From " + b"12:34 2001 " * 100_000 + b"\nno header\n"
    started = time.monotonic()
    series = read_series(mbox(patch_mail(1, 1), line))
    assert subjects(series) == LINES[:1]
    assert time.monotonic() - started < 10


def test_many_patches_of_one_title_cost_one_look_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(patch, "patch_id", lambda diff: asked.append(diff) or "id")
    for number in range(60):
        (tmp_path / f"{number}.patch").write_text(mail("[PATCH] fix", diff(1, path=f"{number}.c")))
    assert len(read_series(tmp_path).patches) == len(asked) == 60


# -- queues ------------------------------------------------------------------------------------


def queue(root: Path, *names: str) -> Path:
    folder = root / "queue"
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names, 1):
        (folder / name).write_text(diff(number))
    (folder / "series").write_text("# order\n" + "".join(f"{name}\n" for name in names))
    return folder


def test_the_order_and_every_content_count(tmp_path: Path) -> None:
    folder = queue(tmp_path, "a.patch", "b.patch")
    first = read_series(folder).hash
    (folder / "b.patch").write_text(diff(5))
    second = read_series(folder).hash
    (folder / "series").write_text("b.patch\na.patch\n")
    assert len({first, second, read_series(folder).hash}) == 3


def test_a_patch_that_quilt_would_turn_round_or_move_is_refused(tmp_path: Path) -> None:
    folder = queue(tmp_path, "a.patch")
    for option in ("-R", "-p0", "-p1 -R"):
        (folder / "series").write_text(f"a.patch {option} # why\n")
        with pytest.raises(ConfigError, match=f"'a.patch {option}', with options"):
            read_series(folder)
    (folder / "series").write_text("a.patch -p1 # as git\n")
    assert len(read_series(folder).patches) == 1


def test_a_version_of_what_has_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which is one version"):
        read_series(queue(tmp_path, "a.patch"), 7)


def test_a_patch_of_a_queue_that_cant_be_read_says_so(tmp_path: Path) -> None:
    folder = queue(tmp_path, "a.patch")
    text = mail("[PATCH] x", diff(1), "Content-Type: text/plain; charset=klingon")
    (folder / "a.patch").write_text(text)
    with pytest.raises(ConfigError, match="'klingon' and can't be read"):
        read_series(folder)


def test_files_without_a_number_in_the_subject_go_by_that_in_their_name(tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for number in (1, 2, 9):
        (folder / f"{number}-x.patch").write_text(diff(number))
    (folder / "10-x.patch.gz").write_bytes(gzip.compress(diff(10).encode()))
    (folder / "3-x.txt").write_text(diff(3))
    (folder / "README.txt").write_text("What this is.\n")
    series = read_series(folder)
    names = ["1-x.patch", "2-x.patch", "9-x.patch", "10-x.patch.gz"]
    assert [item.name.partition(":")[0] for item in series.patches] == names
    assert series.notes == ("left out, it isn't called *.patch: 3-x.txt",)


def test_a_message_does_not_count(tmp_path: Path) -> None:
    folder = queue(tmp_path, "a.patch")
    first = read_series(folder).hash
    (folder / "a.patch").write_text(f"Subject: x\n\nReviewed-by: B\n---\n{diff(1)}")
    assert read_series(folder).hash == first


def test_a_queue_that_isnt_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="patch queue"):
        read_queue(tmp_path / "no")
    with pytest.raises(ConfigError, match="names no patch"):
        read_series(queue(tmp_path))
    (tmp_path / "queue" / "series").write_text("gone.patch\n")
    with pytest.raises(ConfigError, match=r"missing: gone\.patch"):
        read_series(tmp_path / "queue")


def test_mails_of_a_file_are_numbered_for_messages(mbox: Callable[..., Path]) -> None:
    mails = read_mails(mbox(cover(), reply(1), patch_mail(1)))
    assert [item.place for item in mails] == [f"mail {at} of t.mbox" for at in (1, 2, 3)]
    assert [item.is_patch for item in mails] == [False, False, True]
