# SPDX-License-Identifier: GPL-2.0-or-later
"""One point of an experiment with move_pages(2): run the moves, sum them up, hold them to checks.

The experiments ``move-pages``, ``folio-count`` and ``concurrent-moves`` differ in what they vary;
what a move is, what it costs and what has to be true of it stands here.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.config import LabFile, Topology
from lab.dcbm import Dcbm
from lab.errors import PremiseError
from lab.experiments import checks, engines, premises
from lab.experiments.base import Findings, Session
from lab.experiments.cpu_shares import cpu_share
from lab.experiments.dma_path import longest_copy_bytes
from lab.results import Check, DeviceCounters, Integrity, MoveLatency, MovePoint

PAGE_KIB = 4
# What the authors have for their figures: sixteen folios of 2 MiB in a batch.
BATCH_PAGES = 16 * 512
CPU_ACCOUNT = "cpu_account"
_TABLE_BYTES = 1e9
# Wrong pages kept in the record for each point; the count is always whole.
_WRONG_KEPT = 16
_WATCHED = ("first_ns", "middle_ns", "last_ns")


@dataclass(frozen=True)
class Moves:
    """Moves of one kind, there and back.

    Attributes:
        folio_kib: size of each folio.
        total_mib: size of the region.
        rounds: each is two moves.
        from_node: where the region is first.
        to_node: where it goes.
        cpu: where the caller runs on the way there, and the first of several `cpus`.
        cpu_back: where it runs on the way back; None is the same.
        same_folios: move those that the move before left, instead of fresh ones.
        cpu_time: take the CPU's account, which needs the module cpu_account.
        watch_period_us: watch when folios can be used again, looking that often; None doesn't.
        tasks: how many move a part of the region each at once.
        cpus: CPUs that these tasks run on in turn.
        label: names the point in checks.
    """

    folio_kib: int
    total_mib: int
    rounds: int
    from_node: int
    to_node: int
    cpu: int
    cpu_back: int | None = None
    same_folios: bool = False
    cpu_time: bool = False
    watch_period_us: int | None = None
    tasks: int = 1
    cpus: int = 1
    label: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """How checks call the point."""
        return self.label or f"{self.folio_kib} KiB"

    @property
    def folios(self) -> int:
        """Folios of one move."""
        return self.total_mib * 1024 // self.folio_kib

    def argv(self) -> list[str]:
        """The program in the guest and its options."""
        return [
            "movepages",
            *("--from", str(self.from_node)),
            *("--to", str(self.to_node)),
            *("--cpu", str(self.cpu)),
            *("--folio-kib", str(self.folio_kib)),
            *("--total-mib", str(self.total_mib)),
            *("--rounds", str(self.rounds)),
            *(["--cpu-back", str(self.cpu_back)] if self.cpu_back is not None else []),
            *(["--same-folios"] if self.same_folios else []),
            *(["--cpu-account"] if self.cpu_time else []),
            *(["--watch-period-us", str(self.watch_period_us)] if self.watch_period_us else []),
            *(["--tasks", str(self.tasks), "--cpus", str(self.cpus)] if self.tasks > 1 else []),
        ]


@dataclass(frozen=True)
class Measured:
    """What a point's moves showed: the guest's events, and the growth of all counters."""

    moves: list[dict[str, Any]]
    used: engines.Growth
    dma_copies: int
    folios_failures: int


def first_cpu(lab: LabFile, node: int) -> int:
    """The first CPU of a node: they are numbered node by node."""
    return sum(one.cpus for one in lab.topology.nodes[:node])


def folios_in_a_batch(folio_kib: int, total_mib: int, max_batch_pages: int) -> int:
    """Folios in the fullest batch of one move.

    Migration adds folios to a batch until it holds `max_batch_pages` pages or more.
    """
    pages = folio_kib // PAGE_KIB
    return min(total_mib * 1024 // folio_kib, math.ceil(max_batch_pages / pages))


def measure(session: Session[Any, Any], dcbm: Dcbm | None, wanted: Moves) -> Measured:
    """Run the moves and read all counters around them.

    Raises:
        PremiseError: the program gave up or a move is missing.
    """
    guest = session.guest
    before = guest.device_counters()
    dcbm_before = dcbm.counters() if dcbm else None
    job = guest.run(wanted.argv(), timeout_s=session.program_timeout_s)
    moves = job.events("move")
    if not job.ok or len(moves) != wanted.rounds * 2:
        raise job.failure(
            f"{wanted.rounds * 2} moves of folios of {wanted.folio_kib} KiB", str(len(moves))
        )
    used = engines.growth(before, guest.device_counters())
    copies = failures = 0
    if dcbm is not None and dcbm_before is not None:
        after = dcbm.counters()
        copies = after.folios_migrated - dcbm_before.folios_migrated
        failures = after.folios_failures - dcbm_before.folios_failures
    return Measured(moves, used, copies, failures)


def point_of(
    moves: list[dict[str, Any]],
    folio_kib: int,
    used: engines.Growth,
    dma_copies: int,
    folios_failures: int,
) -> MovePoint:
    """Sum up the moves of one point."""
    rates = [
        premises.number(move, "bytes") / premises.number(move, "wall_ns") * 1e9 / _TABLE_BYTES
        for move in moves
    ]
    wrong = [page for move in moves for page in move.get("wrong", [])]
    return MovePoint(
        folio_kib=folio_kib,
        moves=len(moves),
        folios_per_move=min(premises.number(move, "folios") for move in moves),
        gb_per_s_mean=statistics.fmean(rates),
        gb_per_s_stdev=statistics.stdev(rates) if len(rates) > 1 else 0.0,
        dma_copies=dma_copies,
        folios_failures=folios_failures,
        channels_used=used.channels_used,
        device=used.total,
        integrity=Integrity.model_validate(
            {
                "pages_verified": sum(premises.number(move, "pages_verified") for move in moves),
                "pages_wrong": sum(premises.number(move, "pages_wrong") for move in moves),
                "wrong": wrong[:_WRONG_KEPT],
            }
        ),
        tasks=max(len(move.get("tasks", [])) for move in moves) or 1,
        **_cpu_time(moves),
    )


def _cpu_time(moves: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields of a point that tell what CPU time its moves took, where it was measured."""
    gigabytes = sum(premises.number(move, "bytes") for move in moves) / _TABLE_BYTES
    found: dict[str, Any] = {}
    if all("task_cpu_ns" in move for move in moves):
        used_ns = sum(premises.number(move, "task_cpu_ns") for move in moves)
        found["task_cpu_ms_per_gb"] = used_ns / 1e6 / gigabytes
    if all("cpustat_ns" in move for move in moves):
        account_ns = sum(premises.number(move, "account_ns") for move in moves)
        names = moves[0]["cpustat_ns"]
        total = {name: sum(int(move["cpustat_ns"][name]) for move in moves) for name in names}
        busy_ns = sum(spent for name, spent in total.items() if name not in ("idle", "iowait"))
        found["cpu"] = cpu_share(total, account_ns)
        found["cpu_busy_ms_per_gb"] = busy_ns / 1e6 / gigabytes
    return found


