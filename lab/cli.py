# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: one thin function a verb, the only place that prints results or exits.

Results go to standard output, progress and errors to standard error. Exit status: 0 PASS, 1 FAIL,
2 wrong usage (an option, a lab file or a series that can't be), 3 ERROR, 4 CRASH, 5 TIMEOUT,
6 LOST, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab import __version__
from lab.checkout import assert_checkout
from lab.cli_exec import ExecCommand, exec_program, exec_statuses
from lab.cli_kernel import kernel_app
from lab.cli_replay import bundle, replay
from lab.errors import ConfigError, OptionError
from lab.failures import (
    INTERRUPTED,
    Debug,
    bisect_statuses,
    end_bisection,
    failures,
    is_bisection,
    terminate,
)
from lab.input_options import (
    ConfigOption,
    FragmentOption,
    FreshOption,
    JobsOption,
    KernelOption,
    ModulesOption,
    SeriesOption,
    SeriesVersionOption,
    TreeOption,
)
from lab.option_values import MAX_ENGINES, Clock, Format
from lab.outcome import Outcome

if TYPE_CHECKING:
    from lab.results import Record

app = typer.Typer(
    name="dcbm-lab",
    help="Boots a patched Linux kernel on emulated DMA engines and proves whether page-migration "
    "copy offload works.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its import takes longer than all else that --help does
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dcbm-lab {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[  # noqa: ARG001 - read by its callback
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    Debug.on = debug
    own = exec_statuses() if context.invoked_subcommand == "exec" else contextlib.nullcontext()
    with own, failures():
        assert_checkout()


@app.command()
def run(
    experiment: Annotated[
        str, typer.Argument(help="Name of an experiment, or path of a .py file declaring one.")
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the run.", show_default="runs/EXPERIMENT-TIME"),
    ] = None,
    clock: Annotated[Clock | None, typer.Option(help="What time the guest sees.")] = None,
    lab_file: Annotated[Path | None, typer.Option(help="Machine and parameters (TOML).")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A parameter, or a dotted key of the lab file."
        ),
    ] = None,
    engines: Annotated[
        int | None, typer.Option(min=0, max=MAX_ENGINES, help="DMA engines: engine.count.")
    ] = None,
    mode: Annotated[
        list[str] | None, typer.Option("--mode", help="Run this mode only; may be repeated.")
    ] = None,
    inject: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE:KIND[:KEY=VALUE,…]",
            # at 80 columns the longest word that isn't cut has 23 letters
            help="Break an engine, as in dma0:flip-byte:offset=5 or, for allocations, "
            "kernel:failslab.",
        ),
    ] = None,
    series: SeriesOption = None,
    series_version: SeriesVersionOption = None,
    tree: TreeOption = None,
    fragment: FragmentOption = None,
    kernel: KernelOption = None,
    modules: ModulesOption = None,
    config: ConfigOption = None,
    with_driver_fixes: Annotated[
        bool,
        typer.Option(
            "--with-driver-fixes",
            help="The engines' driver with our corrections (kernel.driver_fixes).",
        ),
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Less of it, for a first look.")] = False,
    bisect: Annotated[
        bool,
        typer.Option(
            "--bisect",
            help="Statuses for git bisect run: 0 PASS; 1 FAIL, CRASH, TIMEOUT, LOST; 125 ERROR "
            "(skip); 128 wrong usage (ends the bisection).",
        ),
    ] = False,
    fresh: FreshOption = False,
    jobs: JobsOption = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Seconds that a program in the guest may take.",
            show_default="300, more with an instrumented kernel",
        ),
    ] = None,
) -> None:
    """Run an experiment and print its table; everything about it is kept in a folder."""
    from rich.console import Console

    from lab import experiments
    from lab.options import (
        check_faults_together,
        check_kernel_faults,
        choose_experiment,
        choose_lab_file,
        choose_parameters,
        override,
        parse_fault,
        split_settings,
    )
    from lab.progress import open_progress
    from lab.report.console import print_record
    from lab.run import plan_modes, run_experiment
    from lab.run_folder import INPUTS, RECORD, RunFolder, default_folder
    from lab.run_mode import RunOptions

    signal.signal(signal.SIGTERM, terminate)
    with bisect_statuses(wanted=bisect), failures():
        from_file = choose_lab_file(lab_file)
        directories = experiments.directories_given(from_file.experiments)
        chosen = choose_experiment(experiment, directories)
        machine, parameters = split_settings(settings or [])
        if engines is not None:
            if machine.get("engine.count", engines) not in {engines, str(engines)}:
                raise OptionError(
                    f"--engines {engines} and --set engine.count={machine['engine.count']}"
                )
            machine["engine.count"] = engines
        if with_driver_fixes:
            machine["kernel.driver_fixes"] = True
        faults = tuple(parse_fault(text) for text in inject or [])
        check_faults_together(faults, chosen)
        lab = override(from_file, machine, clock=clock)
        if quick and not chosen.quick:
            raise OptionError(f"{chosen.name} has no --quick")
        values = choose_parameters(chosen, lab, parameters, quick=quick)
        options = RunOptions(jobs, tuple(mode or ()), faults, timeout, quick)
        plans = plan_modes(chosen, lab, values, options)
        from lab.bench import prepare
        from lab.build.bases import check_bases
        from lab.build.inputs import read_inputs
        from lab.kernel_choices import check_modes
        from lab.run_inputs import keep_inputs

        inputs = read_inputs(
            series=series,
            series_version=series_version,
            tree=tree,
            fragments=tuple(fragment or ()),
            kernel=kernel,
            modules=modules,
            config=config,
        )
        check_bases(lab)
        if not inputs.given:  # what others bring may have it in any variant
            check_kernel_faults(faults, lab)
        # All that needs no source comes before the folder: it is wrong usage, and leaves nothing.
        check_modes(plans, inputs)
        inputs.assert_outside(output or Path("runs"))
        started = datetime.now(UTC)
        folder = RunFolder(output or default_folder(chosen.name, started), chosen.name, started)
        progress = open_progress()
        with folder:
            keep_inputs(folder.path / INPUTS, chosen, lab, values, options=options, inputs=inputs)
            record = run_experiment(
                chosen,
                lab,
                values,
                prepare=partial(prepare, inputs=inputs if inputs.given else None, fresh=fresh),
                folder=folder,
                options=options,
                progress=progress,
            )
        print_record(record, Console())
        typer.echo(f"record: {folder.path / RECORD}", err=True)
        raise typer.Exit(record.outcome.exit_code)


