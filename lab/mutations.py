# SPDX-License-Identifier: GPL-2.0-or-later
"""Does the suite notice? Breaks our own series on purpose, one way at a time, and runs it.

``kernel-config/mutations/mutations.toml`` says what each breakage is, which run shows it, and which
check has to turn. A run on the unbroken series comes first: a check that is red anyway
proves nothing.

What each run showed is kept in ``results.json`` of the output folder, under a key of everything
that it depends on: a score that was interrupted goes on where it was.
"""

from __future__ import annotations

import json
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lab import experiments
from lab.bench import prepare
from lab.build.inputs import Inputs
from lab.build.kernel_plan import queue_of
from lab.build.patch import make_patch
from lab.build.series import Series
from lab.cache import hash_tree, make_key
from lab.checkout import IMAGES, KERNEL_CONFIG, QEMU_DEVICES, ROOT
from lab.config import LabFile
from lab.errors import ConfigError
from lab.failures import failures
from lab.options import choose_parameters, override, parse_fault, split_settings
from lab.progress import Progress, open_progress
from lab.results import Outcome, Record
from lab.run import run_experiment
from lab.run_folder import RunFolder
from lab.run_mode import RunOptions

MUTATIONS = KERNEL_CONFIG / "mutations"
_LIST = "mutations.toml"
_RESULTS = "results.json"
# Of docs/known-bugs.md: nodes that are filled in seconds.
_SMALL = (
    *("topology.nodes.0.memory_mib=384", "topology.nodes.1.memory_mib=512"),
    *("allocations=30", "min_pages_migrated=5000"),
)
_BROKEN_OFF = re.compile(r"[^:]+: (?:CRASH|TIMEOUT|LOST|ERROR): ")
_NO_VERDICT = re.compile(r"[^:]+: (?:TIMEOUT|LOST|ERROR): ")
_SIGNS_SHOWN = 4
_SIGN_WIDTH = 100


class Mutation(BaseModel):
    """A breakage, and where it has to show.

    Attributes:
        id: names its patch, ``<id>.patch``.
        breaks: what it breaks, for people.
        experiment: that shows it.
        mode: of the experiment.
        small: on small nodes, with as many allocations as they hold.
        set: as ``dcbm-lab run --set`` takes it.
        inject: as ``--inject`` takes it.
        red: what has to turn red (`signs`), and isn't on the unbroken series.
        green: what is red on the unbroken series, and has to stop being so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    breaks: str
    experiment: str
    mode: str
    small: bool = False
    set: tuple[str, ...] = ()
    inject: tuple[str, ...] = ()
    red: str | None = None
    green: str | None = None

    @model_validator(mode="after")
    def _one_sign(self) -> Mutation:
        if (self.red is None) == (self.green is None):
            raise ValueError(f"{self.id}: either red or green")
        re.compile(self.red or self.green or "")
        return self

    @property
    def settings(self) -> tuple[str, ...]:
        """All of its ``--set``."""
        return (*(_SMALL if self.small else ()), *self.set)

    @property
    def run(self) -> tuple[object, ...]:
        """What tells its run from others."""
        return (self.experiment, self.mode, self.settings, self.inject)

    def shows(self, found: Sequence[str]) -> bool:
        """Whether a run with these `signs` is one of the broken series."""
        if self.red is not None:
            return any(re.search(self.red, sign) for sign in found)
        # What was not reached, or not even built, has not turned green.
        return not any(
            re.search(self.green or "", sign) or _BROKEN_OFF.match(sign) for sign in found
        )


class Trial(BaseModel):
    """What a run showed: its `signs`, and how long it took with all that had to be built."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    signs: tuple[str, ...]
    seconds: float

    @property
    def verdict(self) -> bool:
        """Whether it came to one: what a host that is busy or lacks something does may pass."""
        return not any(_NO_VERDICT.match(sign) for sign in self.signs)


Run = Callable[[Mutation, str, bool], Trial]


