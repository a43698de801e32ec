# SPDX-License-Identifier: GPL-2.0-or-later
"""Bundles of runs and their replays: never "identical" where anything differs."""

from __future__ import annotations

import copy
import json
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import compaction_mode, record
from scripted import ScriptedBench
from test_cli import OWN, call
from test_cli_inputs import DIFF, kernel_tree

import lab.bench
import lab.replay
from lab.archive_file import pack, read_archive, write_archive
from lab.build.inputs import Inputs, read_inputs
from lab.build.local_changes import write_changes
from lab.build.local_tree import inspect_tree
from lab.config import LabFile, read_lab_file
from lab.errors import ConfigError
from lab.replay import Verdict, compare_records, find_differing, restore_inputs
from lab.results import Record
from lab.run_bundle import read_bundle
from lab.run_inputs import restore_series

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment's file, and guests that need no build."""
    monkeypatch.setattr(
        lab.bench, "prepare", lambda _modes, _progress, inputs=None, **_: ScriptedBench()
    )
    monkeypatch.setattr(lab.replay, "find_differences", lambda *_arguments: [])
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def bundled(own: Path, tmp_path: Path, *words: object) -> Path:
    """The bundle of a run."""
    result = call("run", own, "--output", tmp_path / "run", *words)
    assert (tmp_path / "run" / "record.json").exists(), result.output
    result = call("bundle", tmp_path / "run", "-o", tmp_path / "b.tar.xz")
    assert result.exit_code == 0, result.output
    return tmp_path / "b.tar.xz"