def latency_of(moves: Sequence[dict[str, Any]], name: str) -> MoveLatency:
    """Sum up watched moves.

    Args:
        moves: the guest's events.
        name: of the point, for messages.

    Raises:
        PremiseError: a reader was never held up, so that nothing is known of its folio.
    """
    watched = [move["latency"]["watched"] for move in moves]
    missed = [one for readers in watched for one in readers if not one["held_up"]]
    if not watched or missed or any(len(readers) != len(_WATCHED) for readers in watched):
        raise PremiseError(
            f"{name}: {len(_WATCHED)} readers of each move that a migrating folio holds up",
            f"{len(missed)} that never were, of {len(watched)} moves",
            hint="a folio came and went between two looks: look more often "
            "(--set watch_period_us=50)",
        )
    means = {
        key: statistics.fmean(premises.number(readers[at], "usable_ns") for readers in watched)
        for at, key in enumerate(_WATCHED)
    }
    return MoveLatency(
        moves=len(moves),
        wall_ns=statistics.fmean(premises.number(move, "wall_ns") for move in moves),
        reads=sum(premises.number(one, "reads") for readers in watched for one in readers),
        **means,
    )


def latency_check(moves: Sequence[dict[str, Any]], name: str) -> Check:
    """Every watched folio could be used again before its move had ended, and the first first."""
    times = [
        ([premises.number(one, "usable_ns") for one in move["latency"]["watched"]], move["wall_ns"])
        for move in moves
    ]
    return Check(
        name=f"{name}: latency",
        held=bool(times) and all(min(us) > 0 and us[0] <= us[-1] <= wall for us, wall in times),
        awaited="the first folio usable after the call, no later than the last, and that within it",
        seen="; ".join(f"{', '.join(map(str, us))} of {wall} ns" for us, wall in times) or "none",
    )


