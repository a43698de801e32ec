# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of one QEMU process: started paused, watched, and gone when its context ends.

QEMU inherits its two connections as open sockets, so there is nothing to find, to wait for or to
remove. It runs in its own session, so a Ctrl-C at the terminal reaches the lab alone, and it dies
with the thread that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from lab.config import Clock
from lab.errors import GuestLost, MachineError
from lab.machine import tether
from lab.machine.argv import (
    CONSOLE_LOG,
    MAILBOX_ID,
    BootFiles,
    MachineSpec,
    build_argv,
    engine_ids,
)
from lab.machine.channel import LineBuffer
from lab.machine.console import Console
from lab.machine.deadline import Deadline
from lab.machine.monitor import Event, Monitor
from lab.machine.saved_state import SavedState

QEMU_LOG = "qemu.log"
ARGV_FILE = "qemu-argv.txt"
_START_TIMEOUT_S = 60.0
_EXIT_TIMEOUT_S = 10.0
_DRAIN_TIMEOUT_S = 2.0
_LOG_TAIL_LINES = 8

_T = TypeVar("_T")


@dataclass(frozen=True)
class MailboxLine:
    """A line that the guest sent."""

    raw: bytes


@dataclass(frozen=True)
class Ended:
    """QEMU closed its monitor: it is gone, or about to be."""


Happening = MailboxLine | Event | Ended


