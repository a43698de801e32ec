# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong in an engine, step by step, and how a sound driver takes it.

A scenario is a script for the client `lab.experiments.probe` with one fault armed, and aspects that
hold when the driver is sound. Nothing here knows which driver runs: what a certain driver gets
wrong stands in `lab.experiments.fault_ledger`.

Copy 0 is made before anything is armed and has to be right; copy 1 is the one that the fault
strikes, copy 2 waits behind it, and copy 3 is made when all is over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lab.experiments.base import Fault
from lab.experiments.fault_aspects import (
    MS_NS,
    Aspect,
    Scenario,
    Seen,
    copy_aspect,
    error_name,
    logged_once,
    right,
)
from lab.experiments.probe import Copy

LENGTH = 4096
_BATCH = (f"prepare 2 {LENGTH} interrupt", "issue", "wait 1000", "status")
_LATER = (f"prepare 1 {LENGTH} interrupt", "issue", "wait 100", "status")
_DELAY_NS = 50 * MS_NS
_SLOW_BYTES_PER_S = 40 * LENGTH
FLIPPED_OFFSET = 1000
PARTIAL_BYTES = 1500
# More than the ring's 32 descriptors, and more than its 31 usable ones started at once.
_MANY = 40
_RESUMED = 34

QUEUED = right("queued copy", 2)
LATER = right("later copy", 3)


def refused(name: str, number: int) -> Aspect:
    """The client was told that the copy failed, and by nobody that it is done."""
    return copy_aspect(
        name,
        number,
        "told an error: a failed read or write, or the status error",
        lambda copy: copy.told_error and not copy.told_success and copy.wrong > 0,
    )


REFUSED = refused("faulted copy", 1)


def _all_right() -> Aspect:
    def unwritten(seen: Seen) -> int:
        return sum(copy.told_success and copy.unwritten > 0 for copy in seen.copies[1:])

    def told(seen: Seen) -> int:
        return sum(copy.told_success for copy in seen.copies[1:])

    return Aspect(
        "copies",
        f"{_MANY} of {_MANY} told success, each after its data",
        lambda seen: len(seen.copies) == _MANY + 1 and all(copy.right for copy in seen.copies),
        lambda seen: (
            f"{told(seen)} of {_MANY} told success, {unwritten(seen)} of these never written"
        ),
    )


def _fault(kind: str, **arguments: int) -> Fault:
    keyed = {name.replace("_", "-"): value for name, value in arguments.items()}
    return Fault("dma0", kind, keyed)


def _error(name: str, code: int, called: str, kind: str = "ptdma") -> Scenario:
    return Scenario(
        f"error-{name}",
        f"a descriptor fails with code {code}",
        (_fault("error", code=code),),
        (*_BATCH, *_LATER),
        (REFUSED, error_name(code, called), logged_once(code), QUEUED, LATER),
        (kind,),
    )


def _wrong_bytes(
    name: str, purpose: str, fault: Fault, awaited: str, holds: Callable[[Copy], bool]
) -> Scenario:
    """The engine lies: no driver can know, so only the client's own look at the bytes helps."""
    return Scenario(
        name,
        purpose,
        (fault,),
        (*_BATCH, "pass 100", *_LATER),
        (
            copy_aspect(
                "faulted copy",
                1,
                f"told success once; {awaited}",
                lambda copy: copy.told == "success" and copy.times_told == 1 and holds(copy),
            ),
            QUEUED,
            LATER,
        ),
    )


_ERRORS = (
    _error("illegal-engine", 1, "ILLEGAL_ENGINE"),
    _error("illegal-length", 9, "ILLEGAL_BUFFER_LENGTH"),
    _error("write-decode", 39, "ODMA0_AXI_DECERR"),
    _error("lsb-parity", 43, "LSB_PARITY_ERR"),
    _error("fatal", 33, "FATAL ERROR", "ae4dma"),
    Scenario(
        "error-polled",
        "a descriptor fails while its client polls",
        (_fault("error", code=20),),
        (f"prepare 2 {LENGTH} polled", "issue", "poll 100"),
        (REFUSED, QUEUED),
        ("ptdma",),
    ),
    Scenario(
        "error-twice",
        "two descriptors fail before a client that polls asks for the first",
        (_fault("error", code=20), _fault("error", code=39, nth=2)),
        (
            *(f"prepare 2 {LENGTH} polled", f"prepare 1 {LENGTH} interrupt", "issue"),
            *("pass 100", "poll 100"),
        ),
        (REFUSED, refused("second faulted copy", 2), right("copy behind both", 3)),
        ("ptdma",),
    ),
)

