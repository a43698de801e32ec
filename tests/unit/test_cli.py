# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import pytest
from records import compaction_mode, ended, record
from scripted import ScriptedBench
from typer.testing import CliRunner, Result

from lab import cli
from lab.cache import Cache
from lab.checkout import ROOT, assert_checkout
from lab.errors import BuildError, HostError
from lab.experiments.base import ModePlan
from lab.progress import SilentProgress
from lab.results import Outcome, Record

OWN = """
from lab.errors import GuestCrash, GuestLost, GuestTimeout, PremiseError
from lab.experiments.base import Experiment, ModePlan, Parameters
from lab.results import Check

class Chosen(Parameters):
    end: str = "PASS"
    depth: int = 1

ERRORS = {
    "CRASH": GuestCrash("a", "s", excerpt="BUG: here"),
    "TIMEOUT": GuestTimeout("a", "s"),
    "LOST": GuestLost("a", "s"),
    "ERROR": PremiseError("a", "s"),
    "INTERRUPT": KeyboardInterrupt(),
}

def run(session):
    end = session.parameters.end
    if end in ERRORS:
        raise ERRORS[end]
    session.findings.check(Check(name="c", held=end == "PASS", awaited="a", seen="s"))

EXPERIMENT = Experiment(
    "own", "", Chosen, lambda lab, chosen: [ModePlan("only", "", False, lab)], run
)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment's file, and a bench that needs no build."""
    bench = types.ModuleType("lab.bench")
    bench.prepare = lambda _modes, _progress, **_: ScriptedBench()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lab.bench", bench)
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def call(*words: Any) -> Result:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("PASS", 0),
        ("FAIL", 1),
        ("ERROR", 3),
        ("CRASH", 4),
        ("TIMEOUT", 5),
        ("LOST", 6),
        ("INTERRUPT", 130),
    ],
)
def test_exit_status(own: Path, tmp_path: Path, end: str, status: int) -> None:
    result = call("run", own, "--output", tmp_path / "out", "--set", f"end={end}")
    assert result.exit_code == status, result.output
    written = tmp_path / "out" / "record.json"
    if end == "INTERRUPT":
        assert not written.exists()
        assert "interrupted" in result.stderr
        return
    assert Record.read(written).outcome.value == end
    assert result.stdout.rstrip().splitlines()[-1].startswith(f"{end}: ")


