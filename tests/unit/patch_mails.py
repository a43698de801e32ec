# SPDX-License-Identifier: GPL-2.0-or-later
"""Mails of a small series, with answers to them: what readers of a series are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.build.series import Series


def diff(number: int, *, path: str = "mm/a.c") -> str:
    """A one-hunk change of line `number` of a file of ten numbered lines."""
    lines = "".join(
        f"-line {at}\n+line {at} of {number}\n" if at == number else f" line {at}\n"
        for at in range(1, 11)
    )
    return f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1,10 +1,10 @@\n{lines}"


def mail(subject: str, body: str, *headers: str, ident: str = "x") -> str:
    more = "".join(f"{header}\n" for header in headers)
    return (
        "From mboxrd@z Thu Jan  1 00:00:00 2026\n"
        f"From: A <a@b.invalid>\nSubject: {subject}\nMessage-ID: <{ident}>\n{more}\n{body}\n"
    )


def patch_mail(number: int, total: int = 3, *, prefix: str = "PATCH", body: str = "") -> str:
    subject = f"[{prefix} {number}/{total}] mm: change line {number}"
    text = body or f"Change it.\n\nSigned-off-by: A <a@b.invalid>\n---\n{diff(number)}-- \n2.39.5\n"
    return mail(subject, text, ident=f"{prefix}-{number}")


def cover(total: int = 3, prefix: str = "PATCH", more: str = "") -> str:
    return mail(f"[{prefix} 0/{total}] mm: change lines", f"What and why.\n\n{more}")


def reply(number: int, total: int = 3, prefix: str = "PATCH") -> str:
    quoted = "".join(f"> {line}\n" for line in diff(number).splitlines())
    body = f"On Monday A wrote:\n{quoted}\nLooks right.\n\nReviewed-by: B <b@c.invalid>\n"
    return mail(f"Re: [{prefix} {number}/{total}] mm: change line {number}", body)


def own_diff_reply() -> str:
    """An answer that suggests another diff: no part of the series."""
    return mail("Re: [PATCH 2/3] mm: change line 2", f"Why not\n\n{diff(7)}")


@pytest.fixture
def mbox(tmp_path: Path) -> Callable[..., Path]:
    def write(*mails: str | bytes, name: str = "t.mbox") -> Path:
        path = tmp_path / name
        path.write_bytes(
            b"".join(item.encode() if isinstance(item, str) else item for item in mails)
        )
        return path

    return write


def subjects(series: Series) -> list[str]:
    return [patch.subject for patch in series.patches]


LINES = ["mm: change line 1", "mm: change line 2", "mm: change line 3"]