@app.command(name="list")
def list_experiments(
    *,
    directories: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="A directory with experiments of yours; DCBM_LAB_EXPERIMENTS names more.",
        ),
    ] = None,
    lab_file: Annotated[
        Path | None, typer.Option(help="May name directories with experiments, too.")
    ] = None,
) -> None:
    """List the experiments, their modes and their parameters: the lab's own, then yours."""
    from lab import experiments
    from lab.listing import describe_experiment
    from lab.options import choose_lab_file

    with failures():
        given = [*(directories or ()), *choose_lab_file(lab_file).experiments]
        theirs = experiments.from_directories(experiments.directories_given(given))
        for experiment in [*experiments.own_experiments(), *theirs.values()]:
            typer.echo("\n".join(describe_experiment(experiment)))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, or its record.json.")],
    *,
    form: Annotated[Format, typer.Option("--format", help="What to make of it.")] = Format.TABLE,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw it instead, beside the published figures."),
    ] = None,
) -> None:
    """Show an earlier run again, from its record alone."""
    from rich.console import Console

    from lab.report import render
    from lab.report.console import print_record

    with failures():
        record = _read_record(folder)
        if plot is not None:
            _write_plot(record, plot)
        elif form is Format.TABLE:
            print_record(record, Console())
        else:
            typer.echo(render(record, form), nl=False)


def _write_plot(record: Record, path: Path) -> None:
    from lab.report.plot import svg_text

    if path.suffix != ".svg":
        raise OptionError(f"--plot: {path} is no .svg file")
    text = svg_text(record)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OptionError(f"--plot: {path}: {error.strerror}") from error
    typer.echo(f"plot: {path}", err=True)


def _read_record(at: Path) -> Record:
    from pydantic import ValidationError

    from lab.results import Record
    from lab.run_folder import RECORD

    path = at / RECORD if at.is_dir() else at
    awaited = f"the record of a whole run at {path}"
    try:
        return Record.read(path)
    except OSError as error:
        raise ConfigError(
            awaited,
            error.strerror or str(error),
            hint="a run that was interrupted leaves none; its modes/ may still tell something",
        ) from error
    except ValidationError as error:
        raise ConfigError(
            awaited,
            f"{error.error_count()} fields that are not of this schema, the first: "
            f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}",
            hint="was it written by another version of the lab?",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            awaited, f"no text in UTF-8: {error}", hint="name the folder of a run"
        ) from error


