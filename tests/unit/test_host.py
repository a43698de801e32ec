# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host lacks, found without anything installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import doctor, memory
from lab.cache import MANIFEST, Cache
from lab.checkout import ROOT
from lab.host import NEEDS, Need, has, missing_packages
from lab.progress import SilentProgress


@pytest.mark.parametrize(
    ("need", "there"),
    [
        (Need("x", "x", programs=("sh",)), True),
        (Need("x", "x", programs=("sh", "no-such-program")), False),
        (Need("x", "x", files=("/no/such/file", "/etc/passwd")), True),
        (Need("x", "x", files=("/no/such/file",)), False),
        (Need("x", "x", modules=("json",)), True),
        (Need("x", "x", modules=("no_such_module",)), False),
        (Need("x", "x", programs=("sh",), files=("/no/such/file",)), False),
    ],
)
def test_a_need(need: Need, there: bool) -> None:
    assert has(need) == there


def test_the_bare_interpreter_lists_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "lab" / "host.py"],
        env={"PATH": "/no/such/directory"},
        capture_output=True,
        text=True,
        check=True,
    )
    named = set(done.stdout.split())
    with_programs = {need.package for need in NEEDS if need.programs}
    in_sbin = {"kmod", "e2fsprogs", "xfsprogs"}
    assert with_programs - in_sbin <= named


def test_every_need_can_fail() -> None:
    for need in NEEDS:
        assert need.programs or need.files or need.modules
        assert need.why


def test_this_host_has_everything(tmp_path: Path) -> None:
    assert missing_packages() == []
    findings = {finding.name: finding for finding in doctor.check_host(Cache(tmp_path))}
    assert findings["packages"].ok
    assert findings["package archive"].ok
    assert findings["machine"].ok


def test_missing_packages_come_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/no/such/directory")
    packages = next(item for item in doctor.check_host(Cache(tmp_path)) if item.name == "packages")
    assert not packages.ok
    assert "ninja-build (QEMU's build)" in packages.seen
    assert packages.remedy.startswith("apt-get install ")
    assert "ninja-build" in packages.remedy


def test_too_little_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NEEDED_BYTES", 1 << 60)
    room = next(item for item in doctor.check_host(Cache(tmp_path)) if item.name == "room")
    assert not room.ok
    assert "cache gc" in room.remedy


@pytest.mark.parametrize(
    ("meminfo", "enough"),
    [
        ("MemTotal: 99 kB\nMemAvailable:   6291456 kB\n", True),
        ("MemTotal: 99999999 kB\nMemAvailable:   6291455 kB\n", False),
        ("MemTotal: 99999999 kB\n", False),
    ],
)
def test_memory_for_two_guests(
    meminfo: str, enough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text(meminfo)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    found = {finding.name: finding for finding in doctor.check_host(Cache(tmp_path))}["memory"]
    assert found.ok == enough
    assert "--jobs 1" in found.remedy


def test_no_kvm_device_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "KVM_DEVICE", tmp_path / "kvm")
    answer = doctor.ask_kvm(Cache(tmp_path), SilentProgress())
    assert not answer.usable
    assert "(TCG)" in answer.line


def test_before_anything_is_built_kvm_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kvm").write_text("")
    monkeypatch.setattr(doctor, "KVM_DEVICE", tmp_path / "kvm")
    answer = doctor.ask_kvm(Cache(tmp_path / "cache"), SilentProgress())
    assert not answer.usable
    assert "build all" in answer.reason


def test_the_trial_takes_only_what_is_whole_and_a_plain_kernel(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def publish(kind: str, key: str, name: str, title: str = "") -> Path:
        def build(directory: Path) -> None:
            path = directory / name
            if kind == "firmware":
                path.mkdir()
                path = path / "file"
            path.write_text("x")

        return cache.entry(kind, key, build, title=title) / name

    qemu = publish("qemu", "q", "qemu-system-x86_64")
    plain = publish("kernel", "a", "vmlinux", "kernel 7.3 plain patched")
    publish("kernel", "b", "vmlinux", "kernel 7.3 kasan patched")
    assert doctor.find_trial(cache) is None
    good = publish("firmware", "good", "firmware")
    bad = publish("firmware", "bad", "firmware")
    (bad / "file").chmod(0o644)
    (bad / "file").write_text("y")
    os.utime(plain.parent / MANIFEST, (1, 1))
    assert doctor.find_trial(cache) == doctor.Trial(qemu, (good,), plain)


@pytest.mark.parametrize(
    ("script", "usable", "reason"),
    [
        ("echo '[1.0] VFS: Unable to mount root fs'", True, "booted"),
        ("echo '[1.0] Kernel panic - not syncing: No working init found.'", True, "booted"),
        ("echo 'Decompressing'; exit 0", False, "after: Decompressing"),
        ("echo 'internal error'; kill -ABRT $$", False, "internal error"),
        ("echo '[0.1] still here'; sleep 60", False, "still here"),
    ],
    ids=["boots", "boots without disks", "ends early", "aborts", "hangs"],
)
def test_how_the_trial_judges_what_it_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, usable: bool, reason: str
) -> None:
    # Only what hangs waits for it; on a busy host even a shell takes a while to start.
    if "sleep" in script:
        monkeypatch.setattr(doctor, "KVM_DEADLINE_S", 3.0)
    qemu = tmp_path / "qemu"
    qemu.write_text(f"#!/bin/sh\n{script}\n")
    qemu.chmod(0o755)
    answer = doctor.boot_under_kvm(doctor.Trial(qemu, (), tmp_path), tmp_path / "log")
    assert (answer.usable, reason in answer.reason) == (usable, True), answer
