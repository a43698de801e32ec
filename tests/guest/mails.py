# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes a mailing-list thread out of a patch queue: what a contributor would bring."""

from __future__ import annotations

import base64
import quopri
from pathlib import Path

_MIME = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: "


def make_thread(queue: Path, *, version: int = 2) -> bytes:
    """The queue's patches as an mbox: last first, in three encodings, with cover and answers."""
    files = sorted(queue.glob("*.patch"))
    mails = [_cover(len(files), version)]
    for number, file in reversed(list(enumerate(files, 1))):
        mails += [_patch(file, number, version), _answer(number, len(files), version)]
    return b"".join(b"From mboxrd@z Thu Jan  1 00:00:00 2026\n" + mail + b"\n" for mail in mails)


def _cover(total: int, version: int) -> bytes:
    return (
        f"From: A <a@b.invalid>\nSubject: [PATCH v{version} 0/{total}] mm: all of it\n"
        f"Message-ID: <{version}-0@b.invalid>\n\nWhy.\n\nbase-commit: {'0123456789' * 4}\n"
    ).encode()


def _patch(file: Path, number: int, version: int) -> bytes:
    _separator, _, raw = file.read_bytes().partition(b"\n")
    head, _, body = raw.replace(b"[PATCH ", f"[PATCH v{version} ".encode(), 1).partition(b"\n\n")
    encoding = ("8bit", "base64", "quoted-printable")[number % 3]
    if encoding == "base64":
        body = base64.encodebytes(body.replace(b"\n", b"\r\n"))
    elif encoding == "quoted-printable":
        body = quopri.encodestring(body)
    more = f"\nMessage-ID: <{version}-{number}@b.invalid>\n{_MIME}{encoding}\n\n"
    return head + more.encode() + body


def _answer(number: int, total: int, version: int) -> bytes:
    return (
        f"From: B <b@c.invalid>\nSubject: Re: [PATCH v{version} {number}/{total}] it\n"
        f"In-Reply-To: <{version}-{number}@b.invalid>\n\n"
        "> diff --git a/mm/migrate.c b/mm/migrate.c\n> --- a/mm/migrate.c\n\n"
        "Fine, but:\n\ndiff --git a/mm/migrate.c b/mm/migrate.c\n--- a/mm/migrate.c\n"
        "+++ b/mm/migrate.c\n@@ -1 +1 @@\n-x\n+y\n\nReviewed-by: B <b@c.invalid>\n"
    ).encode()
