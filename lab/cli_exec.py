# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line's verb for a program of the user's: ``dcbm-lab exec``.

The program's standard output and error are the command's own. Its exit status is, too, as long as
nobody can take it for something else:

======== ==========================================================================================
0..125   the program's own, in a guest that was healthy until it was powered off
126      the program's own was 126 to 255; the last line on standard error tells it
128 + n  signal n ended the program
202      what was given can't be used: an option, a lab file, a file to add
203..206 ERROR, CRASH, TIMEOUT, LOST: 200 and the status that `run` has for it
230      interrupted
======== ==========================================================================================
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from lab.errors import ConfigError, OptionError
from lab.failures import WRONG_USAGE, UsageError, failures, terminate
from lab.input_options import (
    ConfigOption,
    FragmentOption,
    FreshOption,
    KernelOption,
    ModulesOption,
    SeriesOption,
    SeriesVersionOption,
    TreeOption,
)
from lab.option_values import MAX_ENGINES, SHARE, Clock
from lab.outcome import Outcome

if TYPE_CHECKING:
    from lab.config import LabFile
    from lab.guest_files import GuestItem
    from lab.results import Record

PASSED_ON = 125
NOT_PASSED_ON = 126
BY_SIGNAL = 128
LAB = 200
SHARE_FOLDER = "share"


class ExecCommand(TyperCommand):
    """A command whose own statuses are out of the way of those of the program that it runs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click does it; wrong usage gets a status that no program has."""
        with exec_statuses():
            return super().parse_args(ctx, args)


@contextmanager
def exec_statuses() -> Iterator[None]:
    """Put the lab's own exit statuses above those of programs."""
    try:
        yield
    except UsageError as error:
        error.exit_code = LAB + WRONG_USAGE  # type: ignore[attr-defined]
        raise
    except typer.Exit as left:
        if 0 < left.exit_code < LAB:
            # 130, an interrupt, is a program's status when SIGINT ends it.
            raise typer.Exit(LAB + left.exit_code % 100) from None
        raise


def exec_program(
    program: Annotated[
        list[str],
        typer.Argument(metavar="PROGRAM", help="What to run in the guest, and its arguments."),
    ],
    *,
    vanilla: Annotated[
        bool, typer.Option("--vanilla", help="Boot the kernel without the series.")
    ] = False,
    dcbm: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_ENGINES,
            metavar="CHANNELS",
            help="Have page copies offloaded, over so many channels (nr_dma_chan).",
            show_default="offloading is off",
        ),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[:GUESTPATH]",
            help="A file for the guest: /bin gets programs and scripts, /root the rest.",
        ),
    ] = None,
    share: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help=f"A copy of DIR at {SHARE}, where the program starts; what is new or changed "
            f"there afterwards comes into {SHARE_FOLDER}/ of the run's folder.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="runs/exec-TIME")
    ] = None,
    clock: Annotated[Clock | None, typer.Option(help="What time the guest sees.")] = None,
    lab_file: Annotated[Path | None, typer.Option(help="The machine (TOML).")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A dotted key of the lab file."),
    ] = None,
    engines: Annotated[
        int | None, typer.Option(min=0, max=MAX_ENGINES, help="DMA engines: engine.count.")
    ] = None,
    inject: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE:KIND[:KEY=VALUE,…]", help="Break an engine before the program starts."
        ),
    ] = None,
    series: SeriesOption = None,
    series_version: SeriesVersionOption = None,
    tree: TreeOption = None,
    fragment: FragmentOption = None,
    kernel: KernelOption = None,
    modules: ModulesOption = None,
    config: ConfigOption = None,
    fresh: FreshOption = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Seconds of the host that the program may take.",
            show_default="300, more with an instrumented kernel",
        ),
    ] = None,
) -> None:
    """Run a program of yours in a fresh guest; its output and exit status are this command's."""
    from lab.exec_mode import NAME, Errand, ExecParameters
    from lab.guest_files import read_tree
    from lab.options import (
        check_faults_together,
        choose_lab_file,
        override,
        parse_fault,
        split_settings,
    )
    from lab.progress import SilentProgress, open_progress
    from lab.run import plan_modes, run_experiment
    from lab.run_folder import RECORD, RunFolder, default_folder
    from lab.run_mode import RunOptions

    signal.signal(signal.SIGTERM, terminate)
    with exec_statuses(), failures():
        machine, unknown = split_settings(settings or [])
        if unknown:
            raise OptionError(f"--set: no key of the lab file: {', '.join(unknown)}")
        if engines is not None:
            machine["engine.count"] = engines
        lab = override(choose_lab_file(lab_file), machine, clock=clock)
        _check(program, lab, dcbm or 0, vanilla=vanilla)
        faults = tuple(parse_fault(text) for text in inject or [])
        check_faults_together(faults)
        files = tuple(read_addition(text) for text in add or [])
        shared = tuple(read_tree(share, SHARE)) if share is not None else None
        from lab.bench import prepare
        from lab.build.bases import check_bases
        from lab.build.inputs import read_inputs
        from lab.kernel_choices import check_modes

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
        errand = Errand(
            tuple(program),
            patched=not vanilla,
            files=files,
            share=shared,
            back_to=Path(SHARE_FOLDER),
            sink=pass_on,
        )
        values = ExecParameters(
            program=tuple(program), dcbm_channels=dcbm or 0, share=share is not None
        )
        options = RunOptions(1, (), faults, timeout)
        check_modes(plan_modes(errand.experiment(), lab, values, options), inputs)
        inputs.assert_outside(output or Path("runs"))
        started = datetime.now(UTC)
        folder = RunFolder(output or default_folder(NAME, started), NAME, started)
        progress = open_progress()
        with folder:
            record = run_experiment(
                replace(errand, back_to=folder.path / SHARE_FOLDER).experiment(),
                lab,
                values,
                # Builds are shown; a bar beside the program's own output would only be in its way.
                prepare=lambda modes, _silent: prepare(modes, progress, inputs, fresh=fresh),
                folder=folder,
                options=options,
                progress=SilentProgress(),
            )
        typer.echo(f"dcbm-lab: {describe_end(record)}; {folder.path / RECORD}", err=True)
        status = exit_status(record)
    # Outside: this one is the program's, or above all of those already.
    raise typer.Exit(status)


