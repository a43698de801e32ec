# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line's verbs about kernels: build one, build one for each patch, list the bases."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from lab.cache import Cache
from lab.config import LabFile
from lab.experiments import directories_given
from lab.failures import failures, terminate
from lab.input_options import FragmentOption, SeriesOption, SeriesVersionOption, TreeOption
from lab.options import (
    OptionError,
    choose_experiment,
    choose_lab_file,
    choose_parameters,
    override,
    split_settings,
)
from lab.progress import Progress, open_progress
from lab.report.console import print_record
from lab.report.figures import harmless
from lab.results import Outcome
from lab.run import run_experiment
from lab.run_folder import RunFolder
from lab.run_mode import RunOptions

if TYPE_CHECKING:
    from lab.build.inputs import Inputs

kernel_app = typer.Typer(help="Kernels to choose from.", no_args_is_help=True)


@kernel_app.command(name="list")
def kernel_list() -> None:
    """List the kernel bases: their series, their source, and what is built of them."""
    with failures():
        from lab.build.kernel_bases import list_bases  # noqa: PLC0415 - other verbs start without

        for base in list_bases(Cache()):
            typer.echo("\n  ".join(base.lines))


@kernel_app.command(name="build")
def kernel_build(
    *,
    each: Annotated[
        bool, typer.Option("--each", help="After every patch of the series, not only the last.")
    ] = False,
    experiment: Annotated[
        str | None, typer.Option("--run", help="With --each: an experiment to run on each.")
    ] = None,
    mode: Annotated[
        list[str] | None, typer.Option("--mode", help="With --run: this mode only.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="With --run: less of it.")] = False,
    output: Annotated[
        Path, typer.Option(help="With --run: folder of the runs, one below it for each patch.")
    ] = Path("runs/each"),
    lab_file: Annotated[Path | None, typer.Option(help="Names kernel base and variant.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for run.")
    ] = None,
    series: SeriesOption = None,
    series_version: SeriesVersionOption = None,
    tree: TreeOption = None,
    fragment: FragmentOption = None,
) -> None:
    """Build a patched kernel, or one after each patch, and name the first patch that fails."""
    signal.signal(signal.SIGTERM, terminate)
    with failures():
        from lab.build.inputs import read_inputs  # noqa: PLC0415 - others start without

        inputs = read_inputs(
            series=series,
            series_version=series_version,
            tree=tree,
            fragments=tuple(fragment or ()),
        )
        machine, parameters = split_settings(settings or [])
        lab = override(choose_lab_file(lab_file), machine)
        if not each:
            if experiment or parameters:
                raise OptionError("--run and its parameters need --each; or use: dcbm-lab run")
            from lab import bench  # noqa: PLC0415 - others start without

            built = bench.build_parts(
                lab, open_progress(), qemu=False, kernels=True, images=False, inputs=inputs
            )
            for what, path in built:
                typer.echo(f"{what}: {path}")
            return
        inputs.assert_outside(output)
        directories = directories_given(lab.experiments)
        chosen = choose_experiment(experiment, directories) if experiment else None
        run_on: Callable[[Inputs, int], Outcome] | None = None
        progress = open_progress()
        if chosen is not None:
            run_on = partial(
                _run_on,
                chosen,
                lab,
                choose_parameters(chosen, lab, parameters, quick=quick),
                RunOptions(only=tuple(mode or ()), quick=quick),
                output,
                progress,
            )
        raise typer.Exit(_say_each(inputs, lab, progress, run_on).exit_code)


def _run_on(  # noqa: PLR0917 - what a run is made of
    chosen: Any,
    lab: LabFile,
    values: Any,
    options: RunOptions,
    output: Path,
    progress: Progress,
    so_far: Inputs,
    number: int,
) -> Outcome:
    """Run an experiment on a series up to one of its patches, in a folder of its own."""
    from lab.bench import prepare  # noqa: PLC0415 - others start without

    started = datetime.now(UTC)
    with RunFolder(output / f"{number:04}", chosen.name, started) as folder:
        record = run_experiment(
            chosen,
            lab,
            values,
            prepare=partial(prepare, inputs=so_far),
            folder=folder,
            options=options,
            progress=progress,
        )
    print_record(record, Console())
    return record.outcome


def _say_each(
    inputs: Inputs,
    lab: LabFile,
    progress: Progress,
    run_on: Callable[[Inputs, int], Outcome] | None,
) -> Outcome:
    """Try a series patch by patch, and say what became of each; the last outcome."""
    from lab.each import try_each  # noqa: PLC0415 - others start without

    outcome = Outcome.PASS
    for step in try_each(inputs, lab.kernel, progress, run_on):
        typer.echo(harmless(step.line))
        outcome = step.outcome
        if outcome is not Outcome.PASS:
            what = "fails" if step.error is None else f"fails:\n{step.error}"
            typer.echo(harmless(f"the first that {what}"), err=True)
    return outcome
