# SPDX-License-Identifier: GPL-2.0-or-later
"""The session with a real guest: programs, files, devices, and exactness on the virtual clock."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest
from restored import boot

from lab.config import Clock, Engine
from lab.dcbm import Dcbm, load
from lab.errors import MachineError, PremiseError
from lab.machine import session
from lab.machine.argv import BootFiles, MachineSpec
from lab.machine.guest import Guest
from lab.machine.health import Kind
from lab.machine.jobs import GuestFileError

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]
BUSYBOX = "/bin/busybox"
DEADLINE_S = 120.0


def dmatest(guest: Guest, iterations: int) -> None:
    """Verified copies on every channel; returns when all have ended."""
    guest.load_module("dmatest", f"iterations={iterations}", "timeout=2000", "run=1")
    guest.read("/sys/module/dmatest/parameters/wait")


def exercise(guest: Guest, engines: int) -> None:
    guest.load_module("ptdma")
    guest.assert_engines(engines, 1)
    dmatest(guest, 20)
    guest.run([BUSYBOX, "sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; echo $i"])
    for path in ("/proc/stat", "/proc/interrupts", "/proc/vmstat", "/proc/uptime"):
        guest.read(path)


@pytest.mark.parametrize("engines", [1, 16])
def test_the_virtual_clock_is_exact(engines: int, vanilla_files: BootFiles, tmp_path: Path) -> None:
    seen = []
    spec = MachineSpec(engine=Engine(count=engines))
    for name in ("first", "second"):
        folder = tmp_path / name
        with session.boot(spec, vanilla_files, folder, Clock.VIRTUAL, DEADLINE_S) as guest:
            exercise(guest, engines)
            counted = guest.device_counters()
        logs = [(folder / log).read_bytes() for log in ("console.log", "channel.jsonl")]
        seen.append((counted, *logs))
    assert sum(counters.descriptors for counters in seen[0][0].values()) >= 20 * engines
    assert b"0 failures" in seen[0][1]
    assert len(seen[0][1]) > 10_000
    assert seen[0] == seen[1]


def test_programs_files_and_signals(vanilla_files: BootFiles, run_dir: Path) -> None:
    spec = MachineSpec(engine=Engine(count=0))
    with boot(spec, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest:
        script = 'echo plain; echo "{\\"event\\":\\"made\\",\\"n\\":7}"; echo bad >&2; exit 0'
        done = guest.run([BUSYBOX, "sh", "-c", script])
        assert (done.stdout, done.stderr) == (["plain"], ["bad"])
        assert done.result("made")["n"] == 7

        failed = guest.run([BUSYBOX, "sh", "-c", "exit 3"])
        assert (failed.status, failed.ok) == (3, False)
        killed = guest.run([BUSYBOX, "sh", "-c", "kill -9 $$"])
        assert (killed.status, killed.signal) == (None, signal.SIGKILL)
        with pytest.raises(PremiseError, match="No such file"):
            guest.run(["/bin/no-such-program"])

        guest.write("/tmp/text", "Zeile eins; é")  # noqa: S108 - the guest's own
        assert guest.read("/tmp/text") == "Zeile eins; é"  # noqa: S108
        with pytest.raises(GuestFileError) as missing:
            guest.read("/proc/no-such-file")
        assert missing.value.errno == errno.ENOENT
        with pytest.raises(GuestFileError) as refused:
            guest.write("/proc/sys/vm/compaction_proactiveness", "no number")
        assert refused.value.errno == errno.EINVAL

        trap = "trap 'echo caught; exit 4' USR1; echo '{\"event\":\"ready\"}'; "
        job = guest.spawn([BUSYBOX, "sh", "-c", trap + "while :; do :; done"])
        assert job.ready == {"event": "ready"}
        guest.signal(job, signal.SIGUSR1)
        ended = guest.wait(job)
        assert (ended.status, ended.stdout) == (4, ["caught"])
        with pytest.raises(PremiseError, match="exit status 1"):
            guest.spawn([BUSYBOX, "false"])
        with pytest.raises(PremiseError, match="module no_such_module"):
            guest.load_module("no_such_module")


def test_what_the_guest_sees_of_its_engines(vanilla_files: BootFiles, run_dir: Path) -> None:
    spec = MachineSpec(engine=Engine(count=3, node=0, msix=False))
    with boot(spec, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest:
        with pytest.raises(PremiseError, match="bound to ptdma"):
            guest.assert_engines(3, 0)
        guest.load_module("ptdma")
        views = guest.assert_engines(3, 0)
        assert [len(view.channels) for view in views] == [1, 1, 1]
        with pytest.raises(MachineError, match="on node 1"):
            guest.assert_engines(3, 1)
        with pytest.raises(MachineError, match="2 engines"):
            guest.assert_engines(2, 0)


def test_an_injected_fault_is_counted_and_reaches_the_guest(
    vanilla_files: BootFiles, run_dir: Path
) -> None:
    with boot(MachineSpec(), vanilla_files, run_dir, Clock.VIRTUAL, DEADLINE_S) as guest:
        guest.load_module("ptdma")
        guest.assert_engines(1, 1)
        number = guest.inject_fault("dma0", "flip_byte", nth=3, offset=5)
        dmatest(guest, 10)
        (fault,) = guest.faults()
        assert (fault["id"], fault["hits"]) == (number, 1)
        guest.clear_faults()
        assert guest.faults() == []
        with pytest.raises(MachineError, match="no-such-kind"):
            guest.inject_fault("dma0", "no-such-kind")
    assert "1 failures" in (run_dir / "console.log").read_text(encoding="utf-8")


def test_a_kernel_warning_is_a_fact_and_no_crash(vanilla_files: BootFiles, run_dir: Path) -> None:
    spec = MachineSpec(engine=Engine(count=0))
    with boot(spec, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest:
        guest.load_module("lkdtm")
        guest.write("/sys/kernel/debug/provoke-crash/DIRECT", "WARNING")
        (warning,) = guest.reports()
    assert warning.kind is Kind.WARNING
    assert "lkdtm_WARNING" in warning.excerpt


def test_dcbm_on_a_patched_kernel(patched_files: BootFiles, run_dir: Path) -> None:
    spec = MachineSpec(engine=Engine(count=16))
    with boot(spec, patched_files, run_dir, Clock.HOST, DEADLINE_S) as guest:
        with pytest.raises(PremiseError, match="modprobe dcbm"):
            Dcbm(guest)
        guest.load_module("ptdma")
        load(guest)
        dcbm = Dcbm(guest)
        assert dcbm.layout.name == "V6"
        assert not dcbm.offloading
        dcbm.enable(channels=16, reasons=["compaction", "syscall_or_cpuset"])
        assert (dcbm.offloading, dcbm.channels) == (True, 16)
        dcbm.enable(channels=16)
        for bad in ("0", "17", "many"):
            with pytest.raises(GuestFileError) as refused:
                guest.write(dcbm.layout.path("nr_dma_chan"), bad)
            assert refused.value.errno == errno.EINVAL
        with pytest.raises(GuestFileError) as unknown:
            guest.write(dcbm.layout.path("reason_mask"), "no_such_reason")
        assert unknown.value.errno == errno.EINVAL
        assert not guest.run([BUSYBOX, "rmmod", "dcbm"]).ok
        dcbm.disable()
        assert guest.run([BUSYBOX, "rmmod", "dcbm"]).ok


def test_a_kernel_without_the_series_has_no_dcbm(vanilla_files: BootFiles, run_dir: Path) -> None:
    spec = MachineSpec(engine=Engine(count=0))
    with (
        boot(spec, vanilla_files, run_dir, Clock.HOST, DEADLINE_S) as guest,
        pytest.raises(PremiseError, match="dcbm module to load"),
    ):
        load(guest)
