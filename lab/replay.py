# SPDX-License-Identifier: GPL-2.0-or-later
"""A bundled run, run again here: what differs before it starts, and how the records compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from lab import __version__
from lab.build.given_kernel import GivenKernel, read_given_kernel
from lab.build.inputs import Inputs
from lab.build.kconfig import parse_config
from lab.build.kernel_plan import make_plan, queue_of, series_path
from lab.build.local_tree import inspect_tree
from lab.build.qemu_identity import identify_qemu
from lab.build.series import Series
from lab.build.series_file import read_patch
from lab.cache import Cache, hash_file
from lab.config import Clock, ControlLayout, LabFile
from lab.errors import ConfigError
from lab.experiments import OWN, find, from_file
from lab.experiments.base import Experiment, ModePlan
from lab.kernel_choices import choice_of, qemu_base_of
from lab.progress import Progress
from lab.results import KernelIdentity, Outcome, Record
from lab.run import hash_lab
from lab.run_bundle import KERNEL, RunBundle
from lab.run_folder import INPUTS, MODES, RECORD, mode_folder_name
from lab.run_inputs import EXPERIMENT_FILE, FRAGMENTS, TREE, restore_series

ABSENT = "(absent)"
_HOST = "host"
_SHOWN = 80


class Verdict(StrEnum):
    """How a replay compares with the run that it repeats."""

    IDENTICAL = "identical"
    DIFFERENT = "different"
    SAME_OUTCOMES = "same outcomes"
    NOTHING_RAN = "nothing ran"

    @property
    def exit_code(self) -> int:
        """Exit status of the command line."""
        if self is Verdict.NOTHING_RAN:
            return Outcome.ERROR.exit_code
        return Outcome.FAIL.exit_code if self is Verdict.DIFFERENT else 0


@dataclass(frozen=True)
class Difference:
    """Something that isn't the same: where, in the bundle, and here."""

    field: str
    there: str
    here: str

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{self.field}: {_short(self.there)} there, {_short(self.here)} here"


@dataclass(frozen=True)
class Comparison:
    """Two records compared.

    Attributes:
        verdict: what it comes to.
        differences: all fields that differ, in the record's order.
        why: what a reader has to know about the verdict; None if nothing.
    """

    verdict: Verdict
    differences: tuple[Difference, ...] = ()
    why: str | None = None


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


# -- before it runs ----------------------------------------------------------------------------


def restore_experiment(bundle: RunBundle, folder: Path, *, trusted: bool) -> Experiment[Any, Any]:
    """The experiment of a bundle; a user's file is written into `folder` and executed.

    Raises:
        ConfigError: it is a user's and not `trusted`, or not what the bundle says.
    """
    inputs = bundle.inputs
    if inputs.experiment_hash is None:
        if inputs.experiment not in OWN:
            raise ConfigError(
                f"an experiment of the lab, {', '.join(OWN)}",
                repr(inputs.experiment),
                hint="was the bundle made by another version of the lab?",
            )
        return find(inputs.experiment)
    if not trusted:
        raise ConfigError(
            "leave to run the Python code in the bundle, with all rights that you have",
            f"the experiment {inputs.experiment} is a file of its author's, "
            f"SHA-256 {inputs.experiment_hash}",
            hint=f"read it first (tar -xOf {bundle.path} {INPUTS}/{EXPERIMENT_FILE}), then say "
            "--run-its-code",
        )
    path = folder / EXPERIMENT_FILE
    path.write_bytes(bundle.files[f"{INPUTS}/{EXPERIMENT_FILE}"])
    if hash_file(path) != inputs.experiment_hash:
        raise ConfigError(
            f"the experiment {inputs.experiment_hash}", "another file", hint="get it again"
        )
    experiment = from_file(path)
    if experiment.name != inputs.experiment:
        raise ConfigError(f"the experiment {inputs.experiment}", experiment.name)
    return experiment


def restore_inputs(
    bundle: RunBundle, folder: Path, *, tree: Path | None, kernel: GivenKernel | None
) -> Inputs:
    """What the run was given, with its files in `folder`.

    Args:
        bundle: the run.
        folder: a new folder for fragments and a bundled kernel.
        tree: the receiver's copy of the tree that the run was of.
        kernel: the receiver's copy of the kernel that the run was of.

    Raises:
        ConfigError: something isn't in the bundle and wasn't given, or was given without need.
    """
    given = bundle.inputs
    if (tree is not None) != (given.tree is not None):
        raise ConfigError(*_about_tree(bundle))
    if given.kernel is None and kernel is not None:
        raise ConfigError("a run of a built kernel", "--kernel, but the lab built its kernels")
    if given.kernel is not None and kernel is None:
        kernel = _restore_kernel(bundle, folder)
    fragments = []
    for name in given.fragments:
        path = folder / name
        path.write_bytes(bundle.files[f"{INPUTS}/{FRAGMENTS}/{name}"])
        fragments.append(path)
    return Inputs(
        series=restore_series(given, bundle.below(INPUTS)),
        tree=inspect_tree(tree).path if tree is not None else None,
        fragments=tuple(fragments),
        kernel=kernel,
        everywhere=given.everywhere,
    )


