# SPDX-License-Identifier: GPL-2.0-or-later
"""The mailbox's line protocol: what the agent in the guest says, typed, and what it is asked.

The guest sends one JSON object a line. The host answers while the machine is paused, with a message
whose fields are separated by line feeds, the verb first.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from lab.errors import ConfigError, MachineError

PROTOCOL = 1
# The agent takes 255 fields (images/agent/agent.c), the verb, an id and a directory among them.
MAX_ARGUMENTS = 250
_SHOWN_BYTES = 200


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Hello(_Line):
    """The agent is up; the first line of all."""

    type: Literal["hello"]
    protocol: int
    kernel: str


class Result(_Line):
    """A program printed a JSON object."""

    type: Literal["result"]
    id: str
    data: dict[str, Any]


class Output(_Line):
    """A program printed anything else."""

    type: Literal["output"]
    id: str
    stream: Literal["stdout", "stderr"]
    data: str


class Bytes(_Line):
    """Output of a program whose every byte counts, in base64, as it came."""

    type: Literal["bytes"]
    id: str
    stream: Literal["stdout", "stderr"]
    data: str

    @field_validator("data")
    @classmethod
    def _is_base64(cls, data: str) -> str:
        try:
            base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise ValueError(f"no base64: {error}") from error
        return data

    @property
    def content(self) -> bytes:
        """The bytes themselves."""
        return base64.b64decode(self.data)


class Ready(_Line):
    """A spawned program said that it is ready."""

    type: Literal["ready"]
    id: str


class Exit(_Line):
    """A program ended, by exit or by signal."""

    type: Literal["exit"]
    id: str
    status: int | None = None
    signal: int | None = None


class File(_Line):
    """Answer to read and write."""

    type: Literal["file"]
    id: str
    errno: int
    data: str = ""


class AgentError(_Line):
    """What the agent itself could not do."""

    type: Literal["error"]
    id: str
    errno: int = 0
    message: str


class Idle(_Line):
    """The request is answered; the guest pauses now."""

    type: Literal["idle"]


class Bye(_Line):
    """The guest powers off."""

    type: Literal["bye"]


Line = Hello | Result | Output | Bytes | Ready | Exit | File | AgentError | Idle | Bye
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")])


def parse_line(raw: bytes, log: Path | None = None) -> Line:
    """The typed form of one line (without its line feed).

    Raises:
        MachineError: the line is not of the protocol; it is quoted.
    """
    try:
        return _LINE.validate_json(raw)
    except ValidationError as error:
        shown = repr(raw[:_SHOWN_BYTES]) + ("…" if len(raw) > _SHOWN_BYTES else "")
        reason = error.errors(include_url=False)[0]["msg"]
        raise MachineError(
            "a line of the mailbox protocol",
            f"{shown} ({reason})",
            log=log,
            hint="agent and lab are not of the same version, or something else wrote to the "
            "mailbox: rebuild the image",
        ) from error


def request(verb: str, *fields: str) -> str:
    """The message that asks the agent for `verb`.

    Raises:
        ConfigError: a field can't be sent, because it holds a line feed or a NUL.
    """
    for field in fields:
        if "\n" in field or "\0" in field:
            raise ConfigError(
                "guest arguments, paths and texts without line feeds and NULs",
                repr(field),
                hint="the mailbox separates fields by line feeds; split the request",
            )
    return "\n".join((verb, *fields))


def escape(text: str) -> str:
    """A field that may hold line feeds, as the verb ``stream`` takes it.

    Raises:
        ConfigError: it holds a NUL, which no argument of a program can.
    """
    if "\0" in text:
        raise ConfigError("arguments for a program, which end at a NUL", repr(text))
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def request_record(verb: str, *fields: str) -> str:
    """A request as a line for the channel's log, beside the guest's lines."""
    return json.dumps({"type": "request", "fields": [verb, *fields]}, ensure_ascii=False)


class LineBuffer:
    """Cuts a byte stream into lines; keeps the incomplete rest."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their line feeds."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines

    @property
    def rest(self) -> bytes:
        """What came after the last line feed."""
        return self._rest
