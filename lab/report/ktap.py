# SPDX-License-Identifier: GPL-2.0-or-later
"""The record as KTAP, the kernel's test protocol (Documentation/dev-tools/ktap.rst).

One subtest a mode, one line a check. A mode's own line ends in its outcome where that isn't PASS
or FAIL: TIMEOUT and ERROR are the protocol's own directives, CRASH and LOST take the same place.
"""

from __future__ import annotations

from lab.report.figures import clock_label, harmless, mode_remarks, summary
from lab.results import Mode, Outcome, Record

_DIRECTIVES = {
    Outcome.PASS: "",
    Outcome.FAIL: "",
    Outcome.CRASH: " # CRASH",
    Outcome.TIMEOUT: " # TIMEOUT",
    Outcome.LOST: " # LOST",
    Outcome.ERROR: " # ERROR",
}


def ktap_text(record: Record) -> str:
    """The record as a KTAP document."""
    lines = ["KTAP version 1", f"# {_clean(record.experiment)}: {clock_label(record)}"]
    lines.append(f"1..{max(len(record.modes), 1)}")
    for number, mode in enumerate(record.modes, start=1):
        lines += _mode(number, mode)
    if not record.modes:
        lines += _diagnostics(record.error or "no mode ran", "")
        lines.append(f"not ok 1 set-up{_DIRECTIVES[Outcome.ERROR]}")
    lines.append(f"# {summary(record)}")
    return "\n".join(lines) + "\n"


def outcome_line(number: int, name: str, outcome: Outcome) -> str:
    """The line that says how a mode ended."""
    sign = "ok" if outcome is Outcome.PASS else "not ok"
    return f"{sign} {number} {_clean(name)}{_DIRECTIVES[outcome]}"


def _mode(number: int, mode: Mode) -> list[str]:
    lines = []
    if mode.checks:
        lines += ["  KTAP version 1", f"  # Subtest: {_clean(mode.name)}"]
        lines.append(f"  1..{len(mode.checks)}")
    for at, check in enumerate(mode.checks, start=1):
        if not check.held:
            lines += _diagnostics(f"awaited {check.awaited}; seen {check.seen}", "  ")
        lines.append(f"  {'ok' if check.held else 'not ok'} {at} {_clean(check.name)}")
    if mode.error:
        lines += _diagnostics(mode.error, "")
    if mode.excerpt:
        lines += _diagnostics(mode.excerpt, "")
    lines += _diagnostics("\n".join(mode_remarks(mode)), "")
    lines.append(outcome_line(number, mode.name, mode.outcome))
    return lines


def _diagnostics(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}".rstrip() for line in harmless(text).splitlines()]


def _clean(name: str) -> str:
    """A description must not hold the character that starts a directive, nor a line's end."""
    return " ".join(harmless(name).replace("#", "").splitlines()).strip()
