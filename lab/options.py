# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command line's ``--set`` and ``--inject`` say, as values over a lab file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lab import experiments
from lab.config import Clock, LabFile, describe_errors, read_lab_file, suggest
from lab.errors import ConfigError
from lab.errors import OptionError as OptionError  # noqa: PLC0414 - of this interface, too
from lab.experiments.base import Experiment, Fault
from lab.experiments.kernel_faults import DEVICE as KERNEL
from lab.experiments.kernel_faults import VARIANTS as FAULTY_VARIANTS
from lab.experiments.kernel_faults import KernelFault

# Sections of the lab file that describe the machine; any other key is the experiment's.
_SECTIONS = ("topology", "engine", "kernel", "qemu")
# Faults of the device models and the arguments that each needs (qemu-devices/qapi/amd-dma.json).
FAULT_ARGUMENTS = {
    "error": ("code",),
    "flip-byte": ("offset",),
    "stall": ("delay-ns",),
    "slow-link": ("bandwidth",),
    "partial-copy": ("copied",),
    "wrong-address": ("displacement",),
    "interrupt-before-data": ("delay-ns",),
    "lost-interrupt": (),
    "spurious-interrupt": ("delay-ns",),
    "duplicate-completion": ("delay-ns",),
    "all-ones": (),
    "out-of-order": ("later",),
}
FAULT_OPTIONS = ("queue", "nth", "count", "probability-ppm", "seed", "address", "size")
_U64 = (1 << 64) - 1
# What each may be, from and to; the device model has the same limits.
_LIMITS = {
    "code": (1, 255),
    "nth": (1, _U64),
    "later": (1, (1 << 32) - 1),
    "bandwidth": (1, _U64),
    "size": (1, _U64),
    "delay-ns": (0, (1 << 63) - 1),
    "displacement": (-(1 << 63), (1 << 63) - 1),
    "probability-ppm": (1, 1_000_000),
    "queue": (0, 15),
}
_EXAMPLE = "dma0:flip-byte:nth=1000,offset=5"
_FAULT = re.compile(
    rf"(?P<device>dma\d+|{KERNEL}):(?P<kind>[a-z][a-z0-9_-]*)(?::(?P<arguments>.+))?"
)


def parse_value(text: str) -> Any:
    """A value as TOML writes it; what TOML doesn't know as a value is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def split_settings(settings: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split ``key=value`` settings into those of the lab file and those of the experiment.

    Raises:
        OptionError: a setting isn't ``key=value``, or is for a section that there isn't.
    """
    machine: dict[str, Any] = {}
    experiment: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not key:
            raise OptionError(f"{setting!r} is not KEY=VALUE")
        section, dot, _rest = key.partition(".")
        if dot and section not in _SECTIONS:  # parameters have no dots
            raise OptionError(
                f"{key}: no such section; the lab file has {', '.join(_SECTIONS)}"
                f"{suggest(section, _SECTIONS)}"
            )
        to = machine if dot else experiment
        value = parse_value(text.strip())
        if to is machine and not isinstance(value, str) and _is_text(key):
            value = text.strip()  # 7.10 is a version, not 7.1
        to[key] = value
    return machine, experiment


def _is_text(key: str) -> bool:
    """Whether a dotted key of the lab file takes plain text."""
    model: Any = LabFile
    for part in key.split("."):
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return False
        field = model.model_fields.get(part)
        model = field.annotation if field else None
    return model is str


def override(lab: LabFile, machine: dict[str, Any], *, clock: Clock | None = None) -> LabFile:
    """A lab file with dotted keys set, such as ``engine.count`` or ``topology.nodes.1.cpus``.

    Raises:
        OptionError: a key doesn't exist or its value can't be; names the key.
    """
    data = lab.model_dump(mode="json", exclude_unset=True)
    whole = lab.model_dump(mode="json")
    if clock is not None:
        data["clock"] = clock.value
    for key, value in machine.items():
        _set(data, whole, key, value)
    try:
        return LabFile.model_validate(data)
    except ValidationError as error:
        raise OptionError(describe_errors(error, LabFile, "lab file")) from error


