# SPDX-License-Identifier: GPL-2.0-or-later
"""Pins: which upstream source the lab builds from, each an ordered list with its fallbacks.

A pin file is TOML. Each ``[[NAME.source]]`` table is one source of NAME, in the order in which they
are tried.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lab.errors import ConfigError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# What may stand in an apt command line; nothing that could be taken for an option or a path.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+:~-]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DebianPackage(_Model):
    """A package of the distribution's archive, checked by the archive's signature.

    ``version`` None is the newest of the suite. ``sha256`` is by file name, checked on top.
    ``member`` is the tar file inside a binary package that holds the source.
    """

    kind: Literal["debian-binary", "debian-source"]
    suite: Word
    package: Word
    version: Word | None = None
    sha256: dict[str, Sha256] = Field(default_factory=dict)
    member: str | None = None

    @property
    def is_source(self) -> bool:
        """Whether it is a source package."""
        return self.kind == "debian-source"

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{self.package} {self.version or '(newest)'} of {self.suite}"


class UrlSource(_Model):
    """A file at a URL; its SHA-256 is all that makes it trustworthy."""

    kind: Literal["url"]
    url: Annotated[str, Field(pattern=r"^(https?|file)://")]
    sha256: Sha256

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.url


class TreeSource(_Model):
    """A directory with unpacked source, used as it is."""

    kind: Literal["tree"]
    path: Path

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"tree {self.path}"


Source = DebianPackage | UrlSource | TreeSource
_SOURCES: TypeAdapter[dict[str, dict[Literal["source"], tuple[Source, ...]]]] = TypeAdapter(
    dict[
        str,
        dict[
            Literal["source"],
            Annotated[
                tuple[Annotated[Source, Field(discriminator="kind")], ...], Field(min_length=1)
            ],
        ],
    ]
)


def read_pins(path: Path) -> dict[str, tuple[Source, ...]]:
    """The sources of every name in a pin file, in the order in which they are tried.

    Raises:
        ConfigError: the file can't be read or says something else.
    """
    hint = f"correct {path}"
    try:
        pins = _SOURCES.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"a readable pin file at {path}", str(error), hint=hint) from error
    except ValidationError as error:
        seen = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors()
        )
        raise ConfigError(f"valid pins in {path}", seen, hint=hint) from error
    return {name: table["source"] for name, table in pins.items()}


def sources_of(path: Path, name: str) -> tuple[Source, ...]:
    """The sources of one name.

    Raises:
        ConfigError: the file can't be used or doesn't have that name.
    """
    pins = read_pins(path)
    if name not in pins:
        raise ConfigError(
            f"pins of {name!r} in {path}",
            f"pins of {', '.join(sorted(pins))}",
            hint="choose one of those, or add the pins",
        )
    return pins[name]
