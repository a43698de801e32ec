# SPDX-License-Identifier: GPL-2.0-or-later
"""A run in one file: everything that somebody else needs to run the same and to compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lab.archive_file import read_archive, write_archive
from lab.cache import hash_file
from lab.config import LabFile
from lab.errors import ConfigError
from lab.results import Record
from lab.run_folder import INPUTS, MODES, RECORD
from lab.run_inputs import (
    EXPERIMENT_FILE,
    FRAGMENTS,
    INPUTS_FILE,
    PLACES_FILE,
    TREE,
    RunInputs,
    restore_series,
)
from lab.run_mode import machine_facts

SUFFIX = ".tar.xz"
LAB_FILE = "lab-file.toml"
KERNEL = "kernel"
_MODE_FILES = ("kernel.config", "qemu-argv.txt")
_AGAIN = "get the bundle again from whoever made it"


@dataclass(frozen=True)
class RunBundle:
    """A bundle that was read, whole and consistent.

    Attributes:
        path: where it was read.
        record: of the run.
        raw_record: the same, as JSON has it.
        inputs: what the run was given.
        files: every file by its name in the bundle.
    """

    path: Path
    record: Record
    raw_record: dict[str, Any]
    inputs: RunInputs
    files: Mapping[str, bytes]

    def below(self, folder: str) -> dict[str, bytes]:
        """The files below a folder, by their names there."""
        start = f"{folder}/"
        return {
            name.removeprefix(start): content
            for name, content in self.files.items()
            if name.startswith(start)
        }

    @property
    def has_kernel(self) -> bool:
        """Whether the built kernel that was given is in it."""
        return f"{KERNEL}/image" in self.files


def bundle_run(folder: Path, path: Path, *, kernel: bool, overwrite: bool) -> RunBundle:
    """Write the bundle of a finished run, and return it as it reads.

    Args:
        folder: the run's.
        path: the bundle's file.
        kernel: take a built kernel that was given, and the modules that the run had, into it.
        overwrite: whether a file that is there is replaced.

    Raises:
        ConfigError: no finished run, or something of it is gone or was changed.
        HostError: the file can't be written.
    """
    files = _collect(folder)
    bundle = _open(folder, files)
    if kernel:
        files |= _collect_kernel(folder, bundle.inputs)
    files[LAB_FILE] = lab_file_text(bundle).encode()
    write_archive(files, path, overwrite=overwrite)
    return read_bundle(path)


def read_bundle(path: Path) -> RunBundle:
    """Read a bundle.

    Raises:
        ConfigError: it is damaged, hostile, or its parts contradict each other.
    """
    return _open(path, read_archive(path))


def _collect(folder: Path) -> dict[str, bytes]:
    """What of a run folder goes into every bundle."""
    awaited = f"a finished run in {folder}"
    wanted = [folder / RECORD, folder / INPUTS / INPUTS_FILE]
    missing = [path for path in wanted if not path.is_file()]
    if missing:
        raise ConfigError(
            awaited,
            f"no {missing[0].relative_to(folder)}",
            hint="an interrupted run can't be bundled, nor one of an older lab: run it again",
        )
    paths = [*wanted[:1], *sorted((folder / INPUTS).rglob("*"))]
    paths += [path for name in _MODE_FILES for path in sorted((folder / MODES).glob(f"*/{name}"))]
    try:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in paths
            if path.is_file() and not path.is_symlink() and path.name != PLACES_FILE
        }
    except OSError as error:
        raise ConfigError(awaited, str(error), hint="check who may read it") from error


def _open(at: Path, files: Mapping[str, bytes]) -> RunBundle:
    """The bundle made of these files, if they belong together."""
    awaited = f"a run's record and inputs in {at}"
    try:
        raw = json.loads(files[RECORD])
        record = Record.model_validate(raw)
        inputs = RunInputs.model_validate_json(files[f"{INPUTS}/{INPUTS_FILE}"])
        lab = inputs.lab()
        inputs.fault_list()
    except KeyError as error:
        raise ConfigError(awaited, f"no {error}", hint=_AGAIN) from error
    except (ValidationError, ValueError, RecursionError) as error:
        raise ConfigError(
            awaited,
            " ".join(str(error).split())[:300],
            hint="was it made by another version of the lab?",
        ) from error
    bundle = RunBundle(at, record, raw, inputs, files)
    _assert_consistent(bundle, lab, awaited)
    return bundle


def _assert_consistent(bundle: RunBundle, lab: LabFile, awaited: str) -> None:
    """Refuse inputs that aren't those of the record: a replay of others compares nothing."""
    inputs, told = bundle.inputs, bundle.record.parameters
    below = bundle.below(INPUTS)
    expected: dict[str, tuple[Any, Any]] = {
        "experiment": (inputs.experiment, bundle.record.experiment),
        "experiment_hash": (inputs.experiment_hash, bundle.record.experiment_hash),
        "lab_file": (machine_facts(lab), told.get("lab_file")),
        "parameters": (inputs.parameters, told.get(inputs.experiment)),
        "only": (inputs.modes, told.get("only")),
        "quick": (inputs.quick, told.get("quick")),
        "faults": (inputs.faults, told.get("faults")),
    }
    wrong = [name for name, (given, recorded) in expected.items() if given != recorded]
    missing = [f"{FRAGMENTS}/{name}" for name in inputs.fragments]
    missing += [f"{TREE}/{name}" for name in inputs.tree.patches] if inputs.tree else []
    missing += [EXPERIMENT_FILE] if inputs.experiment_hash is not None else []
    wrong += [name for name in missing if name not in below]
    if inputs.tree is not None:
        trees = [kernel for kernel in bundle.record.kernel if kernel.base == "tree"]
        wrong += ["tree" for kernel in trees if kernel.diff != inputs.tree.diff][:1]
    if inputs.kernel is not None:
        images = [kernel for kernel in bundle.record.kernel if kernel.base == "given"]
        wrong += ["kernel" for image in images if image.source_hash != inputs.kernel.image_hash][:1]
    if wrong:
        raise ConfigError(
            awaited,
            f"inputs that aren't those of the record, or are missing: {', '.join(wrong)}",
            hint="a file of the run was changed or removed, or the tree while the run began; "
            "run it again",
        )
    restore_series(inputs, below)