def _check(program: list[str], lab: LabFile, channels: int, *, vanilla: bool) -> None:
    """Refuse what can't work before anything is built."""
    from lab.machine.channel import MAX_ARGUMENTS

    if len(program) > MAX_ARGUMENTS:
        raise OptionError(f"{len(program)} arguments; the guest takes {MAX_ARGUMENTS}")
    if not channels:
        return
    if vanilla:
        raise OptionError("--dcbm needs the kernel with the series: leave --vanilla out")
    if channels > lab.engine.channels:
        raise ConfigError(
            f"an engine for each of {channels} channels",
            f"{lab.engine.size_text}: {lab.engine.channels} in all",
            hint=f"give the machine more (--engines {channels})",
        )


def read_addition(text: str) -> GuestItem:
    """A file as ``--add`` names it: ``FILE``, ``FILE:/path/in/guest`` or ``FILE:/directory/``.

    Raises:
        ConfigError: it can't be had, or can't be put there.
    """
    from lab.guest_files import GuestFile

    source, colon, path = text.rpartition(":")
    if colon and path.startswith("/"):
        return GuestFile.of(Path(source), path)
    return GuestFile.of(Path(text))


def pass_on(stream: str, data: bytes) -> None:
    """Write what the program wrote, at once, to the stream of the same name."""
    to = sys.stdout.buffer if stream == "stdout" else sys.stderr.buffer
    to.write(data)
    to.flush()


def exit_status(record: Record) -> int:
    """The command's exit status for a run."""
    from lab.exec_mode import ended

    if record.outcome not in {Outcome.PASS, Outcome.FAIL}:
        return LAB + record.outcome.exit_code
    status, number = ended(record.modes[0])
    if number is not None:
        return BY_SIGNAL + number
    if status is None:
        return LAB + Outcome.ERROR.exit_code
    return status if status <= PASSED_ON else NOT_PASSED_ON


def describe_end(record: Record) -> str:
    """How the run ended, in one line for the program's own end and in several for the lab's."""
    from lab.exec_mode import ended, signal_text
    from lab.report.figures import harmless

    mode = record.modes[0]
    if record.outcome in {Outcome.PASS, Outcome.FAIL}:
        status, number = ended(mode)
        return f"ended by {signal_text(number)}" if number else f"exit status {status}"
    told = [str(record.outcome)]
    status, number = ended(mode)
    if number is not None or status is not None:
        how = f"ended by {signal_text(number)}" if number else f"had exit status {status}"
        told[0] += f", after the program {how}"
    told += [text for text in (mode.error or record.error, mode.excerpt) if text]
    return harmless("\n".join(told))
