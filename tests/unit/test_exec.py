# SPDX-License-Identifier: GPL-2.0-or-later
"""``dcbm-lab exec`` as far as it needs no guest: exit statuses, options, what comes back."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from native import IMAGES, compile_c, make_once
from records import record
from scripted import ScriptedBench, ScriptedGuest
from typer.testing import CliRunner, Result

from lab import cli, cli_exec
from lab.build.cpio import Item
from lab.build.cpio_reader import read_archive
from lab.errors import GuestCrash, GuestLost, GuestTimeout, MachineError, PremiseError
from lab.exec_mode import write_changed
from lab.experiments.base import ModePlan
from lab.guest_files import GuestDirectory, GuestFile, GuestLink, read_tree
from lab.machine.jobs import JobResult, Sink
from lab.results import Mode, Outcome, Record

REGULAR, DIRECTORY, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


class StreamingGuest(ScriptedGuest):
    """A guest whose program writes a little and ends as it is told."""

    def __init__(self, end: int | BaseException, power_off: BaseException | None) -> None:
        super().__init__()
        self.end = end
        self.power_off = power_off
        self.asked: list[tuple[tuple[str, ...], str]] = []

    def device_counters(self) -> dict[str, Any]:
        return {}

    def stream(
        self, argv: tuple[str, ...], sink: Sink, *, directory: str = "/", timeout_s: float = 0
    ) -> JobResult:
        self.asked.append((argv, directory))
        sink("stdout", b"out\xff")
        sink("stderr", b"err\n")
        if isinstance(self.end, BaseException):
            raise self.end
        status, number = (self.end, None) if self.end >= 0 else (None, -self.end)
        return JobResult(argv, status, number, [], [], [])


class StreamingBench(ScriptedBench):
    def __init__(self, guest: StreamingGuest) -> None:
        super().__init__()
        self.guest = guest
        self.booted: list[ModePlan] = []

    @contextmanager
    def boot(self, mode: ModePlan, folder: Path, on_start: Callable[[Any], None]) -> Iterator[Any]:
        self.booted.append(mode)
        on_start(self.guest)
        yield self.guest
        if self.guest.power_off is not None:
            raise self.guest.power_off


Run = Callable[..., tuple[Result, StreamingBench]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the verb with a guest that ends as it is told."""

    def call(
        *words: object, end: int | BaseException = 0, power_off: BaseException | None = None
    ) -> tuple[Result, StreamingBench]:
        bench = StreamingBench(StreamingGuest(end, power_off))
        module = types.ModuleType("lab.bench")
        module.prepare = lambda *_args, **_: bench  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "lab.bench", module)
        text = [str(word) for word in words]
        return CliRunner().invoke(cli.app, ["exec", "--output", str(tmp_path / "o"), *text]), bench

    return call


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (0, 0),
        (1, 1),
        (2, 2),
        (125, 125),
        (126, 126),
        (127, 126),
        (203, 126),
        (255, 126),
        (-signal.SIGINT, 130),
        (-signal.SIGKILL, 137),
        (-64, 192),
        (PremiseError("a", "s"), 203),
        (RuntimeError("a fault of ours"), 203),
        (GuestCrash("a", "s", excerpt="BUG: here"), 204),
        (GuestTimeout("a", "s"), 205),
        (GuestLost("a", "s"), 206),
        (KeyboardInterrupt(), 230),
    ],
)
def test_exit_statuses(run: Run, tmp_path: Path, end: int | BaseException, status: int) -> None:
    result, _ = run("--", "prog", "-x", end=end)
    assert result.exit_code == status, result.output
    assert result.stdout_bytes == b"out\xff"
    assert result.stderr_bytes.startswith(b"err\n")
    written = tmp_path / "o" / "record.json"
    if status == 230:
        assert not written.exists()
        return
    kept = Record.read(written)
    assert kept.experiment == "exec"
    assert (kept.outcome is Outcome.PASS) == (status == 0)
    assert (kept.outcome in {Outcome.PASS, Outcome.FAIL}) == (status < 200)
    if isinstance(end, int):
        told = f"exit status {end}" if end >= 0 else f"signal {-end}"
        assert told in result.stderr