@pytest.mark.parametrize(
    "words",
    [
        ("--set", "depth"),
        ("--set", "depth=deep"),
        ("--set", "colour=red"),
        ("--set", "engine.count=17"),
        ("--set", "engine.colour=red"),
        ("--set", "engnie.count=2"),
        ("--engines", "17"),
        ("--clock", "sundial"),
        ("--inject", "dma0"),
        ("--jobs", "0"),
        ("--surprise",),
    ],
)
def test_wrong_usage_is_2_and_runs_nothing(
    own: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    result = call("run", own, "--output", tmp_path / "out", *words)
    assert result.exit_code == 2, result.output
    assert not (tmp_path / "out").exists()
    assert "Traceback" not in result.output


def test_driver_fixes_have_a_short_name(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def prepare(modes: list[ModePlan], _progress: object, **_: object) -> ScriptedBench:
        asked.extend(mode.machine.kernel.driver_fixes for mode in modes)
        raise BuildError("nothing", "only what was asked for matters")

    monkeypatch.setattr(sys.modules["lab.bench"], "prepare", prepare)
    call("run", own, "--output", tmp_path / "stock")
    call("run", own, "--output", tmp_path / "fixed", "--with-driver-fixes")
    assert asked == [False, True]


def test_no_engine_is_wrong_usage_before_the_run(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(_modes: object, _progress: object, **_: object) -> ScriptedBench:
        raise BuildError("nothing", "a build although there is no engine")

    monkeypatch.setattr(sys.modules["lab.bench"], "prepare", prepare)
    for words in (("--set", "engine.count=0"), ("--engines", "0")):
        result = call("run", "compaction", "--output", tmp_path / "out", *words)
        assert result.exit_code == 2
        assert "engine.count is 0" in result.stderr
        assert not (tmp_path / "out").exists()


def test_a_folder_with_foreign_files_is_refused(own: Path, tmp_path: Path) -> None:
    result = call("run", own, "--output", tmp_path)
    assert result.exit_code == 2
    assert "own.py" in result.stderr
    assert "next:" in result.stderr


def test_lab_file_and_settings(own: Path, tmp_path: Path) -> None:
    lab_file = tmp_path / "lab.toml"
    lab_file.write_text('clock = "host"\n[engine]\ncount = 3\n[experiment.own]\ndepth = 4\n')
    out = tmp_path / "out"
    result = call(
        *("run", own, "--output", out, "--lab-file", lab_file),
        *("--set", "engine.latency_ns=9", "--clock", "virtual"),
    )
    assert result.exit_code == 0, result.output
    written = Record.read(out / "record.json")
    assert written.clock == "virtual"
    assert written.parameters["own"] == {"end": "PASS", "depth": 4}
    engine = written.parameters["lab_file"]["engine"]
    assert (engine["count"], engine["latency_ns"]) == (3, 9)


def test_a_wrong_lab_file_is_an_error_that_names_the_field(own: Path, tmp_path: Path) -> None:
    lab_file = tmp_path / "lab.toml"
    lab_file.write_text("[engine]\ncount = 99\n")
    result = call("run", own, "--output", tmp_path / "out", "--lab-file", lab_file)
    assert result.exit_code == 2
    assert "engine.count" in result.stderr


def test_unknown_experiment(tmp_path: Path) -> None:
    result = call("run", "compactoin", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "compaction" in result.stderr
    assert "move-pages" in result.stderr
    assert call("run", tmp_path / "none.py").exit_code == 2


@pytest.mark.parametrize("form", ["table", "html", "junit", "ktap", "json"])
def test_report_shows_a_run_again(tmp_path: Path, form: str) -> None:
    record(compaction_mode(), ended(Outcome.FAIL)).write(tmp_path)
    by_folder = call("report", tmp_path, "--format", form)
    by_file = call("report", tmp_path / "record.json", "--format", form)
    assert by_folder.exit_code == 0
    assert by_folder.stdout == by_file.stdout
    assert "66022189744" in by_folder.stdout or form in {"junit", "ktap"}
    assert "page 17 at 0x7f0011000" in by_folder.stdout


def test_report_of_nothing(tmp_path: Path) -> None:
    assert call("report", tmp_path).exit_code == 2
    (tmp_path / "record.json").write_text("{}")
    result = call("report", tmp_path)
    assert result.exit_code == 2
    assert "not of this schema" in result.stderr


def test_version_and_list() -> None:
    assert call("--version").stdout == "dcbm-lab 0.1.0\n"
    listed = call("list").stdout
    for name in ("compaction", "move-pages", "nr_dma_chan = 1", "rounds"):
        assert name in listed


@pytest.mark.parametrize(
    "line",
    [
        "  modes: baseline, dma, busy-baseline, busy-dma",
        "  modes with kernel.variant=debug: descriptors, enable",
        "  allocations = (chosen by the lab)",
        "  same_folios = false",
        '  caller = "engine"',
        '  workloads = ["moves", "compaction"], with --quick ["moves"]',
        "    of moves, compaction",
        '  paths = ["direct", "swiotlb", "amd", "intel", "intel-lazy"], with --quick []',
        "  triggers = (all)",
        "  paths = []",
        '  expect = "ledger"',
        "    of ledger, sound",
        "    of compaction_test, rmap, hugetlb-madvise, hugetlb-mmap, ksm_tests -M -p 10,",
    ],
)
def test_list_has_values_as_set_takes_them_and_what_they_may_be(line: str) -> None:
    listed = call("list").stdout.splitlines()
    assert any(said.startswith(line) for said in listed), "\n".join(listed)
    assert "<" not in "".join(listed), "no value is shown as Python's repr"


def test_list_survives_an_experiment_whose_plan_fails(own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "own.py").write_text(BROKEN.replace("{error}", "RuntimeError('depth')"))
    listed = call("list", "--from", folder).stdout
    assert "own: \n  modes: its plan ends with RuntimeError: depth (line " in listed
    assert '\n  end = "PASS"' in listed


def test_help_cuts_nothing_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = call("run", "--help").stdout
    assert "…" not in told.replace("VALUE,…]", "").replace(",…]", "")
    said = " ".join(told.replace("│", " ").split())
    for words in ("0 PASS;", "125 ERROR (skip);", "128 wrong usage (ends the bisection)"):
        assert words in said


def test_cache_verbs_on_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert call("cache", "list").stdout == ""
    assert call("cache", "gc").stdout == "0 removed, 0.0 MiB freed\n"
    assert call("cache", "verify").stdout.startswith("0 damaged in ")


def test_cache_verify_finds_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = Cache()
    at = cache.entry(
        "thing",
        "k" * 64,
        lambda folder: (folder / "file").write_text("whole") and None,
        title="a thing",
        progress=SilentProgress(),
    )
    assert call("cache", "verify").exit_code == 0
    assert "a thing" in call("cache", "list").stdout
    (at / "file").chmod(0o644)
    (at / "file").write_text("whale")
    result = call("cache", "verify")
    assert result.exit_code == 3
    assert str(at) in result.stdout


BROKEN = (
    OWN.replace("lambda lab, chosen: [", "lambda lab, chosen: broken() or [")
    + """
def broken():
    raise {error}
"""
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("a \x07slip"), "LabError"),
        (RuntimeError("depth"), "LabError"),
        (OSError(28, "No space left on device", "/there"), "No space left on device: /there"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_goes_wrong_is_3_and_never_1(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("lab.run.run_experiment", broken)
    result = call("run", own, "--output", tmp_path / "out")
    assert result.exit_code == 3, result.output
    assert told in result.output
    assert "Traceback" not in result.output
    assert "\x07" not in result.output
    traces = list(tmp_path.glob("dcbm-lab-traceback-*.txt"))
    assert len(traces) == (told == "LabError")
    for trace in traces:
        assert "in broken" in trace.read_text()
        assert str(trace) in result.stderr


def test_debug_shows_the_traceback_and_keeps_the_status(own: Path, tmp_path: Path) -> None:
    for words in (("report", tmp_path / "none"), ("run", own, "--output", own.parent)):
        result = call("--debug", *words)
        assert result.exit_code == 2
        assert "Traceback" in result.stderr


def test_a_disk_that_is_full_at_the_end_is_3(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_record: Record, _folder: Path) -> Path:
        raise OSError(28, "No space left on device", "record.json")

    monkeypatch.setattr(Record, "write", full)
    result = call("run", own, "--output", tmp_path / "out")
    assert result.exit_code == 3
    assert "error: HostError" in result.stderr


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("dmatest", "engine_counts=[17]"),
        ("dmatest", "engine_counts=[0]"),
        ("dmatest", "engine_counts=[4,4]"),
        ("dmatest", 'paths=["amd","amd"]'),
        ("dmatest", 'paths=["via"]'),
        ("move-pages", "folio_kib=[64,64]"),
    ],
)
def test_parameters_that_give_no_machine_or_one_twice_are_wrong_usage(
    own: Path, tmp_path: Path, name: str, setting: str
) -> None:
    result = call("run", name, "--output", tmp_path / "out", "--set", setting)
    assert result.exit_code == 2, result.output
    assert not (tmp_path / "out").exists()


def test_a_record_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_bytes(b"\xff\xfe{}")
    result = call("report", tmp_path)
    assert result.exit_code == 2
    assert "UTF-8" in result.stderr


@pytest.mark.parametrize("other", ["topology.iommu=amd", "topology.iommu=intel"])
def test_bounce_buffers_behind_an_iommu_are_wrong_usage(
    own: Path, tmp_path: Path, other: str
) -> None:
    words = ("--set", other, "--set", "topology.swiotlb=force")
    for name in ("compaction", "move-pages", "dmatest"):
        result = call("run", name, "--output", tmp_path / name, *words)
        assert result.exit_code == 2, result.output
        assert "bounces nothing" in " ".join(result.output.replace("│", " ").split())
        assert not (tmp_path / name).exists()


def test_a_lab_without_its_checkout_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_checkout()
    with pytest.raises(HostError, match="--editable"):
        assert_checkout(tmp_path)
    monkeypatch.setattr(cli, "assert_checkout", lambda: assert_checkout(tmp_path))
    result = call("list")
    assert result.exit_code == 3
    assert "no qemu-devices, kernel-config, images" in result.stderr
    assert call("--version").exit_code == 0


@pytest.mark.parametrize("words", [("report", "."), ("list",)], ids="-".join)
def test_a_reader_that_has_gone_is_no_failed_check(tmp_path: Path, words: tuple[str, ...]) -> None:
    record(compaction_mode()).write(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended_as = subprocess.run(
            [sys.executable, "-m", "lab.cli", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended_as.returncode, ended_as.stderr) == (141, "")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--mode", "dmaa"), "busy-baseline"),
        (
            ("--set", "kernel.base=6.1"),
            "awaited: a kernel base\nseen:    6.1\nnext:    choose from: ",
        ),
        (("--set", "qemu.base=9.0"), "10.2"),
    ],
)
def test_a_wrong_name_is_wrong_usage_and_leaves_nothing(
    words: tuple[str, str], names: str, own: Path, tmp_path: Path
) -> None:
    result = call("run", "compaction", *words, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert names in result.stderr
    assert not (tmp_path / "out").exists()


def loaded_by(words: tuple[str, ...], status: int = 0) -> set[str]:
    """Every module that a command has loaded when it ends with that status."""
    program = f"""
import sys
sys.argv[1:] = {words!r}
import lab.cli
try:
    lab.cli.main()
except SystemExit as end:
    assert (end.code or 0) == {status}
print(*sys.modules, sep="\\n")
"""
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines())
    assert "lab.cli" in loaded
    return loaded


# What only some verbs need and takes long to load, and parts of the lab that bring it along.
LIBRARIES = {"asyncio", "http.client", "jinja2", "junitparser", "matplotlib", "qemu.qmp", "rich"}
SLOW = LIBRARIES | {"lab.config", "lab.experiments", "lab.results", "lab.run"}


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("exec", "--help")])
def test_help_loads_nothing_that_it_does_not_need(words: tuple[str, ...]) -> None:
    assert not SLOW & loaded_by(words)


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        (("list",), LIBRARIES | {"lab.cache", "lab.run", "lab.machine.guest"}),
        (("kernel", "list"), LIBRARIES | {"lab.experiments", "lab.machine", "lab.results"}),
        (("cache", "list"), LIBRARIES | {"lab.build", "lab.experiments", "lab.results"}),
    ],
)
def test_a_verb_loads_nothing_that_it_does_not_need(
    words: tuple[str, ...], idle: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not idle & loaded_by(words)


def test_a_run_loads_its_own_experiment_alone() -> None:
    loaded = loaded_by(("run", "compaction", "--mode", "none"), status=2)
    assert "lab.experiments.compaction" in loaded
    others = {"matrix", "move_pages", "dmatest", "faults", "failures", "stress", "selftests"}
    assert not {f"lab.experiments.{name}" for name in others} & loaded