def _about_tree(bundle: RunBundle) -> tuple[str, str]:
    """What the receiver has to do about a tree, as the two halves of an error."""
    given = bundle.inputs.tree
    if given is None:
        return "a run of a tree", "--tree, but the run was of the lab's own source"
    if given.commit is None:
        return (
            f"--tree with a copy of the tree {given.name}",
            "none given; that tree was no git tree, so nobody can tell whether two are the same",
        )
    steps = [f"check out {given.commit} there"]
    steps += [
        f"apply {INPUTS}/{TREE}/{name} of {bundle.path} to it (tar -xf; git apply"
        f"{' --index' if name.startswith('tracked') else ''})"
        for name in given.patches
    ]
    return (
        f"--tree with a git tree like {given.name}: {', then '.join(steps)}",
        "none given; a whole tree isn't part of a bundle",
    )


def _restore_kernel(bundle: RunBundle, folder: Path) -> GivenKernel:
    given = bundle.inputs.kernel
    assert given is not None  # noqa: S101 - asked before
    if not bundle.has_kernel:
        raise ConfigError(
            f"--kernel with {given.name}, SHA-256 {given.image_hash}"
            + (" and --modules with its modules" if given.has_modules else ""),
            "none given, and the bundle has none",
            hint="ask for the file, or for a bundle that has it (--with-kernel)",
        )
    image = folder / "image"
    image.write_bytes(bundle.files[f"{KERNEL}/image"])
    modules = None
    for name, content in bundle.below(f"{KERNEL}/modules").items():
        modules = folder / "modules"
        path = modules / "lib" / "modules" / given.release / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    config = None
    if given.config is not None:
        config = folder / "config"
        config.write_text(given.config, encoding="utf-8")
    return read_given_kernel(image, modules, config)


def find_differences(
    bundle: RunBundle, modes: Sequence[ModePlan], inputs: Inputs, progress: Progress
) -> list[Difference]:
    """What of the lab, QEMU, kernel sources, series, compiler and fragments isn't as it was there.

    Sources are fetched, nothing is built: resolved configurations and files can't be told yet.

    Raises:
        SourceError: a source can't be had.
        ConfigError: a kernel that was asked for can't be.
    """
    cache = Cache()
    record = bundle.record
    found = [
        Difference("lab version", record.host.lab_version, __version__),
        Difference("lab code", _text(record.host.lab_hash), hash_lab()),
    ]
    qemu = identify_qemu(cache, qemu_base_of(modes), progress)
    for field in ("base", "source_version", "source_hash", "devices_hash", "compiler"):
        there = _text(getattr(record.qemu, field, None))
        found.append(Difference(f"qemu.{field}", there, _text(getattr(qemu, field))))
    choices = list(dict.fromkeys(choice_of(mode, inputs) for mode in modes))
    found.append(Difference("number of kernels", str(len(record.kernel)), str(len(choices))))
    for number, (told, choice) in enumerate(zip(record.kernel, choices, strict=False)):
        at = f"kernel[{number}]"
        if isinstance(choice, GivenKernel):
            here = hash_file(choice.image)
            found.append(Difference(f"{at}.source_hash", told.source_hash, here))
            continue
        plan = make_plan(cache, choice, progress)
        local, series = plan.local, plan.series
        facts = {
            "version": local.version if local else plan.fetched.version,
            "source_hash": plan.source_key,
            "commit": local.commit if local else None,
            "diff": local.diff if local else None,
            "series": series.hash if series else None,
            "variant": choice.variant.value,
            "compiler": plan.compiler,
        }
        found += [
            Difference(f"{at}.{field}", _text(getattr(told, field)), _text(here_value))
            for field, here_value in facts.items()
        ]
    return [difference for difference in found if difference.there != difference.here]


def _text(value: Any) -> str:
    return ABSENT if value is None else str(value)


def take_shipped_queue(bundle: RunBundle, inputs: Inputs, lab: LabFile) -> Inputs:
    """The inputs, with the bundle's copy of our own series where ours is another by now.

    Raises:
        ConfigError: a patch in the bundle is damaged.
    """
    own = inputs.series is None and inputs.tree is None and inputs.kernel is None
    plain = lab.kernel.layout is ControlLayout.V6 and not lab.kernel.driver_fixes
    wanted = [kernel for kernel in bundle.record.kernel if kernel.series is not None]
    if not (own and plain and len(wanted) == 1):
        return inputs
    (kernel,) = wanted
    if series_path(kernel.base).is_dir() and queue_of(kernel.base).hash == kernel.series:
        return inputs
    return replace(inputs, series=_shipped(bundle, kernel))


def _shipped(bundle: RunBundle, kernel: KernelIdentity) -> Series:
    files = bundle.below(f"{INPUTS}/applied/{kernel.series}")
    patches = []
    for number, told in enumerate(kernel.patches, 1):
        name = f"{number:04}.patch"
        if name not in files:
            raise ConfigError(f"{name} of the series {kernel.series}", "not in the bundle")
        patches.append(read_patch(f"{number}: {told.subject}", told.subject, files[name]))
    series = Series("the bundle", tuple(patches))
    if series.hash != kernel.series:
        raise ConfigError(f"the series {kernel.series}", series.hash, hint="get the bundle again")
    return series


