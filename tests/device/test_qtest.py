# SPDX-License-Identifier: GPL-2.0-or-later
"""The device models' own tests: every case of our qtest programs is one test here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.build.qemu import QemuArtifact, build_qemu, build_qtests, list_qtests
from lab.cache import Cache
from lab.progress import Progress

TIMEOUT_S = 240
RESULT = re.compile(r"^(ok|not ok) \d+ (\S+)(.*)$", re.MULTILINE)
PLAN = re.compile(r"^1\.\.(\d+)", re.MULTILINE)

pytestmark = pytest.mark.device


@pytest.fixture(scope="session")
def qemu(lab_cache: Cache, lab_progress: Progress, qemu_base: str) -> QemuArtifact:
    return build_qemu(lab_cache, lab_progress, qemu_base)


@pytest.fixture(scope="session")
def installed(qemu: QemuArtifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binary where it finds its firmware by itself: libqtest can't pass it options."""
    home = tmp_path_factory.mktemp("qemu")
    shutil.copy2(qemu.binary, home)
    data = home / "qemu-bundle" / "usr" / "local" / "share" / "qemu"
    data.mkdir(parents=True)
    for directory in qemu.firmware_dirs:
        for path in directory.iterdir():
            if path.is_file() and not (data / path.name).exists():
                (data / path.name).symlink_to(path)
    return home / qemu.binary.name


@pytest.fixture(scope="session")
def qtests(
    qemu: QemuArtifact, lab_cache: Cache, lab_progress: Progress, qemu_base: str
) -> dict[str, Path]:
    assert f" version {qemu_base}." in qemu.version
    return build_qtests(lab_cache, lab_progress, qemu_base)


QTESTS = {
    "amd-ae4dma-error-test",
    "amd-ae4dma-fault-test",
    "amd-ae4dma-state-test",
    "amd-ae4dma-test",
    "amd-dma-copy-test",
    "amd-dma-timing-test",
    "amd-ptdma-error-test",
    "amd-ptdma-fault-test",
    "amd-ptdma-queue-test",
    "amd-ptdma-report-fault-test",
    "amd-ptdma-state-test",
    "amd-ptdma-test",
    "lab-mailbox-test",
}


def test_no_qtest_got_lost() -> None:
    assert set(list_qtests()) >= QTESTS


@pytest.mark.parametrize("name", list_qtests())
def test_qtest(name: str, installed: Path, qtests: dict[str, Path], tmp_path: Path) -> None:
    done = subprocess.run(
        [qtests[name], "--tap", "-k"],
        cwd=tmp_path,
        env={
            **os.environ,
            "QTEST_QEMU_BINARY": str(installed),
            "QTEST_QEMU_IMG": "/bin/false",
            "G_TEST_DBUS_DAEMON": "/bin/false",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    output = f"{done.stdout}\n{done.stderr}"
    planned = PLAN.search(done.stdout)
    assert planned, f"no TAP plan\n{output}"
    results = RESULT.findall(done.stdout)
    failed = [case for verdict, case, _ in results if verdict != "ok"]
    skipped = [case for _, case, rest in results if "SKIP" in rest.upper()]
    assert not failed, f"{failed}\n{output}"
    assert not skipped, f"a skip proves nothing: {skipped}\n{output}"
    assert len(results) == int(planned[1]) > 0, f"not all cases ran\n{output}"
    assert done.returncode == 0, f"exit status {done.returncode}\n{output}"
