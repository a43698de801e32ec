# SPDX-License-Identifier: GPL-2.0-or-later
"""The record as one self-contained HTML page: no script, no font, nothing fetched."""

from __future__ import annotations

import jinja2

from lab.report.figures import (
    clock_label,
    harmless,
    mode_remarks,
    problems,
    summary,
    tables,
    warnings,
)
from lab.report.plot import has_plot, inline_svg
from lab.results import Record

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("lab.report", "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def html_text(record: Record) -> str:
    """The record as an HTML document."""
    text = _TEMPLATES.get_template("report.html.j2").render(
        record=record,
        tables=[table for table in tables(record) if table.rows],
        problems=problems(record),
        summary=summary(record),
        clock=clock_label(record),
        mode_remarks=mode_remarks,
        warnings=warnings,
        plot=inline_svg(record) if has_plot(record) else "",
    )
    return harmless(text) + "\n"
