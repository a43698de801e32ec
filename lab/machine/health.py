# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds what a kernel reports about itself in a console log: crashes, splats, warnings.

A report starts at a line with a known message and ends at its end marker, at the end of its stack,
or after a bounded number of lines. What belongs to one incident stays one report: the ``Oops:``
line of a ``BUG:``, the stack of a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_EXCERPT_LINES = 150
_LOOK_BACK_LINES = 3


class Kind(StrEnum):
    """What a report is about."""

    PANIC = "panic"
    OOPS = "oops"
    BUG = "BUG"
    SANITIZER = "sanitizer"
    CHECKER = "debug check"
    LOCKDEP = "lockdep"
    HUNG_TASK = "hung task"
    LOCKUP = "lockup"
    RCU_STALL = "RCU stall"
    BAD_PAGE = "bad page"
    DATA_RACE = "data race"
    LEAK = "leak"
    OUT_OF_MEMORY = "out of memory"
    WARNING = "warning"


FATAL = frozenset(Kind) - {Kind.DATA_RACE, Kind.LEAK, Kind.OUT_OF_MEMORY, Kind.WARNING}
"""The kinds that make a run a CRASH; the others are facts for the record.

What a debugging facility finds (a freed object written to, a DMA mapping that is not given back, a
corrupt list, a reference count below zero) it says as a WARNING and goes on; there is no such thing
as a harmless one, so it is fatal. Other warnings are not.

What KASAN and UBSAN report is wrong in C, whatever comes of it, so it is fatal. A data race that
KCSAN reports is two unmarked accesses to one word: much of the kernel has such that do no harm, and
the kernel goes on; were they fatal, no run of a kcsan kernel would come to its end. A race that an
ASSERT_EXCLUSIVE forbids is fatal: there somebody has said that it does harm. kmemleak suspects: it
may miss a pointer, and only a scan that an experiment asks for can report, so the experiment is to
judge.
"""


@dataclass(frozen=True)
class Report:
    """One report of the kernel about itself.

    Attributes:
        kind: what it is about.
        title: its telling line, without time stamp.
        time_s: the line's time stamp in seconds of guest time, if it has one.
        excerpt: the log's lines that belong to it, as they were.
        end_line: number of lines of the log up to and with the excerpt.
    """

    kind: Kind
    title: str
    time_s: float | None
    excerpt: str
    end_line: int

    @property
    def fatal(self) -> bool:
        """Whether it makes a run a CRASH."""
        return self.kind in FATAL


# Time stamp, and with CONFIG_PRINTK_CALLER the task or CPU: "[    1.234567][   T42] ".
_PREFIX = re.compile(r"^(?:<\d+>)?\[\s*(?P<time>\d+\.\d+)\](?:\[\s*[TC]\d+\])? ?")

# Sources whose warnings are findings about others' memory, mappings, lists and counts.
_CHECKERS = "|".join(
    (
        "kernel/dma/debug",
        "lib/debugobjects",
        "lib/list_debug",
        "lib/refcount",
        "mm/page_table_check",
        "mm/slub",
        "mm/usercopy",
    )
)

# The first that matches names the kind, so the particular come before the general.
_STARTS: Sequence[tuple[Kind, re.Pattern[str]]] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (Kind.PANIC, r"Kernel panic - not syncing"),
        (Kind.PANIC, r"Internal error: |PANIC: (?:early exception|double fault)"),
        (Kind.DATA_RACE, r"BUG: KCSAN: data-race in "),
        (Kind.SANITIZER, r"BUG: K(?:ASAN|FENCE|CSAN|MSAN): |UBSAN: "),
        (Kind.LEAK, r"kmemleak: \d+ new suspected memory leaks"),
        (Kind.LOCKUP, r"(?:watchdog: )?BUG: (?:soft lockup|workqueue lockup)"),
        (Kind.LOCKUP, r"(?:watchdog: )?(?:CPU\d+: )?Watchdog detected hard LOCKUP"),
        (Kind.LOCKUP, r"NMI watchdog: Watchdog detected hard LOCKUP"),
        (Kind.BAD_PAGE, r"BUG: Bad (?:page|rss-counter|swap)"),
        (Kind.LOCKDEP, r"WARNING: possible (?:circular locking|recursive locking|irq lock inv)"),
        (Kind.LOCKDEP, r"WARNING: (?:inconsistent lock state|suspicious RCU usage)"),
        (Kind.LOCKDEP, r"WARNING: (?:bad unlock balance|lock held when returning|held lock freed)"),
        (Kind.LOCKDEP, r"WARNING: (?:Nested lock was not taken|Invalid wait context|.*still held)"),
        (Kind.LOCKDEP, r"WARNING: \S+-safe -> \S+-unsafe lock order detected"),
        (Kind.LOCKDEP, r"\[ BUG: (?:Invalid wait context|.*lock)|BUG: .* lock held"),
        (Kind.LOCKDEP, r"INFO: (?:trying to register non-static key|possible .*lock)"),
        (Kind.LOCKDEP, r"BUG: (?:key .* has not been registered|MAX_LOCK\w+ too low)"),
        (Kind.HUNG_TASK, r"INFO: task .* blocked .*for more than \d+ seconds"),
        (Kind.RCU_STALL, r"(?:rcu: )?INFO: rcu_\w+ (?:self-)?detected (?:expedited )?stall"),
        (Kind.OOPS, r"BUG: (?:unable to handle|kernel NULL pointer)"),
        (Kind.OOPS, r"Oops:|general protection fault"),
        (Kind.OOPS, r"(?:divide error|invalid opcode|stack segment|int3|double fault): \d{4} \["),
        (Kind.BUG, r"kernel BUG at |BUG: "),
        # mm/slub.c: slab_bug() names the cache and the taint in between
        (Kind.CHECKER, r"BUG .+ \((?:Not tainted|Tainted: .*)\): "),
        # mm/debug.c: what VM_BUG_ON and VM_WARN_ON print before their own line
        (Kind.CHECKER, r"page dumped because: VM_WARN_ON"),
        (Kind.CHECKER, rf"WARNING: (?:CPU: \d+ PID: \d+ at )?(?:{_CHECKERS})\.c:"),
        (Kind.OUT_OF_MEMORY, r".* invoked oom-killer: |Out of memory: "),
        (Kind.WARNING, r"WARNING: "),
    )
)

