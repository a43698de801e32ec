# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of a machine, saved once and restored as often as wanted.

It is saved when the guest's agent has greeted, and where an experiment says that several of its
modes have come to the same point.

QEMU writes RAM and devices into one sparse file (its mapped-ram format: each page has a place of
its own, untouched pages are holes). Beside it lies what the lab had logged until then, so that the
logs of a restored machine start at the first byte, too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict

from lab.config import Clock
from lab.errors import MachineError
from lab.machine.deadline import Deadline
from lab.machine.monitor import Event

if TYPE_CHECKING:
    from lab.machine.argv import BootFiles, MachineSpec
    from lab.machine.machine import Machine

_MACHINE = "machine"
_CONSOLE = "console.log"
_CHANNEL = "channel.jsonl"
_BOOT = "boot.json"
_TIMEOUT_S = 120.0
# QEMU's default limit is meant for a network.
_BANDWIDTH = 1 << 50


class Boot(BaseModel):
    """What the lab has to remember of a boot: how many reports the kernel made until its end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reports: int


@dataclass(frozen=True)
class SavedState:
    """A saved machine in its folder."""

    folder: Path

    @property
    def console(self) -> Path:
        """The console log until then."""
        return self.folder / _CONSOLE

    @property
    def channel(self) -> Path:
        """The control channel's log until then."""
        return self.folder / _CHANNEL

    @property
    def boot(self) -> Boot:
        """What there is to remember of its boot."""
        return Boot.model_validate_json((self.folder / _BOOT).read_bytes())

    def conversation(self) -> tuple[list[bytes], list[Exchange]]:
        """What the guest said by itself, and each request with its answer."""
        greeting: list[bytes] = []
        exchanges: list[Exchange] = []
        for line in self.channel.read_bytes().splitlines():
            told = json.loads(line)
            if told["type"] == "request":
                exchanges.append(Exchange(tuple(told["fields"]), []))
            elif exchanges:
                exchanges[-1].answer.append(line)
            else:
                greeting.append(line)
        return greeting, exchanges


@dataclass(frozen=True)
class Exchange:
    """A request to the guest, and the lines that it answered."""

    request: tuple[str, ...]
    answer: list[bytes]


class StatePlace(Protocol):
    """Where the saved state of one machine is kept."""

    def in_use(self) -> AbstractContextManager[None]:
        """Keep the state from being removed to make room, until the context ends."""

    def find(self) -> SavedState | None:
        """The state, whole, or None."""

    def keep(self, save: Callable[[Path], None]) -> None:
        """Keep what ``save(empty_folder)`` writes, unless somebody else has.

        Without room for it nothing is kept, and nothing raised but what the machine's end raises.
        """

    def discard(self, error: Exception) -> None:
        """Remove a state that could not be restored, and say so."""


class States(Protocol):
    """Where the saved states of machines are kept."""

    def of(
        self,
        spec: MachineSpec,
        files: BootFiles,
        clock: Clock,
        command_line: Sequence[str],
        checkpoint: str = "",
    ) -> StatePlace | None:
        """The place of a machine's state right after its boot, or at the checkpoint of this name.

        None for a machine that has to boot each time.
        """


def save(machine: Machine, folder: Path, channel: Path, boot: Boot) -> None:
    """Save a paused machine and its logs into `folder`; it can be resumed afterwards.

    Raises:
        MachineError: QEMU can't, e.g. because a device has no saved form or the disk is full.
        GuestLost: QEMU went away.
    """
    state = SavedState(folder)
    _set_up(machine)
    machine.execute("migrate-set-parameters", {"max-bandwidth": _BANDWIDTH})
    machine.execute("migrate", {"uri": f"file:{folder / _MACHINE}"})
    _await_end(machine, f"a saved machine in {folder}")
    _await_status(machine, "postmigrate")
    shutil.copyfile(machine.console.path, state.console)
    shutil.copyfile(channel, state.channel)
    (folder / _BOOT).write_text(boot.model_dump_json() + "\n", encoding="utf-8")


def restore(machine: Machine, state: SavedState) -> None:
    """Load a saved machine into one that waits for it; it is paused then.

    Raises:
        MachineError: QEMU doesn't take it.
        GuestLost: QEMU went away.
    """
    _set_up(machine)
    machine.execute("migrate-incoming", {"uri": f"file:{state.folder.absolute() / _MACHINE}"})
    _await_end(machine, f"the machine saved in {state.folder}")
    _await_status(machine, "paused")


def _set_up(machine: Machine) -> None:
    machine.execute(
        "migrate-set-capabilities",
        {
            "capabilities": [
                {"capability": name, "state": True} for name in ("mapped-ram", "events")
            ]
        },
    )


def _await_end(machine: Machine, awaited: str) -> None:
    deadline = Deadline(_TIMEOUT_S)
    while True:
        match machine.next(deadline):
            case Event(name="MIGRATION", data={"status": "completed"}):
                return
            case Event(name="MIGRATION", data={"status": "failed"}):
                told = machine.execute("query-migrate")
                reason = str(told.get("error-desc", "QEMU gives no reason"))
                raise MachineError(awaited, reason, log=machine.log)
            case Event():
                pass
            case other:
                seen = "nothing" if other is None else repr(other)
                seen += f" within {_TIMEOUT_S:g} s; {machine.describe_exit()}"
                raise MachineError(awaited, seen, log=machine.log)


def _await_status(machine: Machine, status: str) -> None:
    """Wait until QEMU has settled, which it does right after its event."""
    deadline = Deadline(_TIMEOUT_S)
    while (seen := machine.execute("query-status")["status"]) != status:
        if deadline.remaining_s <= 0:
            raise MachineError(f"a machine that is {status}", str(seen), log=machine.log)
