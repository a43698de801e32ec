# SPDX-License-Identifier: GPL-2.0-or-later
"""The experiment ``faults`` on ae4dma: one more copy is issued behind one whose message is lost."""

from __future__ import annotations

from dataclasses import replace

from lab.config import LabFile
from lab.experiments import faults
from lab.experiments.base import Experiment
from lab.experiments.faults import FaultsMode, FaultsParameters


def plan(lab: LabFile, _parameters: FaultsParameters) -> list[FaultsMode]:
    """The mode ``lost-interrupt-asked`` with another copy at its end."""
    engine = lab.engine.model_copy(update={"kind": "ae4dma"})
    machine = lab.model_copy(update={"engine": engine})
    mode = faults.plan(machine, FaultsParameters(scenarios=("lost-interrupt-asked",)))[0]
    steps = (*mode.scenario.steps, "prepare 1 4096 interrupt", "issue")
    return [replace(mode, scenario=replace(mode.scenario, steps=steps))]


EXPERIMENT: Experiment[FaultsMode, FaultsParameters] = replace(
    faults.EXPERIMENT, name="never-returns", plan=plan, quick={}
)
