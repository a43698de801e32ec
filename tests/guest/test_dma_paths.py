# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies through IOMMUs and bounce buffers: that they really go there, and that they are right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from restored import boot

from lab.config import Clock, Engine, Iommu, Swiotlb, Topology
from lab.errors import PremiseError
from lab.experiments import dma_path, premises
from lab.machine.argv import BootFiles, MachineSpec
from lab.machine.guest import Guest
from lab.results import Mode, Outcome, Record

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]

BOOT_TIMEOUT_S = 240.0
RUN_TIMEOUT_S = 900
NODES = (
    *("--set", "topology.nodes.0.memory_mib=384"),
    *("--set", "topology.nodes.1.memory_mib=512"),
)
PATHS = ["topology.iommu=amd", "topology.iommu=intel", "topology.swiotlb=force"]
COPIES = 10
# The default machine's memory, all of it below the hole for PCI.
RAM_END = 2560 << 20
BOUNCE_BYTES = 64 << 20
_COPY = re.compile(r"amd_dma_channel_start \S+: 0x([0-9a-f]+) -> 0x([0-9a-f]+), (\d+) bytes")


def dcbm_lab(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab.cli", *(str(word) for word in words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_TIMEOUT_S,
    )


def modes(folder: Path) -> dict[str, Mode]:
    return {mode.name: mode for mode in Record.read(folder / "record.json").modes}


def copy(guest: Guest, run_dir: Path) -> list[tuple[int, int]]:
    """Make verified copies; addresses that the engine was given, each with the one behind it."""
    guest.machine.execute(
        "trace-event-set-state", {"name": "amd_dma_channel_start", "enable": True}
    )
    guest.load_module("dmatest", f"iterations={COPIES}", "timeout=2000", "run=1")
    # dmatest's own `wait` returns before a thread has run at all: see docs/known-bugs.md.
    for _turn in range(50):
        guest.run(["/bin/busybox", "sleep", "0.01"])
        if "dmatest: dma0chan0-copy0: summary" in guest.machine.console.text():
            break
    assert f"summary {COPIES} tests, 0 failures" in guest.machine.console.text()
    assert guest.device_counters()["dma0"].descriptors == COPIES
    seen = []
    for found in _COPY.finditer((run_dir / "qemu.log").read_text()):
        source, destination, size = int(found[1], 16), int(found[2], 16), int(found[3])
        seen += [(source, source + size), (destination, destination + size)]
    assert len(seen) == 2 * COPIES
    return seen


@pytest.mark.parametrize("iommu", [Iommu.AMD, Iommu.INTEL])
def test_an_engine_behind_an_iommu_sees_no_physical_address(
    iommu: Iommu, vanilla_files: BootFiles, run_dir: Path
) -> None:
    spec = MachineSpec(topology=Topology(iommu=iommu))
    with boot(spec, vanilla_files, run_dir, Clock.VIRTUAL, BOOT_TIMEOUT_S) as guest:
        premises.bind_engines(guest, spec.engine)
        assert all(start >= RAM_END for start, _end in copy(guest, run_dir))
        interrupts = guest.read("/proc/interrupts")
    # Remapped as well: of the engine behind its root port, and of the I/O APIC.
    assert re.search(r"\bIR-PCI-MSIX-0000:31:00\.0\b", interrupts), interrupts
    assert re.search(r"\bIR-IO-APIC\b", interrupts), interrupts


def test_an_engine_with_nothing_before_it_sees_memory(
    vanilla_files: BootFiles, run_dir: Path
) -> None:
    with boot(MachineSpec(), vanilla_files, run_dir, Clock.VIRTUAL, BOOT_TIMEOUT_S) as guest:
        premises.bind_engines(guest, Engine())
        assert all(end <= RAM_END for _start, end in copy(guest, run_dir))


def test_a_bouncing_kernel_gives_the_engine_bounce_buffers_only(
    vanilla_files: BootFiles, run_dir: Path
) -> None:
    spec = MachineSpec(topology=Topology(swiotlb=Swiotlb.FORCE))
    with boot(spec, vanilla_files, run_dir, Clock.VIRTUAL, BOOT_TIMEOUT_S) as guest:
        premises.bind_engines(guest, spec.engine)
        seen = copy(guest, run_dir)
        # The kernel does not say where the buffers are, but they are one piece.
        assert max(end for _, end in seen) - min(start for start, _ in seen) <= BOUNCE_BYTES
        kept = dma_path.confirm(guest, spec.topology, COPIES)
    # Both sides of a copy at once, one copy at a time.
    largest = max(end - start for start, end in seen)
    assert largest <= kept["swiotlb_used_most_bytes"] <= BOUNCE_BYTES


