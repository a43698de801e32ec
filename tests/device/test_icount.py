# SPDX-License-Identifier: GPL-2.0-or-later
"""The virtual clock, seen by a processor without firmware: programs of a few instructions."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.device

ROUNDS = 1000
# What both programs end with: say the number of ns in %eax on port 0xe9, in hexadecimal, and end
# QEMU with status 1. The ROM is 64 KiB; the processor starts 16 bytes below its end.
END = """
    movl $8, %ecx
1:  roll $4, %eax
    movl %eax, %edx
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe 2f
    addb $7, %al
2:  outb %al, $0xe9
    movl %edx, %eax
    loop 1b
    xorb %al, %al
    outb %al, $0xf4
    .org 0xfff0
    ljmp $0xf000, $start
    .org 0x10000
"""
LOOP = f"""
    .code16
start:
    cli
    rdtsc
    movl %eax, %ebx
    movl ${ROUNDS}, %ecx
1:  pause
    decl %ecx
    jnz 1b
    rdtsc
    subl %ebx, %eax
"""
STRING = f"""
    .code16
start:
    cli
    rdtsc
    movl %eax, %ebx
    xorw %ax, %ax
    movw %ax, %es
    movl ${ROUNDS}, %ecx
    movl $0x1000, %edi
    rep stosl %eax, %es:(%edi)
    rdtsc
    subl %ebx, %eax
"""
# The second processor starts at the ROM's first byte. The first one reaches the local APIC, far
# above what real mode addresses, with a limit that a moment of protected mode leaves behind.
START_OTHER = """
start:
    cli
    lgdtw %cs:table
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    movw $8, %bx
    movw %bx, %ds
    andb $0xfe, %al
    movl %eax, %cr0
    xorw %bx, %bx
    movw %bx, %ds
    movl $0xfee00300, %edi
    movl $0x01000000, 0x10(%edi)
    movl $0x4500, (%edi)
    movl $0x46f0, (%edi)
    jmp 1f
descriptors:
    .quad 0, 0x00cf92000000ffff
table:
    .word 15
    .long 0xf0000 + descriptors
1:  pause
    cmpb $0, 0x1000
    jz 1b
"""
WAIT_FOR_OTHER = f"""
    .code16
    incb 0x1000
    pause
    movl $10000, %ecx
1:  decl %ecx
    jnz 1b
    incb 0x1000
    hlt
    {START_OTHER}
    rdtsc
    movl %eax, %ebx
1:  pause
    cmpb $2, 0x1000
    jnz 1b
    rdtsc
    subl %ebx, %eax
"""
# The other counts. Paging is on, with pages of 4 MiB; the translation of the second one is in the
# TLB, and its accessed bit is clear again, when the machine is stopped by the mailbox. What it says
# is whether the other has run first, and in bit 5 whether the page's entry was read again.
STOP = f"""
    .code16
1:  incl 0x1000
    jmp 1b
    {START_OTHER}
    movl $0x80001810, %eax
    movw $0xcf8, %dx
    outl %eax, %dx
    movl $0xfeb00000, %eax
    movw $0xcfc, %dx
    outl %eax, %dx
    movl $0x80001804, %eax
    movw $0xcf8, %dx
    outl %eax, %dx
    movl $2, %eax
    movw $0xcfc, %dx
    outl %eax, %dx
    movl $0x00000083, 0x2000
    movl $0x00400083, 0x2004
    movl $0xfe800083, 0x2fe8
    movl $0x10, %eax
    movl %eax, %cr4
    movl $0x2000, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $0x80000001, %eax
    movl %eax, %cr0
    movl $0x400000, %ebx
    movl (%ebx), %eax
    andb $0xdf, 0x2004
    movl $0xfeb00008, %edi
    movl 0x1000, %esi
    movl %eax, (%edi)
    movl 0x1000, %eax
    subl %esi, %eax
    setnz %al
    movzbl %al, %eax
    movl (%ebx), %ecx
    movb 0x2004, %cl
    andb $0x20, %cl
    orb %cl, %al