def point_checks(
    point: MovePoint,
    channels: int,
    total_mib: int,
    piece_bytes: int | None = None,
    name: str | None = None,
) -> list[Check]:
    """Every check on one point that all folios had to be offloaded in, or none.

    Args:
        point: what was measured.
        channels: channels that had to be busy; 0 means that nothing may have been offloaded.
        total_mib: size of the region.
        piece_bytes: the longest copy that the DMA API maps; None is no limit.
        name: of the point; its folio size by default.
    """
    folios = point.moves * (total_mib * 1024 // point.folio_kib)
    found = contents_checks(point, folios)
    if channels == 0:
        found.append(checks.engines_idle(point.device))
    else:
        found += [
            checks.equal("offloaded", point.dma_copies, folios, "folios"),
            *checks.engines_agree(
                point.device,
                folios=point.dma_copies,
                folio_bytes=point.folio_kib * 1024,
                folios_failures=point.folios_failures,
                piece_bytes=piece_bytes,
            ),
            checks.equal("channels", point.channels_used, channels, "engines busy"),
        ]
    if point.cpu is not None:
        found.append(checks.cpu_adds_up(point.cpu))
    return named(found, name or f"{point.folio_kib} KiB")


def contents_checks(point: MovePoint, folios: int) -> list[Check]:
    """All folios moved, and every page of them is right."""
    return [
        checks.equal("folios moved", point.moves * point.folios_per_move, folios, "folios"),
        checks.integrity(point.integrity, folios * point.folio_kib // PAGE_KIB),
    ]


def named(found: list[Check], name: str) -> list[Check]:
    """The checks with their point's name before their own."""
    return [check.model_copy(update={"name": f"{name}: {check.name}"}) for check in found]


def placement_check(moves: list[dict[str, Any]], folio_kib: int, name: str | None = None) -> Check:
    """Every folio of every move arrived, on the node asked for, and in one piece."""
    counted = {
        key: sum(premises.number(move, key) for move in moves)
        for key in ("not_moved", "folios_failed", "pages_elsewhere", "folios_split")
    }
    return Check(
        name=f"{name or f'{folio_kib} KiB'}: placement",
        held=bool(moves) and not any(counted.values()),
        awaited="every folio on the node asked for, none split",
        seen=", ".join(f"{key} {count}" for key, count in counted.items()),
    )


def whole_point(
    session: Session[Any, Any], dcbm: Dcbm | None, wanted: Moves, channels: int, topology: Topology
) -> MovePoint:
    """Measure one point, every folio of which dcbm has to take, and check it; latency apart.

    Args:
        session: what runs.
        dcbm: None in a baseline.
        wanted: the moves; the watched ones are a round of their own, after the others.
        channels: channels that have to be busy.
        topology: the machine's, for the way that copies take to memory.

    Raises:
        PremiseError: the moves aren't what they had to be.
    """
    plain = Moves(**{**vars(wanted), "watch_period_us": None})
    found = measure(session, dcbm, plain)
    point = _judged(session, plain, found, channels, topology)
    if wanted.watch_period_us is not None:
        watched = Moves(
            **{**vars(wanted), "rounds": 1, "cpu_time": False, "label": f"{wanted.name} watched"}
        )
        seen = measure(session, dcbm, watched)
        point = point.model_copy(update={"latency": latency_of(seen.moves, watched.name)})
        _judged(session, watched, seen, channels, topology)
        session.findings.check(latency_check(seen.moves, watched.name))
    session.findings.moves.append(point)
    return point


def _judged(
    session: Session[Any, Any],
    wanted: Moves,
    found: Measured,
    channels: int,
    topology: Topology,
) -> MovePoint:
    point = point_of(
        found.moves, wanted.folio_kib, found.used, found.dma_copies, found.folios_failures
    )
    piece_bytes = longest_copy_bytes(topology)
    for check in point_checks(point, channels, wanted.total_mib, piece_bytes, wanted.name):
        session.findings.check(check)
    session.findings.check(placement_check(found.moves, wanted.folio_kib, wanted.name))
    keep_moves(session.findings, wanted, found.moves)
    return point


def keep_moves(findings: Findings, wanted: Moves, moves: list[dict[str, Any]]) -> None:
    """Keep the times of single moves in the record."""
    kept = ("from", "to", "bytes", "wall_ns", "task_cpu_ns", "cpustat_ns", "latency", "tasks")
    key = wanted.name.lower().replace(" ", "_")
    findings.details[f"moves_{key}"] = [
        {field: move[field] for field in kept if field in move} for move in moves
    ]


def sum_up(session: Session[Any, Any]) -> None:
    """Fill the mode's own columns from its points."""
    findings = session.findings
    points = findings.moves
    findings.pages_migrated = sum(
        point.moves * point.folios_per_move * point.folio_kib // PAGE_KIB for point in points
    )
    findings.device = DeviceCounters(
        descriptors=sum(point.device.descriptors for point in points),
        bytes=sum(point.device.bytes for point in points),
        interrupts=sum(point.device.interrupts for point in points),
        errors=sum(point.device.errors for point in points),
    )
    findings.integrity = Integrity(
        pages_verified=sum(point.integrity.pages_verified for point in points),
        pages_wrong=sum(point.integrity.pages_wrong for point in points),
        wrong=[page for point in points for page in point.integrity.wrong][:_WRONG_KEPT],
    )
    if session.mode.patched:
        findings.dma_copies = sum(point.dma_copies for point in points)
        findings.folios_failures = sum(point.folios_failures for point in points)
