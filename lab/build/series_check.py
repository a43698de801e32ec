# SPDX-License-Identifier: GPL-2.0-or-later
"""What checkpatch, W=1 and sparse say about a series, each finding with its patch and place.

checkpatch is the base's own. W=1 and sparse look at the objects of the sources that the series
touches, on the base and with the series: what the base says as well isn't the series' doing.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.build.blame import blame_lines
from lab.build.checkpatch import Style, style_of_tree
from lab.build.kernel import build_kernel
from lab.build.kernel_plan import KernelChoice, KernelPlan, make_plan
from lab.build.kernel_tree import open_build
from lab.build.object_check import Message, ObjectCheck, check_objects
from lab.build.patch import Patch
from lab.build.series import Series
from lab.build.sparse import Sparse, build_sparse
from lab.cache import Cache
from lab.environment import program_environment
from lab.errors import BuildError
from lab.progress import Progress

_SAID = re.compile(r"^(?:(.*?):(\d+): )?(ERROR|WARNING|CHECK):([A-Z0-9_]+): (.*)$", re.MULTILINE)
# About the mail, not about a line; the script puts them down to the last file.
_ABOUT_MAIL = re.compile(r"SIGN_OFF|COMMIT|AUTHOR|EMAIL|CHANGE_ID|NO_AUTHOR")
_TIMEOUT_S = 300.0
# Not built by kbuild for the kernel that boots.
_NOT_KERNEL = ("Documentation/", "tools/", "samples/", "scripts/", "usr/")
# What kbuild and people read, and no compiler.
_NO_CODE = re.compile(
    r"(?:^|/)(?:Kconfig|Makefile|Kbuild)[^/]*$|^(?:MAINTAINERS|CREDITS|COPYING|README)$"
    r"|\.(?:rst|txt|config|yaml|json|svg)$|_defconfig$|(?:^|/)\.[^/]+$"
)


@dataclass(frozen=True)
class Finding:
    """Something that a tool says about a series.

    Attributes:
        tool: ``checkpatch``, ``W=1`` or ``sparse``.
        patch: number of the patch, from 1; None where no line of it is concerned.
        subject: of that patch.
        file: in the source; None for the mail itself.
        line: of the source with the whole series; for checkpatch with this patch.
        text: what the tool says.
    """

    tool: str
    patch: int | None
    subject: str | None
    file: str | None
    line: int | None
    text: str


@dataclass(frozen=True)
class Unread:
    """A file that a tool could not read: nothing is known about it."""

    tool: str
    file: str
    why: str


@dataclass
class SeriesCheck:
    """What became of a series.

    Attributes:
        base: version of the source below it.
        sparse: version of sparse.
        objects: what was compiled and read.
        findings: what the series is told.
        unread: what nothing is known about.
        skipped: sources that are no part of this kernel, such as tools, and what is no code.
        known: messages that the base has, too.
    """

    base: str
    sparse: str
    objects: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    known: int = 0


def check_series(cache: Cache, choice: KernelChoice, progress: Progress) -> SeriesCheck:
    """Check the series of a patched kernel, which is built if need be.

    Raises:
        ConfigError, SourceError, HostError: something can't be had.
        BuildError: base or series don't build, or checkpatch doesn't run.
    """
    sparse = build_sparse(cache, progress)
    build_kernel(cache, choice, progress)
    plan, below = make_plan(cache, choice, progress), make_plan(cache, choice.below(), progress)
    series = plan.series
    if series is None:
        raise BuildError(f"a series on {choice.label}", "none")
    done = SeriesCheck(base=plan.fetched.version, sparse=sparse.version)
    touched = sorted({path for patch in series.patches for path in patch.paths})
    with open_build(cache, plan, progress) as out:
        tree = out.parent
        vanilla = tree.with_name("vanilla")
        done.objects = _objects(out, touched, done)
        with_it = _check(cache, plan, out, done.objects, sparse, progress)
        lines = blame_lines(series, vanilla, tree)
        style = style_of_tree(vanilla)
    with open_build(cache, below, progress) as out:
        there = [name for name in done.objects if (out / name).is_file()]
        without = _check(cache, below, out, there, sparse, progress)
    for number, patch in enumerate(series.patches, 1):
        for file, line, text in _checkpatch(style, patch):
            done.findings.append(Finding("checkpatch", number, patch.subject, file, line, text))
    done.unread += [Unread("sparse", file, why) for file, why in sorted(with_it.unread.items())]
    done.unread += [
        Unread("sparse", file, f"on the base: {why}")
        for file, why in sorted(without.unread.items())
        if file not in with_it.unread
    ]
    added = added_messages(without.messages, with_it.messages, lines)
    done.known = len(with_it.messages) - len(added)
    done.findings += [_as_finding(message, series, lines) for message in added]
    return done


def _check(  # noqa: PLR0917 - as object_check takes it
    cache: Cache,
    plan: KernelPlan,
    out: Path,
    objects: Sequence[str],
    sparse: Sparse,
    progress: Progress,
) -> ObjectCheck:
    log = cache.root / "logs" / f"check-{plan.key}.log"
    return check_objects(cache, out, objects, sparse=sparse, log=log, progress=progress)


def _objects(out: Path, touched: Sequence[str], done: SeriesCheck) -> list[str]:
    """Objects of the sources that a series touches; for a header that none of them reads, one.

    What else it touches is skipped where it is no code, and unread otherwise: no file is passed
    over in silence.
    """
    objects: list[str] = []
    headers = []
    for path in touched:
        if not (out.parent / path).is_file():
            continue  # removed
        if path.startswith(_NOT_KERNEL) or _NO_CODE.search(path):
            done.skipped.append(path)
        elif path.endswith(".h"):
            headers.append(path)
        elif not path.endswith((".c", ".S")):
            done.unread.append(Unread("W=1", path, "it is neither C nor assembly"))
        elif (out / f"{path[:-2]}.o").is_file():
            objects.append(f"{path[:-2]}.o")
        else:
            tool = "sparse" if path.endswith(".c") else "W=1"
            done.unread.append(Unread(tool, path, _NOT_BUILT))
    return objects + _objects_for(out, headers, objects, done)


def _objects_for(
    out: Path, headers: Sequence[str], objects: Sequence[str], done: SeriesCheck
) -> list[str]:
    """Objects that read the headers which none of `objects` does."""
    found: list[str] = []
    commands: dict[str, str] | None = None
    for header in headers:
        if any(_reads(_command(out, name), header) for name in (*objects, *found)):
            continue
        if commands is None:
            commands = _all_commands(out)
        reading = sorted(name for name, text in commands.items() if _reads(text, header))
        if reading:
            found.append(reading[0])
        else:
            done.unread.append(Unread("sparse", header, "no object of this configuration has it"))
    return found


_NOT_BUILT = "not part of this configuration: turn its option on (--fragment)"


def _command(out: Path, name: str) -> str:
    path = out / name
    at = path.with_name(f".{path.name}.cmd")
    return at.read_text(encoding="utf-8", errors="replace") if at.is_file() else ""


def _all_commands(out: Path) -> dict[str, str]:
    """What kbuild wrote down about each object that was compiled from a C file."""
    found = {}
    for path in out.rglob(".*.o.cmd"):
        name = path.relative_to(out).with_name(path.name[1:-4]).as_posix()
        source = (out.parent / name).with_suffix(".c")
        if not name.startswith(("scripts/", "tools/")) and source.is_file():
            found[name] = path.read_text(encoding="utf-8", errors="replace")
    return found


def _reads(command: str, header: str) -> bool:
    return re.search(rf"(?:^|[\s/]){re.escape(header)}(?:\s|\)|$)", command) is not None


def added_messages(
    base: Sequence[Message], series: Sequence[Message], lines: Mapping[str, Mapping[int, int]]
) -> list[Message]:
    """Messages that the base doesn't have.

    One about a line of the series' is the series' own, whatever the base says elsewhere. Lines of
    the base move, so that their numbers tell nothing: there, as many of a kind are known as the
    base has.

    Args:
        base: messages about the base.
        series: messages about the source with the series.
        lines: for each file the lines that the series brings, as `blame_lines` has them.
    """
    left = Counter(_kind(message) for message in base)
    added = []
    for message in series:
        kind = _kind(message)
        if message.line in lines.get(message.file, {}):
            added.append(message)
        elif left[kind]:
            left[kind] -= 1
        else:
            added.append(message)
    return added


def _kind(message: Message) -> tuple[str, str, str]:
    return message.tool, message.file, re.sub(r"\d+", "#", message.text)


def _as_finding(
    message: Message, series: Series, lines: Mapping[str, Mapping[int, int]]
) -> Finding:
    number = lines.get(message.file, {}).get(message.line)
    return Finding(
        message.tool,
        None if number is None else number + 1,
        None if number is None else series.patches[number].subject,
        message.file,
        message.line,
        message.text,
    )


def _checkpatch(style: Style, patch: Patch) -> list[tuple[str | None, int | None, str]]:
    """File, line and text of everything that checkpatch says about a patch.

    Raises:
        BuildError: it doesn't run.
    """
    head = f"From: {patch.author}\n" if patch.author else ""
    mail = f"{head}Subject: [PATCH] {patch.subject}\n\n".encode() + patch.message + patch.diff
    argv = ["perl", str(style.script), *style.options, "--terse", "--showfile"]
    # nobody can have signed off as an author whom nobody knows
    argv += ["-"] if patch.author else ["--ignore", "NO_AUTHOR_SIGN_OFF", "-"]
    try:
        answer = subprocess.run(
            argv,
            input=mail,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=program_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError("checkpatch on a patch", str(error)) from error
    said = answer.stdout.decode("utf-8", errors="replace")
    found = _read_checkpatch(said)
    # It exits with 1 where it found something; anything else, and silence there, is a failure.
    if answer.returncode not in {0, 1} or (answer.returncode == 1) != bool(found):
        told = answer.stderr.decode("utf-8", errors="replace")
        raise BuildError("a verdict of checkpatch", (told or said)[-500:] or "nothing was said")
    return found


def _read_checkpatch(said: str) -> list[tuple[str | None, int | None, str]]:
    found = []
    for file, line, level, kind, text in _SAID.findall(said):
        about_mail = _ABOUT_MAIL.search(kind) is not None or not file
        place = (None, None) if about_mail else (file, int(line))
        found.append((*place, f"{level}:{kind}: {text}"))
    return found