class Machine:
    """A QEMU process as a context manager. Only `kill` may be called from another thread."""

    def __init__(
        self,
        spec: MachineSpec,
        files: BootFiles,
        run_dir: Path,
        clock: Clock,
        command_line: Sequence[str] = (),
        *,
        state: SavedState | None = None,
    ) -> None:
        """With `state` the machine waits to be restored from it, instead of booting."""
        self.spec = spec
        self.clock = clock
        self.run_dir = run_dir
        self.console = Console(run_dir / CONSOLE_LOG)
        self.log = run_dir / QEMU_LOG
        self._files = _absolute(files)
        self._command_line = tuple(command_line)
        self._state = state
        self._happenings: deque[Happening] = deque()
        self._happened = asyncio.Event()
        self._monitor = Monitor(self._post, self._monitor_closed)
        self._process: subprocess.Popen[bytes] | None = None
        self._mailbox_task: asyncio.Task[None] | None = None
        self._end_task: asyncio.Task[None] | None = None
        self._resources = contextlib.ExitStack()
        self._runner = asyncio.Runner()

    def __enter__(self) -> Machine:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._running().pid

    @property
    def qemu_version(self) -> str:
        """What QEMU said about itself in its greeting."""
        return self._monitor.qemu_version

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """Run a QMP command; see `Monitor.execute` for the errors."""
        try:
            return self._run(self._monitor.execute(command, arguments))
        except GuestLost as error:
            raise GuestLost(
                error.awaited, f"{error.seen}; {self.describe_exit()}", log=self.log
            ) from error

    def next(self, deadline: Deadline) -> Happening | None:
        """What happens next, in order; None when `deadline` passes first."""
        return self._run(self._next(deadline))

    def kill(self) -> None:
        """Kill QEMU at once; harmless when it is gone, and safe from any thread."""
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def exit_code(self, timeout_s: float = _EXIT_TIMEOUT_S) -> int | None:
        """QEMU's exit status, or minus the signal that ended it; None if it still runs."""
        try:
            return self._running().wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def describe_exit(self) -> str:
        """How QEMU ended, with the last lines of its log."""
        code = self.exit_code(_DRAIN_TIMEOUT_S)
        if code is None:
            how = "QEMU still runs"
        elif code < 0:
            how = f"QEMU was ended by {signal.Signals(-code).name}"
        else:
            how = f"QEMU exited with status {code}"
        try:
            said = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            said = []
        return how + "".join(f"\n         {line}" for line in said[-_LOG_TAIL_LINES:])

    # -- start and end ------------------------------------------------------------------------

    def _start(self) -> None:
        qmp, qemu_qmp = self._socket_pair()
        mailbox, qemu_mailbox = self._socket_pair()
        argv = build_argv(
            self.spec,
            self._files,
            self.clock,
            qmp_fd=qemu_qmp.fileno(),
            mailbox_fd=qemu_mailbox.fileno(),
            command_line=self._command_line,
            restoring=self._state is not None,
        )
        lines = " \\\n    ".join(shlex.quote(argument) for argument in argv)
        (self.run_dir / ARGV_FILE).write_text(lines + "\n", encoding="utf-8")
        # A log of an earlier machine in the same folder must not pass for this one's.
        self.console.path.unlink(missing_ok=True)
        if self._state is not None:
            shutil.copyfile(self._state.console, self.console.path)
        tethered = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), "--", *argv]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                tethered,
                cwd=self.run_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(qemu_qmp.fileno(), qemu_mailbox.fileno()),
                start_new_session=True,
            )
        # Our copies of QEMU's ends must go, or its death would not close the connections.
        qemu_qmp.close()
        qemu_mailbox.close()
        try:
            self._run(self._connect(qmp, mailbox))
        except MachineError as error:
            raise MachineError(
                error.awaited,
                f"{error.seen}; {self.describe_exit()}",
                log=self.log,
                hint=f"{self.run_dir / ARGV_FILE} has the command line",
            ) from error
        self._check_devices()

    def _check_devices(self) -> None:
        listed = self.execute("qom-list", {"path": "/machine/peripheral"})
        seen = {str(item["name"]) for item in listed}
        missing = [name for name in (MAILBOX_ID, *engine_ids(self.spec.engine)) if name not in seen]
        if missing:
            raise MachineError(
                f"the devices {', '.join(missing)} in the machine",
                f"only {', '.join(sorted(seen - {'type'}))}",
                log=self.log,
                hint=f"{self.run_dir / ARGV_FILE} has the command line",
            )

    def _close(self) -> None:
        self.kill()
        if self._process is not None:
            self._process.wait()
        with contextlib.suppress(RuntimeError):  # a loop that an interrupt closed already
            self._run(self._disconnect())
        self._runner.close()
        self._resources.close()

    def _socket_pair(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        self._resources.callback(ours.close)
        self._resources.callback(theirs.close)
        return ours, theirs

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise MachineError("a started machine", "one whose context was not entered")
        return self._process

    # -- the event loop, which only turns while the lab waits ------------------------------------

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(work)

    async def _connect(self, qmp: socket.socket, mailbox: socket.socket) -> None:
        await self._monitor.connect(qmp, _START_TIMEOUT_S)
        reader, writer = await asyncio.open_connection(sock=mailbox)
        self._resources.callback(writer.close)
        self._mailbox_task = asyncio.create_task(self._read_mailbox(reader))

    async def _disconnect(self) -> None:
        for task in (self._mailbox_task, self._end_task):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._monitor.close()
        self._resources.close()

    async def _read_mailbox(self, reader: asyncio.StreamReader) -> None:
        lines = LineBuffer()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                for raw in lines.feed(data):
                    self._post(MailboxLine(raw))
        if lines.rest:
            self._post(MailboxLine(lines.rest))

    def _post(self, happening: Happening) -> None:
        self._happenings.append(happening)
        self._happened.set()

    def _monitor_closed(self) -> None:
        self._end_task = asyncio.ensure_future(self._post_end())

    async def _post_end(self) -> None:
        # What the guest said before the end is still in the socket: let it come first.
        if self._mailbox_task is not None:
            await asyncio.wait({self._mailbox_task}, timeout=_DRAIN_TIMEOUT_S)
        self._post(Ended())

    async def _next(self, deadline: Deadline) -> Happening | None:
        while not self._happenings:
            self._happened.clear()
            try:
                await asyncio.wait_for(self._happened.wait(), deadline.remaining_s)
            except TimeoutError:
                return None
        return self._happenings.popleft()


def _absolute(files: BootFiles) -> BootFiles:
    """The same files for a QEMU that runs in another directory."""
    return replace(
        files,
        qemu=files.qemu.absolute(),
        firmware_dirs=tuple(directory.absolute() for directory in files.firmware_dirs),
        vmlinux=files.vmlinux.absolute(),
        initramfs=files.initramfs.absolute(),
    )
