# SPDX-License-Identifier: GPL-2.0-or-later
"""Every kernel base and every layout of dcbm's controls, in real guests.

Each base is two kernel builds of minutes: "make test-bases" runs these, "make test" does not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.checkout import KERNEL_CONFIG
from lab.config import ControlLayout, Kernel
from lab.dcbm import LAYOUTS
from lab.results import Outcome, Record
from lab.sources.pins import read_pins

pytestmark = pytest.mark.bases

BASES = list(read_pins(KERNEL_CONFIG / "pins.toml"))
# As in tests/guest: half the published depth on a third of the memory.
SMALL = (
    *("--set", "topology.nodes.0.memory_mib=384"),
    *("--set", "topology.nodes.1.memory_mib=512"),
    *("--set", "allocations=30"),
    *("--set", "min_pages_migrated=5000"),
)
BUILD_TIMEOUT_S = 7200
RUN_TIMEOUT_S = 900


def dcbm_lab(*words: object, timeout_s: float, outcome: Outcome = Outcome.PASS) -> None:
    """Run a command of the lab; any other end than `outcome` fails with what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "lab.cli", *(str(word) for word in words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert result.returncode == outcome.exit_code, result.stdout + result.stderr


def run(
    folder: Path,
    experiment: str,
    *words: str,
    kernel: Kernel,
    outcome: Outcome = Outcome.PASS,
) -> Record:
    """Build what a run needs, then run it: the two have limits of their own."""
    machine = ("--set", f"kernel.base={kernel.base}", "--set", f"kernel.layout={kernel.layout}")
    dcbm_lab("build", "all", *machine, timeout_s=BUILD_TIMEOUT_S)
    command = ("run", experiment, "--output", folder, *machine, *words)
    dcbm_lab(*command, timeout_s=RUN_TIMEOUT_S, outcome=outcome)
    return Record.read(folder / "record.json")


def assert_offloaded(record: Record, base: str) -> None:
    """The baseline copied nothing by DMA, the other modes did, and both kernels are the base's."""
    assert [kernel.release.startswith(f"{base}.") for kernel in record.kernel] == [True, True]
    for mode in record.modes:
        assert mode.device is not None
        assert mode.integrity is not None
        assert mode.integrity.pages_verified > 10_000
        assert (mode.device.descriptors > 5000) == mode.name.endswith("dma")


@pytest.mark.parametrize("base", BASES)
def test_compaction_passes_on_every_base(tmp_path: Path, base: str) -> None:
    record = run(tmp_path / "run", "compaction", *SMALL, kernel=Kernel(base=base))
    assert [mode.name for mode in record.modes] == ["baseline", "dma", "busy-baseline", "busy-dma"]
    assert_offloaded(record, base)


# The default base is tested so with the other guests.
@pytest.mark.parametrize("base", [base for base in BASES if base != Kernel().base])
def test_what_the_engine_wrote_is_what_stays_on_every_base(tmp_path: Path, base: str) -> None:
    # Were a marked folio copied once more by the CPU, all counters would agree, and nobody would
    # ever see what the engine did. Not all pages that compaction moves are compared.
    record = run(
        tmp_path / "run",
        "compaction",
        *SMALL,
        *("--mode", "dma", "--inject", "dma0:flip-byte:nth=1000,count=100,offset=5"),
        kernel=Kernel(base=base),
        outcome=Outcome.FAIL,
    )
    (mode,) = record.modes
    assert [check.name for check in mode.checks if not check.held] == ["contents"]
    assert mode.integrity is not None
    assert 50 <= mode.integrity.pages_wrong <= 100


@pytest.mark.parametrize("base", BASES)
def test_dmatest_passes_on_every_base(tmp_path: Path, base: str) -> None:
    words = ("--set", "iterations=50")
    record = run(tmp_path / "run", "dmatest", *words, kernel=Kernel(base=base))
    assert [mode.name for mode in record.modes] == ["1-msix", "1-msi", "16-msix", "16-msi"]
    for mode in record.modes:
        assert mode.kernel is not None
        assert mode.kernel.release.startswith(f"{base}.")
        assert mode.device is not None
        assert mode.device.descriptors == 50 * int(mode.name.partition("-")[0])


@pytest.mark.parametrize("layout", list(ControlLayout))
def test_compaction_passes_with_every_layout(tmp_path: Path, layout: ControlLayout) -> None:
    modes = ("--mode", "baseline", "--mode", "dma")
    record = run(tmp_path / "run", "compaction", *SMALL, *modes, kernel=Kernel(layout=layout))
    assert_offloaded(record, Kernel().base)
    (wanted,) = [known for known in LAYOUTS if known.name.lower() == layout.value]
    requests = map(json.loads, (tmp_path / "run/modes/dma/channel.jsonl").read_text().splitlines())
    written = [
        fields[2] for entry in requests if (fields := entry.get("fields", [""]))[0] == "write"
    ]
    assert {path for path in written if path.endswith("/offloading")} == {wanted.path("offloading")}
    offloaded = record.modes[1]
    assert (offloaded.dma_copies is None) == (layout is ControlLayout.V3)
