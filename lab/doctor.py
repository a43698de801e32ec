# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host has and lacks: programs, headers, room, and a KVM that can really run a guest.

An existing /dev/kvm proves nothing: nested hypervisors exist that create a machine and then fail in
its first instructions. So the lab boots a kernel under KVM once, against a deadline, and remembers.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.cache import MANIFEST, Cache, make_key
from lab.config import Variant
from lab.errors import HostError, LabError
from lab.host import NEEDS, missing_packages
from lab.manifest import read_manifest
from lab.memory import available_bytes
from lab.program import Program, run_program
from lab.progress import Progress
from lab.sources.archive import find_mirror

# Sources, build trees and artifacts of one base with room to work; and once they are there.
NEEDED_BYTES = 8 << 30
NEEDED_WARM_BYTES = 2 << 30
# A guest of the default topology with QEMU around it; two of them run at once.
NEEDED_MEMORY_BYTES = 6 << 30
KVM_DEADLINE_S = 30.0
KVM_DEVICE = Path("/dev/kvm")
# A kernel without a program to run gets this far only if everything before worked.
_BOOTED = re.compile(r"No working init found|VFS: Unable to mount root fs")
_HOW_IT_ENDED = re.compile(r"exit status \d+|still running after \d+ s")
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
    findings.append(_check_memory())
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


def _check_memory() -> Finding:
    free = available_bytes()
    seen = f"{free / 1e9:.1f} GB available, {NEEDED_MEMORY_BYTES / 1e9:.1f} GB for two guests"
    remedy = "--jobs 1, or smaller nodes: --set topology.nodes.0.memory_mib=384"
    return Finding("memory", free >= NEEDED_MEMORY_BYTES, seen, remedy)


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


@dataclass(frozen=True)
class Trial:
    """What KVM is tried with: a QEMU, its firmware directories and a kernel image."""

    qemu: Path
    firmware_dirs: tuple[Path, ...]
    vmlinux: Path


def find_trial(cache: Cache) -> Trial | None:
    """The most recently used QEMU and kernel of the cache; None when something isn't built yet.

    A kernel without instrumentation goes before one with: KASAN may take longer than the deadline.
    """
    qemu = next(_whole(cache, "qemu", "qemu-system-x86_64"), None)
    kernels = [path.parent.name for path in _whole(cache, "kernel", "vmlinux")]
    firmware = tuple(_whole(cache, "firmware", "firmware"))
    if qemu is None or not kernels or not firmware:
        return None
    kernel = min(kernels, key=lambda key: f" {Variant.PLAIN.value} " not in _title(cache, key))
    return Trial(qemu, firmware, cache.path("kernel", kernel) / "vmlinux")


def _whole(cache: Cache, kind: str, name: str) -> Iterator[Path]:
    """`name` in every undamaged entry of a kind that has it, most recently used first."""
    # find marks an entry as used, so the order is taken before
    for entry in sorted(cache.root.glob(f"{kind}/*/{MANIFEST}"), key=lambda path: -_mtime(path)):
        path = cache.find(kind, entry.parent.name)
        if path is not None and (path / name).exists():
            yield path / name


def _title(cache: Cache, kernel: str) -> str:
    manifest, _ = read_manifest(cache.path("kernel", kernel))
    return str(manifest.get("title", ""))


def _mtime(path: Path) -> float:
    return path.stat().st_mtime


def ask_kvm(cache: Cache, progress: Progress) -> KvmAnswer:
    """Whether KVM can run a guest: from memory if this host, QEMU and kernel were tried before."""
    if not KVM_DEVICE.exists():
        return KvmAnswer(False, f"there is no {KVM_DEVICE}")
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return KvmAnswer(False, f"{KVM_DEVICE} may not be opened: join its group")
    trial = find_trial(cache)
    if trial is None:
        return KvmAnswer(False, "not tried yet, nothing is built (dcbm-lab build all)")
    key = make_key(
        boot=_BOOT_ID.read_text(encoding="utf-8").strip(),
        host=platform.release(),
        processor=_processor(),
        qemu=trial.qemu.parent.name,
        kernel=trial.vmlinux.parent.name,
    )
    memory = cache.root / "kvm" / f"{key}.json"
    log = cache.root / "logs" / "kvm-trial.log"
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        return KvmAnswer(bool(known["usable"]), str(known["reason"]), log)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with progress.step("trying KVM", log=log):
        answer = boot_under_kvm(trial, log)
    memory.parent.mkdir(parents=True, exist_ok=True)
    partial = memory.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"usable": answer.usable, "reason": answer.reason}), "utf-8")
    partial.replace(memory)
    return answer


def boot_under_kvm(trial: Trial, log: Path, accelerator: str = "kvm") -> KvmAnswer:
    """Boot a kernel to the point where it looks for a root file system, within KVM_DEADLINE_S."""
    log.unlink(missing_ok=True)
    processor = "host" if accelerator == "kvm" else "max"
    argv: list[str | Path] = [trial.qemu, "-machine", "q35", "-accel", accelerator]
    argv += ["-cpu", processor, "-m", "512", "-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-no-reboot", "-serial", "stdio", "-kernel", trial.vmlinux]
    argv += ["-append", "console=ttyS0 panic=-1 root=none"]
    for directory in trial.firmware_dirs:
        argv += ["-L", directory]
    program = Program(
        argv, awaited="a kernel that boots under KVM", log=log, timeout_s=KVM_DEADLINE_S
    )
    try:
        tail = run_program(program)
    except LabError as error:
        ended = _HOW_IT_ENDED.search(error.seen)
        return KvmAnswer(False, f"QEMU: {ended[0] if ended else '?'}; {_last_line(log)}", log)
    if any(_BOOTED.search(line) for line in tail):
        return KvmAnswer(True, "a kernel booted under it", log)
    return KvmAnswer(False, f"the guest ended early, after: {_last_line(log)}", log)


def _last_line(log: Path) -> str:
    """Last line that a log has, without control characters."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    last = next((line for line in reversed(lines) if line.strip()), "")
    return "".join(char for char in last if char.isprintable())[-160:]


def _processor() -> str:
    for line in _CPU_MODEL.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"