def _collect_kernel(folder: Path, inputs: RunInputs) -> dict[str, bytes]:
    """The built kernel that a run was given, and the index and files of its modules."""
    if inputs.kernel is None:
        raise ConfigError(
            "a run of a built kernel, to take into the bundle",
            "its kernels were built by the lab",
            hint="leave --with-kernel out",
        )
    try:
        places = json.loads((folder / INPUTS / PLACES_FILE).read_text(encoding="utf-8"))
        image = Path(places["image"])
        if hash_file(image) != inputs.kernel.image_hash:
            raise ConfigError(
                f"the kernel that ran, {image}",
                "another one by now",
                hint="run it again, or leave --with-kernel out",
            )
        files = {f"{KERNEL}/image": image.read_bytes()}
        if places["modules"] is not None:
            modules = Path(places["modules"])
            files |= {
                f"{KERNEL}/modules/{path.relative_to(modules).as_posix()}": path.read_bytes()
                for path in sorted(modules.rglob("*"))
                if path.is_file() and not path.is_symlink()
            }
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            "the built kernel that ran", str(error), hint="leave --with-kernel out"
        ) from error
    return files


def lab_file_text(bundle: RunBundle) -> str:
    """A lab file (TOML) with every value of the run, for people and for runs of their own."""
    facts = bundle.record.parameters["lab_file"]
    lines = [
        "# Every value that this run had. A replay reads inputs/inputs.json instead, which tells",
        "# what was chosen from what nobody said.",
        f"clock = {_toml(facts['clock'])}",
    ]
    for section, values in facts.items():
        if isinstance(values, dict):
            lines += ["", f"[{section}]", *_assignments(values)]
    given = bundle.record.parameters.get(bundle.inputs.experiment)
    if bundle.inputs.experiment_hash is None and isinstance(given, dict):
        lines += ["", f"[experiment.{bundle.inputs.experiment}]", *_assignments(given)]
    return "\n".join(lines) + "\n"


def _assignments(values: Mapping[str, Any]) -> list[str]:
    # TOML has no null: such a value is one that nobody chose
    return [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(_assignments(value)) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
