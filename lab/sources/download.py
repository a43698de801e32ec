# SPDX-License-Identifier: GPL-2.0-or-later
"""Downloads by URL that survive interruptions: resumed by range, checked by hash."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from lab.cache import hash_file
from lab.errors import SourceError
from lab.progress import Step

ATTEMPTS = 4
TIMEOUT_S = 60.0
_CHUNK_BYTES = 1 << 18
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416


class _Broken(Exception):
    """A transfer that ended early and may be tried again."""


def download(url: str, partial: Path, *, sha256: str, step: Step, wait_s: float = 2.0) -> None:
    """Bring `partial` to the full content of `url`; what it already holds is not loaded again.

    A transfer that breaks is resumed, up to ATTEMPTS times with `wait_s`, 2 `wait_s`, … seconds in
    between. Content that doesn't have the hash is thrown away and loaded once more from the start.

    Raises:
        SourceError: it can't be had, or its hash is another one.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    wrong: list[str] = []
    for attempt in range(ATTEMPTS):
        if attempt and problems:
            time.sleep(wait_s * attempt)
        try:
            _transfer(url, partial, step)
        except urllib.error.HTTPError as error:
            problems.append(f"HTTP status {error.code}")
            if error.code == _RANGE_NOT_SATISFIABLE:
                partial.unlink(missing_ok=True)
            elif error.code < http.client.INTERNAL_SERVER_ERROR:
                break
            continue
        except (OSError, http.client.HTTPException, _Broken) as error:
            problems.append(str(error))
            continue
        got = hash_file(partial)
        if got == sha256:
            return
        partial.unlink()
        wrong.append(got)
        if len(wrong) > 1:
            raise SourceError(
                f"SHA-256 {sha256} of {url}",
                f"{' and '.join(wrong)} on two complete transfers",
                hint="the file at that URL is not the pinned one: don't build from it",
            )
    raise SourceError(
        f"{url}",
        "; ".join(problems),
        hint="check the network; what was loaded is kept and resumed",
    )


def _transfer(url: str, partial: Path, step: Step) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url)  # noqa: S310 - the pin's model admits http(s) and file
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310
        if have and getattr(reply, "status", None) != _PARTIAL_CONTENT:
            have = 0  # the server doesn't resume: from the start
        length = reply.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with partial.open("r+b" if have else "wb") as file:
            file.seek(have)
            while chunk := reply.read(_CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                share = have / total if total else None
                step.update(f"{have / 1e6:.1f} MB", share)
    if total is not None and have < total:
        raise _Broken(f"the transfer ended after {have} of {total} bytes")
