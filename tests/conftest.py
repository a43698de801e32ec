# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's own fixtures, as any project would load them; and no test of ours may be skipped."""

from __future__ import annotations

from collections.abc import Generator

import pytest

pytest_plugins = ["lab.pytest_plugin"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Kernels of minutes are built only when asked for, whatever else is filtered by."""
    parser.addoption(
        "--bases", action="store_true", help="run tests marked bases, too (make test-bases)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what wasn't asked for."""
    if config.getoption("--bases"):
        return
    left_out = [item for item in items if item.get_closest_marker("bases")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip hides what was not tested: it counts as a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole module that is skipped hides even more."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped: {report.longrepr}"
    return report