"""


def assemble(text: str, folder: Path) -> Path:
    """A ROM with this program."""
    (folder / "rom.s").write_text(text + END, encoding="ascii")
    subprocess.run(["as", "--32", "-o", "rom.o", "rom.s"], cwd=folder, check=True)
    link = ["ld", "-m", "elf_i386", "-Ttext=0", "--oformat=binary", "-o", "rom.bin", "rom.o"]
    subprocess.run(link, cwd=folder, check=True, capture_output=True)
    return folder / "rom.bin"


@pytest.fixture(scope="module")
def rom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assemble(LOOP, tmp_path_factory.mktemp("rom"))


def command(qemu: Path, rom: Path, icount: str, cpus: int, *more: str) -> list[str]:
    argv = [str(qemu), "-nodefaults", "-display", "none", "-machine", "q35", "-bios", str(rom)]
    argv += ["-accel", "tcg", "-icount", icount, "-smp", str(cpus)]
    argv += ["-chardev", "stdio,id=said", "-device", "isa-debugcon,iobase=0xe9,chardev=said"]
    return [*argv, "-device", "isa-debug-exit,iobase=0xf4,iosize=1", *more]


def start(qemu: Path, rom: Path, icount: str, cpus: int = 1) -> subprocess.CompletedProcess[str]:
    argv = command(qemu, rom, icount, cpus)
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def loop_ns(qemu: Path, rom: Path, icount: str, cpus: int = 1) -> int:
    done = start(qemu, rom, icount, cpus)
    assert done.returncode == 1, done.stderr  # what isa-debug-exit makes of 0
    return int(done.stdout, 16)


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_pause_takes_the_time_that_is_asked_for(plain: Path, rom: Path, cpus: int) -> None:
    without = loop_ns(plain, rom, "shift=0,sleep=off", cpus)
    assert 3 * ROUNDS <= without < 3 * ROUNDS + 10
    for pause_ns in (1, 200):
        took = loop_ns(plain, rom, f"shift=0,sleep=off,pause={pause_ns}", cpus)
        assert took - without == pause_ns * ROUNDS


def test_a_pause_lets_another_processor_run(plain: Path, tmp_path: Path) -> None:
    rom = assemble(WAIT_FOR_OTHER, tmp_path)
    pause_ns = 1_000_000
    took = loop_ns(plain, rom, f"shift=0,sleep=off,pause={pause_ns}", cpus=2)
    # One pause, and the other's turn with its 20,000 instructions. If a pause did not end a turn,
    # the other would be through with them before its first word was read.
    assert pause_ns + 20_000 < took < pause_ns + 21_000


# With the latter a turn is so short that all of it is in the 16 bits that translated code counts.
@pytest.mark.parametrize(("shift", "pause_ns", "rounded_ns"), [(3, 17, 24), (10, 2000, 2048)])
def test_a_pause_is_rounded_up_to_instructions(
    shift: int, pause_ns: int, rounded_ns: int, plain: Path, rom: Path
) -> None:
    without = loop_ns(plain, rom, f"shift={shift},sleep=off")
    took = loop_ns(plain, rom, f"shift={shift},sleep=off,pause={pause_ns}")
    assert took - without == rounded_ns * ROUNDS


@pytest.mark.parametrize(
    ("icount", "said"),
    [
        ("shift=0,pause=1000000001", "one second at most"),
        ("shift=0,pause=200,rr=record,rrfile=/dev/null", "pause and rr are incompatible"),
        ("sleep=off,pause=200", "specify shift option when using pause"),
        ("shift=0,pause=soon", "pause"),
    ],
)
def test_a_pause_that_cannot_be_is_refused(plain: Path, rom: Path, icount: str, said: str) -> None:
    done = start(plain, rom, icount)
    assert done.returncode == 1
    assert said in done.stderr


def test_iterations_of_a_string_instruction_are_counted_and_chained(
    plain: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    argv = command(plain, assemble(STRING, tmp_path), "shift=0,sleep=off", 1)
    done = subprocess.run(
        [*argv, "-d", "exec", "-D", str(log)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ROUNDS <= int(done.stdout, 16) < ROUNDS + 20
    # QEMU logs the blocks that its main loop starts, and not those that are chained to them.
    started = log.read_text(encoding="ascii").count("Trace 0: ")
    assert 10 < started < ROUNDS // 2


class Stopped:
    """A machine that the mailbox has stopped, or that waits for a saved one."""

    def __init__(self, qemu: Path, rom: Path, *more: str) -> None:
        ours, theirs = socket.socketpair()
        mailbox = ["-chardev", "null,id=mail", "-device", "lab-mailbox,chardev=mail,addr=3"]
        monitor = ["-chardev", f"socket,id=qmp,fd={theirs.fileno()}"]
        monitor += ["-mon", "chardev=qmp,mode=control"]
        argv = command(qemu, rom, "shift=0,sleep=off", 2, *mailbox, *monitor, *more)
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        ours.settimeout(60)
        self.monitor = ours.makefile("rw", encoding="utf-8")
        self.monitor.readline()
        self.execute("qmp_capabilities")
        self.reach("paused")

    def execute(self, name: str, **arguments: object) -> dict[str, str]:
        self.monitor.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.monitor.flush()
        while "return" not in (answer := json.loads(self.monitor.readline())):
            assert "error" not in answer, answer
        found: dict[str, str] = answer["return"]
        return found

    def reach(self, status: str) -> None:
        end = time.monotonic() + 60
        while self.execute("query-status")["status"] != status:
            assert time.monotonic() < end
            time.sleep(0.01)

    def go_on(self) -> int:
        self.execute("cont")
        said, _ = self.process.communicate(timeout=60)
        return int(said, 16)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def test_a_stop_is_like_a_migration(plain: Path, tmp_path: Path) -> None:
    rom = assemble(STOP, tmp_path)
    kept = Stopped(plain, rom)
    try:
        saved = f"file:{tmp_path / 'saved'}"
        kept.execute("migrate", uri=saved)
        kept.reach("postmigrate")
        loaded = Stopped(plain, rom, "-S", "-incoming", saved)
        try:
            # The other has run first, and the TLB was empty: in a machine that was loaded, in one
            # that was saved, and in one that was only stopped.
            assert loaded.go_on() == 0x21
        finally:
            loaded.kill()
        assert kept.go_on() == 0x21
    finally:
        kept.kill()
    stopped = Stopped(plain, rom)
    try:
        assert stopped.go_on() == 0x21
    finally:
        stopped.kill()
