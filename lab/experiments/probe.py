# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's step-by-step dmaengine client, ``images/modules/dma_probe_main.c``, from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from lab.errors import PremiseError

if TYPE_CHECKING:
    from lab.machine.guest import Guest

MODULE = "dma_probe"
_COMMAND = "/sys/kernel/debug/dma_probe/command"
_COPIES = "/sys/kernel/debug/dma_probe/copies"


class Copy(BaseModel):
    """What the driver said about one copy, beside what the memory says.

    Attributes:
        copy_number: counted from 0 since the module was loaded.
        length: bytes to copy; 0 for a descriptor without data.
        told: the first answer that the client got, by callback or, if it polls, by status.
        times_told: how often it was told.
        told_ns: guest time from issue to the first answer.
        status: what the driver said when last asked.
        wrong_when_told: wrong bytes in the destination at the first answer.
        wrong: wrong bytes there now.
        first_wrong: offset of the first of them, or -1.
        unwritten: bytes of the destination that are as before the copy.
        source_wrong: bytes of the source that have changed.
        guard_wrong: bytes outside of both that have changed.
        first_guard_wrong: the first of them, as an offset from the destination's start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    copy_number: int
    length: int
    told: Literal["nothing", "success", "read failed", "write failed", "aborted", "unknown"]
    times_told: int
    told_ns: int
    status: Literal["not asked", "complete", "in progress", "paused", "error", "unknown"]
    wrong_when_told: int
    wrong: int
    first_wrong: int
    unwritten: int
    source_wrong: int
    guard_wrong: int
    first_guard_wrong: int

    @property
    def told_error(self) -> bool:
        """Whether the client was told that the copy failed, one way or the other."""
        return self.told in ("read failed", "write failed", "aborted") or self.status == "error"

    @property
    def told_success(self) -> bool:
        """Whether the client was told that the copy is done, one way or the other."""
        return not self.told_error and (self.told == "success" or self.status == "complete")

    @property
    def right(self) -> bool:
        """Told once that it is done, after the last byte, and nothing else was touched."""
        return (
            self.told == "success"
            and self.times_told == 1
            and self.status != "error"
            and not (self.wrong_when_told or self.wrong or self.source_wrong or self.guard_wrong)
        )

    def describe(self) -> str:
        """All of it that matters, in one line."""
        words = [f"told {self.told}"]
        if self.times_told > 1:
            words.append(f"{self.times_told} times")
        words.append(f"(status {self.status});")
        if self.told != "nothing" and self.wrong_when_told != self.wrong:
            words.append(f"{self.wrong_when_told:,} bytes wrong when told, ")
        words.append(f"{self.wrong:,} of {self.length:,} bytes wrong")
        if self.wrong:
            words.append(f"from {self.first_wrong:,} on, {self.unwritten:,} never written")
        if self.source_wrong:
            words.append(f"; {self.source_wrong:,} bytes of the source changed")
        if self.guard_wrong:
            words.append(
                f"; {self.guard_wrong:,} bytes outside changed from {self.first_guard_wrong:,} on"
            )
        return " ".join(words).replace(" ;", ";").replace(",  ", ", ")


_COPY = TypeAdapter(Copy)


class Probe:
    """The client in a guest; it holds one channel of the engines from its loading on."""

    def __init__(self, guest: Guest) -> None:
        """Load the module.

        Raises:
            PremiseError: it doesn't load, or there is no channel for it.
        """
        self._guest = guest
        guest.load_module(MODULE)

    def command(self, text: str) -> None:
        """Carry out one command; the module's head comment lists them.

        Raises:
            GuestFileError: the driver or the module refused it.
        """
        self._guest.write(_COMMAND, text)

    def copies(self) -> list[Copy]:
        """Every copy since the module was loaded, as things are now.

        Raises:
            PremiseError: the module says something else than this class awaits.
        """
        text = self._guest.read(_COPIES)
        try:
            return [_COPY.validate_json(line) for line in text.splitlines()]
        except ValidationError as error:
            raise PremiseError(f"copies as JSON in {_COPIES}", f"{text!r}: {error}") from error
