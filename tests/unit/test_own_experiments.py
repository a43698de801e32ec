# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories of experiments of the user's: found, listed, run, and what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_cli import own as own_file  # noqa: F401 - a fixture
from typer.testing import CliRunner, Result

from lab import cli, experiments
from lab.config import LabFile, read_lab_file
from lab.errors import ConfigError
from lab.run_mode import machine_facts

TEXT = """
from lab.experiments.base import Experiment, ModePlan, Parameters
from lab.results import Check
from _shared_by_both import AWAITED

class Chosen(Parameters):
    depth: int = 3

def run(session):
    session.findings.check(Check(name="c", held=True, awaited=AWAITED, seen="s"))

EXPERIMENT = Experiment(
    "NAME", "of NAME", Chosen, lambda lab, chosen: [ModePlan("only", "", False, lab)], run
)
"""


def call(*words: object) -> Result:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture
def directory(tmp_path: Path, own_file: Path) -> Path:  # noqa: F811 - and a bench without guests
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "_shared_by_both.py").write_text("AWAITED = 'a'\n")
    for name in ("pressure", "thaw"):
        (folder / f"{name}.py").write_text(TEXT.replace("NAME", name))
    (folder / "notes.txt").write_text("no experiment")
    return folder


def test_a_directory_is_listed_after_the_labs_own(directory: Path) -> None:
    result = call("list", "--from", directory)
    assert result.exit_code == 0, result.output
    heads = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert heads[0].startswith("compaction: ")
    assert heads[-2:] == ["pressure: of pressure", "thaw: of thaw"]
    assert "  depth = 3" in result.stdout


def test_experiments_run_by_name_and_by_path(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = call("run", "thaw", "--output", tmp_path / "0")
    assert refused.exit_code == 2
    assert "no experiment 'thaw'" in refused.output
    assert call("run", directory / "thaw.py", "--output", tmp_path / "1").exit_code == 0
    monkeypatch.setenv(experiments.DIRECTORIES, str(directory))
    assert call("run", "thaw", "--output", tmp_path / "2").exit_code == 0
    assert "thaw: of thaw" in call("list").stdout


def test_a_lab_file_names_directories_relative_to_itself(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab_file = tmp_path / "lab.toml"
    lab_file.write_text('experiments = ["experiments"]\n[experiment.pressure]\ndepth = 4\n')
    monkeypatch.chdir("/")
    assert read_lab_file(lab_file).experiments == (directory,)
    for name in ("thaw", "pressure"):
        result = call("run", name, "--lab-file", lab_file, "--output", tmp_path / name)
        assert result.exit_code == 0, result.output
    assert "of thaw" in call("list", "--lab-file", lab_file).stdout
    # Where they lie is no part of the machine that a record tells of.
    assert "experiments" not in machine_facts(LabFile(experiments=(directory,)))


def test_several_directories(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = directory.with_name("other")
    other.mkdir()
    (other / "third.py").write_text(TEXT.replace("NAME", "third"))
    monkeypatch.setenv(experiments.DIRECTORIES, os.pathsep.join(map(str, (other, directory))))
    assert experiments.directories_given([directory]) == (directory, other)
    assert list(experiments.from_directories([directory, other])) == ["pressure", "thaw", "third"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("\n\nraise ValueError('wrong')\n", r"ValueError: wrong \(line 3\)"),
        ("def broken(:\n", "SyntaxError"),
        ("x = 1\n", "seen:    none"),
        ("EXPERIMENT = 1\n", "EXPERIMENT is int"),
        (TEXT.replace("NAME", "thaw"), r"'thaw' in .*zz\.py and .*thaw\.py"),
        (TEXT.replace("NAME", "dmatest"), r"'dmatest' in .*zz\.py and the lab's own"),
    ],
)
def test_a_file_that_is_wrong_is_named(directory: Path, text: str, seen: str) -> None:
    (directory / "zz.py").write_text(text)
    with pytest.raises(ConfigError, match=seen) as caught:
        experiments.from_directories([directory])
    assert "zz.py" in str(caught.value)
    result = call("list", "--from", directory)
    assert result.exit_code == 2
    assert "zz.py" in result.stderr
    assert "Traceback" not in result.output


def test_the_labs_own_run_beside_a_broken_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "zz.py").write_text("broken(")
    assert experiments.find("compaction", [directory]).name == "compaction"
    monkeypatch.setenv(experiments.DIRECTORIES, str(directory))
    result = call("run", "thaw")
    assert result.exit_code == 2
    assert "SyntaxError" in result.stderr


def test_a_directory_that_is_not_there() -> None:
    result = call("list", "--from", "/nonexistent")
    assert result.exit_code == 2
    assert "nothing there" in result.stderr


BROKEN = {
    "exits": ("import sys\nsys.exit(0)\n", "SystemExit: 0 (line 2)"),
    "raises": ("x = 1\nraise RuntimeError('boom')\n", "RuntimeError: boom (line 2)"),
}
PLANS = {
    "exits": ("sys.exit(0)", "SystemExit: 0 (line 8)"),
    "raises": ("{}['there']", "KeyError: 'there' (line 8)"),
    "none": ("None", "its plan gives None"),
    "empty": ("[]", "its plan gives none"),
    "words": ("['a']", "its plan gives ['a']"),
}
PLANNED = """import sys
from lab.experiments.base import Experiment, ModePlan, Parameters

def run(session):
    raise AssertionError("nothing is to boot")

def plan(lab, chosen):
    return RETURNED

EXPERIMENT = Experiment("NAME", "of NAME", Parameters, plan, run)
"""


def refused_at(file: Path, out: Path) -> str:
    result = call("run", file, "--output", out)
    assert result.exit_code == 2, result.output
    assert not out.exists()
    assert str(file) in result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize("which", BROKEN)
def test_a_file_that_ends_early_is_refused_with_its_line(
    directory: Path, tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, told = BROKEN[which]
    (directory / "broken.py").write_text(text)
    assert told in refused_at(directory / "broken.py", tmp_path / "out")
    assert call("list", "--from", directory).exit_code == 2
    monkeypatch.chdir(directory)
    assert told in " ".join(call("run", "broken.py").output.split())


@pytest.mark.parametrize("which", PLANS)
def test_a_plan_that_is_none_is_refused(directory: Path, tmp_path: Path, which: str) -> None:
    returned, told = PLANS[which]
    file = directory / "broken.py"
    file.write_text(PLANNED.replace("RETURNED", returned).replace("NAME", "broken"))
    assert told in refused_at(file, tmp_path / "out")
    listed = call("list", "--from", directory)
    assert listed.exit_code == 0
    assert told in " ".join(listed.output.split())


@pytest.mark.parametrize("name", ["Bad Name", "../up", "", "-x"])
def test_a_name_that_is_no_folders_is_refused(directory: Path, tmp_path: Path, name: str) -> None:
    file = directory / "broken.py"
    file.write_text(PLANNED.replace("RETURNED", "[]").replace("NAME", name))
    assert repr(name) in refused_at(file, tmp_path / "out")
