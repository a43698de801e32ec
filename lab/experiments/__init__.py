# SPDX-License-Identifier: GPL-2.0-or-later
"""The experiments: one file each, found by name, or by path when they are the user's own."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.config import suggest
from lab.errors import ConfigError
from lab.experiments.base import Experiment, told_with_line

ENTRY = "EXPERIMENT"
DIRECTORIES = "DCBM_LAB_EXPERIMENTS"
# The lab's own, in the order of its list.
OWN = (
    "compaction",
    "move-pages",
    "folio-count",
    "concurrent-moves",
    "dmatest",
    "faults",
    "failures",
    "matrix",
    "stress",
    "alloc-failures",
    "selftests",
)
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"


def own_experiments() -> list[Experiment[Any, Any]]:
    """The experiments that the lab brings, in the order of its list."""
    return [_own_experiment(name) for name in OWN]


def _own_experiment(name: str) -> Experiment[Any, Any]:
    """One of the lab's own; its module is called after it, and the others aren't loaded."""
    module = importlib.import_module(f"lab.experiments.{name.replace('-', '_')}")
    experiment: Experiment[Any, Any] = module.EXPERIMENT
    return experiment


def directories_given(more: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Directories with experiments of the user's: `more`, then those of DCBM_LAB_EXPERIMENTS."""
    named = [Path(text) for text in os.environ.get(DIRECTORIES, "").split(os.pathsep) if text]
    return tuple(dict.fromkeys([*more, *named]))


def from_directories(directories: Iterable[Path]) -> dict[str, Experiment[Any, Any]]:
    """The experiments of the user's, by name: every .py file whose name starts with no underscore.

    Raises:
        ConfigError: a directory isn't there, a file of it can't be imported or declares no
            experiment, or two experiments, of the lab's own too, have the same name.
    """
    taken = dict.fromkeys(OWN, "the lab's own")
    found: dict[str, Experiment[Any, Any]] = {}
    for directory in directories:
        if not directory.is_dir():
            raise ConfigError(
                f"a directory of experiments at {directory}",
                "no directory" if directory.exists() else "nothing there",
                hint=f"correct --from, {DIRECTORIES} or the lab file's key experiments",
            )
        for path in sorted(directory.glob("*.py")):
            if path.name.startswith("_"):
                continue
            experiment = from_file(path)
            if experiment.name in taken:
                raise ConfigError(
                    "experiments with a name each",
                    f"{experiment.name!r} in {path} and {taken[experiment.name]}",
                    hint="give one of them another name; a file is run by its path all the same",
                )
            taken[experiment.name] = str(path)
            found[experiment.name] = experiment
    return found


def find(name: str, directories: Iterable[Path] = ()) -> Experiment[Any, Any]:
    """The experiment of that name, or declared in the Python file of that path.

    The files in `directories` are run only for a name that none of the lab's own has.

    Raises:
        ConfigError: there is none, or the file declares none.
    """
    if name.endswith(".py"):
        return from_file(Path(name))
    if name in OWN:
        return _own_experiment(name)
    theirs = from_directories(directories)
    if name not in theirs:
        known = [*OWN, *theirs]
        raise ConfigError(
            "the name of an experiment or the path of a .py file that declares one",
            f"{name!r}{suggest(name, known)}",
            hint=f"known: {', '.join(known)} (`dcbm-lab list` says what they do)",
        )
    return theirs[name]


def from_file(path: Path) -> Experiment[Any, Any]:
    """The experiment that a file of the user declares as ``EXPERIMENT``.

    The file is Python and runs with the lab's rights: it is the user's own program. It may import
    its neighbours by their names, where no other module has them.

    Raises:
        ConfigError: the file can't be read or imported, or declares no experiment.
    """
    awaited = f"an experiment declared as {ENTRY} in {path}"
    hint = "docs/experiments.md shows a whole file; what only others import starts with _"
    if not path.is_file():
        raise ConfigError(awaited, "no such file", hint=hint)
    module_name = f"dcbm_lab_experiment_{path.stem}"
    beside = str(path.resolve().parent)
    if beside not in sys.path:
        sys.path.append(beside)  # last: a file of the user's takes no other module's place
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(awaited, "not a Python file", hint=hint)
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name while the class is made.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    # Whatever the user's file raises; sys.exit(0), too, would pass for a run that passed.
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise ConfigError(awaited, told_with_line(error, path), hint=hint) from error
    experiment = getattr(module, ENTRY, None)
    if not isinstance(experiment, Experiment):
        seen = f"{ENTRY} is {type(experiment).__name__}" if hasattr(module, ENTRY) else "none"
        raise ConfigError(awaited, seen, hint=hint)
    if not re.fullmatch(_NAME, experiment.name):
        raise ConfigError(
            f"an experiment's name of letters, digits, '.', '_' and '-' in {path}",
            repr(experiment.name),
            hint="the folder of its runs is called after it",
        )
    return replace(experiment, file=path.resolve())
