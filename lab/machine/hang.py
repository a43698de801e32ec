# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest that does not answer is doing: where each CPU is, and every CPU's stack."""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.errors import GuestLost, MachineError
from lab.machine.deadline import Deadline
from lab.machine.machine import Ended, Machine

HANG_FILE = "hang.txt"
_STACKS_TIMEOUT_S = 20.0
_INTERRUPT_FLAG = 0x200
_KERNEL_SPACE = 1 << 63

_CPU = re.compile(r"^CPU#(\d+)$", re.MULTILINE)
_RIP = re.compile(r"\bRIP=([0-9a-f]+) RFL=([0-9a-f]+)")
_CPL = re.compile(r"\bCPL=(\d)")
_HLT = re.compile(r"\bHLT=(\d)")
# A stack in the guest's own words; its first "RIP: 0010:" is where the kernel was.
_STACK_CPU = re.compile(r"\bCPU: (\d+) UID: ")
_STACK_RIP = re.compile(r"\bRIP: 0010:(\S+(?: \[\w+\])?)")


@dataclass(frozen=True)
class CpuState:
    """Where a virtual CPU was when the machine was stopped."""

    number: int
    rip: int
    flags: int
    privilege: int
    halted: bool

    def describe(self, symbols: Symbols, seen_by_guest: Mapping[int, str]) -> str:
        """One phrase, e.g. ``cpu1 runs pt_issue_pending+0x2c with interrupts off``.

        `seen_by_guest` names the places that `symbols` can't, those in modules.
        """
        where = symbols.name(self.rip) if self.rip & _KERNEL_SPACE else "user code"
        where = where or seen_by_guest.get(self.number) or f"{self.rip:#x}"
        if self.halted:
            return f"cpu{self.number} idles in {where}"
        interrupts = "on" if self.flags & _INTERRUPT_FLAG else "off"
        return f"cpu{self.number} runs {where} with interrupts {interrupts}"


class Symbols:
    """Names for kernel addresses from a System.map.

    The guest boots with ``nokaslr``, so link addresses are run-time addresses. Modules have none.
    """

    def __init__(self, system_map: Path | None) -> None:
        self._addresses: list[int] = []
        self._names: list[str] = []
        if system_map is None or not system_map.is_file():
            return
        for line in system_map.read_text(encoding="ascii", errors="replace").splitlines():
            fields = line.split()
            if len(fields) == 3 and fields[1] in "tTwW":  # noqa: PLR2004 - address, type, name
                self._addresses.append(int(fields[0], 16))
                self._names.append(fields[2])

    def name(self, address: int) -> str:
        """``symbol+offset``, or nothing for an address that has no name."""
        index = bisect.bisect_right(self._addresses, address) - 1
        # Beyond the last symbol lie modules, which a System.map doesn't know.
        if index < 0 or index == len(self._addresses) - 1:
            return ""
        return f"{self._names[index]}+{address - self._addresses[index]:#x}"


def parse_stacks(console: str) -> dict[int, str]:
    """Where each CPU was by the guest's own stacks, which know the modules' symbols."""
    places: dict[int, str] = {}
    cpu: int | None = None
    for line in console.splitlines():
        if (match := _STACK_CPU.search(line)) is not None:
            cpu = int(match[1])
        elif cpu is not None and (match := _STACK_RIP.search(line)) is not None:
            places.setdefault(cpu, match[1])
    return places


def parse_registers(text: str) -> list[CpuState]:
    """The states in the output of the monitor's ``info registers -a``."""
    parts = _CPU.split(text)
    states = []
    for number, registers in zip(parts[1::2], parts[2::2], strict=True):
        rip, cpl, hlt = _RIP.search(registers), _CPL.search(registers), _HLT.search(registers)
        if rip is None or cpl is None or hlt is None:
            continue
        states.append(
            CpuState(int(number), int(rip[1], 16), int(rip[2], 16), int(cpl[1]), hlt[1] == "1")
        )
    return states


def examine(machine: Machine, symbols: Symbols) -> str:
    """Say what each CPU does, and leave registers and stacks in ``hang.txt``.

    The guest is used up: an NMI makes it panic and print the stack of each CPU and blocked task.
    """
    try:
        machine.execute("stop")
        registers = str(
            machine.execute("human-monitor-command", {"command-line": "info registers -a"})
        ).replace("\r\n", "\n")
        stacks = _provoke_stacks(machine)
    except (GuestLost, MachineError) as error:
        return f"QEMU itself doesn't answer ({error.seen})"
    places = parse_stacks(stacks)
    summary = "; ".join(state.describe(symbols, places) for state in parse_registers(registers))
    (machine.run_dir / HANG_FILE).write_text(
        f"{summary}\n\n-- console after an injected NMI --\n{stacks or '(nothing)'}\n\n"
        f"-- registers --\n{registers}",
        encoding="utf-8",
    )
    return summary


def _provoke_stacks(machine: Machine) -> str:
    before = len(machine.console.text())
    machine.execute("cont")
    machine.execute("inject-nmi")
    deadline = Deadline(_STACKS_TIMEOUT_S)
    while not isinstance(machine.next(deadline), Ended | None):
        pass
    return machine.console.text()[before:]