_LIES = (
    _wrong_bytes(
        "flip-byte",
        "one byte arrives inverted",
        _fault("flip-byte", offset=FLIPPED_OFFSET),
        f"exactly the byte at {FLIPPED_OFFSET:,} wrong",
        lambda copy: (copy.wrong, copy.first_wrong, copy.guard_wrong) == (1, FLIPPED_OFFSET, 0),
    ),
    _wrong_bytes(
        "partial-copy",
        "only the first bytes arrive",
        _fault("partial-copy", copied=PARTIAL_BYTES),
        f"exactly the bytes from {PARTIAL_BYTES:,} on never written",
        lambda copy: (
            (copy.first_wrong, copy.unwritten, copy.guard_wrong)
            == (PARTIAL_BYTES, LENGTH - PARTIAL_BYTES, 0)
        ),
    ),
    _wrong_bytes(
        "wrong-address",
        "the data arrive behind their destination",
        _fault("wrong-address", displacement=LENGTH),
        f"nothing written, {LENGTH:,} bytes of the guard behind it changed",
        lambda copy: (
            (copy.unwritten, copy.guard_wrong, copy.first_guard_wrong) == (LENGTH, LENGTH, LENGTH)
        ),
    ),
    _wrong_bytes(
        "interrupt-before-data",
        "the completion arrives 1 ms before the data",
        _fault("interrupt-before-data", delay_ns=MS_NS),
        "no byte there when told, every byte right later",
        lambda copy: (copy.wrong_when_told, copy.wrong, copy.guard_wrong) == (LENGTH, 0, 0),
    ),
)

