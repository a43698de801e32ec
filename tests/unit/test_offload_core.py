# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose copy offload a kernel has, and which modes it can't boot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
from scripted import ScriptedBench, carry_out, experiment, passing

from lab import bench
from lab.bench import OURS, PROVIDERS, BuiltBench
from lab.build.given_kernel import GivenKernel
from lab.build.image import ImageArtifact
from lab.build.inputs import Inputs
from lab.build.kernel_image import Format, ImageFacts
from lab.cache import Cache
from lab.checkout import IMAGES, KERNEL_CONFIG
from lab.config import LabFile
from lab.errors import ConfigError, PremiseError
from lab.experiments import offload_core, stress
from lab.experiments.base import ModePlan
from lab.kernel_choices import choice_of
from lab.machine.jobs import JobResult
from lab.progress import SilentProgress
from lab.report.console import plain_text
from lab.results import Outcome

KBUILD = (IMAGES / "modules" / "Kbuild").read_text(encoding="utf-8")


class Answering:
    def __init__(self, status: int) -> None:
        self.status = status
        self.asked: list[list[str]] = []

    def run(self, argv: list[str]) -> JobResult:
        self.asked.append(argv)
        return JobResult(tuple(argv), self.status, None, [], [], ["grep: no such file"])


@pytest.mark.parametrize("ask", [offload_core.is_own, lambda g: offload_core.has_module(g, "x")])
def test_what_cannot_be_read_is_not_taken_for_absent(ask: Any) -> None:
    assert ask(Answering(0))
    assert not ask(Answering(1))
    for status in (2, 127):
        with pytest.raises(PremiseError, match="no such file"):
            ask(Answering(status))


def test_the_own_core_is_known_by_one_function_everywhere() -> None:
    guest = Answering(0)
    offload_core.is_own(guest)
    assert {offload_core.OWN_FUNCTION, "/proc/kallsyms"} < set(guest.asked[0])
    assert f"grep -ls {offload_core.OWN_FUNCTION} " in KBUILD
    for series in (KERNEL_CONFIG / "series").iterdir():
        text = "".join(path.read_text(encoding="utf-8") for path in series.glob("*.patch"))
        assert f"+EXPORT_SYMBOL_GPL({offload_core.OWN_FUNCTION});" in text, series.name
    base = (KERNEL_CONFIG / "base.config").read_text(encoding="utf-8")
    assert "CONFIG_KALLSYMS=y" in base


def test_the_labs_modules_are_those_that_are_built() -> None:
    always, _, providers = KBUILD.partition("ifneq")
    assert set(re.findall(r"^obj-m \+= (\w+)\.o", always, re.MULTILINE)) == OURS
    assert set(re.findall(r"^obj-m \+= (\w+)\.o", providers, re.MULTILINE)) == PROVIDERS


def refused(modes: list[ModePlan], *modules: str) -> dict[str, ConfigError]:
    image = ImageArtifact(Path("initramfs"), "key", frozenset(modules))
    inputs = Inputs()
    artifacts = {choice_of(mode, inputs): (cast("Any", None), image) for mode in modes}
    return bench.refuse(modes, artifacts, inputs)


FOREIGN = ("ptdma", "dcbm", "brd", *sorted(OURS))


def test_a_foreign_series_is_refused_the_late_write_alone() -> None:
    modes: list[ModePlan] = [*stress.plan(LabFile(), stress.StressParameters())]
    assert refused(modes, *FOREIGN, *PROVIDERS) == {}
    found = refused(modes, *FOREIGN)
    assert set(found) == {"late-write", "late-write-shmem"}
    assert found["late-write"].seen == "no late_write"
    hint = str(found["late-write"].hint)
    assert "only with the core of the project's series" in hint
    assert "--mode" in hint
    assert "--fragment" not in hint


def test_what_is_given_is_looked_through_for_providers_and_what_is_refused_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = GivenKernel(tmp_path / "image", ImageFacts(Format.VMLINUX, "7.3.4", None), None, None)
    image = ImageArtifact(Path("initramfs"), "key", frozenset(FOREIGN))
    taken: list[str] = []
    monkeypatch.setattr(bench, "Cache", lambda: Cache(tmp_path / "cache"))
    monkeypatch.setattr(bench, "build_qemu", lambda *_: None)
    monkeypatch.setattr(bench, "identify_qemu", lambda *_: None)
    monkeypatch.setattr(bench, "take_given_kernel", lambda _c, _g, names, _p: taken.extend(names))
    monkeypatch.setattr(bench, "build_given_image", lambda *_: image)
    modes = stress.plan(LabFile(), stress.StressParameters())
    progress = SilentProgress()
    built = bench.prepare(modes, progress, Inputs(kernel=given))
    assert set(taken) == {"ptdma", "dcbm", "brd", *PROVIDERS}
    assert list(built.refused) == ["late-write", "late-write-shmem"]
    assert progress.warnings[-2:] == [
        f"mode {name} can't be run: no late_write" for name in built.refused
    ]


def test_where_no_mode_can_boot_the_run_is_refused() -> None:
    modes: list[ModePlan] = [*stress.plan(LabFile(), stress.StressParameters())]
    with pytest.raises(ConfigError, match="no ptdma"):
        refused(modes)


@pytest.mark.parametrize(
    ("missing", "given", "said"),
    [
        (("dcbm",), False, ("--fragment",)),
        (("dcbm",), True, ("--modules",)),
        (("contig_trigger",), True, ("--tree",)),
        (("contig_trigger",), False, ("log of their build",)),
        (("late_write",), True, ("project's series",)),
        (("late_write", "dcbm"), False, ("project's series", "--fragment")),
    ],
)
def test_the_hint_names_what_helps_and_nothing_else(
    missing: tuple[str, ...], given: bool, said: tuple[str, ...]
) -> None:
    every = {"--fragment", "--modules", "--tree", "log of their build", "project's series"}
    hint = "; ".join(bench._how_to_get(missing, given=given))
    assert {words for words in every if words in hint} == set(said)


class Refusing(ScriptedBench):
    """Boots as the real bench does, which refuses some."""

    def __init__(self, built: BuiltBench) -> None:
        super().__init__()
        self.built = built

    def boot(self, mode: ModePlan, folder: Path, on_start: Any) -> Any:
        if mode.name in self.built.refused:
            return self.built.boot(mode, folder, on_start)
        return super().boot(mode, folder, on_start)


def test_a_mode_that_is_refused_is_an_error_and_the_others_run(tmp_path: Path) -> None:
    reason = ConfigError("modules late_write", "no late_write", hint="--mode NAME")
    nothing = cast("Any", None)
    built = BuiltBench(nothing, nothing, "tcg", {}, Inputs(), refused={"late-write": reason})
    played = Refusing(built)
    record = carry_out(experiment(passing, ("writers", "late-write")), tmp_path, bench=played)
    assert [mode.outcome for mode in record.modes] == [Outcome.PASS, Outcome.ERROR]
    assert record.outcome is Outcome.ERROR
    assert [mode.booted for mode in record.modes] == [True, False]
    assert set(played.guests) == {"writers"}
    assert "no late_write" in plain_text(record)
