# SPDX-License-Identifier: GPL-2.0-or-later
"""Renderers: each makes its text from a record alone, and all of them show the same figures."""

from __future__ import annotations

from enum import StrEnum

from lab.report.console import plain_text
from lab.report.coverage import coverage_text
from lab.report.html import html_text
from lab.report.junit import junit_text
from lab.report.ktap import ktap_text
from lab.results import Record


class Format(StrEnum):
    """What a record can be turned into."""

    TABLE = "table"
    HTML = "html"
    JUNIT = "junit"
    KTAP = "ktap"
    JSON = "json"
    COVERAGE = "coverage"


def render(record: Record, form: Format) -> str:
    """The record in one of the formats, as text that ends with a newline."""
    match form:
        case Format.TABLE:
            return plain_text(record)
        case Format.HTML:
            return html_text(record)
        case Format.JUNIT:
            return junit_text(record)
        case Format.KTAP:
            return ktap_text(record)
        case Format.JSON:
            return record.model_dump_json(by_alias=True, indent=2) + "\n"
        case Format.COVERAGE:
            return coverage_text(record)
