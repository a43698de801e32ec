# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads KTAP, the kernel's test protocol (Documentation/dev-tools/ktap.rst).

The document's rules decide what counts: a line that is none of its four kinds influences nothing.
But whatever casts doubt on a result is kept as a *problem* of the document that it stands in: no
plan, a number that is missing or used twice, fewer tests than planned, an end in mid-air. A
document with a problem has not passed, whatever its lines say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

VERSIONS = frozenset({"KTAP version 1", "TAP version 13", "TAP version 14"})

_IN_ANY_CASE = frozenset({"SKIP", "TODO"})

_VERSION = re.compile(r"K?TAP version \S+$")
_PLAN = re.compile(r"1\.\.(?P<count>\d+)(?:\s+#\s*(?P<rest>.*))?$")
_RESULT = re.compile(r"(?P<sign>ok|not ok)(?:\s+(?P<number>\d+))?(?:\s+(?P<rest>.*))?$")
_DIRECTIVE = re.compile(r"(?P<word>[A-Za-z]+)\b:?\s*(?P<rest>.*)$")
_BAIL_OUT = "Bail out!"


class Result(StrEnum):
    """How a test ended. Only PASS is a pass."""

    PASS = "pass"  # noqa: S105 - the word
    FAIL = "fail"
    SKIP = "skip"
    TODO = "todo"
    XFAIL = "xfail"
    TIMEOUT = "timeout"
    ERROR = "error"


_DIRECTIVES = {
    result.value.upper(): result
    for result in (Result.SKIP, Result.TODO, Result.XFAIL, Result.TIMEOUT, Result.ERROR)
}


@dataclass(frozen=True)
class Case:
    """A test's result line with what belongs to it.

    Attributes:
        number: as the line says it; None where it says none.
        name: its description, which may be empty.
        result: what line, directive and subtests say together.
        detail: the text behind the ``#``, without a directive: a skip's reason, an error's cause.
        diagnostics: the lines right before it, without their ``#``.
        subtests: the nested document, None where the test has none.
    """

    number: int | None
    name: str
    result: Result
    detail: str = ""
    diagnostics: tuple[str, ...] = ()
    subtests: Document | None = None


