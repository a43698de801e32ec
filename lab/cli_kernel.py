# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line's verbs about kernels: build one, build one for each patch, list the bases."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.errors import OptionError
from lab.failures import failures, terminate
from lab.input_options import FragmentOption, SeriesOption, SeriesVersionOption, TreeOption
from lab.outcome import Outcome, worst

if TYPE_CHECKING:
    from lab.build.inputs import Inputs
    from lab.build.series_check import SeriesCheck
    from lab.config import LabFile
    from lab.progress import Progress
    from lab.run_mode import RunOptions

kernel_app = typer.Typer(
    help="Kernels to choose from.", no_args_is_help=True, rich_markup_mode=None
)


@kernel_app.command(name="list")
def kernel_list() -> None:
    """List the kernel bases: their series, their source, and what is built of them."""
    from lab.cache import Cache

    with failures():
        from lab.build.kernel_bases import list_bases

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
    from lab.experiments import directories_given
    from lab.options import (
        choose_experiment,
        choose_lab_file,
        choose_parameters,
        override,
        split_settings,
    )
    from lab.progress import open_progress
    from lab.run import plan_modes
    from lab.run_mode import RunOptions

    signal.signal(signal.SIGTERM, terminate)
    with failures():
        from lab.bench import build_parts, say_inputs
        from lab.build.inputs import read_inputs
        from lab.kernel_choices import check_modes

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
            built = build_parts(
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
            values = choose_parameters(chosen, lab, parameters, quick=quick)
            options = RunOptions(only=tuple(mode or ()), quick=quick)
            check_modes(plan_modes(chosen, lab, values, options), inputs)
            run_on = partial(_run_on, chosen, lab, values, options, output, progress)
        say_inputs(inputs, progress)
        raise typer.Exit(_say_each(inputs, lab, progress, run_on).exit_code)


@kernel_app.command(name="check")
def kernel_check(
    *,
    series: SeriesOption = None,
    series_version: SeriesVersionOption = None,
    tree: TreeOption = None,
    fragment: FragmentOption = None,
    base: Annotated[
        str | None, typer.Option(help="The kernel base, as --set kernel.base=BASE.")
    ] = None,
    lab_file: Annotated[Path | None, typer.Option(help="Names kernel base and variant.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for build.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as one JSON object.")] = False,
) -> None:
    """Say what checkpatch, W=1 and sparse find in a series that the base hasn't already."""
    from lab.cache import Cache
    from lab.options import choose_lab_file, override, split_settings
    from lab.progress import open_progress

    signal.signal(signal.SIGTERM, terminate)
    with failures():
        from lab.bench import say_inputs
        from lab.build.inputs import read_inputs
        from lab.build.kernel_plan import KernelChoice
        from lab.build.series_check import check_series

        inputs = read_inputs(
            series=series,
            series_version=series_version,
            tree=tree,
            fragments=tuple(fragment or ()),
        )
        machine, unknown = split_settings(settings or [])
        if unknown:
            raise OptionError(f"--set: no field of the lab file: {', '.join(unknown)}")
        if base is not None:
            machine["kernel.base"] = base
        lab = override(choose_lab_file(lab_file), machine)
        choice = inputs.choose(lab.kernel, patched=True)
        if not isinstance(choice, KernelChoice) or not choice.patched:
            raise OptionError("a tree as it is has no series to check: give --series, too")
        progress = open_progress()
        say_inputs(inputs, progress)
        done = check_series(Cache(), choice, progress)
        notes = inputs.series.notes if inputs.series is not None else ()
        raise typer.Exit(_say_check(done, notes, as_json=as_json).exit_code)


def _say_check(done: SeriesCheck, notes: Sequence[str], *, as_json: bool) -> Outcome:
    """Print what became of a series; FAIL with a finding, ERROR where a file was not read."""
    from lab.report.figures import harmless

    parts = [Outcome.FAIL] if done.findings else []
    parts += [Outcome.ERROR] if done.unread else []
    outcome = worst(parts) if parts else Outcome.PASS
    if as_json:
        typer.echo(json.dumps({"outcome": outcome.value, "notes": notes, **asdict(done)}, indent=2))
        return outcome
    for found in done.findings:
        where = f"{found.file}:{found.line}: " if found.file else ""
        patch = f"patch {found.patch}" if found.patch is not None else "no patch's line"
        typer.echo(harmless(f"{found.tool}: {patch}: {where}{found.text}"))
    for item in done.unread:
        typer.echo(harmless(f"{item.tool} could not read this file: {item.file}: {item.why}"))
    for path in done.skipped:
        typer.echo(harmless(f"no part of the kernel, or no code: checkpatch only: {path}"))
    typer.echo(
        f"{outcome}: {len(done.findings)} findings, {len(done.unread)} files not read, "
        f"{len(done.objects)} objects compiled and read; the base has {done.known} messages itself"
    )
    return outcome


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
    from rich.console import Console

    from lab.bench import prepare
    from lab.report.console import print_record
    from lab.run import run_experiment
    from lab.run_folder import INPUTS, RunFolder
    from lab.run_inputs import keep_inputs

    started = datetime.now(UTC)
    with RunFolder(output / f"{number:04}", chosen.name, started) as folder:
        keep_inputs(folder.path / INPUTS, chosen, lab, values, options=options, inputs=so_far)
        record = run_experiment(
            chosen,
            lab,
            values,
            prepare=partial(prepare, inputs=so_far, fresh=True),  # no kernel boots twice
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
    from lab.each import try_each
    from lab.report.figures import harmless

    outcome = Outcome.PASS
    for step in try_each(inputs, lab.kernel, progress, run_on):
        typer.echo(harmless(step.line))
        outcome = step.outcome
        if outcome is not Outcome.PASS:
            what = "fails" if step.error is None else f"fails:\n{step.error}"
            typer.echo(harmless(f"the first that {what}"), err=True)
    return outcome
