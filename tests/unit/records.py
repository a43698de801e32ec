# SPDX-License-Identifier: GPL-2.0-or-later
"""Records to render, one for each thing that a reader has to see."""

from __future__ import annotations

from lab.results import (
    BootIdentity,
    Check,
    CpuShare,
    DeviceCounters,
    HostFacts,
    Integrity,
    KernelIdentity,
    Mode,
    MovePoint,
    Outcome,
    QemuIdentity,
    Record,
    worst,
)

KERNEL = KernelIdentity(
    base="7.3",
    release="7.3.4",
    variant="plain",
    series=None,
    source_hash="a" * 64,
    config_hash="b" * 64,
    compiler="gcc 14",
)
QEMU = QemuIdentity(
    base="10.0",
    version="10.0.13",
    source_version="1:10.0.13+ds-0+deb13u1",
    source_hash="d" * 24,
    devices_hash="e" * 24,
    compiler="gcc 14",
)
BOOT = BootIdentity(
    kernel_hash="1" * 64,
    initramfs_hash="2" * 64,
    command_line="console=ttyS0,115200",
    argv=["<qemu>", "-append", "console=ttyS0,115200"],
)


def record(*modes: Mode, error: str | None = None, experiment: str = "compaction") -> Record:
    return Record(
        experiment=experiment,
        outcome=worst([mode.outcome for mode in modes]),
        clock="virtual",
        kernel=[KERNEL],
        parameters={"compaction": {"nr_dma_chan": 1}},
        modes=list(modes),
        error=error,
        host=HostFacts(
            started="2026-01-01T00:00:00+00:00",
            duration_s=12.5,
            lab_version="0.1.0",
            qemu_version="10.0.13",
            folder="/somewhere",
        ),
    )


def compaction_mode(name: str = "busy-dma") -> Mode:
    return Mode(
        name=name,
        outcome=Outcome.PASS,
        wall_ms=123.456789,
        pages_migrated=27123,
        dma_copies=27130,
        folios_failures=0,
        hog_iterations=66022189744,
        cpu=CpuShare(user_pct=56.324, sys_pct=42.971, idle_pct=0.061, irq_pct=0.6),
        device=DeviceCounters(descriptors=27130, bytes=111124480, interrupts=27130, errors=0),
        integrity=Integrity(pages_verified=190000, pages_wrong=0),
        checks=[Check(name="contents", held=True, awaited="0 wrong", seen="0 wrong")],
    )


def ended(outcome: Outcome, name: str = "dma") -> Mode:
    """A mode that ended like this, with what such a mode has to say."""
    check = Check(
        name="contents",
        held=outcome is Outcome.PASS,
        awaited="0 wrong",
        seen="page 17 at 0x7f0011000 offset 5: awaited 0x11, seen 0x12",
    )
    told = outcome not in {Outcome.PASS, Outcome.FAIL}
    return Mode(
        name=name,
        outcome=outcome,
        checks=[] if told else [check],
        error=f"awaited: an answer\nseen:    {outcome.value.lower()} <&>" if told else None,
        excerpt="BUG: \x1b[31mkernel NULL pointer\x07 # ok" if outcome is Outcome.CRASH else None,
    )


def sweep_mode(name: str, channels: int) -> Mode:
    points = [
        MovePoint(
            folio_kib=size,
            moves=8,
            folios_per_move=64 * 1024 // size,
            gb_per_s_mean=size / 100 + channels,
            gb_per_s_stdev=0.25,
            dma_copies=8 * 64 * 1024 // size if channels else 0,
            folios_failures=0,
            channels_used=channels,
            device=DeviceCounters(descriptors=1, bytes=2, interrupts=3, errors=0),
            integrity=Integrity(pages_verified=131072, pages_wrong=0),
        )
        for size in (4, 2048)
    ]
    return Mode(
        name=name,
        outcome=Outcome.PASS,
        moves=points,
        checks=[Check(name="4 KiB: contents", held=True, awaited="0", seen="0")],
    )
