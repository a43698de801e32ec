# SPDX-License-Identifier: GPL-2.0-or-later
"""Experiment ``selftests``: the kernel's own tests of memory management, with dcbm off and on.

The programs are tools/testing/selftests/mm of the very source that boots. What they say in KTAP is
read strictly (`lab.ktap`), each test is a check. A test that is skipped or doesn't build proves
nothing: the mode is an ERROR, unless the skip is one of those that are listed here with a reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from lab.config import MAX_ENGINES, Clock, LabFile, Swiotlb
from lab.dcbm import Dcbm, load
from lab.errors import PremiseError
from lab.experiments import checks, engines, premises
from lab.experiments.base import Choices, Experiment, ModePlan, Parameters, Session
from lab.guest_files import NOT_BUILT, GuestSelftests
from lab.ktap import Case, Document, Result, read_ktap
from lab.results import Check

if TYPE_CHECKING:
    from lab.machine.jobs import JobResult

COLLECTION = "mm"
_CPUS_EACH_NODE = 2  # migration keeps two CPUs of all for itself
_SHOWN_LINES = 3
_KSFT_SKIP = 4  # exit status of a program that skipped everything


@dataclass(frozen=True)
class Selftest:
    """A test program and how it is run.

    Attributes:
        program: its name.
        arguments: what it gets.
        real_time: it runs for a fixed time, which is long on the virtual clock.
        skips: tests that it is known to skip here, each with the reason why that is right.
    """

    program: str
    arguments: tuple[str, ...] = ()
    real_time: bool = False
    skips: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """The command, as parameters and checks call it."""
        return " ".join((self.program, *self.arguments))


TESTS = (
    Selftest("compaction_test"),
    Selftest("rmap"),
    Selftest("hugetlb-madvise"),
    Selftest("hugetlb-mmap"),
    Selftest("ksm_tests", ("-M", "-p", "10")),
    Selftest("ksm_tests", ("-N", "-m", "1")),
    Selftest("ksm_tests", ("-N", "-m", "0")),
    # 20 s of guest time for each of its tests
    Selftest("migration", real_time=True),
)
_BY_NAME = {test.name: test for test in TESTS}


class SelftestsParameters(Parameters):
    """Parameters of ``selftests``; ``tests`` are commands as `TESTS` has them."""

    tests: Annotated[tuple[str, ...], Field(min_length=1), Choices(tuple(_BY_NAME))] = tuple(
        _BY_NAME
    )
    nr_dma_chan: Annotated[int, Field(ge=1, le=MAX_ENGINES)] = 1

    @field_validator("tests")
    @classmethod
    def _tests_exist(cls, tests: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in tests if name not in _BY_NAME]
        if unknown or len(set(tests)) != len(tests):
            raise ValueError(f"each only once, of: {', '.join(_BY_NAME)}")
        return tests


@dataclass(frozen=True)
class SelftestsMode(ModePlan):
    """A mode: tests of one clock, with or without dcbm."""

    tests: tuple[Selftest, ...] = ()
    offload: bool = False


@dataclass(frozen=True)
class Findings:
    """What a test program showed.

    Attributes:
        checks: one for each test that ran, and for what the program as a whole has to keep.
        skipped: tests that were skipped as they are known to be, with the reasons.
        unproven: tests that were skipped for another reason.
    """

    checks: tuple[Check, ...]
    skipped: tuple[str, ...]
    unproven: tuple[str, ...]


Run = Session[SelftestsMode, SelftestsParameters]


def plan(lab: LabFile, parameters: SelftestsParameters) -> list[SelftestsMode]:
    """With dcbm off and on: what runs on the lab file's clock, and what needs the host's.

    Every node has at least two CPUs: fewer, and the kernel's migration tests skip themselves.
    """
    nodes = tuple(
        node.model_copy(update={"cpus": max(node.cpus, _CPUS_EACH_NODE)})
        for node in lab.topology.nodes
    )
    topology = lab.topology.model_copy(update={"nodes": nodes})
    lab = lab.model_copy(update={"topology": topology})
    chosen = [_BY_NAME[name] for name in parameters.tests]
    modes = []
    for real_time in (False, True):
        tests = tuple(test for test in chosen if test.real_time is real_time)
        if not tests:
            continue
        programs = tuple(dict.fromkeys(test.program for test in tests))
        machine = lab.model_copy(update={"clock": Clock.HOST}) if real_time else lab
        for offload in (False, True):
            name = ("real-time-" if real_time else "") + ("dcbm" if offload else "off")
            modes.append(
                SelftestsMode(
                    name,
                    f"{len(tests)} test programs, dcbm {'on' if offload else 'off'}",
                    patched=True,
                    machine=machine,
                    modules=(lab.engine.kind, "dcbm"),
                    files=(GuestSelftests(COLLECTION, programs),),
                    tests=tests,
                    offload=offload,
                )
            )
    return modes


def run(session: Run) -> None:
    """Run the mode's test programs one after the other, and compare what was copied by whom.

    Raises:
        PremiseError: a test was not built or was skipped, so that it proves nothing.
        GuestError: the guest ended the run.
    """
    guest, mode, findings = session.guest, session.mode, session.findings
    premises.bind_engines(guest, mode.machine.engine)
    load(guest)
    dcbm = Dcbm(guest)
    if mode.offload:
        dcbm.enable(session.parameters.nr_dma_chan)
    (selftests,) = (item for item in mode.files if isinstance(item, GuestSelftests))
    refused = json.loads(guest.read(f"{selftests.path}/{NOT_BUILT}"))
    unproven = [f"{name} was not built: {reason}" for name, reason in sorted(refused.items())]
    session.inject_faults()
    before = guest.device_counters()
    for test in mode.tests:
        if test.program in refused:
            continue
        session.say(test.name)
        found = _run_one(session, selftests.path, test)
        findings.checks += found.checks
        findings.notes += found.skipped
        unproven += found.unproven
    counted = engines.growth(before, guest.device_counters()).total
    findings.device = counted
    if not mode.offload:
        findings.check(checks.engines_idle(counted))
    elif dcbm.counts:
        copied = dcbm.counters()
        findings.dma_copies, findings.folios_failures = (
            copied.folios_migrated,
            copied.folios_failures,
        )
        if not copied.folios_migrated:
            unproven.append("no folio was offloaded: these tests say nothing about dcbm")
        if mode.machine.topology.swiotlb is Swiotlb.NONE:
            folios = copied.folios_migrated
            findings.check(checks.equal("descriptors", counted.descriptors, folios, "folios"))
        findings.check(checks.equal("engine errors", counted.errors, 0, "failed descriptors"))
    if unproven:
        raise PremiseError(
            "every test built and run, or skipped for a reason that is known",
            "; ".join(unproven),
            log=guest.machine.console.path,
            hint="lab/experiments/selftests.py lists the skips that are right, with their reasons",
        )


def _run_one(session: Run, directory: str, test: Selftest) -> Findings:
    """Run a test program and judge what it says."""
    said: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    result = session.guest.stream(
        (f"{directory}/{test.program}", *test.arguments),
        lambda stream, data: said[stream].extend(data),
        directory=directory,
        timeout_s=session.program_timeout_s,
    )
    text = said["stdout"].decode("utf-8", errors="replace")
    session.findings.details[test.name] = {
        "stdout": text.splitlines(),
        "stderr": said["stderr"].decode("utf-8", errors="replace").splitlines(),
    }
    return judge(test, read_ktap(text), result)


def judge(test: Selftest, document: Document, result: JobResult) -> Findings:
    """What a finished test program proves.

    Args:
        test: which it was.
        document: what it said.
        result: how it ended.
    """
    skipped: list[str] = []
    unproven: list[str] = []
    found = list(_judge_document(test, document))
    if document.skipped is not None:
        unproven.append(f"{test.name} skipped everything: {document.skipped or '(no reason)'}")
    for path, case in document.leaves():
        name = f"{test.name}: {' / '.join(path)}"
        if case.result is not Result.SKIP:
            found.append(_case_check(name, case))
            continue
        reason = test.skips.get(path[-1])
        if reason is None:
            unproven.append(f"{name} was skipped: {case.detail or '(no reason)'}")
        else:
            skipped.append(f"{name} was skipped ({case.detail}), as awaited: {reason}")
    found.append(_end_check(test, document, result))
    return Findings(tuple(found), tuple(skipped), tuple(unproven))


def _judge_document(test: Selftest, document: Document) -> Iterator[Check]:
    problems = list(document.all_problems())
    yield Check(
        name=f"{test.name}: protocol",
        held=not problems,
        awaited="whole KTAP with a plan that came true",
        seen="; ".join(problems) or f"{len(document.tests)} of {document.plan} tests",
    )


def _case_check(name: str, case: Case) -> Check:
    held = case.result is Result.PASS
    told = [case.detail, *([] if held else case.diagnostics[-_SHOWN_LINES:])]
    said = "; ".join(text for text in told if text)
    return Check(
        name=name, held=held, awaited="pass", seen=f"{case.result}{f': {said}' if said else ''}"
    )


def _end_check(test: Selftest, document: Document, result: JobResult) -> Check:
    """A program that says all is well and fails, or the other way round, is no witness."""
    awaited = _KSFT_SKIP if document.skipped is not None else 0
    return Check(
        name=f"{test.name}: exit status",
        held=result.status == awaited,
        awaited=str(awaited),
        seen=result.describe(),
    )


EXPERIMENT: Experiment[SelftestsMode, SelftestsParameters] = Experiment(
    name="selftests",
    purpose="the kernel's own tests of memory management, with dcbm off and on",
    parameters=SelftestsParameters,
    plan=plan,
    run=run,
    quick={"tests": ("compaction_test", "hugetlb-madvise", "rmap")},
)
