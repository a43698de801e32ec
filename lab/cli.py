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
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from lab import __version__, experiments
from lab.cache import Cache
from lab.checkout import assert_checkout
from lab.config import MAX_ENGINES, Clock, LabFile, read_lab_file
from lab.doctor import ask_kvm, check_host
from lab.errors import ConfigError, HostError, LabError
from lab.experiments.base import Experiment
from lab.options import OptionError, override, parse_fault, split_settings
from lab.progress import open_progress
from lab.report import Format, render
from lab.report.console import print_record
from lab.report.figures import harmless
from lab.results import Outcome, Record
from lab.run import run_experiment
from lab.run_folder import RECORD, RunFolder, default_folder
from lab.run_mode import RunOptions

WRONG_USAGE = 2
INTERRUPTED = 130

app = typer.Typer(
    name="dcbm-lab",
    help="Boots a patched Linux kernel on emulated DMA engines and proves whether page-migration "
    "copy offload works.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Debug:
    """Whether a failure shows its traceback."""

    on = False


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dcbm-lab {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[  # noqa: ARG001 - read by its callback
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    _Debug.on = debug
    with _failures():
        assert_checkout()


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what a verb raises into one clear message and the right exit status."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except OptionError as error:
        raise typer.BadParameter(harmless(str(error))) from error
    except ConfigError as error:
        # whether it stood on the command line or in a file: it is for the caller to correct
        _say_failure(error)
        raise typer.Exit(WRONG_USAGE) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:  # whatever it is: status 1 would say that a check did not hold
        _say_failure(error)
        raise typer.Exit(Outcome.ERROR.exit_code) from None


def _say_failure(failure: Exception) -> None:
    """Say what kept the lab from a verdict, with the traceback where that helps."""
    trace = traceback.format_exc()
    told = _as_lab_error(failure, trace)
    if _Debug.on:
        typer.echo(harmless(trace), err=True, nl=False)
    typer.echo(f"error: {type(told).__name__}\n{harmless(str(told))}", err=True)


def _as_lab_error(failure: Exception, trace: str) -> LabError:
    if isinstance(failure, LabError):
        return failure
    if isinstance(failure, OSError):
        return HostError.of(failure)
    kept: Path | None = None
    # A full disk must not hide the failure itself: --debug shows the traceback without a file.
    with contextlib.suppress(OSError):
        number, name = tempfile.mkstemp(prefix="dcbm-lab-traceback-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(trace)
        kept = Path(name)
    return LabError(
        "a lab that runs through",
        f"{type(failure).__name__}: {failure}",
        log=kept,
        hint="this is a fault of the lab, or of an experiment of yours; --debug shows where",
    )


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a run the way Ctrl-C does, so that no guest stays behind."""
    raise KeyboardInterrupt


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
            help="Break an engine before the measurement, as in dma0:flip-byte:nth=100,offset=5.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less of it, for a first look.")] = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="Modes at once.", show_default="CPUs, at most 2")
    ] = RunOptions().jobs,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that a program in the guest may take.")
    ] = RunOptions().program_timeout_s,
) -> None:
    """Run an experiment and print its table; everything about it is kept in a folder."""
    signal.signal(signal.SIGTERM, _terminate)
    with _failures():
        chosen = _experiment(experiment)
        machine, parameters = split_settings(settings or [])
        if engines is not None:
            machine["engine.count"] = engines
        faults = tuple(parse_fault(text) for text in inject or [])
        lab = override(_lab_file(lab_file), machine, clock=clock)
        if quick and not chosen.quick:
            raise OptionError(f"{chosen.name} has no --quick")
        values = _parameters(chosen, lab, parameters, quick=quick)
        from lab.bench import prepare  # noqa: PLC0415 - other verbs start without it

        started = datetime.now(UTC)
        options = RunOptions(jobs, tuple(mode or ()), faults, timeout, quick)
        folder = RunFolder(output or default_folder(chosen.name, started), chosen.name, started)
        progress = open_progress()
        with folder:
            record = run_experiment(
                chosen,
                lab,
                values,
                prepare=prepare,
                folder=folder,
                options=options,
                progress=progress,
            )
        print_record(record, Console())
        typer.echo(f"record: {folder.path / RECORD}", err=True)
    raise typer.Exit(record.outcome.exit_code)


def _experiment(name: str) -> Experiment[Any, Any]:
    """The experiment of that name; a name that there isn't is wrong usage."""
    if name.endswith(".py"):
        return experiments.from_file(Path(name))
    try:
        return experiments.find(name)
    except ConfigError as error:
        raise OptionError(f"no experiment {error.seen}; {error.hint}") from error


def _lab_file(path: Path | None) -> LabFile:
    return LabFile() if path is None else read_lab_file(path)


def _parameters(chosen: Any, lab: LabFile, given: dict[str, Any], *, quick: bool) -> Any:
    """Parameters of the experiment; what --set says wrongly is wrong usage."""
    names = {chosen.name, *(experiment.name for experiment in experiments.own_experiments())}
    unknown = sorted(set(lab.experiment) - names)
    if unknown:
        raise ConfigError(
            "sections of the lab file that are named after an experiment",
            ", ".join(f"[experiment.{name}]" for name in unknown),
            hint=f"known: {', '.join(sorted(names))}",
        )
    from_file = lab.experiment.get(chosen.name, {})
    base = chosen.choose(from_file, quick=quick)
    if not given:
        return base
    try:
        return chosen.choose({**from_file, **given}, quick=quick)
    except ConfigError as error:
        raise OptionError(f"--set: {error.seen}; {error.hint}") from error


@app.command(name="list")
def list_experiments() -> None:
    """List the experiments and their parameters."""
    with _failures():
        for experiment in experiments.own_experiments():
            typer.echo(f"{experiment.name}: {experiment.purpose}")
            for name, field in experiment.parameters.model_fields.items():
                quick = experiment.quick.get(name)
                shown = f", with --quick {_listed(quick)}" if quick is not None else ""
                typer.echo(f"  {name} = {_listed(field.default)}{shown}")


def _listed(value: Any) -> str:
    if value is None:
        return "(chosen by the lab)"
    return str(list(value)) if isinstance(value, tuple) else str(value)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, or its record.json.")],
    *,
    form: Annotated[Format, typer.Option("--format", help="What to make of it.")] = Format.TABLE,
) -> None:
    """Show an earlier run again, from its record alone."""
    with _failures():
        record = _read_record(folder)
        if form is Format.TABLE:
            print_record(record, Console())
        else:
            typer.echo(render(record, form), nl=False)


def _read_record(at: Path) -> Record:
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
) -> None:
    """Build QEMU, both kernels and their images ahead of a run, and say where they are."""
    signal.signal(signal.SIGTERM, _terminate)
    with _failures():
        from lab import bench  # noqa: PLC0415 - other verbs start without it

        machine, unknown = split_settings(settings or [])
        if unknown:
            raise OptionError(f"--set: no field of the lab file: {', '.join(unknown)}")
        lab = override(_lab_file(lab_file), machine)
        built = bench.build_parts(
            lab,
            open_progress(),
            qemu=part in {Part.QEMU, Part.ALL},
            kernels=part in {Part.KERNEL, Part.ALL},
            images=part in {Part.IMAGE, Part.ALL},
        )
        for what, path in built:
            typer.echo(f"{what}: {path}")


@app.command()
def doctor() -> None:
    """Say what the host lacks and how to get it, and whether KVM can run a guest."""
    with _failures():
        cache = Cache()
        findings = check_host(cache)
        for finding in findings:
            typer.echo(f"{'ok     ' if finding.ok else 'MISSING'}  {finding.name}: {finding.seen}")
            if not finding.ok and finding.remedy:
                typer.echo(f"         next: {finding.remedy}")
        typer.echo(f"ok       {ask_kvm(cache, open_progress()).line}")
    raise typer.Exit(0 if all(found.ok for found in findings) else Outcome.ERROR.exit_code)


cache_app = typer.Typer(help="Built artifacts and fetched sources.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")


@cache_app.command(name="list")
def cache_list() -> None:
    """List what is in the cache, most recently used first."""
    with _failures():
        for entry in Cache().list_entries():
            used = datetime.fromtimestamp(entry.used_at, UTC).strftime("%Y-%m-%d %H:%M")
            size_mib = entry.size_bytes / (1 << 20)
            typer.echo(f"{size_mib:9.1f} MiB  {used}  {entry.kind}/{entry.key[:16]}  {entry.title}")


@cache_app.command(name="verify")
def cache_verify() -> None:
    """Hash every artifact; damage is listed and gives the exit status 3."""
    with _failures():
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
    with _failures():
        removed = Cache().collect(days)
        for path in removed.paths:
            typer.echo(f"removed {path}")
        typer.echo(f"{len(removed.paths)} removed, {removed.size_bytes / (1 << 20):.1f} MiB freed")


def main() -> None:
    """Entry point of the command ``dcbm-lab``."""
    try:
        app()
    except KeyboardInterrupt:
        # A second Ctrl-C while guests are being ended: the kernel kills them with this process.
        sys.stderr.flush()
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
