# SPDX-License-Identifier: GPL-2.0-or-later
"""What a verb of the command line does when something goes wrong: one message, one exit status."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from lab.errors import ConfigError, HostError, LabError, OptionError
from lab.outcome import Outcome

WRONG_USAGE = 2
INTERRUPTED = 130
READER_GONE = 141
BISECT_SKIP, BISECT_ABORT = 125, 128
_BISECT_OPTION = "--bisect"
# What typer raises for wrong usage; it has a name of its own in newer versions only.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_BISECT = {
    Outcome.PASS.exit_code: 0,
    Outcome.FAIL.exit_code: 1,
    Outcome.CRASH.exit_code: 1,
    Outcome.TIMEOUT.exit_code: 1,
    Outcome.LOST.exit_code: 1,
    Outcome.ERROR.exit_code: BISECT_SKIP,
}


class Debug:
    """Whether a failure shows its traceback."""

    on = False


@contextmanager
def failures() -> Iterator[None]:
    """Turn what a verb raises into one clear message and the right exit status."""
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except OptionError as error:
        from lab.report.figures import harmless

        raise typer.BadParameter(harmless(str(error))) from error
    except ConfigError as error:
        # whether it stood on the command line or in a file: it is for the caller to correct
        _say_failure(error)
        raise typer.Exit(WRONG_USAGE) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError as error:
        if not _reader_has_gone():
            _say_failure(error)
            raise typer.Exit(Outcome.ERROR.exit_code) from None
        # As for any program of a pipeline: quietly, and with no status that is a verdict.
        raise typer.Exit(READER_GONE) from None
    except Exception as error:  # whatever it is: status 1 would say that a check did not hold
        _say_failure(error)
        raise typer.Exit(Outcome.ERROR.exit_code) from None


@contextmanager
def bisect_statuses(*, wanted: bool) -> Iterator[None]:
    """Turn exit statuses into those of ``git bisect run``.

    0 is good; 1 is bad: a verdict against the kernel; 125 skips a commit that gives no verdict, as
    one that doesn't build; 128 and above end the bisection, as what no commit can help.
    """
    try:
        yield
    except typer.BadParameter as error:
        if not wanted:
            raise
        error.show()
        raise typer.Exit(BISECT_ABORT) from None
    except typer.Exit as ended:
        if not wanted:
            raise
        if ended.exit_code >= BISECT_ABORT:
            raise
        raise typer.Exit(_BISECT.get(ended.exit_code, BISECT_ABORT)) from None


def is_bisection(words: Sequence[str]) -> bool:
    """Whether a command line is for ``git bisect run``, right or wrong as it may be.

    ``exec`` passes options on to a program, whose exit status is then the command's.
    """
    verb = next((word for word in words if not word.startswith("-")), None)
    return _BISECT_OPTION in words and verb != "exec"


def end_bisection(app: Callable[..., Any]) -> int:
    """Run the command line for ``git bisect run``, and return a status that it can't take wrong.

    What ends before or behind `bisect_statuses` is no verdict: options that can't be, a broken
    installation, an error that nobody caught, output that nobody takes. git takes 1 to 124, 126 and
    127 as "bad", so all these end the bisection.
    """
    try:
        status = app(standalone_mode=False) or 0
    except UsageError as error:
        error.show()  # type: ignore[attr-defined]
        return BISECT_ABORT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # typer's own ways out among them
        with contextlib.suppress(OSError):
            if not isinstance(error, SystemExit | typer.Abort):
                traceback.print_exc()
        return BISECT_ABORT
    known = status in _BISECT.values() or status >= BISECT_ABORT
    return status if known else BISECT_ABORT


def _reader_has_gone() -> bool:
    """Whether nobody reads what the lab writes any more (``| head``); nothing is written then."""
    gone = select.poll()
    try:
        gone.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # no file, or a closed one
        return False
    if not gone.poll(0):
        return False
    # What is left in the buffer would be an error once more when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _say_failure(failure: Exception) -> None:
    """Say what kept the lab from a verdict, with the traceback where that helps."""
    from lab.report.figures import harmless

    trace = traceback.format_exc()
    told = _as_lab_error(failure, trace)
    if Debug.on:
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


def terminate(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a run the way Ctrl-C does, so that no guest stays behind."""
    raise KeyboardInterrupt
