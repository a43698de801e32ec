# SPDX-License-Identifier: GPL-2.0-or-later
"""The device bench: what its program prints becomes a table, and a failure an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.device_bench import GuestPoint, measure_device, read_points, render
from lab.errors import MachineError

LINE = json.dumps(
    {
        "size_bytes": 4096,
        "descriptors": 1000,
        "repeats": 5,
        "descriptors_per_s": 1000000,
        "device_bytes_per_s": 4096000000,
        "memcpy_bytes_per_s": 16384000000,
    }
)


def program(folder: Path, body: str) -> Path:
    path = folder / "bench"
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_each_line_is_a_size(tmp_path: Path) -> None:
    script = (
        'test "$QTEST_QEMU_BINARY" = /q && test "$*" = \'-L /a -L /b\' '
        f"&& echo '# starting' && echo '{LINE}'"
    )
    points = measure_device(program(tmp_path, script), Path("/q"), [Path("/a"), Path("/b")])
    guest = [GuestPoint("baseline", 4, 0.25), GuestPoint("dma-1", 4, 0.125)]
    table = render(points, guest)
    assert "      4096        1000000        4.096       16.384     25%" in table.splitlines()
    assert [line.split() for line in table.splitlines()[-2:]] == [
        ["baseline", "0.250", "GB/s"],
        ["dma-1", "0.125", "GB/s"],
    ]


@pytest.mark.parametrize("output", ["", "\n", "Bail out!\n", '{"size_bytes": 1}\n'])
def test_anything_else_is_an_error(output: str) -> None:
    with pytest.raises(MachineError, match="a line of JSON for each size"):
        read_points(output)


def test_a_program_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="exit status 7: gone"):
        measure_device(program(tmp_path, f"echo '{LINE}'; echo gone >&2; exit 7"), Path("/q"), [])
