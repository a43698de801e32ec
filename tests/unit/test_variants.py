# SPDX-License-Identifier: GPL-2.0-or-later
"""Deadlines grow with a kernel's instrumentation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from scripted import ScriptedBench, experiment

from lab import bench
from lab.bench import SESSION_TIMEOUT_S, BuiltBench
from lab.build.given_kernel import GivenKernel
from lab.build.inputs import Inputs
from lab.build.kconfig import read_fragments, select_fragments
from lab.build.kernel_image import Format, ImageFacts
from lab.checkout import KERNEL_CONFIG
from lab.config import Kernel, LabFile, Variant
from lab.experiments.base import ModePlan, Parameters, Session
from lab.kernel_choices import choice_of
from lab.results import Check
from lab.run_mode import RunOptions, run_mode
from lab.variants import PROGRAM_TIMEOUT_S, slowdown, slowdown_of


def plan(variant: Variant) -> ModePlan:
    return ModePlan("one", "", False, LabFile(kernel=Kernel(variant=variant)))


@pytest.mark.parametrize("variant", list(Variant))
def test_every_variant_has_a_factor(variant: Variant) -> None:
    assert (slowdown(variant) > 1) == (variant is not Variant.PLAIN)


@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("given_s", [None, 17.0])
def test_programs_get_more_time_unless_the_user_said_how_much(
    variant: Variant, given_s: float | None, tmp_path: Path
) -> None:
    seen: list[float] = []

    def run(session: Session[Any, Any]) -> None:
        seen.append(session.program_timeout_s)
        session.findings.check(Check(name="c", held=True, awaited="a", seen="s"))

    run_mode(
        experiment(run),
        plan(variant),
        Parameters(),
        bench=ScriptedBench(),
        folder=tmp_path,
        options=RunOptions(program_timeout_s=given_s),
    )
    assert seen == [given_s or PROGRAM_TIMEOUT_S * slowdown(variant)]


@pytest.mark.parametrize("variant", list(Variant))
def test_a_session_gets_more_time(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadlines: list[float] = []

    @contextmanager
    def boot(*words: Any, **_named: Any) -> Iterator[None]:
        deadlines.append(words[4])
        yield None

    monkeypatch.setattr(bench, "boot", boot)
    monkeypatch.setattr(bench.BootFiles, "of", lambda *_artifacts: None)
    mode, inputs = plan(variant), Inputs()
    config = tmp_path / "config"
    config.touch()
    artifacts = {choice_of(mode, inputs): (SimpleNamespace(config=config), None)}
    built = BuiltBench(cast("Any", None), cast("Any", None), "tcg", cast("Any", artifacts), inputs)
    with built.boot(mode, tmp_path, lambda _guest: None):
        pass
    assert deadlines == [SESSION_TIMEOUT_S * slowdown(variant)]


def test_a_given_kernel_says_itself_what_it_is() -> None:
    options = {"CONFIG_NUMA": "y", "CONFIG_KASAN": "y", "CONFIG_PROVE_LOCKING": "y"}
    assert slowdown_of(Variant.PLAIN, options) == slowdown(Variant.KASAN)
    assert slowdown_of(Variant.KASAN, {"CONFIG_UBSAN": "y"}) == slowdown(Variant.KASAN)
    assert slowdown_of(Variant.PLAIN, {"CONFIG_KASAN": None}) == 1
    assert slowdown_of(Variant.GCOV, {}) == slowdown(Variant.GCOV)


@pytest.mark.parametrize("variant", list(Variant))
def test_our_own_variants_are_known_by_their_options(variant: Variant) -> None:
    paths = select_fragments(KERNEL_CONFIG, "7.3", variant.value, patched=True)
    options = {wish.symbol: wish.value for wish in read_fragments(paths)}
    assert slowdown_of(Variant.PLAIN, options) == slowdown(variant)


def test_the_configuration_of_a_given_kernel_stretches_its_deadlines(tmp_path: Path) -> None:
    facts = ImageFacts(Format.BZIMAGE, "7.3.4", None)
    given = GivenKernel(tmp_path / "image", facts, None, "CONFIG_KASAN=y\n")
    built = BuiltBench(cast("Any", None), cast("Any", None), "tcg", {}, Inputs(kernel=given))
    assert built.slowdown(plan(Variant.PLAIN)) == slowdown(Variant.KASAN)
    unknown = replace(built, inputs=Inputs(kernel=replace(given, config=None)))
    assert unknown.slowdown(plan(Variant.PLAIN)) == 1
    assert unknown.slowdown(plan(Variant.DEBUG)) == slowdown(Variant.DEBUG)
