# SPDX-License-Identifier: GPL-2.0-or-later
"""``dcbm-lab exec`` for real: output, exit statuses, files both ways, crashes and interrupts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_runs import TINY, command, processes_in

from lab.results import Outcome, Record

pytestmark = [pytest.mark.guest, pytest.mark.timeout(900)]
SMALL = ("--vanilla", "--engines", "0", *TINY)
DOCS = Path(__file__).resolve().parents[2] / "docs" / "experiments.md"
DYNAMIC = r"""
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char *argv[])
{
	printf("%.3f%c%c", cbrt(atof(argv[1])), 0, 255);
	fprintf(stderr, "%d: %s|", argc, argv[2]);
	return 42;
}
"""
# A splat that the guest survives; the program knows nothing of it.
SPLAT = "modprobe lkdtm; echo SPINLOCKUP > /sys/kernel/debug/provoke-crash/DIRECT; exit 0"


def run_exec(output: Path, *words: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command("exec", "--output", output, *words), capture_output=True, check=False, timeout=800
    )


def test_a_dynamic_program_of_the_host_runs_as_it_does_there(tmp_path: Path) -> None:
    source, program = tmp_path / "cube.c", tmp_path / "cube"
    source.write_text(DYNAMIC)
    subprocess.run(["gcc", "-O0", "-fno-builtin", "-o", program, source, "-lm"], check=True)
    arguments = ["27", "two\nlines \\n é"]
    here = subprocess.run([program, *arguments], capture_output=True, check=False)
    done = run_exec(tmp_path / "o", *SMALL, "--add", program, "--", "cube", *arguments)
    assert done.returncode == here.returncode == 42, done.stderr
    assert done.stdout == here.stdout == b"3.000\0\xff"
    assert done.stderr.startswith(here.stderr)
    record = Record.read(tmp_path / "o" / "record.json")
    assert (record.experiment, record.outcome) == ("exec", Outcome.FAIL)
    kept = {file.name for file in (tmp_path / "o" / "modes" / "exec").iterdir()}
    assert {"console.log", "channel.jsonl", "kernel.config"} <= kept
    assert "initramfs" not in kept


def test_a_share_comes_back_and_two_runs_are_the_same(tmp_path: Path) -> None:
    share = tmp_path / "share"
    (share / "sub").mkdir(parents=True)
    (share / "kept").write_bytes(b"kept")
    (share / "sub" / "input").write_bytes(bytes(range(256)) * 400)
    script = (
        "stat -c '%n %Y %u' kept; cat sub/input sub/input > sub/output;"
        "echo more >> kept; echo same > x; ln -s x l; date; kill -TERM $$"
    )
    seen = []
    for name in ("first", "second"):
        # Only what the host's files are, not when or where, may reach the guest.
        os.utime(share / "kept", (1, time.time()))
        done = run_exec(tmp_path / name, *SMALL, "--share", share, "--", "sh", "-c", script)
        assert done.returncode == 128 + signal.SIGTERM, done.stderr
        assert b"ended by SIGTERM" in done.stderr
        back = tmp_path / name / "share"
        assert (back / "sub" / "output").read_bytes() == bytes(range(256)) * 800
        assert (back / "kept").read_bytes() == b"keptmore\n"
        assert (back / "l").readlink() == Path("x")
        assert not (back / "sub" / "input").exists()
        mode = tmp_path / name / "modes" / "exec"
        logs = [(mode / log).read_bytes() for log in ("console.log", "channel.jsonl")]
        seen.append((done.stdout, *logs))
    # The time is that of the boot by the fixed clock, not that of the host's file.
    assert seen[0][0].startswith(b"kept 1767225600 0\n")
    assert seen[0] == seen[1]
    assert (share / "kept").read_bytes() == b"kept"


def test_a_splat_is_a_crash_although_the_program_exits_with_0(tmp_path: Path) -> None:
    done = run_exec(tmp_path / "o", *SMALL, "--clock", "host", "--", "sh", "-c", SPLAT)
    assert done.returncode == 204, done.stderr
    assert b"scheduling while atomic" in done.stderr
    assert Record.read(tmp_path / "o" / "record.json").outcome is Outcome.CRASH


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = run_exec(tmp_path / "o", *SMALL, "--", "no-such-program")
    assert done.returncode == 203
    assert b"can't start no-such-program (No such file or directory)" in done.stderr


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    (share / "large").write_bytes(b"x" * 100_000)
    loop = "printf begun; while :; do :; done"
    words = ("--output", tmp_path / "o", *SMALL, "--share", share, "--", "sh", "-c", loop)
    with subprocess.Popen(
        command("exec", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A background job of a shell, as these tests may be part of, ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as lab:
        assert lab.stdout is not None
        # Without a line feed: what is written is here at once.
        assert lab.stdout.read(5) == b"begun"
        lab.send_signal(signal.SIGINT)
        _, told = lab.communicate(timeout=60)
    assert lab.returncode == 230, told
    assert processes_in(tmp_path / "o") == []
    left = {path.name for path in (tmp_path / "o").rglob("*")}
    assert not left & {"record.json", "result.json", "initramfs", "share"}


def test_time_out(tmp_path: Path) -> None:
    loop = ("sh", "-c", "while :; do :; done")
    done = run_exec(tmp_path / "o", *SMALL, "--timeout", 5, "--", *loop)
    assert done.returncode == 205, done.stderr


def test_the_engines_copy_what_a_program_moves(tmp_path: Path) -> None:
    program = ("movepages", "--from", 0, "--to", 1, "--cpu", 1, "--folio-kib", 4)
    size = ("--total-mib", 4)
    done = run_exec(tmp_path / "o", *TINY, "--dcbm", 1, "--", *program, *size)
    assert done.returncode == 0, done.stderr
    (mode,) = Record.read(tmp_path / "o" / "record.json").modes
    assert mode.device is not None
    assert mode.device.descriptors == mode.dma_copies
    assert mode.device.descriptors >= 1024


def test_the_example_of_the_docs_runs(tmp_path: Path) -> None:
    blocks = re.findall(
        r"^```(?:python|c)\n(?:#|//) (\S+)\n(.*?)^```", DOCS.read_text(), flags=re.M | re.S
    )
    assert {name for name, _ in blocks} == {"pressure.py", "touch.c"}
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    small = ("--output", tmp_path / "o", "--jobs", 1, "--engines", 0, *TINY)
    environment = {**os.environ, "DCBM_LAB_EXPERIMENTS": str(tmp_path)}
    done = subprocess.run(
        command("run", "pressure", *small, "--mode", "vanilla"),
        capture_output=True,
        check=False,
        env=environment,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (mode,) = Record.read(tmp_path / "o" / "record.json").modes
    assert [check.name for check in mode.checks] == ["nodes", "touched"]
    assert all(check.held for check in mode.checks)
