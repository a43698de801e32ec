# SPDX-License-Identifier: GPL-2.0-or-later
"""A series in a folder: written so that reading it gives the same series to the last byte.

It is a quilt queue, too: ``series`` names the patches in their order. What a mail said beside
subject and diff is not kept, because it builds nothing.
"""

from __future__ import annotations

from pathlib import Path

from lab.build.patch import Patch, make_patch
from lab.build.series import ORDER, Series
from lab.errors import ConfigError

_END_OF_MESSAGE = b"\n---\n\n"


def write_series(series: Series, folder: Path) -> list[str]:
    """Write a series into a folder, which is made; returns the patches' file names in order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:04}.patch" for number in range(1, len(series.patches) + 1)]
    for name, patch in zip(names, series.patches, strict=True):
        (folder / name).write_bytes(_written(patch))
    (folder / ORDER).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return names


def _written(patch: Patch) -> bytes:
    subject = " ".join(patch.subject.split()).encode("utf-8", errors="replace")
    return b"Subject: [PATCH] " + subject + _END_OF_MESSAGE + patch.diff


def read_patch(name: str, subject: str, content: bytes, *, remark: str | None = None) -> Patch:
    """A patch as `write_series` wrote it.

    Raises:
        ConfigError: it is not as it was written, or damaged.
    """
    _message, mark, diff = content.partition(_END_OF_MESSAGE)
    patch = make_patch(name, subject, diff if mark else content, remark)
    if not mark or patch.diff != diff:
        raise ConfigError(
            f"a patch as the lab wrote it: {name}",
            "something else stands beside its diff",
            hint="get the bundle again from whoever made it",
        )
    return patch
