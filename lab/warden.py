# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a program and outlives nobody: the warden between the lab and its long-running programs.

Started as ``python -I -S warden.py PROGRAM ARG…`` with a pipe from the lab as standard input. Build
tools start programs of their own, in process groups of their own, so neither a signal to a group
nor a parent-death signal reaches all of them. The warden makes itself the reaper of every orphan
below it and kills whatever is left when one of three things happens:

* the program ends: its exit status is passed on;
* the lab writes a byte: SIGTERM first, so that the tools remove half-written files, SIGKILL after
  GRACE_S;
* the pipe closes because the lab died: SIGKILL at once.

Should the warden itself be killed, the kernel kills the program in the same moment.

Only the standard library, and no import of the lab: it has to start in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time

GRACE_S = 5.0
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PIPE_FD = 0


def descendants(ancestor: int) -> list[int]:
    """Process ids of all live descendants of `ancestor`, from one walk over /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib is most of the time to start
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] != b"Z":
            children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    todo = [ancestor]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def signal_all(number: signal.Signals) -> bool:
    """Send a signal to every descendant; False when there is none."""
    found = descendants(os.getpid())
    for pid in found:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    return bool(found)


def reap() -> None:
    """Take the exit status of every ended child."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def end_all(grace_s: float) -> None:
    """End every descendant: politely for `grace_s` seconds, then by SIGKILL until none is left."""
    if grace_s and signal_all(signal.SIGTERM):
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and descendants(os.getpid()):
            reap()
            time.sleep(0.02)
    while signal_all(signal.SIGKILL):
        reap()
        time.sleep(0.005)


def main(argv: list[str]) -> int:
    """Run `argv`; the exit status is the program's, or 128 + its signal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    warden = os.getpid()
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        print("warden: can't become the reaper of orphans", file=sys.stderr)
        return 125
    devnull = os.open(os.devnull, os.O_RDONLY)
    child = os.fork()
    if child == 0:
        # a warden that died before this was in force sends no signal any more
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) or os.getppid() != warden:
            os._exit(125)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(devnull, PIPE_FD)
        try:
            os.execvp(argv[0], argv)  # noqa: S606 - no shell is what is wanted
        except OSError as error:
            print(f"{argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
            os._exit(127)
    pidfd = os.pidfd_open(child)
    ready = select.select([PIPE_FD, pidfd], [], [])[0]
    if pidfd in ready:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        end_all(0)
        return status if status >= 0 else 128 - status
    end_all(GRACE_S if os.read(PIPE_FD, 1) else 0)
    return 128 + signal.SIGTERM


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
