# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's exceptions: each says what was awaited, what was seen, where the log is, what to do."""

from __future__ import annotations

from pathlib import Path


class LabError(Exception):
    """Something kept the lab from giving a verdict.

    Attributes:
        awaited: what should have happened.
        seen: what happened instead.
        log: the file that tells more, if there is one.
        hint: what the reader can do next.
    """

    def __init__(
        self, awaited: str, seen: str, *, log: Path | None = None, hint: str | None = None
    ) -> None:
        self.awaited = awaited
        self.seen = seen
        self.log = log
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [f"awaited: {self.awaited}", f"seen:    {self.seen}"]
        if self.log is not None:
            lines.append(f"log:     {self.log}")
        if self.hint:
            lines.append(f"next:    {self.hint}")
        return "\n".join(lines)


class ConfigError(LabError):
    """A lab file, option or combination of both that can't be run."""


class PlanError(ConfigError):
    """An experiment of a user's whose plan gives no modes."""


class HostError(LabError):
    """The host lacks a program, package, permission or room that the lab needs."""

    @classmethod
    def of(cls, error: OSError, log: Path | None = None) -> HostError:
        """What the operating system refused, as the lab says it."""
        where = f": {error.filename}" if error.filename is not None else ""
        return cls(
            "the host to let the lab read and write its files",
            f"{error.strerror or error}{where}",
            log=log,
            hint="see to room (df), permissions and limits there, then try again",
        )


class SourceError(LabError):
    """Upstream source can't be had, or is not what its pin says."""


class CacheError(LabError):
    """The artifact cache can't be read, written or locked."""


class BuildError(LabError):
    """QEMU, a kernel, a module or the image did not build."""


class MachineError(LabError):
    """QEMU did not start, or the machine is not the one that was asked for."""


class PremiseError(LabError):
    """An experiment's premise does not hold, so that its result would mean nothing."""


class ProgramDied(PremiseError):
    """A program of ours ended by a signal that only memory that isn't what it was gives.

    They run on any kernel without, and their own pages migrate like all others: that is a verdict
    on the kernel, not a premise.
    """


class GuestError(LabError):
    """The guest ended the run before its verdict."""


class GuestCrash(GuestError):
    """The guest kernel crashed: oops, panic, BUG, KASAN, lockdep or hung task.

    Attributes:
        excerpt: the part of the console log that shows it.
    """

    def __init__(
        self,
        awaited: str,
        seen: str,
        *,
        excerpt: str,
        log: Path | None = None,
        hint: str | None = None,
    ) -> None:
        self.excerpt = excerpt
        super().__init__(awaited, seen, log=log, hint=hint)


class GuestTimeout(GuestError):
    """The guest did not answer before its deadline."""


class GuestLost(GuestError):
    """QEMU or the guest vanished without a word."""


class StaleCheckpoint(LabError):
    """A restored guest is asked something else than the one that was saved; the state is gone."""


class OptionError(ValueError):
    """An option that can't be understood; its text is for the person who typed it."""
