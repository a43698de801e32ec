# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's own series with one change more, as somebody makes it who works on the kernel."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path


def write_changed_series(queue: Path, source: Path, changed: str, line: str, folder: Path) -> Path:
    """A copy of `queue` in `folder`, and behind it a patch that adds `line` to a file.

    Args:
        queue: a folder of patches, none of which changes the file.
        source: the kernel's source, without the queue.
        changed: the file, relative to the source; the line goes before its last ``#endif`` in a
            header, and to its end elsewhere.
        line: what is added, without a line feed.
        folder: does not exist yet.

    Raises:
        OSError: something can't be read or written.
    """
    shutil.copytree(queue, folder)
    before = (source / changed).read_text(encoding="utf-8").splitlines(keepends=True)
    at = len(before)
    if changed.endswith(".h"):
        at = max(number for number, text in enumerate(before) if text.startswith("#endif"))
    after = [*before[:at], f"{line}\n", *before[at:]]
    diff = difflib.unified_diff(before, after, f"a/{changed}", f"b/{changed}")
    text = f"Subject: [PATCH] {changed}: one line more\n\nFor the bench.\n---\n"
    text += f"diff --git a/{changed} b/{changed}\n{''.join(diff)}"
    name = "9999-one-line-more.patch"
    (folder / name).write_text(text, encoding="utf-8")
    with (folder / "series").open("a", encoding="utf-8") as series:
        series.write(f"{name}\n")
    return folder