def changed(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The same bundle with other files in it, packed as it has to be."""
    files = read_archive(path)
    change(files)
    write_archive(files, path, overwrite=True)
    return path


def in_json(name: str, change: Change) -> Callable[[dict[str, bytes]], None]:
    def apply(files: dict[str, bytes]) -> None:
        data = json.loads(files[name])
        change(data)
        files[name] = json.dumps(data).encode()

    return apply


@pytest.mark.parametrize("end", ["PASS", "FAIL", "CRASH"])
def test_the_same_run_is_identical_however_it_ended(own: Path, tmp_path: Path, end: str) -> None:
    path = bundled(own, tmp_path, "--set", f"end={end}", "--set", "engine.count=3")
    result = call("replay", path, "--output", tmp_path / "again", "--run-its-code")
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip().endswith("replay: identical")
    there = Record.read(tmp_path / "run" / "record.json")
    here = Record.read(tmp_path / "again" / "record.json")
    assert there.parameters == here.parameters
    assert there.host.folder != here.host.folder


def test_code_of_others_runs_with_leave_alone(own: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    own.write_text(f"open({str(witness)!r}, 'w').close()\n{OWN}")
    path = bundled(own, tmp_path)
    witness.unlink()
    result = call("replay", path, "--output", tmp_path / "again")
    assert result.exit_code == 2
    assert "--run-its-code" in result.stderr
    assert not witness.exists()
    assert not (tmp_path / "again").exists()

    # nor by a name that only looks like one of the lab's
    def disguise(data: dict[str, Any]) -> None:
        data["experiment_hash"] = None
        data["experiment"] = str(own)

    def told(data: dict[str, Any]) -> None:
        disguise(data)
        data["parameters"][str(own)] = data["parameters"].pop("own")

    changed(path, in_json("inputs/inputs.json", disguise))
    changed(path, in_json("record.json", told))
    result = call("replay", path, "--output", tmp_path / "again")
    assert result.exit_code == 2
    assert "an experiment of the lab" in result.stderr
    assert not witness.exists()


def test_a_replay_that_measures_otherwise_says_where(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundled(own, tmp_path)

    class Other(ScriptedBench):
        def boot_of(self, mode: Any) -> Any:
            return super().boot_of(mode).model_copy(update={"kernel_hash": "9" * 64})

    monkeypatch.setattr(lab.bench, "prepare", lambda _modes, _progress, inputs=None, **_: Other())
    result = call("replay", path, "--output", tmp_path / "again", "--run-its-code")
    assert result.exit_code == 1, result.output
    assert "record: modes[only].boot.kernel_hash: " in result.stdout
    assert result.stdout.rstrip().endswith("replay: different")


def test_a_run_that_could_not_start_is_never_identical(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(*_words: Any, **_more: Any) -> ScriptedBench:
        raise lab.errors.BuildError("a kernel", "none")

    monkeypatch.setattr(lab.bench, "prepare", prepare)
    path = bundled(own, tmp_path)
    result = call("replay", path, "--output", tmp_path / "again", "--run-its-code")
    assert result.exit_code == 3, result.output
    assert "replay: nothing ran" in result.stdout


# -- comparing -------------------------------------------------------------------------------


def whole_record() -> dict[str, Any]:
    return json.loads(record(compaction_mode("dma")).model_dump_json(by_alias=True))


@pytest.mark.parametrize(
    ("outcome", "booted", "clock", "verdict"),
    [
        ("ERROR", False, "virtual", Verdict.NOTHING_RAN),
        ("ERROR", False, "host", Verdict.NOTHING_RAN),
        ("ERROR", None, "virtual", Verdict.NOTHING_RAN),  # an older record doesn't say
        ("ERROR", True, "virtual", Verdict.IDENTICAL),  # a premise that failed again
        ("ERROR", True, "host", Verdict.SAME_OUTCOMES),
        ("CRASH", False, "virtual", Verdict.IDENTICAL),  # on its way up
    ],
)
def test_guests_that_never_came_up_are_never_identical(
    outcome: str, booted: bool | None, clock: str, verdict: Verdict
) -> None:
    there = whole_record()
    there["clock"] = clock
    (mode,) = there["modes"]
    mode |= {"outcome": outcome, "booted": booted, "error": "awaited: QEMU\nseen: none"}
    if booted is None:
        del mode["booted"]
    told = compare_records(there, copy.deepcopy(there))
    assert told.verdict is verdict
    if verdict is Verdict.NOTHING_RAN:
        assert told.verdict.exit_code == 3
        assert told.why == "there no mode ran: dma: awaited: QEMU seen: none"


def test_a_mode_that_ran_beside_one_that_could_not_is_compared() -> None:
    there = whole_record()
    (mode,) = there["modes"]
    there["modes"].append({**mode, "name": "other", "outcome": "ERROR", "booted": False})
    assert compare_records(there, copy.deepcopy(there)).verdict is Verdict.IDENTICAL


def test_only_host_may_differ() -> None:
    there, here = whole_record(), whole_record()
    here["host"]["duration_s"] = 99.0
    assert compare_records(there, here).verdict is Verdict.IDENTICAL


def _leaves(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*at, key))]
    if isinstance(value, list) and value:
        return [leaf for key, item in enumerate(value) for leaf in _leaves(item, (*at, key))]
    return [at]


def test_every_other_field_counts() -> None:
    there = whole_record()
    fields = [at for at in _leaves(there) if at[0] not in {"host", "schema"}]
    assert len(fields) > 40
    for at in fields:
        here = copy.deepcopy(there)
        into = here
        for key in at[:-1]:
            into = into[key]
        into[at[-1]] = "other" if into[at[-1]] != "other" else "another"
        found = find_differing(there, here)
        assert len(found) == 1, at
        assert str(at[-1]) in found[0].field


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (None, 0),
        ("1", 1),
        ([], {}),
        ([1], [1, 1]),
        ({}, {"a": None}),
    ],
)
def test_alike_is_not_equal(there: Any, here: Any) -> None:
    assert find_differing({"x": there}, {"x": here}) != []
    assert find_differing({"x": here}, {"x": there}) != []


def test_on_the_host_clock_endings_count_and_identical_is_never_said() -> None:
    there, here = whole_record(), whole_record()
    there["clock"] = here["clock"] = "host"
    assert compare_records(there, here).verdict is Verdict.SAME_OUTCOMES
    here["modes"][0]["wall_ms"] = 1.0
    assert compare_records(there, here).verdict is Verdict.SAME_OUTCOMES
    here["modes"][0]["checks"][0]["held"] = False
    assert compare_records(there, here).verdict is Verdict.DIFFERENT
    here = whole_record()
    assert compare_records(there, here).verdict is Verdict.DIFFERENT  # another clock


# -- what is in a bundle ---------------------------------------------------------------------


def test_a_bundle_has_everything_and_is_the_same_each_time(own: Path, tmp_path: Path) -> None:
    (tmp_path / "x.patch").write_text(DIFF)
    (tmp_path / "f.config").write_text("CONFIG_X=y\n")
    given = ("--series", tmp_path / "x.patch", "--fragment", tmp_path / "f.config")
    path = bundled(own, tmp_path, *given, "--inject", "dma0:flip-byte:offset=5", "--mode", "only")
    files = read_archive(path)
    for name in ("record.json", "inputs/inputs.json", "lab-file.toml", "inputs/experiment.py"):
        assert files[name]
    assert files["inputs/fragments/01.config"] == b"CONFIG_X=y\n"
    made = read_bundle(path)
    assert (
        restore_series(made.inputs, made.below("inputs"))
        == read_inputs(series=str(tmp_path / "x.patch")).series
    )
    (tmp_path / "lab.toml").write_bytes(files["lab-file.toml"])
    lab_file = read_lab_file(tmp_path / "lab.toml")
    assert lab_file.model_dump(exclude={"experiment"}) == LabFile().model_dump(
        exclude={"experiment"}
    )
    again = call("bundle", tmp_path / "run", "-o", tmp_path / "c.tar.xz")
    assert again.exit_code == 0
    assert path.read_bytes() == (tmp_path / "c.tar.xz").read_bytes()
    refused = call("bundle", tmp_path / "run", "-o", path)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda files: files.pop("record.json"), "no 'record.json'"),
        (lambda files: files.pop("inputs/inputs.json"), "no 'inputs/inputs.json'"),
        (lambda files: files.pop("inputs/experiment.py"), "experiment.py"),
        (lambda files: files.pop("inputs/series/0001.patch"), "0001.patch"),
        (lambda files: files.pop("inputs/fragments/01.config"), "01.config"),
        (lambda files: files.update({"record.json": b"[" * 100_000}), "record and inputs"),
        (lambda files: files.update({"record.json": b"\xff"}), "record and inputs"),
        (
            lambda files: files.update({"inputs/series/0001.patch": DIFF.encode()}),
            "as the lab wrote it",
        ),
        (
            lambda files: files.update(
                {
                    "inputs/series/0001.patch": files["inputs/series/0001.patch"].replace(
                        b"+patched", b"+tampered"
                    )
                }
            ),
            "the series",
        ),
        (
            in_json("inputs/inputs.json", lambda data: data["parameters"].update(depth=7)),
            "parameters",
        ),
        (
            in_json("inputs/inputs.json", lambda data: data["lab_file"].update(clock="host")),
            "lab_file",
        ),
        (in_json("inputs/inputs.json", lambda data: data.update(modes=["x"])), "only"),
        (in_json("inputs/inputs.json", lambda data: data.update(faults=[])), "faults"),
        (in_json("record.json", lambda data: data.update(outcome="GOOD")), "outcome"),
        (
            in_json("inputs/inputs.json", lambda data: data.update(fragments=["../01.config"])),
            "fragments",
        ),
        (
            in_json(
                "inputs/inputs.json",
                lambda data: data.update(
                    kernel={"name": "i", "image_hash": "0", "release": "../../../escape"}
                ),
            ),
            "release",
        ),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(
    own: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None], seen: str
) -> None:
    (tmp_path / "x.patch").write_text(DIFF)
    (tmp_path / "f.config").write_text("CONFIG_X=y\n")
    given = ("--series", tmp_path / "x.patch", "--fragment", tmp_path / "f.config")
    path = bundled(own, tmp_path, *given, "--inject", "dma0:flip-byte:offset=5")
    result = call("replay", changed(path, change), "--output", tmp_path / "o", "--run-its-code")
    assert result.exit_code == 2, result.output
    assert seen in result.stderr
    assert not (tmp_path / "o").exists()


def test_a_run_that_is_not_whole_gives_no_bundle(own: Path, tmp_path: Path) -> None:
    path = bundled(own, tmp_path)
    path.unlink()
    (tmp_path / "run" / "inputs" / "inputs.json").unlink()
    result = call("bundle", tmp_path / "run", "-o", path)
    assert (result.exit_code, path.exists()) == (2, False)
    assert "run it again" in result.stderr
    assert call("bundle", tmp_path, "-o", path).exit_code == 2


def test_a_damaged_bundle_is_wrong_usage(tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.write_bytes(lzma.compress(pack({"record.json": b"{}"}))[:-5])
    result = call("replay", path)
    assert result.exit_code == 2
    assert result.stderr.count("awaited:") == 1


# -- trees -----------------------------------------------------------------------------------


def git(tree: Path, *words: str, stdin: bytes = b"") -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.invalid")
    subprocess.run(["git", "-C", tree, *identity, *words], check=True, input=stdin)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = kernel_tree(tmp_path)
    (tree / "b.c").write_text("b\n")
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "mine")
    return tree


def test_a_tree_goes_as_commit_and_patches_and_its_identity_comes_back(
    own: Path, tree: Path, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "-q", str(tree), str(tmp_path / "theirs"))
    (tree / "b.c").write_text("changed\n")
    (tree / "staged.c").write_bytes(b"\xff\n")
    git(tree, "add", "staged.c")
    (tree / "new.c").write_text("new\n")
    (tree / "empty.c").touch()
    before = sorted((path, path.stat().st_mtime_ns) for path in tree.rglob("*"))
    path = bundled(own, tmp_path, "--tree", tree)
    assert sorted((path, path.stat().st_mtime_ns) for path in tree.rglob("*")) == before
    made = read_bundle(path)
    assert made.inputs.tree is not None
    assert made.inputs.tree.patches == ["tracked.patch", "untracked.patch"]
    assert inspect_tree(tmp_path / "theirs").diff is None
    for name in made.inputs.tree.patches:
        options = ("--index",) if name == "tracked.patch" else ()
        git(tmp_path / "theirs", "apply", *options, "-", stdin=made.files[f"inputs/tree/{name}"])
    theirs = inspect_tree(tmp_path / "theirs")
    assert (theirs.commit, theirs.diff) == (made.inputs.tree.commit, made.inputs.tree.diff)
    assert theirs.identity == inspect_tree(tree).identity


def test_a_replay_of_a_tree_says_what_it_needs(own: Path, tree: Path, tmp_path: Path) -> None:
    (tree / "new.c").write_text("new\n")
    path = bundled(own, tmp_path, "--tree", tree)
    result = call("replay", path, "--output", tmp_path / "o", "--run-its-code")
    assert result.exit_code == 2
    for word in ("--tree", "check out", "untracked.patch"):
        assert word in result.stderr
    result = call("replay", path, "--output", tmp_path / "o", "--run-its-code", "--tree", tree)
    assert result.exit_code == 0, result.output


def test_a_clean_tree_has_no_patches(tree: Path, tmp_path: Path) -> None:
    assert write_changes(inspect_tree(tree), tmp_path / "changes") == []


def test_what_was_not_of_a_tree_takes_none(own: Path, tree: Path, tmp_path: Path) -> None:
    made = read_bundle(bundled(own, tmp_path))
    with pytest.raises(ConfigError, match="the lab's own source"):
        restore_inputs(made, tmp_path, tree=tree, kernel=None)
    assert restore_inputs(made, tmp_path, tree=None, kernel=None) == Inputs()