def test_every_outcome_has_a_status_of_its_own() -> None:
    own = {
        outcome: cli_exec.exit_status(record(Mode(name="exec", outcome=outcome)))
        for outcome in Outcome
        if outcome not in {Outcome.PASS, Outcome.FAIL}
    }
    assert len(set(own.values())) == len(own) == 4
    # above 125 and 128 + the highest signal
    assert all(192 < status < 256 for status in own.values())


def test_a_pass_without_the_programs_end_is_an_error() -> None:
    assert cli_exec.exit_status(record(Mode(name="exec", outcome=Outcome.PASS))) == 203


def test_a_crash_is_a_crash_whatever_the_program_said(run: Run) -> None:
    crash = GuestCrash("the guest to power off", "BUG", excerpt="BUG: sleeping function")
    result, _ = run("prog", end=0, power_off=crash)
    assert result.exit_code == 204
    assert "CRASH, after the program had exit status 0" in result.stderr
    assert "BUG: sleeping function" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--surprise", "prog"),
        (),
        ("--dcbm", "0", "prog"),
        ("--dcbm", "17", "prog"),
        ("--dcbm", "2", "prog"),
        ("--dcbm", "1", "--vanilla", "prog"),
        ("--set", "colour=red", "prog"),
        ("--set", "engine.count=99", "prog"),
        ("--inject", "dma0", "prog"),
        ("--add", "/nonexistent", "prog"),
        ("--share", "/nonexistent", "prog"),
        ("--lab-file", "/nonexistent", "prog"),
        ("--kernel", "/nonexistent", "prog"),
        ("prog", *["x"] * 300),
    ],
)
def test_wrong_usage_has_a_status_of_its_own_and_runs_nothing(
    run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    result, bench = run(*words)
    assert result.exit_code == 202, result.output
    assert not (tmp_path / "o").exists()
    assert bench.booted == []
    assert "Traceback" not in result.output


def test_other_verbs_keep_their_statuses() -> None:
    assert CliRunner().invoke(cli.app, ["run", "--surprise"]).exit_code == 2


def test_what_follows_the_program_is_the_programs(run: Run) -> None:
    _, bench = run("--engines", "2", "prog", "--share", "-h", "--", "x")
    assert bench.guest.asked == [(("prog", "--share", "-h", "--", "x"), "/root")]
    (mode,) = bench.booted
    assert (mode.patched, mode.machine.engine.count, mode.modules) == (True, 2, ())
    _, bench = run("--vanilla", "--", "prog")
    assert not bench.booted[0].patched


def test_added_files(run: Run, tmp_path: Path) -> None:
    with_colon = tmp_path / "a:b"
    with_colon.write_text("x")
    _, bench = run("--add", with_colon, "--add", f"{with_colon}:/opt/c", "prog")
    assert [file.path for file in bench.booted[0].files] == ["/root/a:b", "/opt/c"]
    kept = Record.read(tmp_path / "o" / "record.json").modes[0].details["guest_files"]
    assert [file["bytes"] for file in kept] == [1, 1]


SHARE = (
    GuestDirectory("/share"),
    GuestFile("/share/same", b"1"),
    GuestFile("/share/other", b"1"),
    GuestFile("/share/runs", b"1"),
    GuestLink("/share/link", "same"),
    GuestDirectory("/share/sub"),
    GuestFile("/share/sub/deep", b"1"),
)


def test_only_what_differs_comes_back(tmp_path: Path) -> None:
    found = {
        "same": Item(REGULAR, b"1"),
        "other": Item(REGULAR, b"2"),
        "runs": Item(REGULAR | 0o100, b"1"),
        "link": Item(LINK, b"same"),
        "sub": Item(DIRECTORY),
        "sub/deep": Item(LINK, b"../../../outside"),
        "new/file\nwith a line feed": Item(REGULAR, bytes(range(256))),
        "empty": Item(DIRECTORY),
    }
    back = tmp_path / "back"
    assert write_changed(found, SHARE, back) == [
        "empty",
        "new/file\nwith a line feed",
        "other",
        "runs",
        "sub/deep",
    ]
    assert (back / "other").read_bytes() == b"2"
    assert (back / "new" / "file\nwith a line feed").read_bytes() == bytes(range(256))
    assert os.access(back / "runs", os.X_OK)
    assert not (back / "same").exists()
    assert (back / "sub" / "deep").readlink() == Path("../../../outside")
    assert (back / "empty").is_dir()


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "."])
def test_nothing_is_written_outside(name: str, tmp_path: Path) -> None:
    with pytest.raises(MachineError):
        write_changed({name: Item(REGULAR, b"1")}, (), tmp_path / "back")
    assert not (tmp_path / "x").exists()


