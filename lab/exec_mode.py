# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``dcbm-lab exec`` runs: one program of the user's in a fresh guest, as a kind of experiment.

The program is judged by nothing but its exit status. What the lab knows beside it, the engines' and
dcbm's counters, is kept in the record.
"""

from __future__ import annotations

import signal
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lab.build.cpio import Item
from lab.build.cpio_reader import NoArchive, read_archive
from lab.config import LabFile
from lab.dcbm import Dcbm, load
from lab.errors import MachineError, PremiseError
from lab.experiments import engines, premises
from lab.experiments.base import Experiment, ModePlan, Parameters, Session
from lab.guest_files import DATA, GuestDirectory, GuestFile, GuestItem, GuestLink
from lab.machine.jobs import JobResult, Sink
from lab.option_values import SHARE as SHARE  # noqa: PLC0414 - of this interface, too
from lab.results import Check, Mode

NAME = "exec"
SHARE_LIMIT_BYTES = 64 << 20
_SINCE = "/run/share-since"
_PACK = "/bin/pack-changed"
_TOO_MUCH = 4  # exit status of pack-changed
_PACK_TIMEOUT_S = 600.0


class ExecParameters(Parameters):
    """What was run, for the record.

    ``dcbm_channels`` is nr_dma_chan with offloading on; 0 leaves the kernel as it boots.
    """

    program: tuple[str, ...]
    dcbm_channels: int = 0
    share: bool = False


@dataclass(frozen=True)
class Errand:
    """A program to run in the guest, and what it needs there.

    Attributes:
        argv: program and arguments, as the guest gets them.
        patched: boot the kernel with the series.
        files: what the guest gets beside its image.
        share: what of that is the snapshot below /share; None without one.
        back_to: folder that gets what is new or changed there.
        sink: takes what the program writes.
    """

    argv: tuple[str, ...]
    patched: bool
    files: tuple[GuestItem, ...]
    share: tuple[GuestItem, ...] | None
    back_to: Path
    sink: Sink

    def experiment(self) -> Experiment[ModePlan, ExecParameters]:
        """It as an experiment of one mode."""
        return Experiment(
            name=NAME,
            purpose="a program of the user's",
            parameters=ExecParameters,
            plan=self._plan,
            run=self._run,
            # The exit status is the program's, whatever it provokes.
            judges_warnings=True,
        )

    def _plan(self, lab: LabFile, parameters: ExecParameters) -> list[ModePlan]:
        modules = (lab.engine.kind, "dcbm") if parameters.dcbm_channels else ()
        return [
            ModePlan(
                NAME,
                " ".join(self.argv),
                patched=self.patched,
                machine=lab,
                modules=modules,
                files=(*self.files, *(self.share or ())),
            )
        ]

    def _run(self, session: Session[ModePlan, ExecParameters]) -> None:
        guest, findings = session.guest, session.findings
        dcbm: Dcbm | None = None
        if session.parameters.dcbm_channels:
            premises.bind_engines(guest, session.mode.machine.engine)
            load(guest)
            dcbm = Dcbm(guest)
            dcbm.enable(session.parameters.dcbm_channels)
        if self.share is not None:
            guest.write(_SINCE, "")
        session.inject_faults()
        before = guest.device_counters()
        written = {"stdout": 0, "stderr": 0}

        def count(stream: str, data: bytes) -> None:
            written[stream] += len(data)
            self.sink(stream, data)

        result = guest.stream(
            self.argv,
            count,
            directory=SHARE if self.share is not None else DATA,
            timeout_s=session.program_timeout_s,
        )
        findings.details["exit"] = {"status": result.status, "signal": result.signal}
        findings.details["written_bytes"] = written
        findings.device = engines.growth(before, guest.device_counters()).total
        if dcbm is not None and dcbm.counts:
            counted = dcbm.counters()
            findings.dma_copies = counted.folios_migrated
            findings.folios_failures = counted.folios_failures
        findings.check(_exit_check(result))
        if self.share is not None:
            findings.details["share"] = self._bring_back(session, self.share)

    def _bring_back(
        self, session: Session[ModePlan, ExecParameters], share: Sequence[GuestItem]
    ) -> list[str]:
        """Write what is new or changed below /share into `back_to`; returns the names.

        Raises:
            PremiseError: it is more than the limit, or can't be packed.
            MachineError: what the guest sent is no archive.
        """
        packed = bytearray()
        said: list[str] = []

        def collect(stream: str, data: bytes) -> None:
            if stream == "stdout":
                packed.extend(data)
            else:
                said.append(data.decode("utf-8", errors="replace"))

        session.say(f"bringing back what changed in {SHARE}")
        argv = (_PACK, SHARE, _SINCE, str(SHARE_LIMIT_BYTES))
        result = session.guest.stream(argv, collect, timeout_s=_PACK_TIMEOUT_S)
        told = "".join(said).strip()
        if not result.ok:
            limit = f"; at most {SHARE_LIMIT_BYTES >> 20} MiB come back"
            raise PremiseError(
                f"what is new or changed below {SHARE} in the guest",
                f"{told or result.describe()}{limit if result.status == _TOO_MUCH else ''}",
                hint="have the program write less there, or keep what is not needed in /tmp",
            )
        session.findings.notes += told.splitlines()
        try:
            found = read_archive(bytes(packed))
        except NoArchive as error:
            raise MachineError(f"an archive of {SHARE} from the guest", str(error)) from error
        return write_changed(found, share, self.back_to)


def write_changed(found: dict[str, Item], share: Sequence[GuestItem], folder: Path) -> list[str]:
    """Write what differs from the snapshot into `folder`, which is new; returns the names.

    Files come first and links last, so that no link leads a file out of the folder.

    Raises:
        MachineError: a name leads out of it.
    """
    before = _as_items(share)
    changed = {name: item for name, item in found.items() if before.get(name) != _essence(item)}
    folder.mkdir()
    links: dict[str, Item] = {}
    for name, item in changed.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts:
            raise MachineError(f"names below {SHARE} from the guest", repr(name))
        at = folder / name
        if stat.S_ISDIR(item.mode):
            at.mkdir(parents=True, exist_ok=True)
        elif stat.S_ISREG(item.mode):
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_bytes(item.data)
            at.chmod(0o755 if item.mode & stat.S_IXUSR else 0o644)
        else:
            links[name] = item
    for name, item in links.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(item.data.decode("utf-8", errors="surrogateescape"))
    return sorted(changed)


Essence = tuple[int, bool, bytes]


def _essence(item: Item) -> Essence:
    """What of an item counts as a change: kind, run bit and content."""
    kind = stat.S_IFMT(item.mode)
    runs = kind == stat.S_IFREG and bool(item.mode & stat.S_IXUSR)
    return kind, runs, item.data


def _as_items(share: Sequence[GuestItem]) -> dict[str, Essence]:
    known: dict[str, Essence] = {}
    for item in share:
        name = item.path.removeprefix(f"{SHARE}/")
        if isinstance(item, GuestFile):
            known[name] = (stat.S_IFREG, item.runs, item.data)
        elif isinstance(item, GuestLink):
            target = item.target.encode("utf-8", errors="surrogateescape")
            known[name] = (stat.S_IFLNK, False, target)
        elif isinstance(item, GuestDirectory):
            known[name] = (stat.S_IFDIR, False, b"")
    return known


def _exit_check(result: JobResult) -> Check:
    return Check(
        name="exit status",
        held=result.ok,
        awaited="0",
        seen=str(result.status) if result.signal is None else signal_text(result.signal),
    )


def signal_text(number: int) -> str:
    """A signal's name and number."""
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"


def ended(mode: Mode) -> tuple[int | None, int | None]:
    """Exit status and signal of the program, as the record of its mode has them."""
    told = mode.details.get("exit", {})
    return told.get("status"), told.get("signal")