class Part(StrEnum):
    """What `build` can build."""

    QEMU = "qemu"
    KERNEL = "kernel"
    IMAGE = "image"
    ALL = "all"


@app.command()
def build(
    part: Annotated[Part, typer.Argument(help="An image needs its kernel.")] = Part.ALL,
    *,
    lab_file: Annotated[Path | None, typer.Option(help="Names QEMU and kernel.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As in the lab file.")
    ] = None,
    series: SeriesOption = None,
    series_version: SeriesVersionOption = None,
    tree: TreeOption = None,
    fragment: FragmentOption = None,
) -> None:
    """Build QEMU, both kernels and their images ahead of a run, and say where they are."""
    from lab.options import choose_lab_file, override, split_settings
    from lab.progress import open_progress

    signal.signal(signal.SIGTERM, terminate)
    with failures():
        from lab import bench
        from lab.build.inputs import read_inputs

        machine, unknown = split_settings(settings or [])
        if unknown:
            raise OptionError(f"--set: no field of the lab file: {', '.join(unknown)}")
        lab = override(choose_lab_file(lab_file), machine)
        built = bench.build_parts(
            lab,
            open_progress(),
            qemu=part in {Part.QEMU, Part.ALL},
            kernels=part in {Part.KERNEL, Part.ALL},
            images=part in {Part.IMAGE, Part.ALL},
            inputs=read_inputs(
                series=series,
                series_version=series_version,
                tree=tree,
                fragments=tuple(fragment or ()),
            ),
        )
        for what, path in built:
            typer.echo(f"{what}: {path}")


@app.command()
def doctor() -> None:
    """Say what the host lacks and how to get it, and whether KVM can run a guest."""
    from lab.cache import Cache
    from lab.doctor import ask_kvm, check_host
    from lab.progress import open_progress

    with failures():
        cache = Cache()
        findings = check_host(cache)
        for finding in findings:
            typer.echo(f"{'ok     ' if finding.ok else 'MISSING'}  {finding.name}: {finding.seen}")
            if not finding.ok and finding.remedy:
                typer.echo(f"         next: {finding.remedy}")
        typer.echo(f"ok       {ask_kvm(cache, open_progress()).line}")
    raise typer.Exit(0 if all(found.ok for found in findings) else Outcome.ERROR.exit_code)


app.command()(bundle)
app.command()(replay)
# What follows the program is the program's, with and without a "--" before it.
app.command(name="exec", cls=ExecCommand, context_settings={"allow_interspersed_args": False})(
    exec_program
)
app.add_typer(kernel_app, name="kernel")


cache_app = typer.Typer(
    help="Built artifacts and fetched sources.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(cache_app, name="cache")


@cache_app.command(name="list")
def cache_list() -> None:
    """List what is in the cache, most recently used first."""
    from lab.cache import Cache

    with failures():
        for entry in Cache().list_entries():
            used = datetime.fromtimestamp(entry.used_at, UTC).strftime("%Y-%m-%d %H:%M")
            size_mib = entry.size_bytes / (1 << 20)
            typer.echo(f"{size_mib:9.1f} MiB  {used}  {entry.kind}/{entry.key[:16]}  {entry.title}")


@cache_app.command(name="verify")
def cache_verify() -> None:
    """Hash every artifact; damage is listed and gives the exit status 3."""
    from lab.cache import Cache

    with failures():
        cache = Cache()
        damaged = cache.verify()
        for path, damage in damaged.items():
            typer.echo(f"{path}: {damage}")
        typer.echo(f"{len(damaged)} damaged in {cache.root}; a damaged one is built anew when used")
    raise typer.Exit(Outcome.ERROR.exit_code if damaged else 0)


@cache_app.command(name="gc")
def cache_gc(
    *,
    days: Annotated[float, typer.Option(min=0, help="Keep what was used since then.")] = 30.0,
) -> None:
    """Remove what was not used for some days, and what killed labs left behind."""
    from lab.cache import Cache

    with failures():
        removed = Cache().collect(days)
        for path in removed.paths:
            typer.echo(f"removed {path}")
        typer.echo(f"{len(removed.paths)} removed, {removed.size_bytes / (1 << 20):.1f} MiB freed")


def main() -> None:
    """Entry point of the command ``dcbm-lab``."""
    try:
        if is_bisection(sys.argv[1:]):
            sys.exit(end_bisection(app))
        app()
    except KeyboardInterrupt:
        # A second Ctrl-C while guests are being ended: the kernel kills them with this process.
        sys.stderr.flush()
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
