# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to memory: what is asked for, and what a guest's answers make of it."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from pydantic import ValidationError

from lab.config import Iommu, IommuMode, LabFile, Swiotlb, Topology
from lab.errors import PremiseError
from lab.experiments import dma_path, dmatest
from lab.experiments.dma_path import DmaPath
from lab.machine.guest import Guest
from lab.machine.jobs import JobResult

ENGINES = ("0000:31:00.0", "0000:31:00.1")
INTEL = Topology(iommu=Iommu.INTEL)
BOUNCED = Topology(swiotlb=Swiotlb.FORCE)


class AnsweringGuest:
    """Answers every program with the same lines, and keeps what is written."""

    def __init__(self, *stdout: str, status: int = 0) -> None:
        self.stdout, self.status = list(stdout), status
        self.asked = 0
        self.written: list[tuple[str, str]] = []
        console = types.SimpleNamespace(path=Path("console.log"))
        self.machine = types.SimpleNamespace(console=console)

    def run(self, argv: Sequence[str]) -> JobResult:
        self.asked += 1
        return JobResult(tuple(argv), self.status, None, [], self.stdout, [])

    def write(self, path: str, text: str) -> None:
        self.written.append((path, text))

    def engines(self) -> list[types.SimpleNamespace]:
        return [types.SimpleNamespace(address=address) for address in ENGINES]


def guest(*stdout: str, status: int = 0) -> Guest:
    return cast("Guest", AnsweringGuest(*stdout, status=status))


def lines(iommu: str, kind: str) -> list[str]:
    return [f"{address} {iommu} {kind}" for address in ENGINES]


@pytest.mark.parametrize(
    ("topology", "iommu", "kind"),
    [
        (INTEL, "dmar0", "DMA"),
        (Topology(iommu=Iommu.INTEL, iommu_mode=IommuMode.LAZY), "dmar0", "DMA-FQ"),
        (Topology(iommu=Iommu.AMD), "ivhd0", "DMA"),
    ],
)
def test_engines_that_are_translated_as_asked(topology: Topology, iommu: str, kind: str) -> None:
    seen = guest(*lines(iommu, kind))
    dma_path.establish(seen, topology, ENGINES)
    kept = dma_path.confirm(seen, topology, 0)
    assert kept["engines"][1] == {"address": ENGINES[1], "iommu": iommu, "type": kind}


@pytest.mark.parametrize(
    "answer",
    [
        lines("dmar0", "identity"),
        lines("dmar0", "DMA-FQ"),
        lines("ivhd0", "DMA"),
        lines("-", "-"),
        lines("dmar0", "DMA")[:1],
        [],
    ],
)
def test_an_engine_that_is_not_translated_as_asked_is_no_premise(answer: list[str]) -> None:
    with pytest.raises(PremiseError, match="type DMA"):
        dma_path.establish(guest(*answer), INTEL, ENGINES)
    with pytest.raises(PremiseError, match="type DMA"):
        dma_path.confirm(guest(*answer), INTEL, 7)


def test_bounce_buffers_are_counted_from_the_start() -> None:
    seen = AnsweringGuest("12")
    dma_path.establish(cast("Guest", seen), BOUNCED, ENGINES)
    assert seen.written == [("/sys/kernel/debug/swiotlb/io_tlb_used_hiwater", "0")]
    kept = dma_path.confirm(cast("Guest", seen), BOUNCED, 7)
    assert kept == {"swiotlb_used_most_bytes": 12 * 2048}


def test_bounce_buffers_that_nobody_used_are_no_premise() -> None:
    with pytest.raises(PremiseError, match="7 descriptors, and never a byte"):
        dma_path.confirm(guest("0"), BOUNCED, 7)
    # A baseline copies nothing by DMA.
    assert dma_path.confirm(guest("0"), BOUNCED, 0) == {"swiotlb_used_most_bytes": 0}


@pytest.mark.parametrize("answer", [guest(status=1), guest("none")])
def test_no_bounce_buffers_are_no_premise(answer: Guest) -> None:
    with pytest.raises(PremiseError, match="bounce buffers in /sys"):
        dma_path.establish(answer, BOUNCED, ENGINES)


def test_the_default_machine_is_asked_nothing() -> None:
    seen = AnsweringGuest()
    dma_path.establish(cast("Guest", seen), Topology(), ENGINES)
    assert dma_path.confirm(cast("Guest", seen), Topology(), 7) == {}
    assert seen.asked == 0
    assert seen.written == []


@pytest.mark.parametrize(
    ("topology", "named"),
    [
        ({"iommu": "intel", "swiotlb": "force"}, "bounces nothing"),
        ({"iommu": "amd", "swiotlb": "force"}, "bounces nothing"),
        ({"iommu": "amd", "iommu_mode": "lazy"}, "intel only"),
        ({"iommu_mode": "lazy"}, "intel only"),
    ],
)
def test_what_linux_cannot_do_is_no_machine(topology: dict[str, str], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Topology.model_validate(topology)


def test_dmatest_takes_the_machine_as_it_is_unless_told() -> None:
    lab = LabFile(topology=INTEL)
    plans = dmatest.plan(lab, dmatest.DmatestParameters())
    assert [plan.name for plan in plans] == ["1-msix", "1-msi", "16-msix", "16-msi"]
    assert {plan.machine.topology for plan in plans} == {INTEL}


def test_dmatest_goes_every_way_on_request() -> None:
    lab = LabFile(topology=INTEL)
    parameters = dmatest.DmatestParameters.model_validate({"paths": "all", "engine_counts": [2]})
    plans = dmatest.plan(lab, parameters)
    names = [f"2-{kind}-{path}" for path in DmaPath for kind in ("msix", "msi")]
    assert [plan.name for plan in plans] == names
    seen = {plan.name: plan.machine.topology for plan in plans}
    assert seen["2-msi-direct"] == Topology()
    assert seen["2-msi-swiotlb"] == BOUNCED
    assert seen["2-msi-amd"].iommu is Iommu.AMD
    assert seen["2-msix-intel"] == INTEL
    assert seen["2-msix-intel-lazy"].iommu_mode is IommuMode.LAZY
    assert all(plan.machine.topology.nodes == lab.topology.nodes for plan in plans)
