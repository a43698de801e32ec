# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``dcbm-lab list`` says of an experiment: modes, and parameters as --set takes them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from lab.config import Kernel, LabFile, Variant
from lab.errors import ConfigError, PlanError
from lab.experiments.base import Choices, Experiment

_WIDTH = 100


def describe_experiment(experiment: Experiment[Any, Any]) -> list[str]:
    """An experiment in lines: name and purpose, modes, parameters with what they may be."""
    lines = [f"{experiment.name}: {experiment.purpose}", *_modes(experiment)]
    for name, field in experiment.parameters.model_fields.items():
        choices = _choices(field)
        quick = experiment.quick.get(name)
        shown = f", with --quick {_value(quick, choices)}" if quick is not None else ""
        lines.append(f"  {name} = {_value(field.default, choices)}{shown}")
        if choices is not None:
            lines += _wrapped("    of ", choices.names)
    return lines


def _modes(experiment: Experiment[Any, Any]) -> list[str]:
    """The modes with default parameters, on the first kernel that the experiment takes."""
    for variant in Variant:
        try:
            plans = experiment.modes(LabFile(kernel=Kernel(variant=variant)), experiment.choose({}))
        except PlanError as error:  # a user's file: the others are to be listed all the same
            return [f"  modes: {error.seen}"]
        except ConfigError:
            continue
        needs = "" if variant is Variant.PLAIN else f" with kernel.variant={variant.value}"
        return _wrapped(f"  modes{needs}: ", [plan.name for plan in plans])
    return ["  modes: none on the default machine"]


def _wrapped(head: str, names: Iterable[str]) -> list[str]:
    return textwrap.wrap(
        head + ", ".join(names),
        _WIDTH,
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _value(value: Any, choices: Choices | None) -> str:
    """A value as TOML; what JSON writes of numbers, texts, truths and lists is TOML, too."""
    if value is None:
        return "(chosen by the lab)"
    if not value and choices is not None and choices.empty_is_all:
        return "(all)"
    return json.dumps(value, ensure_ascii=False, default=str)


def _choices(field: FieldInfo) -> Choices | None:
    """What a parameter may be, where that is a closed set of names."""
    for item in field.metadata:
        if isinstance(item, Choices):
            return item
    names = tuple(_names(field.annotation))
    return Choices(names) if names else None


def _names(annotation: Any) -> Iterable[str]:
    """The names that a type, or the items of a list of it, are made of."""
    if get_origin(annotation) is Literal:
        yield from (str(name) for name in get_args(annotation))
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from (str(member.value) for member in annotation)
    else:
        for part in get_args(annotation):
            yield from _names(part)
