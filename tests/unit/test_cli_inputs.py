# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line and what a user brings: series, trees, kernels; exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedBench
from test_cli import call
from test_cli import own as own  # noqa: PLC0414 - a fixture

from lab import cli, each
from lab.build import series_check
from lab.build.inputs import Inputs, read_inputs
from lab.build.kernel_plan import KernelChoice, queue_of
from lab.build.series_check import SeriesCheck
from lab.config import Kernel
from lab.errors import BuildError, ConfigError
from lab.failures import end_bisection, is_bisection
from lab.progress import SilentProgress
from lab.results import Outcome

DIFF = """\
--- a/b.c
+++ b/b.c
@@ -1 +1 @@
-b
+patched
"""


def kernel_tree(root: Path) -> Path:
    tree = root / "linux"
    tree.mkdir()
    for name in ("Makefile", "Kbuild", "Kconfig", "MAINTAINERS"):
        (tree / name).touch()
    return tree


@pytest.mark.parametrize(
    ("end", "status"),
    [("PASS", 0), ("FAIL", 1), ("CRASH", 1), ("TIMEOUT", 1), ("LOST", 1), ("ERROR", 125)],
)
def test_bisect_statuses(own: Path, tmp_path: Path, end: str, status: int) -> None:
    words = ("run", own, "--output", tmp_path / "out", "--set", f"end={end}", "--bisect")
    assert call(*words).exit_code == status


def test_what_no_commit_can_help_ends_a_bisection(own: Path, tmp_path: Path) -> None:
    out = ("--output", tmp_path / "out", "--bisect")
    assert call("run", own, *out, "--set", "end=INTERRUPT").exit_code == 130
    wrong = call("run", own, *out, "--set", "colour=red")
    assert wrong.exit_code == 128
    assert "colour" in wrong.output