# Lines that close a report. A KASAN or lockdep report is framed by rules instead.
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
_RULE = re.compile(r"^(?:={20,}|-{50,})$")
_CUT_HERE = re.compile(r"^-+\[ cut here \]-+$")
_OTHER_CPUS = re.compile(r"Sending NMI from CPU \d+ to CPUs|Kernel Offset: ")
_STACK_END = re.compile(r"^ ?</TASK>$")
_ENDS_WITH_STACK = frozenset(
    {Kind.HUNG_TASK, Kind.LOCKUP, Kind.RCU_STALL, Kind.LOCKDEP, Kind.BAD_PAGE}
)
_FRAMED = frozenset({Kind.SANITIZER, Kind.DATA_RACE, Kind.LOCKDEP})
_ONE_LINE = frozenset({Kind.LEAK})


def _message(line: str) -> str:
    return _PREFIX.sub("", line, count=1)


def _time_s(line: str) -> float | None:
    match = _PREFIX.match(line)
    return float(match["time"]) if match else None


def _kind(message: str) -> Kind | None:
    for kind, pattern in _STARTS:
        if pattern.match(message):
            return kind
    return None


def _begin(lines: Sequence[str], start: int, floor: int) -> int:
    """Where a report's excerpt begins: at the cut mark or rule just above its title, if any."""
    for index in range(start - 1, max(floor, start - _LOOK_BACK_LINES) - 1, -1):
        message = _message(lines[index])
        if _CUT_HERE.match(message) or _RULE.match(message):
            return index
    return start


def _end(lines: Sequence[str], start: int, kind: Kind) -> int:
    """Number of the line after the report that starts at `start`."""
    if kind in _ONE_LINE:
        return start + 1
    stack_ended = False
    limit = min(len(lines), start + MAX_EXCERPT_LINES)
    for index in range(start + 1, limit):
        message = _message(lines[index])
        if _closes(message, kind):
            return index + 1
        if _starts_another(message, kind, stack_ended=stack_ended):
            return index
        stack_ended = stack_ended or _STACK_END.match(message) is not None
    return limit


def _closes(message: str, kind: Kind) -> bool:
    """Whether this line is the last of a report of `kind`."""
    if kind in _ENDS_WITH_STACK and _STACK_END.match(message):
        return True
    # KASAN and lockdep draw a rule; oopses and warnings have their end marker.
    return bool(_END.match(message)) or (kind in _FRAMED and message.startswith("====="))


def _starts_another(message: str, kind: Kind, *, stack_ended: bool) -> bool:
    """Whether this line is no more of a report of `kind`."""
    if kind is Kind.PANIC and _OTHER_CPUS.match(message):
        # The stacks of the other CPUs, which the lab has a panic print, stay in the log.
        return True
    new_kind = _kind(message)
    # A panic is told apart from the oops that led to it; "Oops:" is part of its "BUG:".
    if new_kind is Kind.PANIC:
        return True
    return stack_ended and (new_kind is not None or bool(_CUT_HERE.match(message)))


def scan(text: str) -> list[Report]:
    """All reports in a console log, in order."""
    lines = text.splitlines()
    reports: list[Report] = []
    index = 0
    while index < len(lines):
        title = _message(lines[index])
        kind = _kind(title)
        if kind is None:
            index += 1
            continue
        begin = _begin(lines, index, reports[-1].end_line if reports else 0)
        end = _end(lines, index, kind)
        reports.append(Report(kind, title, _time_s(lines[index]), "\n".join(lines[begin:end]), end))
        index = end
    return reports


def first_fatal(reports: Iterable[Report], fatal: frozenset[Kind] = FATAL) -> Report | None:
    """The report that a CRASH is named after: the first of a fatal kind."""
    return next((report for report in reports if report.kind in fatal), None)


def crash_excerpt(reports: Sequence[Report], cause: Report) -> str:
    """The excerpt of `cause`, with that of the panic it led to."""
    parts = [cause.excerpt]
    after = reports[reports.index(cause) + 1 :]
    if cause.kind is not Kind.PANIC:
        parts += [report.excerpt for report in after if report.kind is Kind.PANIC][:1]
    return "\n".join(parts)
