# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said about a guest that hangs, from a real register dump and real stacks."""

from __future__ import annotations

from pathlib import Path

from lab.machine.hang import Symbols, parse_registers, parse_stacks

DATA = Path(__file__).parent.parent / "data"


def test_registers_of_a_guest_that_spins_with_interrupts_off() -> None:
    states = parse_registers((DATA / "info-registers.txt").read_text(encoding="utf-8"))
    assert [state.number for state in states] == [0, 1]
    assert [state.halted for state in states] == [False, False]
    assert [bool(state.flags & 0x200) for state in states] == [False, True]


def test_the_guests_own_stacks_name_modules() -> None:
    console = (DATA / "console" / "injected-nmi.log").read_text(encoding="utf-8")
    places = parse_stacks(console)
    assert places[0] == "lkdtm_HARDLOCKUP+0x3/0x10 [lkdtm]"
    assert places[1].startswith("smp_call_function_many_cond+")


def test_each_cpu_in_one_phrase(tmp_path: Path) -> None:
    states = parse_registers((DATA / "info-registers.txt").read_text(encoding="utf-8"))
    system_map = tmp_path / "System.map"
    system_map.write_text(
        f"{states[1].rip - 0x10:016x} T known_function\n"
        f"{states[1].rip - 0x8:016x} D some_data\n"
        f"{states[1].rip + 0x10:016x} T next_function\n",
        encoding="ascii",
    )
    symbols = Symbols(system_map)
    assert states[1].describe(symbols, {}) == "cpu1 runs known_function+0x10 with interrupts on"
    assert states[0].describe(symbols, {0: "spin+0x3 [m]"}) == (
        "cpu0 runs spin+0x3 [m] with interrupts off"
    )
    assert states[0].describe(Symbols(None), {}) == (
        f"cpu0 runs {states[0].rip:#x} with interrupts off"
    )


def test_a_dump_that_cannot_be_read_says_nothing() -> None:
    assert parse_registers("") == []
    assert parse_registers("CPU#0\nRAX=0\n") == []
