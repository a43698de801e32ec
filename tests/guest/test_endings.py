# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way in which a guest can end, each provoked for real."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from restored import boot

from lab.config import Clock, Engine
from lab.errors import GuestCrash, GuestLost, GuestTimeout, MachineError
from lab.machine import machine
from lab.machine.argv import BootFiles, MachineSpec
from lab.machine.guest import Guest

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]
BUSYBOX = "/bin/busybox"
PROVOKE = "/sys/kernel/debug/provoke-crash/DIRECT"
NO_ENGINES = MachineSpec(engine=Engine(count=0))
DEADLINE_S = 120.0
HANG_S = 12.0
SLEEP = [BUSYBOX, "sleep", "600"]
SPIN = [BUSYBOX, "sh", "-c", "while :; do :; done"]
WAIT_FOR_EVER = f"{BUSYBOX} mkfifo /tmp/f; read line < /tmp/f"


def provoke(guest: Guest, what: str, timeout_s: float = 60.0) -> None:
    guest.load_module("lkdtm")
    guest.write(PROVOKE, what, timeout_s)


def run_and_signal(guest: Guest, argv: list[str], number: int) -> None:
    """Send QEMU a signal while the guest is busy."""
    threading.Timer(1.0, os.kill, (guest.machine.pid, number)).start()
    guest.run(argv)


def kill_and_read(guest: Guest) -> None:
    """Kill QEMU while nobody waits for it."""
    os.kill(guest.machine.pid, signal.SIGKILL)
    time.sleep(0.5)
    guest.read("/proc/uptime")


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that someone else must reap has."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state.split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("clock", list(Clock))
def test_an_oops_is_a_crash(clock: Clock, vanilla_files: BootFiles, run_dir: Path) -> None:
    with (
        pytest.raises(GuestCrash) as crash,
        boot(NO_ENGINES, vanilla_files, run_dir, clock, DEADLINE_S) as guest,
    ):
        provoke(guest, "EXCEPTION")
    assert "NULL pointer dereference" in crash.value.seen
    assert "lkdtm_EXCEPTION" in crash.value.excerpt
    assert "Kernel panic - not syncing: Fatal exception" in crash.value.excerpt
    assert crash.value.log == run_dir / "console.log"


def test_a_panic_is_a_crash(vanilla_files: BootFiles, run_dir: Path) -> None:
    with (
        pytest.raises(GuestCrash) as crash,
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest,
    ):
        guest.write("/proc/sysrq-trigger", "c")
    assert "sysrq triggered crash" in crash.value.seen
    assert "sysrq_handle_crash" in crash.value.excerpt


def test_a_hung_task_is_a_crash_and_costs_no_real_minute(
    vanilla_files: BootFiles, run_dir: Path
) -> None:
    started = time.monotonic()
    with (
        pytest.raises(GuestCrash, match=r"blocked for more than 6\d seconds") as crash,
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.VIRTUAL, DEADLINE_S) as guest,
    ):
        provoke(guest, "HUNG_TASK")
    # The virtual minute takes well under a second; the boot under load may take twenty.
    assert time.monotonic() - started < 50
    assert "lkdtm_HUNG_TASK" in crash.value.excerpt


def test_a_splat_that_the_guest_survives_is_still_a_crash(
    vanilla_files: BootFiles, run_dir: Path
) -> None:
    with (
        pytest.raises(GuestCrash, match="scheduling while atomic"),
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest,
    ):
        provoke(guest, "SPINLOCKUP")


@pytest.mark.parametrize("clock", list(Clock))
def test_a_guest_that_waits_for_ever_times_out(
    clock: Clock, vanilla_files: BootFiles, run_dir: Path
) -> None:
    with (
        pytest.raises(GuestTimeout) as timeout,
        boot(NO_ENGINES, vanilla_files, run_dir, clock, DEADLINE_S) as guest,
    ):
        guest.run([BUSYBOX, "sh", "-c", WAIT_FOR_EVER], timeout_s=HANG_S)
    # The stop may come in the middle of a tick on one of them.
    assert re.search(r"cpu[01] idles in", timeout.value.seen)


def test_a_program_that_spins_for_ever_times_out_on_the_virtual_clock(
    vanilla_files: BootFiles, run_dir: Path
) -> None:
    with (
        pytest.raises(GuestTimeout, match=r"cpu\d runs \w"),
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.VIRTUAL, DEADLINE_S) as guest,
    ):
        guest.run(SPIN, timeout_s=HANG_S)


def test_a_kernel_that_spins_without_interrupts_times_out_and_is_named(
    vanilla_files: BootFiles, run_dir: Path
) -> None:
    with (
        pytest.raises(GuestTimeout) as timeout,
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest,
    ):
        provoke(guest, "HARDLOCKUP", timeout_s=HANG_S)
    assert "lkdtm_HARDLOCKUP" in timeout.value.seen
    assert "with interrupts off" in timeout.value.seen
    hang = (run_dir / "hang.txt").read_text(encoding="utf-8")
    assert "RIP: 0010:lkdtm_HARDLOCKUP" in hang
    assert "CR3=" in hang