def test_wrong_usage_is_no_verdict_of_a_bisection() -> None:
    # git takes every status from 1 to 127 but 125 as "bad"
    argv = [sys.executable, "-m", "lab.cli", "run", "compaction", "--bisect", "--nonsense"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (128, "")
    assert "Usage: " in ended.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("run", "compaction", "--bisect", "--jobs", "x"),
        ("run", "compaction", "--bisect", "--series-version", "abc"),
        ("run", "--bisect"),
        ("run", "compaction", "--bisect", "--engines", "99"),
        ("rnu", "compaction", "--bisect"),
        ("--nonsense", "run", "compaction", "--bisect"),
    ],
)
def test_every_wrong_usage_ends_a_bisection(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dcbm-lab", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (128, "")
    assert "Usage: " in shown.err


# What nothing but the options, the lab file and the plan is needed to refuse.
CONTRADICTIONS: list[tuple[tuple[str, ...], str]] = [
    (("alloc-failures",), "kernel.variant is plain"),
    (("matrix", "--set", 'kinds=["anonn"]'), "anonn"),
    (("compaction", "--fragment", "nosuch.config"), "No such file or directory"),
    (("compaction", "--fragment", "wrong.config"), "CONFIG_A y"),
    (("compaction", "--set", "kernel.layout=v4", "--series", "x.patch"), "kernel.layout is v4"),
    (("compaction", "--inject", "dma5:lost-interrupt"), "the modes' engines are dma0"),
    (("compaction", "--mode", "dmaa"), "busy-baseline"),
    (("compaction", "--inject", "dma0:flip-byte:offset=5,queue=3"), "queue 3; an engine"),
    (("compaction", "--engines", "2", "--set", "engine.count=3"), "--set engine.count=3"),
    (("failures", "--set", 'scenarios=["error-lsb-parity"]'), "only --with-driver-fixes"),
    (("compactoin",), "did you mean compaction?"),
]


@pytest.mark.parametrize(("words", "told"), CONTRADICTIONS)
def test_options_that_contradict_each_other_are_wrong_usage_and_touch_nothing(
    own: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.patch").write_text(DIFF)
    Path("wrong.config").write_text("CONFIG_A y\n")
    assert call("run", own, "--output", "out").exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    for more, status in (((), 2), (("--bisect",), 128)):
        result = call("run", *words, "--output", "out", *more)
        assert result.exit_code == status, result.output
        assert told in result.stderr
        assert result.stdout == ""
    result = call("run", *words)
    assert result.exit_code == 2
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_modes_that_want_several_versions_of_qemu_are_wrong_usage(
    own: Path, tmp_path: Path
) -> None:
    two = """lambda lab, chosen: [
        ModePlan(base, "", False, lab.model_copy(update={"qemu": lab.qemu.model_copy(
            update={"base": base})})) for base in ("10.0", "10.2")]"""
    own.write_text(
        own.read_text().replace('lambda lab, chosen: [ModePlan("only", "", False, lab)]', two)
    )
    result = call("run", own, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "qemu.base is 10.0 and 10.2" in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_only_the_kernel_tells_is_an_error_that_a_bisection_skips(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(_modes: object, _progress: object, **_: object) -> ScriptedBench:
        raise ConfigError("modules dcbm for mode dma", "no dcbm")

    monkeypatch.setattr(sys.modules["lab.bench"], "prepare", prepare)
    assert call("run", own, "--output", tmp_path / "out").exit_code == 3
    assert call("run", own, "--output", tmp_path / "out", "--bisect").exit_code == 125


@pytest.mark.parametrize(
    "verb", [("exec",), ("kernel", "build", "--each", "--run", "compaction")], ids=" ".join
)
def test_contradictions_are_wrong_usage_of_other_verbs_too(
    builds: list[KernelChoice],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.patch").write_text(DIFF)
    program = ("true",) if verb == ("exec",) else ()
    words = ("--series", "x.patch", "--set", "kernel.layout=v4")
    result = call(*verb, "--output", "out", *words, *program)
    assert result.exit_code == (202 if program else 2), result.output
    assert "kernel.layout is v4" in result.stderr
    assert builds == []
    assert not Path("out").exists()


@pytest.mark.parametrize("verb", [("run", "compaction"), ("kernel", "build")], ids=" ".join)
def test_a_fragment_that_is_not_there_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("binary").write_bytes(b"\xff\xfe")
    for name, seen in (
        ("no.config", "No such file or directory"),
        ("folder", "Is a directory"),
        ("binary", "no text in UTF-8: invalid start byte"),
    ):
        result = call(*verb, "--fragment", name)
        assert result.exit_code == 2
        assert result.stderr.splitlines() == [
            "error: ConfigError",
            f"awaited: a configuration fragment at {tmp_path / name}",
            f"seen:    {seen}",
            "next:    name a file of .config lines",
        ]


def test_what_nobody_caught_is_no_verdict_of_a_bisection(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ends(failure: BaseException | int) -> Callable[..., Any]:
        def app(*, standalone_mode: bool) -> int:
            assert not standalone_mode
            if isinstance(failure, int):
                return failure
            raise failure

        return app

    assert end_bisection(ends(RuntimeError("it fell over"))) == 128
    assert "it fell over" in capsys.readouterr().err
    # typer ends so where nobody reads the output any more
    assert end_bisection(ends(SystemExit(1))) == 128
    assert end_bisection(ends(KeyboardInterrupt())) == 130
    for status in (2, 3, 4, 126, 127):
        assert end_bisection(ends(status)) == 128
    for status in (0, 1, 125, 128, 130):
        assert end_bisection(ends(status)) == status


def test_options_of_a_program_are_no_bisection() -> None:
    assert is_bisection(["--debug", "run", "compaction", "--bisect"])
    assert not is_bisection(["exec", "--", "git", "--bisect"])
    assert not is_bisection(["run", "compaction"])


def test_a_commit_that_does_not_build_is_skipped(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(_modes: object, _progress: object, **_: object) -> ScriptedBench:
        raise BuildError("a built kernel", "mm/migrate.c:1:1: error: x")

    monkeypatch.setattr(sys.modules["lab.bench"], "prepare", prepare)
    assert call("run", own, "--output", tmp_path / "out", "--bisect").exit_code == 125


def test_inputs_reach_the_builds(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Inputs] = []

    def prepare(
        _modes: Sequence[Any], _progress: object, inputs: Inputs, **_: object
    ) -> ScriptedBench:
        seen.append(inputs)
        return ScriptedBench()

    monkeypatch.setattr(sys.modules["lab.bench"], "prepare", prepare)
    (tmp_path / "x.patch").write_text(DIFF)
    tree = kernel_tree(tmp_path)
    given = ("--series", tmp_path / "x.patch", "--tree", tree)
    result = call("run", own, "--output", tmp_path / "out", *given)
    assert result.exit_code == 0, result.output
    assert seen == [read_inputs(series=str(tmp_path / "x.patch"), tree=tree)]


def test_what_cannot_be_read_is_refused_before_anything_is_written(
    own: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.mbox").touch()
    for words in (
        ("--series", tmp_path / "empty.mbox"),
        ("--series", tmp_path / "no.mbox"),
        ("--tree", tmp_path / "no"),
        ("--kernel", tmp_path / "empty.mbox"),
        ("--modules", tmp_path),
    ):
        result = call("run", own, "--output", tmp_path / "out", *words)
        assert result.exit_code != 0
        assert result.output.count("awaited:") == 1, result.output
        assert "next:" in result.output
        assert not (tmp_path / "out").exists()


def test_results_do_not_go_into_a_tree_that_is_only_read(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = kernel_tree(tmp_path)
    before = sorted(tree.rglob("*"))
    monkeypatch.chdir(tree)
    for words in ((), ("--output", tree / "deep" / "out")):
        result = call("run", own, "--tree", ".", *words)
        assert result.exit_code != 0
        assert "would count as source" in result.output
    assert sorted(tree.rglob("*")) == before


# -- which kernel a mode gets ------------------------------------------------------------------


def test_a_series_replaces_ours_where_a_patched_kernel_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x.patch").write_text(DIFF)
    inputs = read_inputs(series=str(tmp_path / "x.patch"))
    vanilla, patched = (inputs.choose(Kernel(), patched=wanted) for wanted in (False, True))
    assert vanilla == KernelChoice(patched=False)
    assert patched == KernelChoice(series=inputs.series)


def test_a_tree_boots_everywhere_unless_a_series_goes_on_it(tmp_path: Path) -> None:
    tree = kernel_tree(tmp_path)
    (tmp_path / "x.patch").write_text(DIFF)
    alone = read_inputs(tree=tree)
    both = {alone.choose(Kernel(), patched=wanted) for wanted in (False, True)}
    assert both == {KernelChoice(patched=False, tree=tree, carries=True)}
    under = read_inputs(tree=tree, series=str(tmp_path / "x.patch"))
    assert under.choose(Kernel(), patched=False) == KernelChoice(patched=False, tree=tree)
    assert under.choose(Kernel(), patched=True) == KernelChoice(tree=tree, series=under.series)


# -- patch by patch ----------------------------------------------------------------------------


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[KernelChoice]:
    done: list[KernelChoice] = []
    monkeypatch.setattr(each, "build_kernel", lambda _cache, choice, _progress: done.append(choice))
    return done


def test_every_patch_is_built_on_those_before_it(builds: list[KernelChoice]) -> None:
    steps = list(each.try_each(Inputs(), Kernel(), SilentProgress()))
    ours = queue_of("7.3")
    assert [step.outcome for step in steps] == [Outcome.PASS] * len(ours.patches)
    assert [choice.series for choice in builds] == [
        ours.first(count) for count in range(1, len(ours.patches) + 1)
    ]


def test_the_first_that_fails_ends_it(
    builds: list[KernelChoice], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    def experiment(inputs: Inputs, number: int) -> Outcome:
        ran.append(number)
        # Also a mode that asks for an unpatched kernel is to test the patch.
        assert inputs.choose(Kernel(), patched=False) == builds[-1]
        return Outcome.FAIL if number == 3 else Outcome.PASS

    steps = list(each.try_each(Inputs(), Kernel(), SilentProgress(), experiment))
    assert ran == [1, 2, 3]
    assert steps[-1].line.startswith("FAIL     3/6  ")

    def broken(_cache: object, choice: KernelChoice, _progress: object) -> None:
        assert choice.series is not None
        if len(choice.series.patches) == 2:
            raise BuildError("a kernel", "x.c:1:1: error: y")

    monkeypatch.setattr(each, "build_kernel", broken)
    steps = list(each.try_each(Inputs(), Kernel(), SilentProgress()))
    assert [step.outcome for step in steps] == [Outcome.PASS, Outcome.ERROR]
    assert "x.c:1:1: error: y" in str(steps[-1].error)


def test_a_base_without_a_series_has_no_patches(builds: list[KernelChoice]) -> None:
    with pytest.raises(ConfigError, match=r"our series for base 1\.0"):
        list(each.try_each(Inputs(), Kernel(base="1.0"), SilentProgress()))


def test_what_a_fragment_wants_of_a_series_is_not_wanted_of_what_is_below(tmp_path: Path) -> None:
    (tmp_path / "x.patch").write_text(DIFF)
    (tmp_path / "x.config").write_text("CONFIG_OF_SERIES=y\n")
    both = read_inputs(series=str(tmp_path / "x.patch"), fragments=(tmp_path / "x.config",))
    vanilla, patched = (both.choose(Kernel(), patched=on) for on in (False, True))
    assert isinstance(vanilla, KernelChoice)
    assert isinstance(patched, KernelChoice)
    assert (vanilla.under_series, patched.under_series) == (True, False)
    assert patched.below() == vanilla, "one build for both"
    alone = read_inputs(fragments=(tmp_path / "x.config",)).choose(Kernel(), patched=False)
    assert isinstance(alone, KernelChoice)
    assert not alone.under_series


# -- how the series was read -------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb",
    [("kernel", "check"), ("kernel", "check", "--json"), ("kernel", "build", "--each")],
    ids=" ".join,
)
def test_how_a_series_was_read_is_said_by_every_verb(
    builds: list[KernelChoice],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: tuple[str, ...],
) -> None:
    monkeypatch.setattr(series_check, "check_series", lambda *_words: SeriesCheck("7.3.4", "0.6.5"))
    head = "From x Thu Jan  1 00:00:00 2026\nFrom: A <a@b.invalid>\n"
    mails = "".join(f"{head}Subject: [PATCH {tag}] x\n\n{DIFF}" for tag in ("1/1", "v2 1/1"))
    (tmp_path / "x.mbox").write_text(mails)
    result = call(*verb, "--series", tmp_path / "x.mbox")
    assert result.exit_code == 0, result.output
    note = "x.mbox holds several versions: taking v2, leaving v1"
    assert note in result.stderr
    assert len(builds) == (1 if "build" in verb else 0)
    if "--json" in verb:
        assert json.loads(result.stdout)["notes"] == [note]
