# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's console log, kept by QEMU from the first byte."""

from __future__ import annotations

from pathlib import Path


class Console:
    """Reads a console log that a running guest may still be writing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def text(self) -> str:
        """All that was written so far, with plain line feeds; empty before the first byte."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return ""
        # The 8250 driver sends CR LF; firmware may send a lone CR.
        return raw.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")

    def size_bytes(self) -> int:
        """Length of the log."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def tail(self, lines: int = 5) -> str:
        """The last `lines` lines that say something, or a phrase that there are none."""
        said = [line for line in self.text().splitlines() if line.strip()]
        return "\n".join(said[-lines:]) if said else "(the console is empty)"
