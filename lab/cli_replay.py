# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line's verbs about whole runs: bundle one, and replay a bundle."""

from __future__ import annotations

import signal
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.errors import ConfigError
from lab.failures import failures, terminate
from lab.input_options import ConfigOption, JobsOption, KernelOption, ModulesOption

if TYPE_CHECKING:
    from lab.build.inputs import Inputs
    from lab.progress import Progress
    from lab.replay import Comparison, Difference
    from lab.run_bundle import RunBundle

_SHOWN = 20


def bundle(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file.", show_default="FOLDER.tar.xz")
    ] = None,
    with_kernel: Annotated[
        bool, typer.Option("--with-kernel", help="Take what --kernel and --modules gave into it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write one file that lets somebody else run the same and compare."""
    from lab.report.figures import harmless

    with failures():
        from lab.run_bundle import SUFFIX, bundle_run

        path = output or Path(f"{folder.resolve().name}{SUFFIX}")
        made = bundle_run(folder, path, kernel=with_kernel, overwrite=force)
        typer.echo(f"{path}: {len(made.files)} files, {path.stat().st_size} bytes")
        for need in _needs(made):
            typer.echo(f"the receiver needs {harmless(need)}", err=True)


def _needs(made: RunBundle) -> list[str]:
    """What a receiver has to bring, in words."""
    inputs, needs = made.inputs, []
    if inputs.tree is not None:
        what = f"commit {inputs.tree.commit}" if inputs.tree.commit else "the same files"
        patches = " and the bundled patches on top" if inputs.tree.patches else ""
        needs.append(f"a tree with {what}{patches} (--tree)")
    if inputs.kernel is not None and not made.has_kernel:
        needs.append(f"the kernel {inputs.kernel.name}, SHA-256 {inputs.kernel.image_hash}")
    if inputs.experiment_hash is not None:
        needs.append("to trust the experiment's code (--run-its-code)")
    return needs


def replay(
    file: Annotated[Path, typer.Argument(help="A bundle, as dcbm-lab bundle writes it.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the new run.", show_default="runs/EXPERIMENT-TIME"),
    ] = None,
    tree: Annotated[
        Path | None, typer.Option(help="Your copy of the tree that the run was of.")
    ] = None,
    kernel: KernelOption = None,
    modules: ModulesOption = None,
    config: ConfigOption = None,
    run_its_code: Annotated[
        bool,
        typer.Option(
            "--run-its-code", help="Execute the Python file of a bundled experiment, unsandboxed."
        ),
    ] = False,
    jobs: JobsOption = None,
) -> None:
    """Run a bundled run again and compare the records: 0 identical, 1 different, 3 no verdict."""
    signal.signal(signal.SIGTERM, terminate)
    with failures(), tempfile.TemporaryDirectory(prefix="dcbm-lab-replay-") as scratch:
        from lab.build.given_kernel import read_given_kernel
        from lab.replay import (
            compare,
            restore_experiment,
            restore_inputs,
        )
        from lab.run_bundle import read_bundle

        bundled = read_bundle(file)
        chosen = restore_experiment(bundled, Path(scratch), trusted=run_its_code)
        given = read_given_kernel(kernel, modules, config) if kernel is not None else None
        inputs = restore_inputs(bundled, Path(scratch), tree=tree, kernel=given)
        folder = _run_again(bundled, chosen, inputs, output, jobs)
        _say_comparison(bundled, folder, compare(bundled, folder))


def _run_again(
    bundled: RunBundle, chosen: Any, inputs: Inputs, output: Path | None, jobs: int | None
) -> Path:
    """Say what differs, run the bundled run here, and return its folder."""
    from pydantic import ValidationError
    from rich.console import Console

    from lab.bench import prepare
    from lab.progress import open_progress
    from lab.replay import find_differences, take_shipped_queue
    from lab.report.console import print_record
    from lab.run import run_experiment
    from lab.run_folder import INPUTS, RECORD, RunFolder, default_folder
    from lab.run_inputs import keep_inputs
    from lab.run_mode import RunOptions

    kept, lab = bundled.inputs, bundled.inputs.lab()
    try:
        values = chosen.parameters.model_validate(kept.parameters)
    except ValidationError as error:
        raise ConfigError(
            f"parameters of {chosen.name} as this lab has them",
            " ".join(str(error).split())[:300],
            hint="use the lab's version that made the bundle",
        ) from error
    ours = take_shipped_queue(bundled, inputs, lab)
    plans = [
        mode for mode in chosen.modes(lab, values) if not kept.modes or mode.name in kept.modes
    ]
    progress = open_progress()
    if ours.series is not None:
        progress.warn("the bundle's patches are built here: their makefiles run with your rights")
    _say_differences(find_differences(bundled, plans, ours, progress), progress)
    inputs.assert_outside(output or Path("runs"))
    started = datetime.now(UTC)
    options = RunOptions(jobs, tuple(kept.modes), kept.fault_list(), kept.timeout_s, kept.quick)
    at = output or default_folder(chosen.name, started)
    with RunFolder(at, chosen.name, started) as folder:
        keep_inputs(folder.path / INPUTS, chosen, lab, values, options=options, inputs=ours)
        record = run_experiment(
            chosen,
            lab,
            values,
            prepare=partial(prepare, inputs=ours),
            folder=folder,
            options=options,
            progress=progress,
        )
    print_record(record, Console())
    typer.echo(f"record: {folder.path / RECORD}", err=True)
    return folder.path


def _say_differences(differences: list[Difference], progress: Progress) -> None:
    from lab.report.figures import harmless

    progress.note(f"{len(differences)} inputs differ from those of the bundled run")
    for difference in differences:
        typer.echo(harmless(f"differs: {difference.line}"))


def _say_comparison(bundled: RunBundle, folder: Path, comparison: Comparison) -> None:
    """Print the verdict with the first fields that differ, and exit with its status."""
    from lab.replay import differing_options
    from lab.report.figures import harmless

    for difference in comparison.differences[:_SHOWN]:
        typer.echo(harmless(f"record: {difference.line}"))
    rest = len(comparison.differences) - _SHOWN
    if rest > 0:
        typer.echo(f"record: and {rest} more fields")
    for difference in differing_options(bundled, folder)[:_SHOWN]:
        typer.echo(harmless(f"configuration: {difference.line}"))
    why = f" ({comparison.why})" if comparison.why else ""
    typer.echo(harmless(f"replay: {comparison.verdict.value}{why}"))
    raise typer.Exit(comparison.verdict.exit_code)
