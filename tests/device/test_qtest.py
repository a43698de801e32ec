# SPDX-License-Identifier: GPL-2.0-or-later
"""The device models' qtest programs, against a plain QEMU and one with sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.build.qemu import SanitizedQemu, list_qtests
from lab.devices.qtest import run_qtest
from lab.devices.sanitizers import sanitizer_environment

pytestmark = pytest.mark.device

QTESTS = {
    "amd-ae4dma-error-test",
    "amd-ae4dma-fault-test",
    "amd-ae4dma-state-test",
    "amd-ae4dma-stream-test",
    "amd-ae4dma-test",
    "amd-dma-copy-test",
    "amd-dma-timing-test",
    "amd-ptdma-error-test",
    "amd-ptdma-fault-test",
    "amd-ptdma-limit-test",
    "amd-ptdma-queue-test",
    "amd-ptdma-report-fault-test",
    "amd-ptdma-state-test",
    "amd-ptdma-stream-test",
    "amd-ptdma-test",
    "lab-mailbox-stream-test",
    "lab-mailbox-test",
}


def test_no_qtest_got_lost() -> None:
    assert set(list_qtests()) >= QTESTS


@pytest.mark.parametrize("name", list_qtests())
def test_qtest(name: str, plain: Path, qtests: dict[str, Path], tmp_path: Path) -> None:
    done = run_qtest(qtests[name], plain, tmp_path)
    assert not done.problems, f"{done.problems}\n{done.output}"


@pytest.mark.parametrize("name", list_qtests())
def test_qtest_sanitized(
    name: str, sanitized: SanitizedQemu, qtests: dict[str, Path], tmp_path: Path
) -> None:
    environment = sanitizer_environment(whole_stacks=True)
    done = run_qtest(qtests[name], sanitized.binary, tmp_path, environment)
    assert not done.problems, f"{done.problems}\n{done.output}"
