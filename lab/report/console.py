# SPDX-License-Identifier: GPL-2.0-or-later
"""The record as tables for a terminal or a log."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from lab.report.figures import Problem, problems, remarks, summary, tables
from lab.report.table import Table
from lab.results import Outcome, Record

_STYLES = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.CRASH: "bold red",
    Outcome.TIMEOUT: "bold yellow",
    Outcome.LOST: "bold yellow",
    Outcome.ERROR: "bold magenta",
}


def plain_text(record: Record) -> str:
    """The record's tables, problems, remarks and summary as plain text, whatever the width."""
    parts = [_plain_table(table) for table in tables(record) if table.rows]
    parts += [plain_problem(problem) for problem in problems(record)]
    if remarks(record):
        parts.append("\n".join(remarks(record)) + "\n")
    parts.append(summary(record) + "\n")
    return "\n".join(parts)


def _plain_table(table: Table) -> str:
    lines = [table.columns, *table.rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.columns))]

    def written(line: tuple[str, ...]) -> str:
        cells = [line[0].ljust(widths[0])]
        align = str.ljust if table.words else str.rjust
        cells += [align(cell, width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    body = [written(row) for row in table.rows]
    return "\n".join([table.title, written(table.columns), rule, *body]) + "\n"


def plain_problem(problem: Problem) -> str:
    """What went wrong in a mode, with the part of the console that shows it."""
    lines = [f"{problem.outcome} {problem.mode}"]
    lines += [f"  {line}" for line in problem.lines]
    if problem.excerpt:
        lines += ["  console:"] + [f"  | {line}" for line in problem.excerpt.splitlines()]
    return "\n".join(lines) + "\n"


def print_record(record: Record, console: Console) -> None:
    """Print the record: styled on a terminal that is wide enough, plain text anywhere else."""
    plain = plain_text(record)
    if not console.is_terminal or max(len(line) for line in plain.splitlines()) > console.width:
        console.file.write(plain)
        console.file.flush()
        return
    for table in tables(record):
        if table.rows:
            console.print(_styled_table(table))
    for problem in problems(record):
        style = _STYLES[problem.outcome]
        head, _, rest = plain_problem(problem).partition("\n")
        console.print(f"[{style}]{escape(head)}[/{style}]", highlight=False)
        console.print(escape(rest), highlight=False)
    for remark in remarks(record):
        console.print(f"[yellow]{escape(remark)}[/yellow]", highlight=False)
    style = _STYLES[record.outcome]
    console.print(f"[{style}]{escape(summary(record))}[/{style}]", highlight=False)


def _styled_table(table: Table) -> RichTable:
    styled = RichTable(title=escape(table.title), title_justify="left")
    for number, column in enumerate(table.columns):
        left = number == 0 or table.words
        styled.add_column(escape(column), justify="left" if left else "right", no_wrap=True)
    for row, outcome in zip(table.rows, table.outcomes, strict=True):
        cells = [escape(cell) for cell in row]
        if outcome is not None and row[-1] == outcome.value:
            cells[-1] = f"[{_STYLES[outcome]}]{cells[-1]}[/{_STYLES[outcome]}]"
        styled.add_row(*cells)
    return styled