@dataclass(frozen=True)
class Document:
    """A KTAP document, or one that is nested in it.

    Attributes:
        version: its version line; empty where there is none.
        plan: how many tests it announces; None where it announces nothing.
        skipped: why all of it was skipped (a plan of 0 tests with SKIP), None where it wasn't.
        tests: in the order of their lines.
        bail_out: what the test program gave up with, None where it didn't.
        problems: what keeps it from being believed, in words, without those of nested documents.
        diagnostics: lines behind the last result.
    """

    version: str
    plan: int | None
    skipped: str | None
    tests: tuple[Case, ...]
    bail_out: str | None
    problems: tuple[str, ...]
    diagnostics: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it is sound and each of its tests passed; none at all is no pass."""
        return self.sound and bool(self.tests) and all(t.result is Result.PASS for t in self.tests)

    @property
    def sound(self) -> bool:
        """Whether it, and every document in it, is whole and follows the protocol."""
        return not any(True for _ in self.all_problems())

    def all_problems(self, path: tuple[str, ...] = ()) -> Iterator[str]:
        """Every problem, those of nested documents with the names of the tests around them."""
        where = f"{' / '.join(path)}: " if path else ""
        if self.bail_out is not None:
            yield f"{where}the test gave up: {self.bail_out or '(no reason)'}"
        for problem in self.problems:
            yield f"{where}{problem}"
        for test in self.tests:
            if test.subtests is not None:
                yield from test.subtests.all_problems((*path, _title(test)))

    def leaves(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Case]]:
        """Each test without subtests of its own, with the names on the way to it and its own.

        A test that says something else than its subtests together comes, too.
        """
        for test in self.tests:
            at = (*path, _title(test))
            if test.subtests is None or not test.subtests.tests:
                yield at, test
                continue
            yield from test.subtests.leaves(at)
            if test.result is not Result.PASS and test.subtests.passed:
                yield at, test


@dataclass
class _Open:
    """A document while its lines arrive."""

    indent: int
    version: str = ""
    plan: int | None = None
    skipped: str | None = None
    tests: list[Case] = field(default_factory=list)
    bail_out: str | None = None
    problems: list[str] = field(default_factory=list)
    diagnostics: list[str] = field(default_factory=list)
    plan_is_last: bool = False
    next_number: int = 1
    nested: Document | None = None

    def close(self) -> Document:
        if self.nested is not None:
            self.problems.append("subtests without a result line of the test that they belong to")
        if not self.version:
            self.problems.append("no version line")
        elif self.version not in VERSIONS:
            self.problems.append(f"{self.version!r} is a version that nobody reads")
        if self.bail_out is None:
            self._compare_with_plan()
        return Document(
            version=self.version,
            plan=self.plan,
            skipped=self.skipped,
            tests=tuple(self.tests),
            bail_out=self.bail_out,
            problems=tuple(self.problems),
            diagnostics=tuple(self.diagnostics),
        )

    def _compare_with_plan(self) -> None:
        if self.plan is None:
            self.problems.append("no plan, so that a missing test would go unnoticed")
        elif len(self.tests) != self.plan:
            kind = "missing" if len(self.tests) < self.plan else "more than planned"
            self.problems.append(
                f"{self.plan} tests planned, {len(self.tests)} results seen: "
                f"{abs(self.plan - len(self.tests))} {kind}"
            )
        elif self.plan == 0 and self.skipped is None:
            self.problems.append("no test at all, and no reason")

    def take_plan(self, count: int, rest: str) -> None:
        if self.plan is not None:
            self.problems.append(f"a second plan, 1..{count} after 1..{self.plan}")
            return
        self.plan = count
        self.plan_is_last = bool(self.tests)
        directive, detail = _split_directive(rest)
        if count == 0 and directive is Result.SKIP:
            self.skipped = detail

    def take_result(self, sign: str, number: str | None, rest: str) -> None:
        if self.plan_is_last:
            self.problems.append("a plan in the middle: it has to come first, or last of all")
            self.plan_is_last = False
        name, _, behind = rest.partition("#")
        directive, detail = _split_directive(behind)
        name = name.strip().removeprefix("- ").strip()
        self._check_number(number, name)
        said = Result.PASS if sign == "ok" else Result.FAIL
        test = Case(
            number=int(number) if number else None,
            name=name,
            result=self._judge(said, directive, name),
            detail=detail,
            diagnostics=tuple(self.diagnostics),
            subtests=self.nested,
        )
        self.tests.append(test)
        self.diagnostics.clear()
        self.nested = None

    def _judge(self, said: Result, directive: Result | None, name: str) -> Result:
        if directive in {Result.TIMEOUT, Result.ERROR} and said is Result.PASS:
            self.problems.append(f"{name or 'a test'} is ok with {directive.value.upper()}")
        result = directive or said
        below = self.nested.tests if self.nested is not None else ()
        bad = [t for t in below if t.result in {Result.FAIL, Result.TIMEOUT, Result.ERROR}]
        if result is Result.PASS and bad:
            self.problems.append(f"{name or 'a test'} is ok, but its subtest {_title(bad[0])} not")
            return Result.FAIL
        return result

    def _check_number(self, number: str | None, name: str) -> None:
        if number is None:
            self.problems.append(f"a result without a number: {name!r}")
            self.next_number += 1
            return
        seen = int(number)
        if seen > self.next_number:
            missing = f"{self.next_number}"
            if seen - 1 > self.next_number:
                missing += f" to {seen - 1}"
            self.problems.append(f"number {missing} missing before {seen}")
        elif seen < self.next_number:
            self.problems.append(f"number {seen} after {self.next_number - 1}: twice, or backwards")
        self.next_number = max(self.next_number, seen + 1)


def read_ktap(lines: Iterable[str] | str) -> Document:
    """Read the output of a test program, or what a kernel printed.

    Lines before the version line are no part of the document. Without any version line the
    document is empty and says so among its problems.
    """
    stack: list[_Open] = []
    for raw in lines.splitlines() if isinstance(lines, str) else lines:
        line = raw.rstrip()
        text = line.lstrip(" ")
        _take(stack, len(line) - len(text), text)
    if not stack:
        return _Open(0).close()
    while len(stack) > 1:
        _close_nested(stack)
    return stack[0].close()


def _take(stack: list[_Open], indent: int, text: str) -> None:
    """Give a line to the document that it belongs to."""
    if _VERSION.match(text):
        _take_version(stack, indent, text)
        return
    if not stack or stack[0].bail_out is not None or not text:
        return
    if text.startswith(_BAIL_OUT):
        # Whatever the depth: the program has ended, and the documents around it with it.
        for document in stack:
            document.bail_out = text.removeprefix(_BAIL_OUT).strip()
        return
    plan, result = _PLAN.match(text), _RESULT.match(text)
    owner = next((document for document in stack if document.indent == indent), None)
    if owner is None or not (plan or result):
        stack[-1].diagnostics.append(text.removeprefix("#").strip())
        return
    while stack[-1] is not owner:
        _close_nested(stack)
    if plan:
        owner.take_plan(int(plan["count"]), plan["rest"] or "")
    elif result:
        owner.take_result(result["sign"], result["number"], result["rest"] or "")


def _take_version(stack: list[_Open], indent: int, text: str) -> None:
    while len(stack) > 1 and stack[-1].indent >= indent:
        _close_nested(stack)
    if stack and stack[-1].indent >= indent:
        stack[-1].problems.append("a second version line: more than one document")
        return
    if stack and stack[-1].nested is not None:
        stack[-1].problems.append("subtests without a result line of the test that they belong to")
        stack[-1].nested = None
    stack.append(_Open(indent, version=text))


def _close_nested(stack: list[_Open]) -> None:
    nested = stack.pop().close()
    stack[-1].nested = nested


def _split_directive(text: str) -> tuple[Result | None, str]:
    """The directive behind a ``#`` and the rest; one that nobody knows is part of the rest."""
    text = text.strip()
    match = _DIRECTIVE.match(text)
    if match is None:
        return None, text
    word = match["word"]
    # TAP takes SKIP and TODO in any case; a lower-case "error" is how a sentence may start.
    result = _DIRECTIVES.get(word.upper() if word.upper() in _IN_ANY_CASE else word)
    return (result, match["rest"].strip()) if result else (None, text)


def _title(test: Case) -> str:
    return test.name or test.detail or f"test {test.number}"
