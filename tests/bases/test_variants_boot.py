# SPDX-License-Identifier: GPL-2.0-or-later
"""Instrumented kernels in real guests: each is two kernel builds of minutes ("make test-bases")."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_bases import BUILD_TIMEOUT_S, RUN_TIMEOUT_S, SMALL, dcbm_lab

from lab.config import Variant
from lab.line_coverage import KEY, Coverage
from lab.results import Outcome, Record
from lab.variants import stretch

pytestmark = pytest.mark.bases


def run(folder: Path, experiment: str, variant: Variant, *words: str, outcome: Outcome) -> Record:
    machine = ("--set", f"kernel.variant={variant.value}", "--set", "kernel.driver_fixes=true")
    dcbm_lab("build", "all", *machine, timeout_s=BUILD_TIMEOUT_S)
    command = ("run", experiment, "--jobs", "1", "--output", folder, *machine, *words)
    dcbm_lab(*command, timeout_s=stretch(RUN_TIMEOUT_S, variant), outcome=outcome)
    return Record.read(folder / "record.json")


@pytest.mark.parametrize("variant", [variant for variant in Variant if variant != Variant.PLAIN])
def test_compaction_passes_on_every_variant(tmp_path: Path, variant: Variant) -> None:
    modes = ("--mode", "baseline", "--mode", "dma")
    record = run(tmp_path, "compaction", variant, *SMALL, *modes, outcome=Outcome.PASS)
    assert [kernel.variant for kernel in record.kernel] == [variant.value] * 2
    assert not any(report.fatal for mode in record.modes for report in mode.kernel_reports)


def test_the_lines_of_our_series_that_ran_are_told(tmp_path: Path) -> None:
    modes = ("--mode", "baseline", "--mode", "dma")
    record = run(tmp_path, "compaction", Variant.GCOV, *SMALL, *modes, outcome=Outcome.PASS)
    vanilla, patched = (Coverage.model_validate(mode.details[KEY]) for mode in record.modes)
    # Both have the driver's corrections; the series is on one.
    drivers = {file.path for patch in vanilla.patches for file in patch.files}
    assert drivers
    assert all(path.startswith("drivers/dma/amd/") for path in drivers)
    migrate = next(file for file in vanilla.files if file.path == "mm/migrate.c")
    assert 0 < len(migrate.missed) < migrate.lines
    dcbm = next(patch for patch in patched.patches if patch.subject.startswith("dmaengine: add"))
    (source,) = dcbm.files
    assert source.path == "drivers/dma/dcbm.c"
    missed = "\n".join(line.text for line in source.missed)
    # nothing timed out and no memory ran short, but every copy was told to be done
    assert "copies unfinished after" in missed
    assert "atomic_dec_and_test(&channel->nr_pending)" not in missed
    assert 0.3 < patched.added_and_run / patched.added < 1


def test_memory_that_runs_short_loses_no_byte(tmp_path: Path) -> None:
    record = run(tmp_path, "alloc-failures", Variant.DEBUG, outcome=Outcome.PASS)
    descriptors, enable = record.modes
    (fault,) = descriptors.details["kernel_faults"]
    assert fault["struck"] == descriptors.folios_failures
    assert fault["struck"] > 100
    assert enable.details["enable_sweep"]["refused"] > 0