def test_a_session_deadline_holds_for_every_call(vanilla_files: BootFiles, run_dir: Path) -> None:
    started = time.monotonic()
    with (
        pytest.raises(GuestTimeout),
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.HOST, 25.0) as guest,
    ):
        guest.run(SLEEP)
    assert time.monotonic() - started < 60


def test_a_killed_qemu_is_lost(vanilla_files: BootFiles, run_dir: Path) -> None:
    with (
        pytest.raises(GuestLost) as lost,
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest,
    ):
        run_and_signal(guest, SLEEP, signal.SIGKILL)
    assert "SIGKILL" in lost.value.seen


def test_a_qemu_killed_between_two_requests_is_lost(
    vanilla_files: BootFiles, run_dir: Path
) -> None:
    with (
        pytest.raises(GuestLost, match="SIGKILL"),
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest,
    ):
        kill_and_read(guest)


def test_a_terminated_qemu_is_lost(vanilla_files: BootFiles, run_dir: Path) -> None:
    with (
        pytest.raises(GuestLost, match="host-signal"),
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest,
    ):
        run_and_signal(guest, SLEEP, signal.SIGTERM)


def test_an_abort_from_another_thread_is_prompt(vanilla_files: BootFiles, run_dir: Path) -> None:
    aborted_at: list[float] = []

    def abort(guest: Guest) -> None:
        aborted_at.append(time.monotonic())
        guest.abort()

    def run_and_abort(guest: Guest) -> None:
        threading.Timer(1.0, abort, (guest,)).start()
        guest.run(SPIN)

    with (
        pytest.raises(GuestLost),
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.VIRTUAL, DEADLINE_S) as guest,
    ):
        run_and_abort(guest)
    assert time.monotonic() - aborted_at[0] < 10


def test_a_guest_that_resets_itself_is_lost(vanilla_files: BootFiles, run_dir: Path) -> None:
    with (
        pytest.raises(GuestLost, match=r"guest-reset"),
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest,
    ):
        guest.run([BUSYBOX, "reboot", "-f"])


def test_a_guest_that_powers_off_unasked_is_lost(vanilla_files: BootFiles, run_dir: Path) -> None:
    with (
        pytest.raises(GuestLost, match=r"guest-shutdown"),
        boot(NO_ENGINES, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest,
    ):
        guest.run([BUSYBOX, "poweroff", "-f"])


def test_a_machine_without_its_device_is_an_error_before_the_guest_runs(
    vanilla_files: BootFiles, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = machine.build_argv

    def without_dma1(*arguments: object, **named: object) -> list[str]:
        argv = whole(*arguments, **named)  # type: ignore[arg-type]
        index = next(i for i, value in enumerate(argv) if "id=dma1," in value)
        return argv[: index - 1] + argv[index + 1 :]

    monkeypatch.setattr(machine, "build_argv", without_dma1)
    spec = MachineSpec(engine=Engine(count=2))
    with (
        pytest.raises(MachineError, match="the devices dma1"),
        boot(spec, vanilla_files, run_dir, Clock.HOST, DEADLINE_S),
    ):
        pytest.fail("the guest was started")
    assert not (run_dir / "console.log").read_bytes()


def test_a_qemu_that_refuses_its_arguments_is_quoted(
    vanilla_files: BootFiles, run_dir: Path, tmp_path: Path
) -> None:
    files = BootFiles(
        vanilla_files.qemu, vanilla_files.firmware_dirs, tmp_path / "none", vanilla_files.initramfs
    )
    with (
        pytest.raises(MachineError) as refused,
        boot(NO_ENGINES, files, run_dir, Clock.HOST, DEADLINE_S),
    ):
        pytest.fail("there was no kernel to boot")
    assert "exited with status 1" in refused.value.seen
    assert "none" in refused.value.seen


LAB = """
import sys
from pathlib import Path
from lab.config import Clock, Engine
from lab.machine.argv import BootFiles, MachineSpec
from lab.machine.session import boot
qemu, firmware, vmlinux, initramfs, folder = sys.argv[1:]
files = BootFiles(Path(qemu), tuple(map(Path, firmware.split(":"))), Path(vmlinux), Path(initramfs))
spec = MachineSpec(engine=Engine(count=0))
with boot(spec, files, Path(folder), Clock.HOST, 120.0) as guest:
    print(guest.machine.pid, flush=True)
    guest.run(["/bin/busybox", "sleep", "600"])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_lab_that_is_killed_leaves_no_qemu(
    number: signal.Signals, vanilla_files: BootFiles, run_dir: Path
) -> None:
    files = vanilla_files
    firmware = ":".join(str(directory) for directory in files.firmware_dirs)
    paths = [str(files.qemu), firmware, str(files.vmlinux), str(files.initramfs), str(run_dir)]
    lab = subprocess.Popen(
        [sys.executable, "-c", LAB, *paths], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert lab.stdout is not None
    try:
        pid = int(lab.stdout.readline())
        assert "qemu" in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
        lab.send_signal(number)
        lab.wait(20)
        assert gone(pid)
    finally:
        lab.kill()
        lab.wait()
        lab.stdout.close()