_TIMES = (
    Scenario(
        "stall-late",
        "a descriptor completes 50 ms late",
        (_fault("stall", delay_ns=_DELAY_NS),),
        (*_BATCH, *_LATER),
        (right("faulted copy", 1, _DELAY_NS), QUEUED, LATER),
    ),
    Scenario(
        "stall-never",
        "a descriptor hangs, its client gives up and terminates, the engine goes on",
        (_fault("stall", delay_ns=0),),
        (
            *(f"prepare 2 {LENGTH} interrupt", "issue", "wait 100", "status"),
            *("terminate", "mark terminated", "clear", "pass 200", "mark resumed", *_LATER),
        ),
        (
            copy_aspect(
                "given up",
                1,
                "told nothing or an error, nothing written",
                lambda copy: not copy.told_success and copy.unwritten == LENGTH,
                mark="terminated",
            ),
            copy_aspect(
                "faulted copy",
                1,
                "still nothing written when the engine is free to go on",
                lambda copy: not copy.told_success and copy.unwritten == LENGTH,
                mark="resumed",
            ),
            LATER,
        ),
    ),
    Scenario(
        "slow-link",
        "the data of a descriptor take 25 ms",
        (_fault("slow-link", bandwidth=_SLOW_BYTES_PER_S),),
        (*_BATCH, *_LATER),
        (right("faulted copy", 1, LENGTH * 1000 * MS_NS // _SLOW_BYTES_PER_S), QUEUED, LATER),
    ),
)

_INTERRUPTS = (
    Scenario(
        "lost-interrupt",
        "the message of a completion is lost; the client asks for the status",
        (_fault("lost-interrupt"),),
        (
            *(f"prepare 2 {LENGTH} interrupt", "issue", "wait 100", "mark waited"),
            *("status", "wait 100", "status", *_LATER),
        ),
        (
            copy_aspect(
                "before it is asked for",
                1,
                "told nothing, every byte right",
                lambda copy: copy.told == "nothing" and not copy.wrong,
                mark="waited",
            ),
            *(right("faulted copy", 1), QUEUED, LATER),
        ),
        ("ptdma",),
    ),
    Scenario(
        "lost-interrupt-asked",
        "the message of a completion is lost; the client asks, and issues nothing more",
        (_fault("lost-interrupt"),),
        (f"prepare 1 {LENGTH} interrupt", "issue", "wait 100", "status", "wait 100", "status"),
        (right("faulted copy", 1),),
        ("ae4dma",),
    ),
    Scenario(
        "spurious-interrupt",
        "a message without a cause, 10 ms after a completion",
        (_fault("spurious-interrupt", delay_ns=10 * MS_NS),),
        (*_BATCH, "pass 100", *_LATER),
        (right("faulted copy", 1), QUEUED, LATER),
    ),
    Scenario(
        "duplicate-idle",
        "a descriptor is reported once more when the queue is idle",
        (_fault("duplicate-completion", delay_ns=10 * MS_NS),),
        (
            *(f"prepare 1 {LENGTH} interrupt", "issue", "wait 100", "status", "pass 100"),
            *_BATCH,
        ),
        (right("faulted copy", 1), QUEUED, LATER),
    ),
    Scenario(
        "duplicate-busy",
        "a descriptor is reported once more while the next one is under way",
        (
            _fault("duplicate-completion", delay_ns=10 * MS_NS),
            _fault("stall", delay_ns=_DELAY_NS, nth=2),
        ),
        (*_BATCH, "pass 100", *_LATER),
        (right("faulted copy", 1), right("queued copy", 2, _DELAY_NS), LATER),
        ("ptdma",),
    ),
    Scenario(
        "all-ones",
        "the device goes away under a descriptor: it reads as all ones",
        (_fault("all-ones"),),
        (f"prepare 2 {LENGTH} interrupt", "issue", "wait 100", "mark waited", "status"),
        tuple(
            copy_aspect(
                name,
                number,
                "told an error or nothing",
                lambda copy: not copy.told_success and copy.unwritten == LENGTH,
                mark,
            )
            for name, number, mark in (
                ("before it is asked for", 1, "waited"),
                ("faulted copy", 1, None),
                ("queued copy", 2, None),
            )
        ),
    ),
)

_ORDER = (
    Scenario(
        "out-of-order",
        "a descriptor is held until a later one of its queue is done",
        (_fault("out-of-order", later=1),),
        (
            *(f"prepare 2 {LENGTH} interrupt", "issue", "wait 100", "status", "mark waited"),
            *("clear", "pass 100", *_LATER),
        ),
        (
            copy_aspect(
                "copy behind it",
                2,
                "told success while the fault is armed, every byte right",
                lambda copy: copy.right,
                mark="waited",
            ),
            right("faulted copy", 1),
            LATER,
        ),
        ("ae4dma",),
    ),
    Scenario(
        "out-of-order-given-up",
        "a descriptor is held, its client gives up, terminates and goes on with the next copy",
        (_fault("out-of-order", later=1),),
        (
            *(f"prepare 1 {LENGTH} interrupt", "issue", "wait 100", "status", "terminate"),
            *("resume", "mark terminated"),
            *(f"prepare 1 {LENGTH} interrupt", "issue", "wait 100", "status"),
        ),
        (
            copy_aspect(
                "given up",
                1,
                "told nothing or an error, nothing written then or later",
                lambda copy: not copy.told_success and copy.unwritten == LENGTH,
            ),
            right("copy behind it", 2),
        ),
        ("ae4dma",),
    ),
)

_CLIENTS = (
    Scenario(
        "mixed-flags",
        "a copy with an interrupt, then one without, on one channel",
        (),
        (
            *(f"prepare 1 {LENGTH} interrupt", f"prepare 1 {LENGTH} polled", "issue"),
            *("wait 100", "mark waited", "poll 100"),
        ),
        (
            copy_aspect(
                "copy with an interrupt",
                1,
                "told success without being asked",
                lambda copy: copy.right,
                mark="waited",
            ),
            right("copy without one", 2),
        ),
    ),
    Scenario(
        "pause-resume",
        "a channel is paused and resumed while a descriptor is under way",
        (_fault("stall", delay_ns=_DELAY_NS),),
        (
            *(f"prepare 2 {LENGTH} interrupt", "issue", "pause", "resume", "wait 200", "status"),
            *("pass 100", *_LATER),
        ),
        (right("faulted copy", 1, _DELAY_NS), QUEUED, LATER),
        ("ptdma",),
    ),
    Scenario(
        "resume-fills-ring",
        f"a channel with {_MANY} copies is resumed {_RESUMED} times while the first is under way",
        (_fault("stall", delay_ns=_DELAY_NS),),
        (
            *(f"prepare {_MANY} {LENGTH} interrupt", "issue", *("resume",) * _RESUMED),
            *("wait 1000", "status", "pass 100"),
        ),
        (_all_right(),),
        ("ptdma",),
    ),
    Scenario(
        "interrupt-descriptor",
        "a descriptor without data (DMA_INTERRUPT)",
        (),
        ("interrupt", "issue", "wait 100", "status"),
        (
            copy_aspect(
                "descriptor without data",
                1,
                "told success once",
                lambda copy: copy.told == "success" and copy.times_told == 1,
            ),
        ),
    ),
    Scenario(
        "rebind",
        "the driver is unbound and bound again, three times",
        (),
        ("rebind", "rebind", "rebind"),
        (
            Aspect(
                "DMA pools",
                "at most one DMA pool of the device, however often it was bound",
                lambda seen: len(seen.pools) <= 1,
                lambda seen: f"{len(seen.pools)}: {', '.join(seen.pools) or 'none'}",
            ),
        ),
        ("ptdma",),
    ),
)

SCENARIOS: Sequence[Scenario] = (*_ERRORS, *_LIES, *_TIMES, *_INTERRUPTS, *_ORDER, *_CLIENTS)
QUICK = (
    *("error-illegal-length", "error-fatal", "flip-byte", "stall-late"),
    *("lost-interrupt", "lost-interrupt-asked", "out-of-order", "mixed-flags"),
)
