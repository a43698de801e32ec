# SPDX-License-Identifier: GPL-2.0-or-later
"""A series patch by patch: whether every step builds, and an experiment holds on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lab.build.inputs import Inputs
from lab.build.kernel import KernelChoice, build_kernel
from lab.build.kernel_plan import queue_of
from lab.cache import Cache
from lab.config import Kernel
from lab.errors import BuildError, ConfigError
from lab.progress import Progress
from lab.results import Outcome


@dataclass(frozen=True)
class Step:
    """What became of a series up to one of its patches.

    Attributes:
        number: of the last patch, from 1.
        total: patches of the whole series.
        name: the last patch.
        outcome: PASS where all that was asked for held; ERROR where it doesn't apply or build.
        error: why it doesn't.
    """

    number: int
    total: int
    name: str
    outcome: Outcome
    error: str | None = None

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{self.outcome.value:7}  {self.number}/{self.total}  {self.name}"


def try_each(
    inputs: Inputs,
    kernel: Kernel,
    progress: Progress,
    experiment: Callable[[Inputs, int], Outcome] | None = None,
) -> Iterator[Step]:
    """Build the series up to each of its patches, first to last; ends after the first that fails.

    Args:
        inputs: what was given; without a series the base's own is taken.
        kernel: base and variant.
        progress: where builds report.
        experiment: runs something on the series so far, given as inputs whose kernel boots in
            every mode, and the number of its last patch.

    Raises:
        ConfigError: there is no series.
        SourceError, CacheError, HostError: something can't be had.
    """
    if inputs.kernel is not None:
        raise ConfigError("a series to build patch by patch", "a built kernel", hint="--series")
    series = inputs.series or queue_of(kernel.base)
    for number, patch in enumerate(series.patches, 1):
        so_far = replace(inputs, series=series.first(number), everywhere=True)
        choice = so_far.choose(kernel, patched=True)
        outcome, error = Outcome.PASS, None
        try:
            if isinstance(choice, KernelChoice):
                build_kernel(Cache(), choice, progress)
            if experiment is not None:
                outcome = experiment(so_far, number)
        except BuildError as failure:
            outcome, error = Outcome.ERROR, str(failure)
        yield Step(number, len(series.patches), patch.name, outcome, error)
        if outcome is not Outcome.PASS:
            return