# -- after it ran ------------------------------------------------------------------------------


def compare(bundle: RunBundle, folder: Path) -> Comparison:
    """The record of the bundle and that of the replay in `folder`.

    On the virtual clock every field but ``host`` has to be equal for the verdict IDENTICAL. On the
    host clock times and counts vary: only what was run and how it ended is compared.

    Raises:
        ConfigError: the replay left no record.
    """
    path = folder / RECORD
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the replay's record at {path}", str(error)) from error
    return compare_records(bundle.raw_record, json.loads(text))


def compare_records(there: dict[str, Any], here: dict[str, Any]) -> Comparison:
    """Two records as JSON has them."""
    old, new = Record.model_validate(there), Record.model_validate(here)
    differences = tuple(
        find_differing(
            {name: value for name, value in there.items() if name != _HOST},
            {name: value for name, value in here.items() if name != _HOST},
        )
    )
    for name, record in (("there", old), ("here", new)):
        missing = _why_nothing_ran(record)
        if missing is not None:
            why = f"{name} no mode ran: {missing}"
            return Comparison(Verdict.NOTHING_RAN, differences, why)
    clocks = {old.clock, new.clock}
    if clocks == {Clock.VIRTUAL.value}:
        verdict = Verdict.DIFFERENT if differences else Verdict.IDENTICAL
        return Comparison(verdict, differences)
    counted = _endings(old) != _endings(new) or len(clocks) > 1
    why = "on the host clock times and counts vary: only what ran and how it ended is compared"
    if counted:
        return Comparison(Verdict.DIFFERENT, differences, why)
    return Comparison(Verdict.SAME_OUTCOMES, (), why)


def _why_nothing_ran(record: Record) -> str | None:
    """Why a record has nothing that could be compared; None where a guest ran.

    Two ERRORs of guests that never came up are as equal as any two, and say nothing.
    """
    if record.error is not None or not record.modes:
        return record.error or "the record has none"
    if any(mode.outcome is not Outcome.ERROR or mode.booted for mode in record.modes):
        return None
    return "; ".join(
        f"{mode.name}: {' '.join((mode.error or 'no guest came up').split())}"
        for mode in record.modes
    )


def _endings(record: Record) -> Any:
    """What ran and how it ended, without a figure."""
    return (
        record.experiment,
        record.experiment_hash,
        record.parameters,
        record.qemu,
        record.kernel,
        [
            (
                *(mode.name, mode.outcome, mode.kernel, mode.boot, mode.machine),
                *((check.name, check.held) for check in mode.checks),
            )
            for mode in record.modes
        ],
    )


def find_differing(there: Any, here: Any, at: str = "") -> list[Difference]:
    """Every leaf of two JSON values that isn't equal, kinds included: 1, 1.0 and true differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in [*there, *(key for key in here if key not in there)]:
            place = f"{at}.{key}" if at else str(key)
            if key not in there or key not in here:
                found.append(
                    Difference(place, _json(there, key), _json(here, key)),
                )
            else:
                found += find_differing(there[key], here[key], place)
        return found
    if isinstance(there, list) and isinstance(here, list):
        found = []
        for number in range(max(len(there), len(here))):
            place = f"{at}[{_name_of(there, here, number)}]"
            if number >= len(there) or number >= len(here):
                found.append(Difference(place, _item(there, number), _item(here, number)))
            else:
                found += find_differing(there[number], here[number], place)
        return found
    if type(there) is type(here) and there == here:
        return []
    return [Difference(at, json.dumps(there), json.dumps(here))]


def _name_of(there: list[Any], here: list[Any], number: int) -> str:
    """A number, or the name that both items have: modes[dma] says more than modes[1]."""
    names = {
        item[number]["name"]
        for item in (there, here)
        if number < len(item) and isinstance(item[number], dict) and "name" in item[number]
    }
    return str(names.pop()) if len(names) == 1 else str(number)


def _json(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else ABSENT


def _item(values: list[Any], number: int) -> str:
    return json.dumps(values[number]) if number < len(values) else ABSENT


def differing_options(bundle: RunBundle, folder: Path) -> list[Difference]:
    """Lines of the modes' resolved kernel configurations that differ, each once."""
    found: dict[str, Difference] = {}
    for mode in bundle.record.modes:
        name = f"{MODES}/{mode_folder_name(mode.name)}/kernel.config"
        here = folder / name
        if name not in bundle.files or not here.is_file():
            continue
        old = parse_config(bundle.files[name].decode("utf-8", errors="replace"))
        new = parse_config(here.read_text(encoding="utf-8", errors="replace"))
        for symbol in sorted({*old, *new}):
            if old.get(symbol) != new.get(symbol):
                found[symbol] = Difference(symbol, _text(old.get(symbol)), _text(new.get(symbol)))
    return list(found.values())
