# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations to break: move_pages(2) of a small region, and compaction of a fragmented node.

Both tell the same of a migration (`Migration`), so that one scenario is played on either. While a
migration runs, a command may be carried out beside it: the guest runs both, so that its own clock
alone decides when.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lab.errors import PremiseError
from lab.experiments import fragmentation, premises
from lab.results import WrongPage

if TYPE_CHECKING:
    from lab.machine.guest import Guest
    from lab.machine.jobs import Job, JobResult

_PAGE_KIB = 4
# move_pages(2) puts folios of up to this many pages in one batch, the stock kernel's limit.
MOVE_BATCH_PAGES = 512
# What compaction isolates before it migrates: COMPACT_CLUSTER_MAX of the kernel's linux/swap.h.
_COMPACTION_BATCH_FOLIOS = 32
_FRAGMENT_FILL_PERCENT = 99
_MOVES = 2
_SHELL = ("/bin/busybox", "sh", "-c")


@dataclass(frozen=True)
class Migration:
    """What the kernel says of one or more migrations, and what their pages hold afterwards.

    Attributes:
        folios: those that the kernel has migrated.
        folio_bytes: size of each.
        lost: folios that should have been migrated and were not; None where nobody can know.
        pages_verified: pages that were compared.
        pages_wrong: pages that differed.
        wrong: the first of them.
        told: all that the workload reported, for the record.
    """

    folios: int
    folio_bytes: int
    lost: int | None
    pages_verified: int = 0
    pages_wrong: int = 0
    wrong: tuple[WrongPage, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)


class Workload(Protocol):
    """Something that migrates."""

    batch_folios: int

    def begin(self) -> None:
        """Prepare the memory; nothing is migrated yet."""

    def migrate(self, beside: str = "", *, stays: bool = False) -> Migration:
        """Migrate, and carry out a shell command of the guest beside it.

        If it `stays`, the pages are used on, until `stayed`.
        """

    def stayed(self) -> Migration | None:
        """What the pages hold that have stayed in use, which may be given back then."""

    def end(self) -> Migration | None:
        """Give the memory back; what is known of its contents only now."""


def _command(argv: list[str], beside: str) -> list[str]:
    """A program, or a shell that runs it and something beside it and ends as it does."""
    if not beside:
        return argv
    return [*_SHELL, f"{' '.join(argv)} & p=$!; {beside}; wait $p"]


