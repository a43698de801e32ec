# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host has and lacks: programs, headers, room, and a KVM that can really run a guest.

An existing /dev/kvm proves nothing: nested hypervisors exist that create a machine and then fail in
its first instructions. So the lab boots a kernel under KVM once, against a deadline, and remembers.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.build.kernel import KernelArtifact
from lab.build.qemu import QemuArtifact
from lab.cache import Cache, make_key
from lab.errors import HostError, LabError
from lab.host import NEEDS, missing_packages
from lab.program import Program, run_program
from lab.progress import Progress
from lab.sources.archive import find_mirror

# Sources, build trees and artifacts of one base with room to work; and once they are there.
NEEDED_BYTES = 8 << 30
NEEDED_WARM_BYTES = 2 << 30
KVM_DEADLINE_S = 30.0
KVM_DEVICE = Path("/dev/kvm")
# A kernel without a root file system gets this far only if everything before worked.
_BOOTED = "VFS: Unable to mount root fs"
_CPU_MODEL = Path("/proc/cpuinfo")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    seen: str
    remedy: str = ""


def check_host(cache: Cache) -> list[Finding]:
    """Look at everything but KVM; it changes nothing."""
    findings = [_check_machine(), _check_python()]
    missing = missing_packages()
    by_package = {need.package: need.why for need in NEEDS}
    seen = ", ".join(f"{name} ({by_package[name]})" for name in missing)
    remedy = f"apt-get install {' '.join(missing)}" if missing else ""
    findings.append(
        Finding("packages", not missing, f"missing: {seen}" if missing else "all there", remedy)
    )
    findings.append(_check_room(cache))
    try:
        findings.append(Finding("package archive", True, find_mirror()))
    except HostError as error:
        findings.append(Finding("package archive", False, error.seen, error.hint or ""))
    return findings


def _check_machine() -> Finding:
    machine = platform.machine()
    seen = f"{machine}, {len(os.sched_getaffinity(0))} CPUs, Linux {platform.release()}"
    return Finding("machine", machine == "x86_64", seen, "the lab needs an x86-64 Linux host")


def _check_python() -> Finding:
    return Finding(
        "python", sys.version_info >= (3, 11), platform.python_version(), "3.11 or newer"
    )


def _check_room(cache: Cache) -> Finding:
    place = cache.root
    while not place.exists():
        place = place.parent
    needed = NEEDED_WARM_BYTES if (cache.root / "kernel").is_dir() else NEEDED_BYTES
    free = shutil.disk_usage(place).free
    seen = f"{free / 1e9:.1f} GB free at {place}, {needed / 1e9:.1f} GB needed"
    remedy = "dcbm-lab cache gc, or set XDG_CACHE_HOME to a place with more room"
    return Finding("room", free >= needed, seen, remedy)


@dataclass(frozen=True)
class KvmAnswer:
    """Whether KVM can run a guest here.

    Attributes:
        usable: a kernel really booted under it.
        reason: what was seen, in one line.
        log: the trial's output, if there was one.
    """

    usable: bool
    reason: str
    log: Path | None = None

    @property
    def line(self) -> str:
        """One line for people."""
        if self.usable:
            return f"KVM works: {self.reason}"
        return f"KVM can't run a guest here, so guests run in software (TCG): {self.reason}"


def try_kvm(
    cache: Cache, qemu: QemuArtifact, kernel: KernelArtifact, progress: Progress
) -> KvmAnswer:
    """Boot `kernel` under KVM unless the answer for this host, QEMU and kernel is known."""
    if not KVM_DEVICE.exists():
        return KvmAnswer(False, f"there is no {KVM_DEVICE}")
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return KvmAnswer(False, f"{KVM_DEVICE} may not be opened: join its group")
    key = make_key(
        boot=_BOOT_ID.read_text(encoding="utf-8").strip(),
        host=platform.release(),
        processor=_processor(),
        qemu=qemu.key,
        kernel=kernel.key,
    )
    memory = cache.root / "kvm" / f"{key}.json"
    log = cache.root / "logs" / "kvm-trial.log"
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        return KvmAnswer(bool(known["usable"]), str(known["reason"]), log)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with progress.step("trying KVM", log=log):
        answer = _boot_under_kvm(qemu, kernel, log)
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps({"usable": answer.usable, "reason": answer.reason}), "utf-8")
    return answer


def _boot_under_kvm(qemu: QemuArtifact, kernel: KernelArtifact, log: Path) -> KvmAnswer:
    log.unlink(missing_ok=True)
    argv: list[str | Path] = [qemu.binary, "-machine", "q35", "-accel", "kvm", "-cpu", "host"]
    argv += ["-m", "512", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    argv += ["-serial", "stdio", "-kernel", kernel.vmlinux]
    argv += ["-append", "console=ttyS0 panic=-1 root=none"]
    for directory in qemu.firmware_dirs:
        argv += ["-L", directory]
    program = Program(
        argv, awaited="a kernel that boots under KVM", log=log, timeout_s=KVM_DEADLINE_S
    )
    try:
        tail = run_program(program)
    except LabError as error:
        shown = error.seen.splitlines()
        return KvmAnswer(_log_has(log), " ".join(shown[:2])[-300:], log)
    if any(_BOOTED in line for line in tail):
        return KvmAnswer(True, "a kernel booted under it", log)
    last = next((line for line in reversed(tail) if line.strip()), "no output")
    return KvmAnswer(False, f"the guest ended early, after {last[-200:]!r}", log)


def _log_has(log: Path) -> bool:
    try:
        return _BOOTED in log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _processor() -> str:
    for line in _CPU_MODEL.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
