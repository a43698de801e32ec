# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the overlay differs for one version of QEMU.

The overlay is written for the default version. ``ports/VERSION/`` holds what another one needs
otherwise, and nothing else:

- ``port.toml``: ``[[rewrite]]`` rules, which change the overlay's files as they are laid and its
  patches as they are applied, so that a new device model needs no port of its own; ``[[drop]]``
  names a patch that this version doesn't need.
- ``glue.patch``: its parts take the place of those of the overlay's for the same files.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from lab.errors import BuildError

PORTS = "ports"
GLUE = "glue.patch"
PATCHES = "patches"
_RULES = "port.toml"
_FILE_OF_PATCH = re.compile(r"^--- a/[^\n]*\n\+\+\+ b/([^\t\n]+)", re.MULTILINE)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rewrite(_Model):
    """One difference between versions of QEMU.

    ``pattern`` is a regular expression (``^`` and ``$`` are ends of lines), ``replacement`` what
    ``re.sub`` puts there, ``files`` are shell patterns of paths in the overlay, in which ``*``
    crosses directories.
    """

    why: str
    files: tuple[str, ...]
    pattern: str
    replacement: str

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return pattern

    def concerns(self, relative: Path) -> bool:
        """Whether the rule is for this file."""
        return any(fnmatchcase(relative.as_posix(), pattern) for pattern in self.files)


class Drop(_Model):
    """A patch of the overlay that a version doesn't need."""

    patch: str
    why: str


class Rules(_Model):
    """What ``port.toml`` says."""

    rewrite: tuple[Rewrite, ...] = ()
    drop: tuple[Drop, ...] = ()


@dataclass(frozen=True)
class Port:
    """The overlay as one version of QEMU needs it.

    Attributes:
        overlay: the overlay's directory.
        home: the port's own directory; None when the version takes the overlay as it is.
        rules: what ``port.toml`` says.
    """

    overlay: Path
    home: Path | None
    rules: Rules

    @property
    def patch_files(self) -> list[Path]:
        """The patches to QEMU's own files but the glue, in the order in which they apply."""
        dropped = {drop.patch for drop in self.rules.drop}
        found = sorted((self.overlay / PATCHES).glob("*.patch"))
        return [path for path in found if path.name not in dropped]

    @property
    def glue_files(self) -> list[Path]:
        """Files that the glue is made of."""
        files = [self.overlay / GLUE]
        if self.home is not None and (self.home / GLUE).is_file():
            files.append(self.home / GLUE)
        return files

    def read_patches(self) -> dict[str, str]:
        """All patches to QEMU's own files in the order in which they apply, by origin for people.

        Raises:
            BuildError: there is none that ties the devices to QEMU's build.
        """
        patches = {str(path): self._read(path) for path in self.patch_files}
        parts: dict[str, str] = {}
        for path in self.glue_files:
            if not path.is_file():
                awaited = "the patch that ties our devices to QEMU's build"
                raise BuildError(awaited, f"no {path}")
            parts |= split_patch(self._read(path))
        patches[" with ".join(str(path) for path in self.glue_files)] = "".join(parts.values())
        return patches

    def _read(self, path: Path) -> str:
        return self.adapt(path.relative_to(self.overlay), path.read_bytes()).decode("utf-8")

    def adapt(self, relative: Path, content: bytes) -> bytes:
        """What a file of the overlay is for this version."""
        rules = [rule for rule in self.rules.rewrite if rule.concerns(relative)]
        if not rules:
            return content
        text = content.decode("utf-8")
        for rule in rules:
            text = re.sub(rule.pattern, rule.replacement, text, flags=re.MULTILINE)
        return text.encode("utf-8")


def open_port(overlay: Path, version: str) -> Port:
    """The overlay for a version such as ``10.2``; without a port of its own it is as it lies.

    Raises:
        BuildError: ``port.toml`` is no TOML, says something else, or drops what isn't there.
    """
    home = overlay / PORTS / version
    if not home.is_dir():
        return Port(overlay, None, Rules())
    path = home / _RULES
    hint = f"correct {path}"
    try:
        rules = Rules.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BuildError(f"a readable {path}", str(error), hint=hint) from error
    except ValidationError as error:
        seen = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors()
        )
        raise BuildError(f"valid rules in {path}", seen, hint=hint) from error
    for drop in rules.drop:
        if not (overlay / PATCHES / drop.patch).is_file():
            raise BuildError(f"a patch {drop.patch} to drop", f"none in {overlay / PATCHES}")
    return Port(overlay, home, rules)


def split_patch(text: str) -> dict[str, str]:
    """The parts of a patch by the file that each changes."""
    starts = list(_FILE_OF_PATCH.finditer(text))
    ends = [*(match.start() for match in starts), len(text)][1:]
    return {match[1]: text[match.start() : end] for match, end in zip(starts, ends, strict=True)}
