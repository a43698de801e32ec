# SPDX-License-Identifier: GPL-2.0-or-later
"""What W=1 and sparse say about some objects of a built kernel, which stays as it is.

They are compiled in a second output directory beside the kernel's own, which gets everything of it
but the objects: W=1 changes every command line, and would have the kernel's own built again.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.build import sparse_file
from lab.build.kernel_tree import _rename_paths, make_command, make_program
from lab.build.sparse import Sparse
from lab.cache import Cache
from lab.program import run_program
from lab.progress import Progress

# gcc, sparse, kernel-doc of 6.12; the assembler has capital letters.
_MESSAGE = re.compile(
    r"^(?P<file>[^\s:][^:\n]*\.[chS]):(?P<line>\d+):(?:\d+:)? "
    r"(?:[Ee]rror|[Ww]arning): (?P<text>.+)$",
    re.MULTILINE,
)
# kernel-doc since it is a Python program, which W=1 runs, too.
_KERNEL_DOC = re.compile(
    r"^(?:Error|Warning): (?P<file>[^\s:][^:\n]*\.[chS]):(?P<line>\d+) (?P<text>.+)$", re.MULTILINE
)
_KEPT_OBJECTS = (("scripts",), ("tools",), ("arch", "x86", "tools"))
_LEFT_OUT = ("vmlinux", "System.map", "Module.symvers", "modules.order", "arch/x86/boot")


@dataclass(frozen=True)
class Message:
    """A message about a line of source: `tool` is ``W=1`` or ``sparse``, `file` in the tree."""

    tool: str
    file: str
    line: int
    text: str


@dataclass
class ObjectCheck:
    """What was said.

    Attributes:
        messages: of both tools, each once.
        read: sources that sparse read to their end.
        unread: sources that it could not read, and why.
    """

    messages: list[Message] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    unread: dict[str, str] = field(default_factory=dict)


def check_objects(
    cache: Cache,
    out: Path,
    objects: Sequence[str],
    *,
    sparse: Sparse,
    log: Path,
    progress: Progress,
) -> ObjectCheck:
    """Compile objects with W=1 and let sparse read their sources.

    Args:
        cache: for the compiler's.
        out: the kernel's finished output directory, a child of its source.
        objects: relative to it, such as ``mm/migrate.o``.
        sparse: the checker.
        log: gets the whole output.
        progress: where it reports.

    Raises:
        BuildError: one doesn't compile.
    """
    scratch = out.with_name("out-check")
    shutil.rmtree(scratch, ignore_errors=True)
    log.unlink(missing_ok=True)
    if not objects:
        return ObjectCheck()
    try:
        with progress.step(f"W=1 and sparse on {len(objects)} objects", log=log) as step:
            _copy_out(out, scratch)
            told = scratch / "dcbm-lab-sparse.jsonl"
            runner = [sys.executable, "-I", sparse_file.__file__, told, sparse.program]
            check = shlex.join(str(word) for word in runner)
            argv = [*make_command(scratch), "W=1", "C=2", f"CHECK={check}", *objects]
            run_program(make_program(cache, argv, scratch, "objects that compile", log), step)
            told_text = told.read_text(encoding="utf-8") if told.is_file() else ""
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    found = ObjectCheck()
    _read_sparse(told_text, found)
    seen = set(found.messages)
    said = log.read_text(encoding="utf-8", errors="replace")
    found.messages += [item for item in _messages("W=1", said) if _twin(item) not in seen]
    for name in objects:
        source = source_of(out.parent, name)
        if not source.endswith(".c"):  # kbuild has sparse read C alone
            continue
        if source not in found.read and source not in found.unread:
            found.unread[source] = "kbuild did not let it: it found the checker unusable"
    return found


def source_of(tree: Path, name: str) -> str:
    """What an object is made from, C or assembly, relative to the tree like the object."""
    assembly = f"{name.removesuffix('.o')}.S"
    return assembly if (tree / assembly).is_file() else f"{name.removesuffix('.o')}.c"


def _twin(message: Message) -> Message:
    """What sparse said stands in make's output, too."""
    return Message("sparse", message.file, message.line, message.text)


def _copy_out(out: Path, scratch: Path) -> None:
    """Copy an output directory without what is compiled for the target."""

    def ignore(at: str, names: list[str]) -> list[str]:
        relative = Path(at).relative_to(out)
        if any(relative.parts[: len(kept)] == kept for kept in _KEPT_OBJECTS):
            return []
        return [
            name
            for name in names
            if name.endswith((".o", ".a", ".ko"))
            or str(relative / name).startswith(_LEFT_OUT)
            or name.startswith(".dcbm-lab")
        ]

    shutil.copytree(out, scratch, symlinks=True, ignore=ignore)
    _rename_paths(scratch, str(out), str(scratch))


def _read_sparse(text: str, found: ObjectCheck) -> None:
    for line in text.splitlines():
        entry = json.loads(line)
        file = _in_tree(entry["file"])
        if file is None:  # kbuild's own trial of the checker
            continue
        status = entry["status"]
        messages = _messages("sparse", entry["said"])
        found.messages += [item for item in messages if item not in found.messages]
        if status == 0:
            found.read.add(file)
        elif status is None:
            found.unread[file] = f"it did not end within {sparse_file.TIMEOUT_S} s"
        elif status < 0:
            found.unread[file] = f"it was ended by {signal.Signals(-status).name}"
        else:
            found.unread[file] = f"its exit status was {status}"


def _messages(tool: str, text: str) -> list[Message]:
    found: dict[Message, None] = {}
    matches = [*_MESSAGE.finditer(text), *_KERNEL_DOC.finditer(text)]
    for match in sorted(matches, key=lambda match: match.start()):
        file = _in_tree(match["file"])
        if file is not None:
            found[Message(tool, file, int(match["line"]), match["text"].strip())] = None
    return list(found)


def _in_tree(name: str) -> str | None:
    """A path as kbuild says it, relative to the source; None for one outside."""
    path = os.path.normpath(name)
    if path.startswith("/"):
        return None
    return path.removeprefix("../")
