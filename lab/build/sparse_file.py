# SPDX-License-Identifier: GPL-2.0-or-later
"""Stands where kbuild calls sparse, and keeps how it ended on each file.

sparse exits with 0 whatever it finds, and kbuild stops where it crashes: so this notes exit status
and messages as a line of JSON, shows them to kbuild, and always succeeds. Run as a program::

    python sparse_file.py LOG SPARSE ARGUMENT… FILE
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 120


def main(log: str, *command: str) -> None:
    """Run sparse on one file; `log` gets file, status (minus a signal, None: too long), text."""
    status: int | None
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        status, said = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        status, said = None, error.stderr or b""
    text = said.decode("utf-8", errors="replace")
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"file": command[-1], "status": status, "said": text}) + "\n")
    sys.stderr.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
