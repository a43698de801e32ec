# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole runs by the command line: real guests, real faults, and what the lab makes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab.results import Mode, Outcome, Record

pytestmark = pytest.mark.guest

ENDS = Path(__file__).parent / "ends.py"
# Half the published depth on a third of the memory: enough to migrate thousands of pages.
SMALL = (
    *("--set", "topology.nodes.0.memory_mib=384"),
    *("--set", "topology.nodes.1.memory_mib=512"),
    *("--set", "allocations=30"),
    *("--set", "min_pages_migrated=5000"),
)
TINY = ("--set", "topology.nodes.0.memory_mib=256", "--set", "topology.nodes.1.memory_mib=256")
RUN_TIMEOUT_S = 900


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "lab.cli", *(str(word) for word in words)]


def dcbm_lab(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), capture_output=True, text=True, check=False, timeout=RUN_TIMEOUT_S
    )


def only_mode(folder: Path) -> Mode:
    (mode,) = Record.read(folder / "record.json").modes
    return mode


def failed(mode: Mode) -> list[str]:
    return [check.name for check in mode.checks if not check.held]


def processes_in(folder: Path) -> list[str]:
    """Command lines of processes that run in `folder` or mention it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            cwd = str((process / "cwd").readlink())
            text = (process / "cmdline").read_text(errors="replace")
        except OSError:
            continue
        inside = cwd.startswith(str(folder)) or str(folder) in text
        if inside and int(process.name) != os.getpid():
            found.append(text.replace("\0", " "))
    return found


def test_four_modes_pass_and_repeat_to_the_last_digit(tmp_path: Path) -> None:
    records = []
    for name, jobs in (("first", 2), ("second", 1)):
        result = dcbm_lab("run", "compaction", "--output", tmp_path / name, "--jobs", jobs, *SMALL)
        assert result.returncode == 0, result.stdout + result.stderr
        records.append(Record.read(tmp_path / name / "record.json"))
    # The console first: the time stamp of its first different line tells where the clock slipped.
    for file in ("console.log", "channel.jsonl"):
        for mode in records[0].modes:
            first, second = (
                (tmp_path / name / "modes" / mode.name / file).read_text().splitlines()
                for name in ("first", "second")
            )
            apart = [pair for pair in zip(first, second, strict=False) if pair[0] != pair[1]]
            assert apart[:1] == [], f"{mode.name}: {file}"
            assert len(first) == len(second)
    whole = [record.model_dump(exclude={"host"}) for record in records]
    assert whole[0] == whole[1]
    modes = {mode.name: mode for mode in records[0].modes}
    assert list(modes) == ["baseline", "dma", "busy-baseline", "busy-dma"]
    for name, mode in modes.items():
        assert mode.device is not None
        assert mode.integrity is not None
        assert mode.integrity.pages_verified > 10_000
        assert (mode.hog_iterations is not None) == name.startswith("busy")
        assert (mode.device.descriptors > 0) == name.endswith("dma")


def test_a_flipped_byte_is_found_and_named(tmp_path: Path) -> None:
    result = dcbm_lab(
        *("run", "compaction", "--output", tmp_path / "run", "--mode", "dma", *SMALL),
        *("--inject", "dma0:flip-byte:nth=1000,offset=5"),
    )
    mode = only_mode(tmp_path / "run")
    assert result.returncode == Outcome.FAIL.exit_code, result.stdout + result.stderr
    assert failed(mode) == ["contents"]
    assert mode.integrity is not None
    assert mode.integrity.pages_wrong == 1
    (wrong,) = mode.integrity.wrong
    assert wrong.offset == 5
    assert f"page {wrong.page} at {wrong.address} offset 5" in result.stdout
    (fault,) = mode.details["faults"]
    assert fault["hits"] == 1


def test_what_the_engine_wrote_is_what_stays(tmp_path: Path) -> None:
    # Were a marked folio copied once more by the CPU, all counters would agree, and nobody would
    # ever see what the engine did. Not all pages that compaction moves are compared.
    result = dcbm_lab(
        *("run", "compaction", "--output", tmp_path / "run", "--mode", "dma", *SMALL),
        *("--inject", "dma0:flip-byte:nth=1000,count=100,offset=5"),
    )
    mode = only_mode(tmp_path / "run")
    assert result.returncode == Outcome.FAIL.exit_code, result.stdout + result.stderr
    assert failed(mode) == ["contents"]
    assert mode.integrity is not None
    assert 50 <= mode.integrity.pages_wrong <= 100


def test_offload_that_silently_stays_off_fails(tmp_path: Path) -> None:
    result = dcbm_lab(
        *("run", "compaction", "--output", tmp_path / "run", "--mode", "dma", *SMALL),
        *("--set", "reason_mask=syscall_or_cpuset"),
    )
    mode = only_mode(tmp_path / "run")
    assert result.returncode == Outcome.FAIL.exit_code, result.stdout + result.stderr
    assert failed(mode) == ["offloaded", "descriptors", "bytes", "interrupts", "channels"]
    assert mode.dma_copies == 0
    assert mode.integrity is not None
    assert mode.integrity.pages_wrong == 0


def test_sixteen_channels_move_large_folios(tmp_path: Path) -> None:
    result = dcbm_lab(
        *("run", "move-pages", "--output", tmp_path / "run", "--mode", "baseline"),
        *("--mode", "dma-16", "--set", "channels=[16]", "--set", "folio_kib=[4,2048]"),
        *("--set", "rounds=1", "--set", "total_mib=64"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    baseline, offloaded = Record.read(tmp_path / "run" / "record.json").modes
    assert [point.channels_used for point in baseline.moves] == [0, 0]
    assert [point.channels_used for point in offloaded.moves] == [16, 16]


@pytest.mark.parametrize(
    ("end", "outcome", "told"),
    [
        ("well", Outcome.PASS, ""),
        ("panic", Outcome.CRASH, "sysrq triggered crash"),
        ("oops", Outcome.CRASH, "RIP"),
        ("hang", Outcome.TIMEOUT, "within 20 s"),
        ("killed", Outcome.LOST, "SIGKILL"),
    ],
)
def test_every_end_has_its_outcome(tmp_path: Path, end: str, outcome: Outcome, told: str) -> None:
    result = dcbm_lab(
        *("run", ENDS, "--output", tmp_path / "run", "--set", f"end={end}", *TINY),
        *("--timeout", 20),
    )
    assert result.returncode == outcome.exit_code, result.stdout + result.stderr
    mode = only_mode(tmp_path / "run")
    assert mode.outcome is outcome
    assert told in (mode.error or "") + (mode.excerpt or "")
    assert (mode.excerpt is not None) == (outcome is Outcome.CRASH)
    assert processes_in(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_ended_lab_leaves_no_guest_and_no_record(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "run"
    lab = subprocess.Popen(
        command("run", ENDS, "--output", folder, "--set", "end=waits", *TINY),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    channel = folder / "modes" / "only" / "channel.jsonl"
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while not (channel.exists() and "while :" in channel.read_text()):
        assert lab.poll() is None, lab.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert any("qemu-system" in line for line in processes_in(tmp_path))
    lab.send_signal(number)
    output, _ = lab.communicate(timeout=30)
    assert lab.returncode == (-number if number == signal.SIGKILL else 130), output
    assert "Traceback" not in output
    for _attempt in range(50):
        if not processes_in(tmp_path):
            break
        time.sleep(0.1)
    assert processes_in(tmp_path) == []
    assert not (folder / "record.json").exists()
    # The folder is usable again, and what was there is kept.
    result = dcbm_lab("run", ENDS, "--output", folder, *TINY)
    assert result.returncode == 0, result.stdout + result.stderr
    earlier: list[Any] = list(folder.glob("earlier-*/modes/only/channel.jsonl"))
    assert len(earlier) == 1


def test_dmatest_passes_on_one_and_sixteen_engines_with_both_kinds_of_interrupt(
    tmp_path: Path,
) -> None:
    result = dcbm_lab("run", "dmatest", "--output", tmp_path / "run", "--set", "iterations=100")
    assert result.returncode == 0, result.stdout + result.stderr
    modes = Record.read(tmp_path / "run" / "record.json").modes
    assert [mode.name for mode in modes] == ["1-msix", "1-msi", "16-msix", "16-msi"]
    for mode in modes:
        assert mode.device is not None
        assert mode.device.descriptors == 100 * int(mode.name.partition("-")[0])


def test_dmatest_passes_on_one_and_sixteen_queues_of_ae4dma(tmp_path: Path) -> None:
    result = dcbm_lab(
        *("run", "dmatest", "--output", tmp_path / "run", "--set", "engine.kind=ae4dma"),
        *("--set", "iterations=50"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    modes = Record.read(tmp_path / "run" / "record.json").modes
    assert [mode.name for mode in modes] == ["1-msix", "1-msi", "16-msix", "16-msi"]
    for mode in modes:
        assert mode.device is not None
        assert mode.device.descriptors == 50 * int(mode.name.partition("-")[0])


def test_dmatest_sees_a_flipped_byte_of_one_ae4dma_queue(tmp_path: Path) -> None:
    result = dcbm_lab(
        *("run", "dmatest", "--output", tmp_path / "run", "--mode", "16-msix", "--quick"),
        *("--set", "engine.kind=ae4dma", "--set", "engine_counts=[16]"),
        *("--inject", "dma0:flip-byte:queue=9,nth=7,offset=0"),
    )
    assert result.returncode == Outcome.FAIL.exit_code, result.stdout + result.stderr
    assert failed(only_mode(tmp_path / "run")) == ["failures"]


def test_dmatest_sees_a_flipped_byte(tmp_path: Path) -> None:
    result = dcbm_lab(
        *("run", "dmatest", "--output", tmp_path / "run", "--mode", "1-msix", "--quick"),
        *("--set", "engine_counts=[1]", "--inject", "dma0:flip-byte:nth=7,offset=0"),
    )
    assert result.returncode == Outcome.FAIL.exit_code, result.stdout + result.stderr
    assert failed(only_mode(tmp_path / "run")) == ["failures"]


def test_cpu_time_adds_up_on_the_host_clock(tmp_path: Path) -> None:
    result = dcbm_lab(
        *("run", "compaction", "--clock", "host", "--output", tmp_path / "run", "--jobs", 1),
        *(*SMALL, "--set", "allocations=99", "--set", "topology.nodes.1.memory_mib=1536"),
    )
    record = Record.read(tmp_path / "run" / "record.json")
    assert record.clock == "host"
    for mode in record.modes:
        (adds_up,) = [check for check in mode.checks if check.name == "CPU time"]
        assert adds_up.held, f"{mode.name}: {adds_up.seen}\n{result.stdout}"


def test_no_engine_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    result = dcbm_lab("run", "compaction", "--output", tmp_path / "run", "--engines", 0)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "engine.count is 0" in result.stdout + result.stderr
    assert not (tmp_path / "run").exists()