class Moves:
    """A region of 2 MiB or more, moved to another node and, in new folios, back again."""

    def __init__(self, guest: Guest, *, folio_kib: int, cpu: int, timeout_s: float) -> None:
        self._guest = guest
        self._folio_kib = folio_kib
        self._cpu = cpu
        self._timeout_s = timeout_s
        folio_pages = folio_kib // _PAGE_KIB
        self._folios = max(1, MOVE_BATCH_PAGES // folio_pages)
        self.batch_folios = self._folios
        self._staying: Job | None = None

    def begin(self) -> None:
        """Nothing: each migration faults its own memory in."""

    def migrate(self, beside: str = "", *, stays: bool = False) -> Migration:
        """Both moves, each of one batch.

        If it `stays`, nothing can be carried out beside it, and both regions are kept and written
        once more, so that whoever writes to them later is found out.

        Raises:
            PremiseError: the program gave up, or there were not two moves.
        """
        total_mib = self._folios * self._folio_kib // 1024
        argv = [
            "movepages",
            *("--from", "0", "--to", "1", "--cpu", str(self._cpu)),
            *("--folio-kib", str(self._folio_kib), "--total-mib", str(total_mib)),
        ]
        if stays:
            self._staying = self._guest.spawn([*argv, "--stay"], timeout_s=self._timeout_s)
            moves = [one for one in self._staying.results if one.get("event") == "move"]
            if len(moves) != _MOVES:
                raise PremiseError("two moves", f"{len(moves)}", log=self._guest.machine.log)
            return self._sum(moves)
        job = self._guest.run(_command(argv, beside), timeout_s=self._timeout_s)
        moves = job.events("move")
        if not job.ok or len(moves) != _MOVES:
            raise job.failure("two moves", str(len(moves)))
        return self._sum(moves)

    def stayed(self) -> Migration | None:
        """Compare every page of the regions that were kept.

        Raises:
            PremiseError: the program gave up.
        """
        if self._staying is None:
            return None
        job, self._staying = self._staying, None
        self._guest.signal(job, signal.SIGUSR1)
        told = self._guest.wait(job, timeout_s=self._timeout_s).result("stayed")
        wrong = [WrongPage.model_validate(page) for page in told.get("wrong", [])]
        return Migration(
            folios=0,
            folio_bytes=self._folio_kib * 1024,
            lost=0,
            pages_verified=premises.number(told, "pages_verified"),
            pages_wrong=premises.number(told, "pages_wrong"),
            wrong=tuple(wrong),
        )

    def _sum(self, moves: list[dict[str, Any]]) -> Migration:
        def total(key: str) -> int:
            return sum(premises.number(move, key) for move in moves)

        failed = total("folios_failed") + total("not_moved") + total("folios_split")
        wrong = [page for move in moves for page in move.get("wrong", [])]
        return Migration(
            folios=total("folios") - total("folios_failed"),
            folio_bytes=self._folio_kib * 1024,
            lost=failed + total("pages_elsewhere"),
            pages_verified=total("pages_verified"),
            pages_wrong=total("pages_wrong"),
            wrong=tuple(WrongPage.model_validate(page) for page in wrong),
            told={
                "moves": [
                    {key: move[key] for key in ("from", "to", "folios", "wall_ns", "pages_wrong")}
                    for move in moves
                ]
            },
        )

    def end(self) -> Migration | None:
        """Nothing is left, unless something has stayed."""
        return self.stayed()


class Compactions:
    """Blocks of order 9, allocated on a node that is fragmented for as long as the mode lasts."""

    batch_folios = _COMPACTION_BATCH_FOLIOS

    def __init__(self, guest: Guest, *, node: int, cpu: int, blocks: int, timeout_s: float) -> None:
        self._guest = guest
        self._node = node
        self._cpu = cpu
        self._blocks = blocks
        self._timeout_s = timeout_s
        self._fragments: Job | None = None

    def begin(self) -> None:
        """Fragment the node.

        Raises:
            PremiseError: free blocks of order 9 are left.
        """
        self._guest.load_module(fragmentation.TRIGGER_MODULE)
        self._fragments, _facts = fragmentation.fragment(
            self._guest,
            node=self._node,
            cpu=self._cpu,
            fill_percent=_FRAGMENT_FILL_PERCENT,
            timeout_s=self._timeout_s,
        )

    def migrate(self, beside: str = "", *, stays: bool = False) -> Migration:
        """Allocate the blocks; the contents are compared at the end only, all pages stay.

        Raises:
            PremiseError: the program gave up, or nothing was migrated.
        """
        del stays  # whatever is asked, all of them do
        argv = fragmentation.allocation(node=self._node, cpu=self._cpu, count=self._blocks)
        job: JobResult = self._guest.run(_command(argv, beside), timeout_s=self._timeout_s)
        measured = job.result("compacted")
        vmstat = measured["vmstat"]
        migrated = int(vmstat["pgmigrate_success"])
        if not migrated:
            raise PremiseError("allocations that migrate pages", "0 pages migrated", log=job.log)
        return Migration(
            folios=migrated,
            folio_bytes=_PAGE_KIB * 1024,
            lost=self._blocks - premises.number(measured, "allocated"),
            told={
                "wall_ns": measured["wall_ns"],
                "retries": measured.get("retries"),
                "pgmigrate_fail": vmstat.get("pgmigrate_fail"),
            },
        )

    def stayed(self) -> Migration | None:
        """Nothing: all pages are compared at the end."""
        return None

    def end(self) -> Migration | None:
        """Compare every page that was kept.

        Raises:
            PremiseError: the program gave up.
        """
        if self._fragments is None:
            return None
        found, told = fragmentation.verify(self._guest, self._fragments, self._timeout_s)
        return Migration(
            folios=0,
            folio_bytes=_PAGE_KIB * 1024,
            lost=0,
            pages_verified=found.pages_verified,
            pages_wrong=found.pages_wrong,
            wrong=tuple(found.wrong),
            told={"pages_moved": told.get("pages_moved")},
        )
