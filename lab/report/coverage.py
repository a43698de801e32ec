# SPDX-License-Identifier: GPL-2.0-or-later
"""Which lines of the kernel ran, from a record: by file, and by patch with those that never did.

Modes that booted the same kernel add up: a line that one of them ran has run.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.line_coverage import KEY, Coverage, PatchCoverage, union
from lab.report.console import plain_problem
from lab.report.figures import harmless, problems, summary
from lab.results import KernelIdentity, Mode, Record

_NONE = (
    "no coverage in this record: run with --set kernel.variant=gcov; a mode that crashed or timed "
    "out leaves none\n"
)


def coverage_text(record: Record) -> str:
    """The coverage of each kernel of a record, what went wrong, and the summary."""
    kernels: dict[str, list[Mode]] = {}
    for mode in record.modes:
        if KEY in mode.details and mode.kernel is not None:
            kernels.setdefault(mode.kernel.model_dump_json(), []).append(mode)
    parts = [
        harmless(_kernel(modes[0].kernel, modes)) for modes in kernels.values() if modes[0].kernel
    ]
    without = [harmless(mode.name) for mode in record.modes if KEY not in mode.details]
    if not parts:
        parts.append(_NONE)
    elif without:
        parts.append(f"not counted, since they left no counters: {', '.join(without)}\n")
    parts += [plain_problem(problem) for problem in problems(record)]
    parts.append(summary(record) + "\n")
    return "\n".join(parts)


def _kernel(kernel: KernelIdentity, modes: Sequence[Mode]) -> str:
    found = union([Coverage.model_validate(mode.details[KEY]) for mode in modes])
    kind = "with the series" if found.patches else "vanilla"
    lines = [
        f"kernel {kernel.base} {kind}, modes {', '.join(mode.name for mode in modes)}",
        f"  {'file':<40} {'lines':>6} {'run':>6} {'share':>7}",
    ]
    for file in found.files:
        run = file.lines - len(file.missed)
        lines.append(f"  {file.path:<40} {file.lines:>6} {run:>6} {_share(run, file.lines):>7}")
    if not found.patches:
        return "\n".join(lines) + "\n"
    lines.append("")
    for number, patch in enumerate(found.patches, 1):
        lines += _patch(number, patch)
    lines.append(
        f"  {found.added_and_run} of {found.added} lines that the series adds ran: "
        f"{_share(found.added_and_run, found.added)}"
    )
    return "\n".join(lines) + "\n"


def _patch(number: int, patch: PatchCoverage) -> list[str]:
    run = patch.lines - patch.missed
    share = f"{run} of {patch.lines} added lines ran: {_share(run, patch.lines)}"
    lines = [f"  {number}. {patch.subject}", f"     {share if patch.lines else 'adds no code'}"]
    lines += [f"     not built: {path}" for path in patch.not_built]
    lines += [f"     no counted object has code of: {path}" for path in patch.no_code]
    for file in patch.files:
        lines += [f"     {file.path}:{line.number}: {line.text.strip()}" for line in file.missed]
    return lines


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"