def test_no_link_leads_a_file_outside(tmp_path: Path) -> None:
    found = {"a": Item(LINK, str(tmp_path).encode()), "a/x": Item(REGULAR, b"1")}
    with pytest.raises(OSError, match="exists"):
        write_changed(found, (), tmp_path / "back")
    assert not (tmp_path / "x").exists()


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = IMAGES / "agent" / "pack_changed.c"
    return make_once(tmp_path_factory, "pack-changed", lambda path: compile_c(path, source))


def packing(pack: Path, *words: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([pack, *map(str, words)], capture_output=True, check=False)


def test_what_changed_is_packed(pack: Path, tmp_path: Path) -> None:
    share = tmp_path / "share"
    (share / "old").mkdir(parents=True)
    for name in ("kept", "changed", "touched back"):
        (share / "old" / name).write_text("before")
    time.sleep(0.05)
    since = tmp_path / "since"
    since.touch()
    (share / "old" / "changed").write_bytes(bytes(range(256)) * 1000)
    (share / "old" / "touched back").write_text("after")
    os.utime(share / "old" / "touched back", (1, 1))
    (share / "new\nname").write_text("")
    (share / "link").symlink_to("nowhere")
    os.mkfifo(share / "pipe")
    done = packing(pack, share, since, 1 << 20)
    assert done.returncode == 0, done.stderr
    assert done.stderr.decode().endswith(f"{share}/pipe\n")
    found = read_archive(done.stdout)
    assert {name for name, item in found.items() if not stat.S_ISDIR(item.mode)} == {
        "old/changed",
        "old/touched back",
        "new\nname",
        "link",
    }
    assert found["old/changed"].data == bytes(range(256)) * 1000
    assert found["link"].data == b"nowhere"
    before = read_tree(share / "old", "/share/old")
    assert write_changed(found, before, tmp_path / "back") == ["link", "new\nname"]


def test_a_limit_holds_for_all_files_together(pack: Path, tmp_path: Path) -> None:
    since = tmp_path / "since"
    since.touch()
    share = tmp_path / "share"
    share.mkdir()
    for name in ("a", "b"):
        (share / name).write_bytes(b"x" * 500)
    assert packing(pack, share, since, 1000).returncode == 0
    done = packing(pack, share, since, 999)
    assert (done.returncode, done.stdout) == (4, b"")
    assert b"1000 bytes" in done.stderr


def test_packing_that_can_not_be(pack: Path, tmp_path: Path) -> None:
    assert packing(pack).returncode == 2
    assert packing(pack, tmp_path, tmp_path, "x").returncode == 2
    assert packing(pack, tmp_path, tmp_path / "none", 1).returncode == 1
    assert packing(pack, tmp_path / "none", tmp_path, 1).returncode == 1
