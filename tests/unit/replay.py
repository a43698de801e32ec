# SPDX-License-Identifier: GPL-2.0-or-later
"""A real guest's conversation, recorded by an earlier run, played to the real session code.

The recorded requests are held against those that the code makes now, so that a change in what is
asked shows; the answers can be changed to see whether the checks notice.
"""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.experiments.base import ModePlan
from lab.machine.argv import MachineSpec
from lab.machine.deadline import Deadline
from lab.machine.guest import Guest
from lab.machine.machine import MailboxLine
from lab.machine.monitor import Event
from lab.results import DeviceCounters, Mode

RUNS = Path(__file__).parent.parent / "data" / "runs"
ZERO = DeviceCounters(descriptors=0, bytes=0, interrupts=0, errors=0)
Change = Callable[[dict[str, Any]], None]


class _Console:
    path = Path("console.log")

    def size_bytes(self) -> int:
        return 0

    def text(self) -> str:
        return ""


class ReplayMachine:
    """Stands where QEMU would, with the lines of a recorded channel."""

    def __init__(
        self, spec: MachineSpec, lines: list[str], counted: list[DeviceCounters], engines: int
    ) -> None:
        self.spec = spec
        self.run_dir = Path("replay")
        self.console = _Console()
        self._lines = deque(lines)
        self._coming: deque[MailboxLine | Event] = deque()
        # What all engines together show at each reading; that many engines share it.
        self._counted = deque(counted)
        self._engines = engines
        self._shown = ZERO

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        arguments = arguments or {}
        if command == "qom-set":
            self._answer(arguments["value"].split("\n"))
        elif command == "qom-get":
            number = int(arguments["path"].rpartition("/dma")[2])
            if number == 0 and arguments["property"] == "descriptors":
                self._shown = self._counted.popleft()
            share, rest = divmod(getattr(self._shown, arguments["property"]), self._engines)
            return 0 if number >= self._engines else share + (number < rest)
        return {}

    def next(self, _deadline: Deadline) -> MailboxLine | Event | None:
        return self._coming.popleft() if self._coming else None

    def _answer(self, fields: list[str]) -> None:
        recorded = json.loads(self._lines.popleft())
        assert recorded == {"type": "request", "fields": fields}
        while self._lines and '"request"' not in self._lines[0]:
            self._coming.append(MailboxLine(self._lines.popleft().encode()))
        self._coming.append(Event("STOP", {}))


def recorded_mode(run: str) -> Mode:
    """What the recorded run found."""
    return Mode.model_validate_json((RUNS / run / "result.json").read_text(encoding="utf-8"))


def replay(
    run: str,
    plan: ModePlan,
    *,
    change: Change | None = None,
    counted: list[DeviceCounters] | None = None,
    engines: int = 1,
) -> Guest:
    """A guest that answers as it did in a recorded run.

    Args:
        run: folder below tests/data/runs.
        plan: the mode that was recorded.
        change: may change each message of the guest before it is played.
        counted: readings of the engines' counters, in order; as recorded by default.
        engines: how many of them share what was counted.
    """
    text = (RUNS / run / "channel.jsonl").read_text(encoding="utf-8")
    messages = [json.loads(line) for line in text.splitlines()]
    first_request = next(at for at, item in enumerate(messages) if item["type"] == "request")
    messages = messages[first_request:]
    if change is not None:
        for message in messages:
            if message["type"] != "request":
                change(message)
    if counted is None:
        counted = [ZERO, recorded_mode(run).device or ZERO]
    machine = ReplayMachine(
        MachineSpec(plan.machine.topology, plan.machine.engine),
        [json.dumps(message) for message in messages],
        counted,
        engines,
    )
    return Guest(machine, io.StringIO(), Deadline(60))  # type: ignore[arg-type]
