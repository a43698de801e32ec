# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment ``failures``: an engine goes wrong under a migration, and the kernel copes with it.

Each mode is a fresh boot of the patched kernel with dcbm on, one scenario of `lab.experiments.
failure_scenarios`, one workload and one way to memory. Before the first fault a migration has to be
offloaded in full; after the last one a migration is again. In between every folio arrives with
the right contents, whatever the engine does; dcbm's counters and those of the engines are exact;
and when all is over nothing is left behind: no memory, no isolated page, no mapping.

What the stock driver is known to get wrong stands in `lab.experiments.failure_ledger` and may fail,
as described there and in no other way. With ``kernel.driver_fixes`` only the engine's lies remain.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.config import ControlLayout, LabFile, Profile, with_default_profile
from lab.errors import ConfigError
from lab.experiments import dma_path, fragmentation, ledger
from lab.experiments.base import Experiment, Session
from lab.experiments.dma_path import DmaPath
from lab.experiments.failure_ledger import DEVIATIONS
from lab.experiments.failure_ledger import EXPERIMENT as NAME
from lab.experiments.failure_mode import NODE, FailuresMode, FailuresParameters
from lab.experiments.failure_scenarios import (
    COMPACTION,
    MOVES,
    ON_EVERY_PATH,
    QUICK,
    SCENARIOS,
    Scenario,
)
from lab.experiments.failure_stage import Stage
from lab.experiments.probe import MODULE as HOLDER
from lab.results import Check

_SMALL_NODE_MIB = 256

Run = Session[FailuresMode, FailuresParameters]


def plan(lab: LabFile, parameters: FailuresParameters) -> list[FailuresMode]:
    """A mode for each scenario, workload and way to memory.

    Raises:
        ConfigError: the machine lacks a node or has a dcbm without counters, or there is no such
            scenario for its engines.
    """
    if lab.kernel.layout is ControlLayout.V3:
        raise ConfigError(
            "a dcbm whose counters can be read",
            f"kernel.layout is {lab.kernel.layout.value}, which shows none",
            hint="choose another layout",
        )
    if {"count", "queues"} & lab.engine.model_fields_set:
        raise ConfigError(
            "each scenario to have the engines that it needs",
            lab.engine.size_text,
            hint="leave --engines, engine.count and engine.queues out",
        )
    kind, asked = lab.engine.kind, parameters.scenarios
    fit = [
        s for s in SCENARIOS if kind in s.kinds and (lab.kernel.driver_fixes or not s.fixes_only)
    ]
    unknown = [name for name in asked if name not in [s.name for s in SCENARIOS]]
    chosen = [s for s in fit if not asked or s.name in asked]
    if unknown or not chosen:
        mended = [s.name for s in SCENARIOS if kind in s.kinds and s.name in asked]
        raise ConfigError(
            f"names of scenarios for {kind}",
            ", ".join(unknown or asked),
            hint=f"{', '.join(mended)}: only --with-driver-fixes"
            if mended and not unknown
            else f"choose from: {', '.join(s.name for s in fit)}",
        )
    lab = with_default_profile(lab, Profile.ZEN3)
    if "topology" not in lab.model_fields_set:
        small = [
            node.model_copy(update={"memory_mib": _SMALL_NODE_MIB}) for node in lab.topology.nodes
        ]
        topology = lab.topology.model_copy(update={"nodes": tuple(small)})
        lab = lab.model_copy(update={"topology": topology})
    return [
        _mode(lab, scenario, workload, path)
        for scenario in chosen
        for workload in parameters.workloads
        if workload in scenario.workloads
        for path in _paths(lab, scenario, workload, parameters)
    ]


def _paths(
    lab: LabFile, scenario: Scenario, workload: str, parameters: FailuresParameters
) -> Sequence[DmaPath | None]:
    """The ways to memory of a scenario; None is the lab file's own."""
    direct = dma_path.path_of(lab.topology) is DmaPath.DIRECT
    if scenario.paths:
        return [path for path in scenario.paths if path in parameters.paths]
    if workload != MOVES or scenario.name not in ON_EVERY_PATH or not direct:
        return [None]
    return [None, *(path for path in parameters.paths if path is not DmaPath.DIRECT)]


def _mode(lab: LabFile, scenario: Scenario, workload: str, path: DmaPath | None) -> FailuresMode:
    machine = lab.model_copy(update={"engine": lab.engine.with_channels(scenario.engines)})
    if path is not None:
        topology = dma_path.through(lab.topology, path)
        machine = machine.model_copy(update={"topology": topology})
    modules = [machine.engine.kind, "dcbm"]
    if workload == COMPACTION:
        modules.append(fragmentation.TRIGGER_MODULE)
    return FailuresMode(
        f"{workload}-{scenario.name}" + (f"-{path}" if path is not None else ""),
        f"{workload}: {scenario.purpose}",
        patched=True,
        machine=machine,
        command_line=scenario.command_line,
        modules=(*modules, HOLDER),
        scenario=scenario,
        workload=workload,
        cpu=sum(node.cpus for node in lab.topology.nodes[:NODE]),
    )


def run(session: Run) -> None:
    """Play one scenario and judge it.

    Raises:
        PremiseError: an engine isn't bound, dcbm can't be turned on, a fault did not strike, or a
            program in the guest gave up.
        GuestError: the guest ended the run.
    """
    stage = Stage(session)
    try:
        if stage.prepare():
            for step in session.mode.scenario.steps(stage.batch):
                stage.play(step)
            stage.finish()
    finally:
        # What was seen before a crash or a missing premise is often what explains it.
        _judge(session, stage.checks)


def _judge(session: Run, checks: Sequence[Check]) -> None:
    found = checks
    if session.parameters.expect == "ledger":
        found = list(
            ledger.excused(
                checks,
                DEVIATIONS,
                experiment=NAME,
                cell=session.mode.name,
                machine=session.mode.machine,
            )
        )
    for check in found:
        session.findings.check(check)
    session.findings.notes += ledger.remarks(found)


EXPERIMENT: Experiment[FailuresMode, FailuresParameters] = Experiment(
    name=NAME,
    purpose="faults of the engine, its driver and the memory under migrations with dcbm on",
    parameters=FailuresParameters,
    plan=plan,
    run=run,
    quick={"scenarios": QUICK, "workloads": (MOVES,), "paths": ()},
    judges_warnings=True,
)
