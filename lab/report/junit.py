# SPDX-License-Identifier: GPL-2.0-or-later
"""The record as JUnit XML, for continuous integration: one test case a mode.

PASS has no element, FAIL is a ``<failure>``; CRASH, TIMEOUT, LOST and ERROR are ``<error>``
elements whose ``type`` is the outcome, so that none is taken for another.
"""

from __future__ import annotations

import re

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from lab.report.figures import clock_label, harmless, mode_remarks, warnings
from lab.results import Mode, Outcome, Record

# What XML 1.0 can't hold even escaped; consoles do.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_text(record: Record) -> str:
    """The record as a JUnit XML document."""
    suite = TestSuite(_xml(f"dcbm-lab.{record.experiment}"))
    suite.add_property("schema", record.schema_)
    suite.add_property("clock", clock_label(record))
    for kernel in record.kernel:
        suite.add_property("kernel", _xml(f"{kernel.release} {kernel.series or 'vanilla'}"))
    warned = sum(len(warnings(mode)) for mode in record.modes)
    suite.add_property("kernel warnings", str(warned))
    for mode in record.modes:
        suite.add_testcase(_case(record, mode))
    if not record.modes:
        suite.add_testcase(_no_mode(record))
    suite.update_statistics()  # type: ignore[no-untyped-call]
    document = JUnitXml()
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    # Cases have no time of their own: a mode's times are the guest's.
    suite.time = document.time = record.host.duration_s
    text: bytes = document.tostring()  # type: ignore[no-untyped-call]
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + text.decode("utf-8").strip() + "\n"


def _case(record: Record, mode: Mode) -> TestCase:
    case = TestCase(_xml(mode.name), classname=_xml(f"dcbm-lab.{record.experiment}"))
    if mode.checks:
        case.system_out = _xml(
            "\n".join(
                f"{'held' if check.held else 'DID NOT HOLD'}: {check.name}: "
                f"awaited {check.awaited}; seen {check.seen}"
                for check in mode.checks
            )
        )
    told = [*mode_remarks(mode), *(report.excerpt for report in warnings(mode))]
    if told:
        case.system_err = _xml("\n".join(told))
    failed = [check for check in mode.checks if not check.held]
    if mode.outcome is Outcome.FAIL:
        lines = [f"{check.name}: awaited {check.awaited}; seen {check.seen}" for check in failed]
        case.result = [_element(Failure, mode.outcome, lines[0] if lines else "", lines)]
    elif mode.outcome is not Outcome.PASS:
        lines = (mode.error or "").splitlines()
        text = [*lines, "", *(mode.excerpt or "").splitlines()]
        case.result = [_element(Error, mode.outcome, " / ".join(lines), text)]
    return case


def _no_mode(record: Record) -> TestCase:
    case = TestCase("set-up", classname=_xml(f"dcbm-lab.{record.experiment}"))
    lines = (record.error or "no mode ran").splitlines()
    case.result = [_element(Error, Outcome.ERROR, " / ".join(lines), lines)]
    return case


def _element(
    kind: type[Error] | type[Failure], outcome: Outcome, message: str, lines: list[str]
) -> Error | Failure:
    element = kind(_xml(message), outcome.value)
    element.text = _xml("\n".join(lines))
    return element


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", harmless(text))
