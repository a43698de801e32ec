# SPDX-License-Identifier: GPL-2.0-or-later
"""The experiments: one file each, found by name, or by path when they are the user's own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from lab.errors import ConfigError
from lab.experiments.base import Experiment

ENTRY = "EXPERIMENT"


def own_experiments() -> list[Experiment[Any, Any]]:
    """The experiments that the lab brings, in the order of its list."""
    # Imported here so that a broken experiment does not keep the others' modules from loading.
    from lab.experiments import (  # noqa: PLC0415
        compaction,
        dmatest,
        faults,
        matrix,
        move_pages,
        stress,
    )

    return [
        compaction.EXPERIMENT,
        move_pages.EXPERIMENT,
        dmatest.EXPERIMENT,
        faults.EXPERIMENT,
        matrix.EXPERIMENT,
        stress.EXPERIMENT,
    ]


def find(name: str) -> Experiment[Any, Any]:
    """The experiment of that name, or declared in the Python file of that path.

    Raises:
        ConfigError: there is none, or the file declares none.
    """
    if name.endswith(".py"):
        return from_file(Path(name))
    known = {experiment.name: experiment for experiment in own_experiments()}
    if name not in known:
        raise ConfigError(
            "the name of an experiment or the path of a .py file that declares one",
            repr(name),
            hint=f"known: {', '.join(known)} (`dcbm-lab list` says what they do)",
        )
    return known[name]


def from_file(path: Path) -> Experiment[Any, Any]:
    """The experiment that a file of the user declares as ``EXPERIMENT``.

    The file is Python and runs with the lab's rights: it is the user's own program.

    Raises:
        ConfigError: the file can't be read or imported, or declares no experiment.
    """
    awaited = f"an experiment declared as {ENTRY} in {path}"
    hint = "docs/experiments.md shows a whole file"
    if not path.is_file():
        raise ConfigError(awaited, "no such file", hint=hint)
    module_name = f"dcbm_lab_experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(awaited, "not a Python file", hint=hint)
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name while the class is made.
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        del sys.modules[module_name]
        raise ConfigError(awaited, f"{type(error).__name__}: {error}", hint=hint) from error
    experiment = getattr(module, ENTRY, None)
    if not isinstance(experiment, Experiment):
        raise ConfigError(awaited, f"{ENTRY} is {type(experiment).__name__}", hint=hint)
    return experiment
