# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's monitor (QMP) as the lab uses it: commands with deadlines, and events in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError, Runstate

from lab.errors import GuestLost, MachineError

# The client logs the end of a connection as an error; the lab reports it itself, with its cause.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)

COMMAND_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Event:
    """A QMP event, e.g. ``STOP``, ``SHUTDOWN`` or ``GUEST_PANICKED``."""

    name: str
    data: Mapping[str, Any]


class Monitor:
    """The QMP session over a connected socket; all of it runs in the caller's event loop."""

    def __init__(self, on_event: Callable[[Event], None], on_close: Callable[[], None]) -> None:
        self._client = QMPClient("dcbm-lab")
        self._listener = EventListener()
        self._on_event = on_event
        self._on_close = on_close
        self._tasks: list[asyncio.Task[None]] = []
        self.qemu_version = ""

    async def connect(self, connection: socket.socket, timeout_s: float) -> None:
        """Negotiate with QEMU.

        Raises:
            MachineError: QEMU ended or said nothing before it was ready for commands.
        """
        self._client.register_listener(self._listener)
        try:
            await asyncio.wait_for(self._client.connect(connection), timeout_s)
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            raise MachineError(
                "QEMU to greet on its monitor", str(error) or type(error).__name__
            ) from error
        if self._client.greeting is not None:
            version = self._client.greeting.QMP.version["qemu"]
            if isinstance(version, dict):
                self.qemu_version = ".".join(str(version[p]) for p in ("major", "minor", "micro"))
        self._tasks = [
            asyncio.create_task(self._forward_events()),
            asyncio.create_task(self._await_close()),
        ]

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> Any:
        """Run a QMP command and return what it returns.

        Raises:
            MachineError: QEMU refused the command.
            GuestLost: QEMU went away, or did not answer within `timeout_s`.
        """
        asked = dict(arguments) if arguments is not None else None
        try:
            return await asyncio.wait_for(self._client.execute(command, asked), timeout_s)
        except ExecuteError as error:
            raise MachineError(f"QEMU to carry out {command} {asked or ''}", str(error)) from error
        except TimeoutError as error:
            raise GuestLost(
                f"QEMU's answer to {command}",
                f"nothing for {timeout_s:g} s: the process is stopped or stuck",
            ) from error
        except (QMPError, OSError, EOFError) as error:
            raise GuestLost(f"QEMU's answer to {command}", f"QEMU went away ({error})") from error

    async def close(self) -> None:
        """End the session; never raises for a QEMU that is gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._client.runstate is not Runstate.IDLE:
            with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
                await asyncio.wait_for(self._client.disconnect(), COMMAND_TIMEOUT_S)

    async def _forward_events(self) -> None:
        async for message in self._listener:
            data = message.get("data")
            self._on_event(Event(str(message["event"]), data if isinstance(data, dict) else {}))

    async def _await_close(self) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        # Events that came with the last bytes are delivered first.
        while not self._listener.empty():
            await asyncio.sleep(0)
        self._on_close()
