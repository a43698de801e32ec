# SPDX-License-Identifier: GPL-2.0-or-later
"""Become a program that dies with its parent: ``python -I -S tether.py PARENT_PID -- ARGV…``.

A wrapper instead of a preexec function, because the lab forks from a process with threads. The
kernel's parent-death signal covers a ``kill -9`` of the lab; asking for the parent again after
setting it covers a parent that died just before.

The signal is sent when the *thread* that started the program ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_USAGE_STATUS = 2
_NOT_TETHERED_STATUS = 125
_NOT_FOUND_STATUS = 127


def main(arguments: list[str]) -> int:
    """Tie this process to its parent and become the program; return a status only on failure."""
    if len(arguments) < 3 or arguments[1] != "--":  # noqa: PLR2004 - PID, --, program
        sys.stderr.write("usage: tether.py PARENT_PID -- PROGRAM [ARGUMENT]...\n")
        return _USAGE_STATUS
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.stderr.write(f"tether: PR_SET_PDEATHSIG: {os.strerror(ctypes.get_errno())}\n")
        return _NOT_TETHERED_STATUS
    if os.getppid() != int(arguments[0]):
        sys.stderr.write("tether: the parent is gone\n")
        return _NOT_TETHERED_STATUS
    program = arguments[2:]
    try:
        os.execv(program[0], program)  # noqa: S606 - becoming the program is the point
    except OSError as error:
        sys.stderr.write(f"tether: {program[0]}: {error.strerror}\n")
    return _NOT_FOUND_STATUS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
