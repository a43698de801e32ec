# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import experiments
from lab.config import LabFile
from lab.errors import ConfigError
from lab.experiments import compaction, dmatest, move_pages


def lab(**sections: Any) -> LabFile:
    return LabFile.model_validate(sections)


def test_compaction_has_the_published_modes() -> None:
    plans = compaction.plan(lab(), compaction.CompactionParameters())
    assert [(plan.name, plan.patched, plan.busy, plan.cpu) for plan in plans] == [
        ("baseline", False, False, 1),
        ("dma", True, False, 1),
        ("busy-baseline", False, True, 1),
        ("busy-dma", True, True, 1),
    ]


def test_cpu_belongs_to_the_node_under_test() -> None:
    machine = lab(
        topology={"nodes": [{"memory_mib": 512, "cpus": 3}, {"memory_mib": 512, "cpus": 2}]}
    )
    parameters = compaction.CompactionParameters
    assert compaction.plan(machine, parameters(node=1))[0].cpu == 3
    assert compaction.plan(machine, parameters(node=0))[0].cpu == 0


@pytest.mark.parametrize(
    ("engine", "parameters", "named"),
    [
        ({"count": 0}, {}, "engine.count is 0"),
        ({"count": 2}, {"nr_dma_chan": 4}, "4 DMA engine"),
        ({}, {"node": 5}, "node 5"),
    ],
)
def test_compaction_refuses_a_machine_that_cannot_run_it(
    engine: dict[str, int], parameters: dict[str, int], named: str
) -> None:
    chosen = compaction.CompactionParameters.model_validate(parameters)
    with pytest.raises(ConfigError, match=named):
        compaction.plan(lab(engine=engine), chosen)


def test_dmatest_takes_queues_for_channels() -> None:
    plans = dmatest.plan(lab(engine={"kind": "ae4dma"}), dmatest.DmatestParameters())
    machines = {plan.name: plan.machine.engine for plan in plans}
    assert {name: (one.count, one.queues, one.msix) for name, one in machines.items()} == {
        "1-msix": (1, 1, True),
        "1-msi": (1, 1, False),
        "16-msix": (1, 16, True),
        "16-msi": (16, 1, False),
    }


def test_move_pages_brings_sixteen_queues_unless_told() -> None:
    plans = move_pages.plan(lab(engine={"kind": "ae4dma"}), move_pages.MovePagesParameters())
    assert {(one.machine.engine.count, one.machine.engine.queues) for one in plans} == {(1, 16)}
    with pytest.raises(ConfigError, match=r"engine.queues is 4"):
        move_pages.plan(
            lab(engine={"kind": "ae4dma", "queues": 4}), move_pages.MovePagesParameters()
        )


def test_move_pages_brings_sixteen_engines_unless_told() -> None:
    plans = move_pages.plan(lab(), move_pages.MovePagesParameters())
    names = ["baseline", "dma-1", "dma-2", "dma-4", "dma-8", "dma-12", "dma-16"]
    assert [plan.name for plan in plans] == names
    assert [plan.patched for plan in plans] == [False] + [True] * 6
    assert {plan.machine.engine.count for plan in plans} == {16}
    assert {plan.cpu for plan in plans} == {1}
    few = move_pages.MovePagesParameters(channels=(1, 2))
    plans = move_pages.plan(lab(engine={"count": 2}), few)
    assert {plan.machine.engine.count for plan in plans} == {2}
    with pytest.raises(ConfigError, match=r"engine\.count is 2"):
        move_pages.plan(lab(engine={"count": 2}), move_pages.MovePagesParameters())


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"to_node": 0}, "two different"), ({"to_node": 7}, "node 7"), ({"total_mib": 600}, "1200")],
)
def test_move_pages_refuses_a_machine_that_cannot_run_it(
    parameters: dict[str, int], named: str
) -> None:
    chosen = move_pages.MovePagesParameters.model_validate(parameters)
    with pytest.raises(ConfigError, match=named):
        move_pages.plan(lab(), chosen)


@pytest.mark.parametrize(
    ("name", "given", "named"),
    [
        ("compaction", {"nr_dma_chan": 17}, "nr_dma_chan"),
        ("compaction", {"colour": "red"}, "colour"),
        ("compaction", {"allocations": 0}, "allocations"),
        ("move-pages", {"folio_kib": [4, 8]}, "8: no anonymous folio"),
        ("move-pages", {"folio_kib": []}, "folio_kib"),
        ("move-pages", {"channels": [1, 17]}, "1 to 16"),
        ("move-pages", {"channels": [4, 4]}, "only once"),
    ],
)
def test_wrong_parameters_are_named_with_the_known_ones(
    name: str, given: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        experiments.find(name).choose(given)
    assert caught.value.hint is not None
    assert "its parameters are" in caught.value.hint


def test_quick_gives_way_to_what_is_given() -> None:
    chosen = move_pages.EXPERIMENT.choose({"rounds": 3}, quick=True)
    assert (chosen.rounds, chosen.channels) == (3, (1, 4, 16))
    assert move_pages.EXPERIMENT.choose({}).channels == move_pages.CHANNELS


def test_unknown_experiment_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="compaction, move-pages"):
        experiments.find("compactoin")


OWN = """
from dataclasses import dataclass
from lab.experiments.base import Experiment, ModePlan, Parameters

@dataclass(frozen=True)
class Mine(ModePlan):
    depth: int = 3

def plan(lab, parameters):
    return [Mine("only", "one mode", False, lab)]

EXPERIMENT = Experiment("mine", "for a test", Parameters, plan, lambda session: None)
"""


def test_a_file_of_the_user_is_an_experiment(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    found = experiments.find(str(path))
    assert found.name == "mine"
    assert found.plan(LabFile(), found.choose({}))[0].depth == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "no such file"),
        ("EXPERIMENT = 3", "is int"),
        ("import nothing_of_that_name", "nothing_of"),
        ("x = (", "SyntaxError"),
    ],
)
def test_a_file_without_an_experiment_says_so(tmp_path: Path, text: str | None, named: str) -> None:
    path = tmp_path / "wrong.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        experiments.find(str(path))
