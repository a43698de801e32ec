# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong under a migration, step by step, and what a sound kernel makes of it.

A scenario is a list of steps: migrations with a fault armed in an engine (`Attempt`), and what is
done in between. Each attempt says how many folios dcbm may fail and how many the CPU copies;
contents are right in every one, but where the engine lies about a copy that it did not make.

Positions are those of a descriptor in the first batch of a migration: the first, the one in the
middle and the last. Faults are counted from their injection, so the batch before doesn't matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from lab.experiments.base import Fault
from lab.experiments.dma_path import DmaPath

MOVES = "moves"
COMPACTION = "compaction"
MS_NS = 1_000_000
SECOND_NS = 1000 * MS_NS
FLIPPED_OFFSET = 1000
PARTIAL_BYTES = 1500
_PAGE_BYTES = 4096
# dcbm gives an engine 10 s (DCBM_TIMEOUT), and looks for channels once a second at most.
_PAST_TIMEOUT_NS = 15 * SECOND_NS
_BUSY_NS = 3 * SECOND_NS
_SLOW_BYTES_PER_S = 1 << 18
_GROW = "pass 1500"
BESIDE_AFTER_S = 1


@dataclass(frozen=True)
class Batch:
    """A workload, as far as a scenario has to know it.

    Attributes:
        workload: `MOVES` or `COMPACTION`.
        folios: in a full batch; a move has one batch, and an attempt two moves.
    """

    workload: str
    folios: int

    @property
    def moves(self) -> bool:
        """Whether the number of folios is known before."""
        return self.workload == MOVES

    def positions(self) -> Mapping[str, int]:
        """Ordinals of descriptors, the same one once only."""
        asked = {"first": 1, "middle": self.folios // 2, "last": self.folios}
        return asked if self.folios > 2 else {"first": 1}  # noqa: PLR2004


@dataclass(frozen=True)
class Expect:
    """What comes of an attempt on a sound kernel.

    Attributes:
        failures: growth of ``folios_failures``; None: as many as dcbm logs, at least one.
        by_cpu: folios migrated that dcbm does not count as copied; None: as many as there are.
        uncounted: descriptors that the engines completed and dcbm does not count.
        errors: descriptors that failed.
        wrong: pages with other contents than they should have: the engine lied about them.
        every: all folios are failures and errors, whatever their number.
    """

    failures: int | None = 0
    by_cpu: int | None = 0
    uncounted: int = 0
    errors: int = 0
    wrong: int = 0
    every: bool = False


@dataclass(frozen=True)
class Attempt:
    """A migration with something armed, and what has to come of it.

    Attributes:
        name: begins the names of its checks.
        expect: None: nothing is asked of its counters; folios and contents have to be right.
        fault: armed before it.
        strikes: how often it strikes; None: as often as it may.
        keeps: leave the fault armed; it has to be released by a later step.
        stays: the pages are used on until the next ``look``.
        beside: what is carried out beside it, a second after its start: ``unbind`` or ``remove``.
    """

    name: str
    expect: Expect | None
    fault: Fault | None = None
    strikes: int | None = 1
    keeps: bool = False
    stays: bool = False
    beside: str = ""


# ``release`` (take faults back), ``pass MS``, ``fill`` (fill the node that pages were moved to),
# ``look`` (compare what fills it, and pages that have stayed in use), ``unbind``, ``bind``,
# ``remove``, ``rescan``, ``hold`` and ``let go`` (another client takes the channel).
Step = Attempt | str


@dataclass(frozen=True)
class Scenario:
    """Something that goes wrong under a migration.

    Attributes:
        name: ends the names of its modes.
        purpose: one line for people.
        steps: for a batch.
        workloads: what it is played under.
        kinds: engines that can have the fault.
        engines: how many there are, one channel each.
        paths: the only ways to memory where it can happen; empty: every one.
        command_line: words for the kernel.
        fixes_only: the stock driver reads beyond a table on it, with any result, or never gets
            into that state.
        sound_first: whether a migration without a fault is offloaded in full.
    """

    name: str
    purpose: str
    steps: Callable[[Batch], tuple[Step, ...]]
    workloads: tuple[str, ...] = (MOVES, COMPACTION)
    kinds: tuple[str, ...] = ("ptdma", "ae4dma")
    engines: int = 1
    paths: tuple[DmaPath, ...] = ()
    command_line: tuple[str, ...] = field(default=())
    fixes_only: bool = False
    sound_first: bool = True


def fault(kind: str, device: str = "dma0", /, **arguments: int) -> Fault:
    """A fault as the device takes it."""
    return Fault(device, kind, {name.replace("_", "-"): value for name, value in arguments.items()})


LATER = Attempt("later", Expect())
# The first migration that finds no channel has dcbm look for one: which of its batches get it is a
# matter of time.
WAKING = Attempt("waking", None)
RECOVERED: tuple[Step, ...] = (_GROW, WAKING, _GROW, LATER)


def _at_each(batch: Batch, kind: str, expect: Expect, **arguments: int) -> Iterator[Attempt]:
    for name, nth in batch.positions().items():
        yield Attempt(name, expect, fault(kind, nth=nth, **arguments))


def _error(name: str, code: int, kind: str = "ptdma", *, fixes_only: bool = False) -> Scenario:
    one = Expect(failures=1, by_cpu=1, errors=1)

    def steps(batch: Batch) -> tuple[Step, ...]:
        every = Attempt(
            "every", Expect(every=True), fault("error", code=code, count=0), strikes=None
        )
        return (*_at_each(batch, "error", one, code=code), every, LATER)

    return Scenario(
        f"error-{name}",
        f"a descriptor, then every one, fails with code {code}: the CPU copies those",
        steps,
        kinds=(kind,),
        fixes_only=fixes_only,
    )


def _harmless(name: str, purpose: str, kind: str, **arguments: int) -> Scenario:
    """Late, or told strangely, but every byte is there when the batch is done."""

    def steps(batch: Batch) -> tuple[Step, ...]:
        return (*_at_each(batch, kind, Expect(), **arguments), LATER)

    return Scenario(name, purpose, steps)


def _lie(name: str, purpose: str, kind: str, **arguments: int) -> Scenario:
    """The engine lies: no kernel can know, and the lab has to see the damage."""

    def steps(batch: Batch) -> tuple[Step, ...]:
        return (*_at_each(batch, kind, Expect(wrong=1), **arguments), LATER)

    return Scenario(name, purpose, steps)


def hung(batch: Batch, nth: int, *, completed: int = 0) -> Expect:
    """A channel stops at the n-th descriptor and is set aside after 10 s.

    What it has not told is abandoned, so moved by a retry; the move back has no channel at all.

    Args:
        batch: what was in the channel.
        nth: ordinal of the first copy of which dcbm never heard.
        completed: copies that the engine made and never told.
    """
    if not batch.moves:
        return Expect(failures=None, by_cpu=None, uncounted=completed)
    unfinished = batch.folios - nth + 1
    return Expect(unfinished, unfinished + batch.folios, uncounted=completed)


def _given_up(batch: Batch) -> tuple[Step, ...]:
    steps: list[Step] = []
    for name, nth in batch.positions().items():
        held = fault("stall", delay_ns=0, nth=nth)
        steps.append(Attempt(name, hung(batch, nth), held, keeps=True, stays=True))
        steps += ["fill", "release", "pass 1000", "look", *RECOVERED]
    return tuple(steps)


def _late(batch: Batch) -> tuple[Step, ...]:
    nth = max(1, batch.folios // 2)
    late = fault("stall", delay_ns=_PAST_TIMEOUT_NS, nth=nth)
    attempt = Attempt("middle", hung(batch, nth), late, keeps=True, stays=True)
    return (attempt, "fill", "pass 10000", "look", "release", *RECOVERED)


def _unheard(batch: Batch) -> tuple[Step, ...]:
    steps: list[Step] = []
    for name, nth in batch.positions().items():
        steps.append(Attempt(name, hung(batch, nth, completed=1), fault("lost-interrupt", nth=nth)))
        steps += ["unbind", "bind", *RECOVERED]
    return tuple(steps)


def _gone(batch: Batch) -> tuple[Step, ...]:
    steps: list[Step] = []
    for name, nth in batch.positions().items():
        steps.append(Attempt(name, hung(batch, nth), fault("all-ones", nth=nth), keeps=True))
        steps += ["remove", "release", "rescan", *RECOVERED]
    return tuple(steps)


def _taken(how: str, back: str) -> Callable[[Batch], tuple[Step, ...]]:
    """The engine is taken away while it is busy: the batch under way is waited for."""

    def steps(batch: Batch) -> tuple[Step, ...]:
        nth = max(1, batch.folios // 2)
        busy = fault("stall", delay_ns=_BUSY_NS, nth=nth)
        expect = Expect(by_cpu=batch.folios if batch.moves else None)
        return (Attempt("middle", expect, busy, beside=how), back, *RECOVERED)

    return steps


def _taken_hung(batch: Batch) -> tuple[Step, ...]:
    nth = max(1, batch.folios // 2)
    held = fault("stall", delay_ns=0, nth=nth)
    attempt = Attempt("middle", hung(batch, nth), held, keeps=True, beside="unbind")
    return (attempt, "fill", "release", "pass 1000", "look", "bind", *RECOVERED)


def _surprise(batch: Batch) -> tuple[Step, ...]:
    nth = max(1, batch.folios // 2)
    gone = fault("all-ones", nth=nth)
    attempt = Attempt("middle", hung(batch, nth), gone, keeps=True, beside="remove")
    return (attempt, "release", "rescan", *RECOVERED)


def _held(batch: Batch) -> tuple[Step, ...]:
    none = Expect(by_cpu=2 * batch.folios if batch.moves else None)
    return ("hold", Attempt("held", none), "let go", *RECOVERED)


def _one_of_four(batch: Batch) -> tuple[Step, ...]:
    share = batch.folios // 4
    held = fault("stall", "dma1", delay_ns=0)
    # The retries of what was abandoned go over the channels that are left.
    expect = Expect(share, 0) if batch.moves else Expect(None, None)
    return (
        *(Attempt("one of four", expect, held, keeps=True), "fill", "release", "pass 1000"),
        *("look", *RECOVERED),
    )


def _no_room(_batch: Batch) -> tuple[Step, ...]:
    return (Attempt("full", Expect(failures=None, by_cpu=None)),)


def _rebound(name: str, purpose: str, steps: Callable[[Batch], tuple[Step, ...]]) -> Scenario:
    """The driver is unbound: ae4dma's can't be (known bug ``ae4dma-unload``)."""
    return Scenario(name, purpose, steps, kinds=("ptdma",))


def _displaced(batch: Batch) -> tuple[Step, ...]:
    nth = max(1, batch.folios // 2)
    astray = fault("wrong-address", displacement=_PAGE_BYTES, nth=nth)
    # The page that gets nothing, and the one copied before, which the kernel took from behind it.
    return (Attempt("middle", Expect(wrong=2), astray), LATER)


def _overtaken(batch: Batch) -> tuple[Step, ...]:
    ahead = {name: nth for name, nth in batch.positions().items() if nth < batch.folios}
    return (
        *(
            Attempt(n, Expect(), fault("out-of-order", later=1, nth=nth))
            for n, nth in ahead.items()
        ),
        LATER,
    )


SCENARIOS: tuple[Scenario, ...] = (
    _error("illegal-engine", 1),
    _error("illegal-length", 9),
    _error("read-decode", 20),
    _error("write-decode", 39, fixes_only=True),
    _error("lsb-parity", 43, fixes_only=True),
    _error("fatal", 33, "ae4dma"),
    _lie("flip-byte", "one byte arrives inverted", "flip-byte", offset=FLIPPED_OFFSET),
    _lie("partial-copy", "only the first bytes arrive", "partial-copy", copied=PARTIAL_BYTES),
    Scenario("wrong-address", "the data arrive in the next page", _displaced, workloads=(MOVES,)),
    _harmless(
        "interrupt-before-data",
        "a completion arrives 10 us before its data: the batch, or its end, takes longer",
        "interrupt-before-data",
        delay_ns=10_000,
    ),
    _harmless("stall-late", "a descriptor completes 50 ms late", "stall", delay_ns=50 * MS_NS),
    _harmless(
        "slow-link", "a descriptor's data take 16 ms", "slow-link", bandwidth=_SLOW_BYTES_PER_S
    ),
    _harmless(
        "spurious-interrupt",
        "a message without a cause while the next descriptor is under way",
        "spurious-interrupt",
        delay_ns=1000,
    ),
    _harmless(
        "duplicate-completion",
        "a descriptor is reported once more while the next one is under way",
        "duplicate-completion",
        delay_ns=1000,
    ),
    Scenario(
        "stall-given-up",
        "a descriptor hangs, dcbm gives up after 10 s, the engine goes on when memory is reused",
        _given_up,
    ),
    Scenario(
        "out-of-order",
        "a descriptor is held until a later one is done",
        _overtaken,
        kinds=("ae4dma",),
        fixes_only=True,
    ),
    Scenario("stall-15s", "a descriptor completes 15 s late, 5 s after dcbm gave up", _late),
    _rebound("lost-interrupt", "the message of a completion is lost; rebinding helps", _unheard),
    _rebound("all-ones", "the device is gone; it is removed and found again", _gone),
    _rebound("surprise-removal", "the device is gone, and is removed meanwhile", _surprise),
    _rebound("unbind-busy", "the driver is unbound under a batch", _taken("unbind", "bind")),
    _rebound("remove-busy", "the device is removed under a batch", _taken("remove", "rescan")),
    _rebound("unbind-hung", "the driver is unbound under a batch that hangs", _taken_hung),
    Scenario("no-channel", "another client holds the only channel", _held),
    Scenario(
        "one-of-four", "one of four channels hangs, the others go on", _one_of_four, engines=4
    ),
    Scenario(
        "bounce-buffers-full",
        "mappings fail: the bounce buffers hold a part of the batch only",
        _no_room,
        workloads=(MOVES,),
        paths=(DmaPath.SWIOTLB,),
        command_line=("swiotlb=512",),
        sound_first=False,
    ),
)
# What is played on every way to memory, beside the direct one.
ON_EVERY_PATH = ("error-illegal-length", "stall-given-up", "unbind-busy")
QUICK = ("error-illegal-length", "flip-byte", "stall-given-up", "unbind-busy")