def _set(data: dict[str, Any], whole: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in what was given, taking lists over whole where one item changes."""
    parts = key.split(".")
    into: Any = data
    defaults: Any = whole
    for part in parts[:-1]:
        into, defaults = _step(into, defaults, part, key)
    last = parts[-1]
    if isinstance(into, list):
        into[_index(into, last, key)] = value
    elif isinstance(into, dict):
        into[last] = value
    else:
        raise OptionError(f"{key}: nothing below {parts[-2]}")


def _step(into: Any, defaults: Any, part: str, key: str) -> tuple[Any, Any]:
    if isinstance(into, list):
        index = _index(into, part, key)
        return into[index], defaults[index]
    if not isinstance(into, dict) or not isinstance(defaults, dict) or part not in defaults:
        raise OptionError(f"{key}: the lab file has no {part!r} there")
    if isinstance(defaults[part], list):
        return into.setdefault(part, defaults[part]), defaults[part]
    return into.setdefault(part, {}), defaults[part]


def _index(items: list[Any], part: str, key: str) -> int:
    if not part.isdecimal() or int(part) >= len(items):
        raise OptionError(f"{key}: {part!r} is none of 0 to {len(items) - 1}")
    return int(part)


def parse_fault(text: str) -> Fault:
    """A fault as ``--inject`` writes it: ``dma0:flip-byte:nth=100,offset=5``.

    The device ``kernel`` is the kernel's own fault injection: ``kernel:failslab:interval=7``.

    Raises:
        OptionError: it has another form.
    """
    match = _FAULT.fullmatch(text)
    if match is None:
        raise OptionError(f"{text!r} is not DEVICE:KIND[:KEY=VALUE,…], as in {_EXAMPLE}")
    arguments: dict[str, int | str | bool] = {}
    for word in (match["arguments"] or "").split(","):
        if not word:
            continue
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise OptionError(f"{text!r}: {word!r} is not KEY=VALUE")
        arguments[key] = _fault_value(value)
    if match["device"] == KERNEL:
        try:
            KernelFault.of(match["kind"], arguments)
        except ConfigError as error:
            raise OptionError(f"{text!r}: awaited {error.awaited}, seen {error.seen}") from error
    else:
        _check_fault(text, match["kind"], arguments)
    return Fault(device=match["device"], kind=match["kind"], arguments=arguments)


def check_faults_together(
    faults: Iterable[Fault], experiment: Experiment[Any, Any] | None = None
) -> None:
    """Refuse faults of the kernel that would overwrite each other's settings.

    Args:
        faults: what is to be injected.
        experiment: what runs; None where it brings no fault of its own.

    Raises:
        OptionError: two of one kind, or any where the experiment brings its own.
    """
    kinds = [fault.kind for fault in faults if fault.device == KERNEL]
    twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if twice:
        raise OptionError(
            f"--inject: {' and '.join(f'{KERNEL}:{kind}' for kind in twice)} more than once; the "
            "kernel has one set of settings for each kind"
        )
    if kinds and experiment is not None and experiment.own_kernel_faults:
        raise OptionError(
            f"--inject {KERNEL}:{kinds[0]}: {experiment.name} sets the kernel's fault injection "
            "itself"
        )


def check_kernel_faults(faults: Iterable[Fault], lab: LabFile) -> None:
    """Refuse faults for a kernel of ours that can't inject any, before it is built.

    Raises:
        ConfigError: it is of another variant; names those that can.
    """
    wanted = [fault.kind for fault in faults if fault.device == KERNEL]
    if wanted and lab.kernel.variant not in FAULTY_VARIANTS:
        able = " or ".join(variant.value for variant in FAULTY_VARIANTS)
        raise ConfigError(
            f"a kernel with fault injection for {', '.join(wanted)}",
            f"kernel.variant is {lab.kernel.variant.value}",
            hint=f"choose {able} (--set kernel.variant={FAULTY_VARIANTS[0].value})",
        )


def _check_fault(text: str, kind: str, arguments: dict[str, int | str | bool]) -> None:
    """Refuse what the device model would refuse, before anything is built or booted."""
    if kind not in FAULT_ARGUMENTS:
        raise OptionError(f"{text!r}: no fault {kind!r}; there are {', '.join(FAULT_ARGUMENTS)}")
    needed = FAULT_ARGUMENTS[kind]
    missing = [key for key in needed if key not in arguments]
    unknown = [key for key in arguments if key not in (*needed, *FAULT_OPTIONS)]
    wrong = [*(f"{key} is missing" for key in missing), *(f"no key {key!r}" for key in unknown)]
    for key, value in arguments.items():
        least, most = _LIMITS.get(key, (0, _U64))
        if isinstance(value, str) or not least <= value <= most:
            wrong.append(f"{key} is {value!r}, but has to be a number from {least} to {most}")
    if wrong:
        keys = [*needed, *(f"[{key}]" for key in FAULT_OPTIONS)]
        raise OptionError(f"{text!r}: {', '.join(wrong)}; {kind} takes {', '.join(keys)}")


def _fault_value(text: str) -> int | str | bool:
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text, 0)
    except ValueError:
        return text


def choose_experiment(name: str, directories: Iterable[Path] = ()) -> Experiment[Any, Any]:
    """The experiment of that name; a name that there isn't is wrong usage."""
    if name.endswith(".py"):
        return experiments.from_file(Path(name))
    if name not in experiments.OWN:
        # A file that can't be used is said as such, not as a name that there isn't.
        experiments.from_directories(directories)
    try:
        return experiments.find(name, directories)
    except ConfigError as error:
        raise OptionError(f"no experiment {error.seen}; {error.hint}") from error


def choose_lab_file(path: Path | None) -> LabFile:
    """The lab file at a path, or one that says nothing."""
    return LabFile() if path is None else read_lab_file(path)


def choose_parameters(chosen: Any, lab: LabFile, given: dict[str, Any], *, quick: bool) -> Any:
    """Parameters of the experiment; what --set says wrongly is wrong usage."""
    names = {chosen.name, *experiments.OWN}
    unknown = sorted(set(lab.experiment) - names)
    directories = experiments.directories_given(lab.experiments)
    if unknown and directories:
        names |= experiments.from_directories(directories).keys()
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