@dataclass(frozen=True)
class Result:
    """What became of a mutation.

    Attributes:
        mutation: the breakage.
        caught: it showed where it has to, and not without it.
        seen: what was red with it, or why it could not be tried.
        seconds: its own run took; None if there was none.
    """

    mutation: Mutation
    caught: bool
    seen: str
    seconds: float | None = None

    @property
    def line(self) -> str:
        """One line for people."""
        took = "" if self.seconds is None else f" ({self.seconds:.0f} s)"
        return f"{'caught' if self.caught else 'MISSED':7} {self.mutation.id}{took}: {self.seen}"


class Results:
    """What runs have shown, in a file, each under a key of what it depends on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._trials: dict[str, Trial] = {}
        self._tree = hash_inputs()
        if path.exists():
            try:
                data = json.loads(path.read_text(encoding="utf-8"))
                self._trials = {key: Trial.model_validate(one) for key, one in data.items()}
            except (OSError, ValueError, AttributeError) as error:
                raise ConfigError(
                    f"results of earlier runs in {path}", str(error), hint="remove the file"
                ) from error

    def key(self, mutation: Mutation, broken: bool) -> str:
        """Of the checkout, the run, and the patch if the series is broken by it."""
        patch = MUTATIONS / f"{mutation.id}.patch"
        return make_key(
            tree=self._tree,
            run=json.dumps(mutation.run),
            patch=patch.read_text(encoding="utf-8") if broken else "",
        )

    def keeping(self, run: Run) -> Run:
        """The same run, but not carried out again if it is known what it shows."""

        def kept(mutation: Mutation, name: str, broken: bool) -> Trial:
            key = self.key(mutation, broken)
            if key not in self._trials:
                trial = run(mutation, name, broken)
                if not trial.verdict:
                    return trial
                self._trials[key] = trial
                self._write()
            return self._trials[key]

        return kept

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        data = {key: trial.model_dump() for key, trial in self._trials.items()}
        partial = self._path.with_name(f".{self._path.name}.partial")
        partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        partial.replace(self._path)


def hash_inputs() -> str:
    """Key of all that decides what a run shows, but for the mutation."""
    return make_key(
        lab=hash_tree(ROOT / "lab", skip=lambda path: path.name == Path(__file__).name),
        images=hash_tree(IMAGES),
        qemu=hash_tree(QEMU_DEVICES),
        kernels=hash_tree(KERNEL_CONFIG, skip=lambda path: path.parts[0] == MUTATIONS.name),
    )


def read_mutations(folder: Path = MUTATIONS) -> list[Mutation]:
    """The list of mutations, each with its patch.

    Raises:
        ConfigError: it can't be read, an entry is wrong, or patches and entries don't belong
            together one by one.
    """
    path = folder / _LIST
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        found = [Mutation.model_validate(entry) for entry in data["mutation"]]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ConfigError(f"a list of mutations at {path}", str(error)) from error
    except ValidationError as error:
        raise ConfigError(f"mutations in {path}", str(error.errors()[0])) from error
    ids = [mutation.id for mutation in found]
    patches = sorted(patch.stem for patch in folder.glob("*.patch"))
    if sorted(ids) != patches:
        apart = sorted(set(ids) ^ set(patches)) or sorted({i for i in ids if ids.count(i) > 1})
        raise ConfigError(f"an entry for each patch in {folder}", ", ".join(apart))
    return found


def signs(record: Record) -> list[str]:
    """All that is red in a record: ``MODE: CHECK``, and ``MODE: OUTCOME: error`` beside FAIL."""
    found = [
        f"{mode.name}: {check.name}"
        for mode in record.modes
        for check in mode.checks
        if not check.held
    ]
    for mode in record.modes:
        if mode.outcome not in {Outcome.PASS, Outcome.FAIL}:
            error = " / ".join((mode.error or "").splitlines())
            found.append(f"{mode.name}: {mode.outcome}: {error}")
    return found


def attempt(mutations: Iterable[Mutation], run: Run) -> Iterator[Result]:
    """Try one mutation after the other, and each of their runs once on the unbroken series.

    Args:
        mutations: to try.
        run: carries a mutation's run out, under a name, with the series broken or not.
    """
    unbroken: dict[tuple[object, ...], Trial] = {}
    for mutation in mutations:
        if mutation.run not in unbroken:
            unbroken[mutation.run] = run(mutation, f"unbroken-{mutation.id}", False)
        sound = unbroken[mutation.run].signs
        # A run that ends otherwise than by its checks says nothing about them.
        if mutation.shows(sound) or any(_BROKEN_OFF.match(sign) for sign in sound):
            yield Result(mutation, caught=False, seen=f"the unbroken series: {_told(sound)}")
            continue
        trial = run(mutation, mutation.id, True)
        found = trial.signs
        yield Result(mutation, mutation.shows(found), _told(found), trial.seconds)


def try_mutation(
    mutation: Mutation, name: str, broken: bool, *, output: Path, progress: Progress
) -> Trial:
    """Run a mutation's experiment (`run_mutation`); what it shows and how long it took."""
    began = time.monotonic()
    record = run_mutation(mutation, name, broken, output=output, progress=progress)
    return Trial(signs=tuple(signs(record)), seconds=round(time.monotonic() - began, 1))


