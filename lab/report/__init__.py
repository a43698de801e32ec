# SPDX-License-Identifier: GPL-2.0-or-later
"""Renderers: each makes its text from a record alone, and all of them show the same figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.option_values import Format as Format

if TYPE_CHECKING:
    from lab.results import Record


def render(record: Record, form: Format) -> str:
    """The record in one of the formats, as text that ends with a newline."""
    # Each renderer brings a library of its own along; only the one that is asked for is loaded.
    match form:
        case Format.TABLE:
            from lab.report.console import plain_text

            return plain_text(record)
        case Format.HTML:
            from lab.report.html import html_text

            return html_text(record)
        case Format.JUNIT:
            from lab.report.junit import junit_text

            return junit_text(record)
        case Format.KTAP:
            from lab.report.ktap import ktap_text

            return ktap_text(record)
        case Format.JSON:
            return record.model_dump_json(by_alias=True, indent=2) + "\n"
        case Format.COVERAGE:
            from lab.report.coverage import coverage_text

            return coverage_text(record)
