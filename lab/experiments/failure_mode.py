# SPDX-License-Identifier: GPL-2.0-or-later
"""Parameters and modes of the experiment ``failures``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, field_validator

from lab.experiments.base import Choices, ModePlan, Parameters
from lab.experiments.dma_path import DmaPath
from lab.experiments.failure_scenarios import SCENARIOS, Scenario

# The node that pages are moved to, and that is fragmented.
NODE = 1


class FailuresParameters(Parameters):
    """Parameters of ``failures``.

    ``scenarios`` and ``workloads`` choose modes; ``paths`` are further ways to memory, on which a
    few scenarios are played: none with ``--quick``. ``blocks`` of order 9 are allocated in every
    migration by compaction. What an allocation got is free for good, so a scenario of ten
    migrations takes twenty of the about sixty that a small node can give. Near the end the
    kernel's two scanners meet and compaction is put off: no fault of the copy's.
    """

    expect: Literal["ledger", "sound"] = "ledger"
    scenarios: Annotated[
        tuple[str, ...], Choices(tuple(s.name for s in SCENARIOS), empty_is_all=True)
    ] = ()
    workloads: tuple[Literal["moves", "compaction"], ...] = ("moves", "compaction")
    paths: tuple[DmaPath, ...] = tuple(DmaPath)
    folio_kib: Annotated[int, Field(ge=4, le=2048)] = 4
    blocks: Annotated[int, Field(ge=1, le=1000)] = 2
    slack_pages: Annotated[int, Field(ge=0)] = 64

    @field_validator("folio_kib")
    @classmethod
    def _size_exists(cls, size: int) -> int:
        if size & (size - 1) or size == 8:  # noqa: PLR2004 - no anonymous folio of order 1
            raise ValueError(f"{size}: no anonymous folio of x86-64 has that size in KiB")
        return size


@dataclass(frozen=True)
class FailuresMode(ModePlan):
    """A mode of ``failures``: one scenario under one workload."""

    scenario: Scenario = field(kw_only=True)
    workload: str = field(kw_only=True)
    cpu: int = field(kw_only=True)