def run_mutation(
    mutation: Mutation, name: str, broken: bool, *, output: Path, progress: Progress
) -> Record:
    """Run a mutation's experiment below `output`, with the series broken by its patch or not.

    Raises:
        LabError: as for any run.
    """
    chosen = experiments.find(mutation.experiment)
    machine, parameters = split_settings(mutation.settings)
    lab = override(LabFile(), machine)
    values = choose_parameters(chosen, lab, parameters, quick=False)
    faults = tuple(parse_fault(text) for text in mutation.inject)
    options = RunOptions(1, (mutation.mode,), faults)
    inputs = Inputs()
    if broken:
        file = MUTATIONS / f"{mutation.id}.patch"
        patch = make_patch(file.name, mutation.breaks, file.read_bytes())
        queue = queue_of(lab.kernel.base)
        inputs = Inputs(series=queue.followed_by(Series(file.name, (patch,))))
    with RunFolder(output / name, chosen.name, datetime.now(UTC)) as folder:
        return run_experiment(
            chosen,
            lab,
            values,
            prepare=partial(prepare, inputs=inputs, fresh=True),  # no kernel boots twice
            folder=folder,
            options=options,
            progress=progress,
        )


def _told(found: Sequence[str]) -> str:
    shown = [sign if len(sign) <= _SIGN_WIDTH else f"{sign[:_SIGN_WIDTH]}…" for sign in found]
    return "; ".join(shown[:_SIGNS_SHOWN]) + (" …" if len(shown) > _SIGNS_SHOWN else "") or "green"


def main(
    only: Annotated[list[str] | None, typer.Option(help="These mutations only.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/mutations"),
) -> None:
    """Break the series in each known way, and count how often the suite notices."""
    with failures():
        every = read_mutations()
        unknown = sorted(set(only or ()) - {mutation.id for mutation in every})
        if unknown:
            known = ", ".join(mutation.id for mutation in every)
            raise ConfigError("mutations of the list", ", ".join(unknown), hint=known)
        chosen = [mutation for mutation in every if not only or mutation.id in only]
        caught = 0
        began = time.monotonic()
        run = partial(try_mutation, output=output, progress=open_progress())
        for result in attempt(chosen, Results(output / _RESULTS).keeping(run)):
            typer.echo(result.line)
            sys.stdout.flush()
            caught += result.caught
        typer.echo(f"in {time.monotonic() - began:.0f} s, without what was known before")
        typer.echo(f"{caught}/{len(chosen)}")
    raise typer.Exit(0 if caught == len(chosen) else 1)


if __name__ == "__main__":
    typer.run(main)
