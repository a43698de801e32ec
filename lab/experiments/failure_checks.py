# SPDX-License-Identifier: GPL-2.0-or-later
"""What an attempt has to show: pure functions from counts to checks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.experiments import checks
from lab.experiments.failure_scenarios import Expect
from lab.experiments.failure_workloads import Migration
from lab.results import Check, DeviceCounters, Integrity

# Which contract the counters are held to.
BY_FOLIO = "this project's series counts each folio"
BY_THE_BATCH = "another series may count the whole batch"

_NOT_COPIED = re.compile(r"dcbm: \S+: (\d+) of \d+ folios not copied")


@dataclass(frozen=True)
class Measured:
    """One attempt in numbers.

    Attributes:
        migration: what the kernel says of it.
        migrated: growth of dcbm's ``folios_migrated``.
        failures: growth of its ``folios_failures``.
        device: what the engines counted.
        lines: what dcbm logged.
        piece_bytes: the longest copy that the DMA API maps; None is no limit.
    """

    migration: Migration
    migrated: int
    failures: int
    device: DeviceCounters
    lines: Sequence[str]
    piece_bytes: int | None = None

    @property
    def by_cpu(self) -> int:
        """Folios that were migrated and that dcbm does not count as copied."""
        return self.migration.folios - self.migrated


@dataclass(frozen=True)
class ByBatch:
    """What is promised by a series that is not the project's: a batch is copied, or it failed.

    One failure may cost as much as the whole batch, and what did not fail to be copied, for want of
    a channel, is counted nowhere. How a failure is logged is not promised.

    Attributes:
        folios: in a full batch.
        lasts: the fault is there for later batches, too.
    """

    folios: int
    lasts: bool = False


def attempt_checks(
    name: str, expect: Expect | None, seen: Measured, by_batch: ByBatch | None = None
) -> Iterator[Check]:
    """Every check on an attempt.

    Args:
        name: begins the checks' names.
        expect: what comes of it on a sound kernel; None: nothing is asked of the counters.
        seen: what came of it.
        by_batch: what another series than the project's promises; None: the project's own, which
            counts folio by folio.
    """
    yield _moved(name, seen.migration)
    if seen.migration.pages_verified:
        yield contents(name, seen.migration, expect.wrong if expect else 0)
    if expect is None:
        return
    if by_batch is None:
        yield _counters(name, expect, seen)
        yield _engines(name, expect, seen)
    else:
        yield _counters_by_batch(name, expect, seen, by_batch)
        yield _engines_by_batch(name, expect, seen)


def _moved(name: str, migration: Migration) -> Check:
    return Check(
        name=f"{name}: migration",
        held=migration.lost == 0 and migration.folios > 0,
        awaited="whatever the engine does, nothing is left behind",
        seen=f"{migration.folios:,} folios migrated, {migration.lost} left behind",
    )


def contents(name: str, migration: Migration, wrong: int) -> Check:
    """Every page has the contents that it should have, but for those that the engine lied about."""
    found = Integrity(
        pages_verified=migration.pages_verified,
        pages_wrong=migration.pages_wrong,
        wrong=list(migration.wrong),
    )
    check = checks.integrity(found, migration.pages_verified)
    if not wrong:
        return check.model_copy(update={"name": f"{name}: contents"})
    return Check(
        name=f"{name}: corruption detected",
        held=migration.pages_wrong == wrong,
        awaited=f"{wrong:,} wrong: the engine lied, which only a look at the bytes shows",
        seen=check.seen,
    )


def _logged(seen: Measured) -> int:
    return sum(int(found[1]) for line in seen.lines if (found := _NOT_COPIED.search(line)))


def _counters(name: str, expect: Expect, seen: Measured) -> Check:
    folios = seen.migration.folios
    failures, by_cpu = expect.failures, expect.by_cpu
    if expect.every:
        failures = by_cpu = folios
    if failures is None:
        failures = _logged(seen)
        held = failures > 0
        by_cpu = failures if by_cpu is None and seen.piece_bytes else by_cpu
    else:
        held = True
    cpu = "any number" if by_cpu is None else f"{by_cpu:,}"
    held &= seen.failures == failures and by_cpu in (None, seen.by_cpu) and seen.by_cpu >= 0
    return Check(
        name=f"{name}: dcbm",
        held=held,
        awaited=f"{failures:,} failed, {cpu} of {folios:,} folios copied by the CPU: {BY_FOLIO}",
        seen=f"{seen.failures:,} failed, {seen.by_cpu:,} of {folios:,} folios copied by the CPU",
    )


def _engines(name: str, expect: Expect, seen: Measured) -> Check:
    """The engines completed a descriptor for each folio that dcbm counts as copied."""
    folio_bytes = seen.migration.folio_bytes
    pieces = -(-folio_bytes // seen.piece_bytes) if seen.piece_bytes else 1
    descriptors = seen.migrated * pieces + expect.uncounted
    errors = seen.migration.folios if expect.every else expect.errors
    awaited = (descriptors, descriptors * (folio_bytes // pieces), errors)
    found = (seen.device.descriptors, seen.device.bytes, seen.device.errors)
    return Check(
        name=f"{name}: engines",
        held=found == awaited,
        awaited="{:,} descriptors for the folios that dcbm counts, {:,} bytes, {:,} errors: "
        "{}".format(*awaited, BY_FOLIO),
        seen="{:,} descriptors, {:,} bytes, {:,} errors".format(*found),
    )


def _counters_by_batch(name: str, expect: Expect, seen: Measured, by_batch: ByBatch) -> Check:
    """What failed is copied by the CPU, and more only where there may be no channel."""
    folios = seen.migration.folios
    least, most, unserved = _bounds(expect, folios, by_batch)
    cpu = f"as many, and up to {unserved:,} without a channel," if unserved else "as many"
    return Check(
        name=f"{name}: dcbm",
        held=least <= seen.failures <= most
        and seen.failures <= seen.by_cpu <= seen.failures + unserved,
        awaited=f"{_span(least, most)} failed, {cpu} of {folios:,} folios copied by the CPU: "
        f"{BY_THE_BATCH}",
        seen=f"{seen.failures:,} failed, {seen.by_cpu:,} of {folios:,} folios copied by the CPU",
    )


def _bounds(expect: Expect, folios: int, by_batch: ByBatch) -> tuple[int, int, int]:
    """The least and the most failures, and how many folios more may find no channel."""
    if expect.every:
        return folios, folios, 0
    if expect.failures is None:
        return 1, folios, folios
    if expect.by_cpu is None:
        return expect.failures, folios, folios
    if not expect.failures and not expect.by_cpu:
        return 0, 0, 0
    # Those find a channel where the series uses one again that the project's own sets aside.
    unserved = max(0, expect.by_cpu - expect.failures)
    most = folios if by_batch.lasts else min(folios, by_batch.folios + unserved)
    return expect.failures, most, unserved


def _span(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _engines_by_batch(name: str, expect: Expect, seen: Measured) -> Check:
    """The engines completed a descriptor for each folio that dcbm counts as copied.

    Of a batch that failed they may have completed any but those that failed.
    """
    folio_bytes = seen.migration.folio_bytes
    pieces = -(-folio_bytes // seen.piece_bytes) if seen.piece_bytes else 1
    folios, device = seen.migration.folios, seen.device
    errors = (1, folios * pieces) if expect.every else (expect.errors, expect.errors)
    least = seen.migrated * pieces
    most = (seen.migrated + seen.failures) * pieces - device.errors
    piece_bytes = folio_bytes // pieces
    return Check(
        name=f"{name}: engines",
        held=least <= device.descriptors <= most
        and device.bytes == device.descriptors * piece_bytes
        and errors[0] <= device.errors <= errors[1],
        awaited=f"{least:,} descriptors for the folios that dcbm counts, {max(least, most):,} with "
        f"those that failed, {piece_bytes:,} bytes each, {_span(*errors)} errors: {BY_THE_BATCH}",
        seen=f"{device.descriptors:,} descriptors, {device.bytes:,} bytes, "
        f"{device.errors:,} errors",
    )
