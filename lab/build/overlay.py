# SPDX-License-Identifier: GPL-2.0-or-later
"""Lays our device models over a pristine QEMU tree, touching only what has changed.

Two trees: ``pristine`` stays as it was unpacked, ``source`` starts as a hard-link copy of it.
Files of ``qemu-devices/`` are laid in, and the files that ``patches/*.patch`` and ``glue.patch``
name are patched afresh from the pristine ones, in this order. `lab.build.port` says what another
version of QEMU than the default gets otherwise. A file whose content is already right keeps its
time stamp, so that ninja builds again only what a change concerns; one that changes gets a new
stamp even if its content is an old one.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

from lab.build.port import GLUE, PATCHES, PORTS, Port, open_port
from lab.config import Qemu
from lab.errors import BuildError
from lab.program import Program, run_program

# Rooms of QEMU's tree; what else lies in the overlay's top directory is for us alone.
_NOT_LAID = {GLUE, PATCHES, PORTS, "build-requirements.txt", "pins.toml", "README.md"}
_PATCH = ("patch", "-p1", "--batch", "--forward", "--no-backup-if-mismatch", "-r", "-")
_PATCHED = re.compile(r"^\+\+\+ b/([^\t\n]+)", re.MULTILINE)


def is_laid(relative: Path) -> bool:
    """Whether a file of the overlay is laid into the source tree."""
    hidden = any(part.startswith((".", "__pycache__")) for part in relative.parts)
    return relative.parts[0] not in _NOT_LAID and not hidden


def overlay_files(overlay: Path) -> list[Path]:
    """Files of the overlay that are laid in, relative to it."""
    found = [path.relative_to(overlay) for path in sorted(overlay.rglob("*")) if path.is_file()]
    return [path for path in found if is_laid(path)]


def lay(
    overlay: Path, pristine: Path, source: Path, log: Path, version: str = Qemu().base
) -> list[str]:
    """Bring `source` to pristine + patches + overlay; returns the names of the files that changed.

    Raises:
        BuildError: a patch does not apply, the overlay hides a file of QEMU's, or the port to this
            version of QEMU can't be used.
    """
    port = open_port(overlay, version)
    wanted = _patched_files(port, pristine, log)
    for relative in overlay_files(overlay):
        if (pristine / relative).exists():
            raise BuildError(
                f"only new files in {overlay}",
                f"{relative} is QEMU's own",
                hint=f"change it through {GLUE}",
            )
        wanted[str(relative)] = port.adapt(relative, (overlay / relative).read_bytes())
    memory = source / ".dcbm-lab-overlay.json"
    laid_before = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else []
    # written first: a name too many costs nothing, a forgotten one would stay for ever
    _replace(memory, json.dumps(sorted({*laid_before, *wanted})).encode())
    changed = []
    for name in laid_before:
        if name not in wanted:
            changed.append(name)
            if (pristine / name).exists():
                wanted[name] = (pristine / name).read_bytes()
            else:
                (source / name).unlink(missing_ok=True)
    for name, content in wanted.items():
        target = source / name
        if not target.is_file() or target.read_bytes() != content:
            changed.append(name)
            _replace(target, content)
    _replace(memory, json.dumps(sorted(wanted)).encode())
    return sorted(set(changed))


def _patched_files(port: Port, pristine: Path, log: Path) -> dict[str, bytes]:
    """Contents of the files that the patches change, after all of them."""
    with tempfile.TemporaryDirectory(prefix="dcbm-lab-") as scratch:
        patches = port.read_patches()
        names = {name for text in patches.values() for name in _PATCHED.findall(text)}
        root = Path(scratch) / "tree"
        root.mkdir()
        for name in names:
            if (pristine / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(pristine / name, root / name)
        for origin, text in patches.items():
            patch = Path(scratch) / Path(origin).name
            patch.write_text(text, encoding="utf-8")
            run_program(
                Program(
                    [*_PATCH, "-i", patch],
                    awaited=f"{origin} applied to QEMU's source",
                    log=log,
                    cwd=root,
                    hint="this QEMU differs from the one that the patch was made for: refresh it, "
                    f"or say in {port.overlay / PORTS} what this version needs otherwise",
                )
            )
        return {name: (root / name).read_bytes() for name in names if (root / name).is_file()}


def _replace(target: Path, content: bytes) -> None:
    """Write a new file in the place of an old one; other links to the old one keep its content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(content)
    partial.replace(target)
