# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast the device models copy, in time of the host: figures of this host, never a verdict.

Alone: descriptors and bytes per second of one function over qtest, by size, against memcpy() of the
same sizes in between. In a guest: move_pages(2) on the host clock with engines that take no time,
against the guest's own copies, which software emulation makes slow.

    python -m lab.device_bench [--output FILE] [--no-guest] [--qemu BINARY]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.build.qemu import build_device_bench, build_qemu
from lab.cache import Cache
from lab.errors import LabError, MachineError
from lab.progress import Progress, open_progress

_TIMEOUT_S = 600.0
_GUEST_TIMEOUT_S = 1800.0
_GUEST_MODES = ("baseline", "dma-1", "dma-16")
_GUEST_SETTINGS = (
    "engine.profile=instant",
    "channels=[1,16]",
    "folio_kib=[4,64,2048]",
    "rounds=2",
)


@dataclass(frozen=True)
class Point:
    """What one size of copy gave; medians over `repeats`."""

    size_bytes: int
    descriptors: int
    repeats: int
    descriptors_per_s: float
    device_bytes_per_s: float
    memcpy_bytes_per_s: float


@dataclass(frozen=True)
class GuestPoint:
    """What the guest saw when it moved folios of one size."""

    mode: str
    folio_kib: int
    gb_per_s: float


def read_points(output: str) -> list[Point]:
    """The lines of JSON that the program prints, one for each size.

    Raises:
        MachineError: there are none, or something else is among them.
    """
    try:
        # qtest's library puts its comments into the same stream.
        lines = [line for line in output.splitlines() if line and not line.startswith("#")]
        points = [Point(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise MachineError("a line of JSON for each size", output[-500:]) from error
    if not points:
        raise MachineError("a line of JSON for each size", "no output")
    return points


def measure_device(bench: Path, qemu: Path, firmware_dirs: Sequence[Path]) -> list[Point]:
    """Run the program on a QEMU.

    Raises:
        MachineError: it failed.
    """
    options = [word for directory in firmware_dirs for word in ("-L", str(directory))]
    try:
        done = subprocess.run(
            [bench, *options],
            env={**os.environ, "QTEST_QEMU_BINARY": str(qemu)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"{bench.name} to end within {_TIMEOUT_S:.0f} s", "no end") from error
    if done.returncode:
        raise MachineError(
            f"{bench.name} to succeed", f"exit status {done.returncode}: {done.stderr[-1000:]}"
        )
    return read_points(done.stdout)


def measure_guest(folder: Path) -> list[GuestPoint]:
    """Run move-pages on the host clock; its record is left in `folder`.

    Raises:
        MachineError: it didn't pass.
    """
    argv = [sys.executable, "-c", "from lab.cli import main; main()", "run", "move-pages"]
    argv += ["--clock", "host", "--output", str(folder), "--jobs", "1"]
    argv += [word for mode in _GUEST_MODES for word in ("--mode", mode)]
    argv += [word for setting in _GUEST_SETTINGS for word in ("--set", setting)]
    try:
        status = subprocess.run(
            argv, stdin=subprocess.DEVNULL, timeout=_GUEST_TIMEOUT_S, check=False
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise MachineError(
            f"move-pages to end within {_GUEST_TIMEOUT_S:.0f} s", "no end", log=folder
        ) from error
    if status:
        raise MachineError("move-pages to pass", f"exit status {status}", log=folder)
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    return [
        GuestPoint(mode["name"], point["folio_kib"], point["gb_per_s_mean"])
        for mode in record["modes"]
        for point in mode["moves"]
    ]


def render(points: Sequence[Point], guest: Sequence[GuestPoint]) -> str:
    """Both tables, for people."""
    lines = [
        f"{'bytes':>10} {'descriptors/s':>14} {'device GB/s':>12} {'memcpy GB/s':>12} {'share':>7}"
    ]
    lines += [
        f"{point.size_bytes:>10} {point.descriptors_per_s:>14.0f} "
        f"{point.device_bytes_per_s / 1e9:>12.3f} {point.memcpy_bytes_per_s / 1e9:>12.3f} "
        f"{point.device_bytes_per_s / point.memcpy_bytes_per_s:>7.0%}"
        for point in points
    ]
    if guest:
        sizes = sorted({point.folio_kib for point in guest})
        lines += ["", f"{'move-pages':<12}" + "".join(f"{size:>8} KiB" for size in sizes)]
        for mode in dict.fromkeys(point.mode for point in guest):
            row = {point.folio_kib: point.gb_per_s for point in guest if point.mode == mode}
            lines.append(f"{mode:<12}" + "".join(f"{row[size]:>7.3f} GB/s" for size in sizes))
    return "\n".join(lines)


def run(options: argparse.Namespace, progress: Progress) -> None:
    """Measure, print and leave the JSON."""
    cache = Cache()
    qemu = build_qemu(cache, progress)
    bench = build_device_bench(cache, progress)
    points = measure_device(bench, options.qemu or qemu.binary, qemu.firmware_dirs)
    guest: list[GuestPoint] = []
    if not options.no_guest:
        with tempfile.TemporaryDirectory(prefix="dcbm-lab-bench-") as folder:
            guest = measure_guest(Path(folder) / "run")
    data = {
        "qemu": qemu.version,
        "device": [asdict(point) for point in points],
        "guest": [asdict(point) for point in guest],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    print(render(points, guest))
    print(f"\nfigures: {options.output}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--output", type=Path, default=Path("runs/bench-device.json"), metavar="FILE"
    )
    parser.add_argument("--no-guest", action="store_true", help="the device alone")
    parser.add_argument("--qemu", type=Path, metavar="BINARY", help="another QEMU, to compare")
    options = parser.parse_args()
    try:
        run(options, open_progress(sys.stderr))
    except LabError as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
