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


def attempt_checks(name: str, expect: Expect | None, seen: Measured) -> Iterator[Check]:
    """Every check on an attempt.

    Args:
        name: begins the checks' names.
        expect: what comes of it on a sound kernel; None: nothing is asked of the counters.
        seen: what came of it.
    """
    yield _moved(name, seen.migration)
    if seen.migration.pages_verified:
        yield contents(name, seen.migration, expect.wrong if expect else 0)
    if expect is not None:
        yield _counters(name, expect, seen)
        yield _engines(name, expect, seen)


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
        awaited=f"{failures:,} failed, {cpu} of {folios:,} folios copied by the CPU",
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
        awaited="{:,} descriptors for the folios that dcbm counts, {:,} bytes, {:,} errors".format(
            *awaited
        ),
        seen="{:,} descriptors, {:,} bytes, {:,} errors".format(*found),
    )
