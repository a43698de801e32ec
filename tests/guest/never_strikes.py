# SPDX-License-Identifier: GPL-2.0-or-later
"""The experiment ``faults`` with a fault that waits for a descriptor that never comes."""

from __future__ import annotations

from dataclasses import replace

from lab.config import LabFile
from lab.experiments import faults
from lab.experiments.base import Experiment, Fault
from lab.experiments.faults import FaultsMode, FaultsParameters


def plan(lab: LabFile, _parameters: FaultsParameters) -> list[FaultsMode]:
    """The first mode with its fault on the hundredth copy."""
    mode = faults.plan(lab, FaultsParameters(scenarios=("flip-byte",)))[0]
    late = Fault("dma0", "flip-byte", {"offset": 5, "nth": 100})
    return [replace(mode, scenario=replace(mode.scenario, faults=(late,)))]


EXPERIMENT: Experiment[FaultsMode, FaultsParameters] = replace(
    faults.EXPERIMENT, name="never-strikes", plan=plan, quick={}
)