@pytest.mark.parametrize("iommu", [Iommu.AMD, Iommu.INTEL])
def test_an_iommu_that_passes_everything_through_is_no_premise(
    iommu: Iommu, vanilla_files: BootFiles, run_dir: Path
) -> None:
    spec = MachineSpec(topology=Topology(iommu=iommu))
    with (
        boot(
            *(spec, vanilla_files, run_dir, Clock.VIRTUAL, BOOT_TIMEOUT_S),
            ("iommu.passthrough=1",),
        ) as guest,
        pytest.raises(PremiseError, match="type identity"),
    ):
        premises.bind_engines(guest, spec.engine)


@pytest.mark.parametrize("kind", ["ptdma", "ae4dma"])
def test_dmatest_passes_on_every_way_to_memory(kind: str, tmp_path: Path) -> None:
    chosen = ["16-msix-swiotlb", "16-msix-amd", "16-msi-amd", "16-msix-intel", "16-msi-intel-lazy"]
    result = dcbm_lab(
        *("run", "dmatest", "--output", tmp_path / "run", *NODES, "--set", "paths=all"),
        *("--set", f"engine.kind={kind}", "--set", "engine_counts=[16]"),
        *("--set", "iterations=20"),
        *(word for name in chosen for word in ("--mode", name)),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found = modes(tmp_path / "run")
    assert sorted(found) == sorted(chosen)
    for mode in found.values():
        assert mode.device is not None
        assert mode.device.descriptors == 16 * 20
        path = mode.details["dma_path"]
        # With MSI-X ae4dma is one function of 16 queues.
        functions = 1 if kind == "ae4dma" and "msix" in mode.name else 16
        assert len(path.get("engines", ())) == functions or path["swiotlb_used_most_bytes"] > 0


def test_dmatest_sees_a_wrong_byte_of_an_ae4dma_queue_behind_an_iommu(tmp_path: Path) -> None:
    result = dcbm_lab(
        *("run", "dmatest", "--output", tmp_path / "run", *NODES, "--mode", "16-msix-amd"),
        *("--set", "paths=all", "--set", "engine.kind=ae4dma", "--set", "engine_counts=[16]"),
        *("--set", "iterations=5", "--inject", "dma0:flip-byte:queue=9,nth=3,offset=0"),
    )
    assert result.returncode == Outcome.FAIL.exit_code, result.stdout + result.stderr
    (mode,) = modes(tmp_path / "run").values()
    assert [check.name for check in mode.checks if not check.held] == ["failures"]


@pytest.mark.parametrize("setting", PATHS)
def test_compaction_is_right_on_every_way_to_memory(tmp_path: Path, setting: str) -> None:
    result = dcbm_lab(
        *("run", "compaction", "--output", tmp_path / "run", "--mode", "dma", *NODES),
        *("--set", "allocations=30", "--set", "min_pages_migrated=5000", "--set", setting),
        # Bounce buffers and what they fragment take a part of a small node.
        *("--set", f"topology.nodes.1.memory_mib={768 if 'swiotlb' in setting else 512}"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    mode = modes(tmp_path / "run")["dma"]
    assert mode.integrity is not None
    assert mode.integrity.pages_verified > 10_000


@pytest.mark.parametrize("setting", PATHS)
def test_large_folios_are_right_on_every_way_to_memory(tmp_path: Path, setting: str) -> None:
    result = dcbm_lab(
        *("run", "move-pages", "--output", tmp_path / "run", "--mode", "dma-4", *NODES),
        *("--engines", 4, "--set", "channels=[4]", "--set", "folio_kib=[64,2048]"),
        *("--set", "rounds=1", "--set", "total_mib=32", "--set", setting),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    mode = modes(tmp_path / "run")["dma-4"]
    assert mode.outcome is Outcome.PASS
    assert [point.channels_used for point in mode.moves] == [4, 4]


def test_folios_that_find_no_bounce_buffer_are_copied_by_the_cpu(tmp_path: Path) -> None:
    # One batch of 32 folios needs 128 MiB of buffers, for both sides; the kernel has 64 MiB.
    result = dcbm_lab(
        *("run", "move-pages", "--output", tmp_path / "run", "--mode", "dma-4", *NODES),
        *("--engines", 4, "--set", "channels=[4]", "--set", "folio_kib=[2048]"),
        *("--set", "rounds=1", "--set", "total_mib=64", "--set", "max_batch_pages=16384"),
        *("--set", "topology.swiotlb=force"),
    )
    assert result.returncode == Outcome.FAIL.exit_code, result.stdout + result.stderr
    mode = modes(tmp_path / "run")["dma-4"]
    wrong = [check.name for check in mode.checks if not check.held]
    assert wrong == ["2048 KiB: offloaded", "2048 KiB: dcbm failures"]
    (point,) = mode.moves
    assert point.dma_copies > 0
    assert point.folios_failures > 0
    assert point.dma_copies + point.folios_failures == 64
    assert mode.details["dma_path"]["swiotlb_used_most_bytes"] == BOUNCE_BYTES
    assert "swiotlb buffer is full" in (tmp_path / "run/modes/dma-4/console.log").read_text()
