# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run was given, kept in its folder so that it can be run again elsewhere.

Layout, below the run folder::

    inputs/inputs.json    everything that is text: experiment, parameters, lab file, faults, …
    inputs/series/        the series that was given, patch by patch
    inputs/applied/HASH/  the patches of each kernel that was built, our own among them
    inputs/fragments/     configuration fragments that were given
    inputs/tree/          what a git tree had on top of its HEAD, as patches
    inputs/experiment.py  the experiment, where it is a user's file
    inputs/places.json    where a built kernel lies on this host; never leaves it
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from lab.build.inputs import Inputs
from lab.build.local_changes import write_changes
from lab.build.local_tree import inspect_tree
from lab.build.series import Series
from lab.build.series_file import read_patch, write_series
from lab.cache import hash_file
from lab.config import NOT_OF_THE_MACHINE, LabFile
from lab.errors import ConfigError
from lab.experiments.base import Experiment, Fault, Parameters
from lab.run_mode import RunOptions

SCHEMA = "dcbm-lab/inputs/1"
INPUTS_FILE = "inputs.json"
PLACES_FILE = "places.json"
EXPERIMENT_FILE = "experiment.py"
SERIES, FRAGMENTS, TREE = "series", "fragments", "tree"
# These become parts of paths where somebody else's bundle is read.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Release = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+~-]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GivenPatch(_Model):
    """A patch of a series that was given; `file` is below ``inputs/series``."""

    file: FileName
    name: str
    subject: str
    patch_id: str
    remark: str | None = None


class GivenSeries(_Model):
    """A series that was given with ``--series``."""

    origin: str
    hash: str
    base_commit: str | None = None
    prerequisites: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    patches: list[GivenPatch]


class GivenTree(_Model):
    """A tree that was given with ``--tree``; `patches` are below ``inputs/tree``, in order."""

    name: str
    commit: str | None
    diff: str | None
    patches: list[FileName] = Field(default_factory=list)


class GivenImage(_Model):
    """A built kernel that was given with ``--kernel``; hashes are SHA-256."""

    name: str
    image_hash: str
    release: Release
    config: str | None = None
    has_modules: bool = False


class RunInputs(_Model):
    """Everything that a run was given.

    `lab_file` has what was said and nothing else: an experiment may tell a value that was given
    from one that nobody chose. Every value, resolved, is in the record.
    """

    schema_: str = Field(default=SCHEMA, alias="schema")
    experiment: str
    experiment_hash: str | None = None
    lab_file: dict[str, Any]
    parameters: dict[str, Any]
    modes: list[str]
    faults: list[dict[str, int | str | bool]]
    quick: bool
    timeout_s: float | None
    everywhere: bool = False
    series: GivenSeries | None = None
    tree: GivenTree | None = None
    fragments: list[FileName] = Field(default_factory=list)
    kernel: GivenImage | None = None

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def lab(self) -> LabFile:
        """The lab file; raises pydantic's ValidationError if it isn't one."""
        return LabFile.model_validate(self.lab_file)

    def fault_list(self) -> tuple[Fault, ...]:
        """The faults; raises KeyError if one has no device or kind."""
        found = []
        for fault in self.faults:
            arguments = dict(fault)
            device, kind = arguments.pop("device"), arguments.pop("kind")
            found.append(Fault(str(device), str(kind), arguments))
        return tuple(found)


def keep_inputs(
    folder: Path,
    experiment: Experiment[Any, Any],
    lab: LabFile,
    parameters: Parameters,
    *,
    options: RunOptions,
    inputs: Inputs,
) -> RunInputs:
    """Keep what a run is given below `folder`, before anything is built.

    Raises:
        ConfigError: the tree that was given can't be read any more.
        OSError: something can't be copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = RunInputs(
        experiment=experiment.name,
        experiment_hash=_keep_experiment(folder, experiment),
        lab_file=lab.model_dump(mode="json", exclude_unset=True, exclude=set(NOT_OF_THE_MACHINE)),
        parameters=parameters.model_dump(mode="json"),
        modes=list(options.only),
        faults=[
            {"device": fault.device, "kind": fault.kind, **fault.arguments}
            for fault in options.faults
        ],
        quick=options.quick,
        timeout_s=options.program_timeout_s,
        everywhere=inputs.everywhere,
        series=_keep_series(folder / SERIES, inputs.series),
        tree=_keep_tree(folder / TREE, inputs.tree),
        fragments=_keep_fragments(folder / FRAGMENTS, inputs.fragments),
        kernel=_keep_kernel(folder, inputs),
    )
    text = kept.model_dump_json(by_alias=True, indent=2) + "\n"
    (folder / INPUTS_FILE).write_text(text, encoding="utf-8")
    return kept


def _keep_experiment(folder: Path, experiment: Experiment[Any, Any]) -> str | None:
    if experiment.file is None:
        return None
    shutil.copyfile(experiment.file, folder / EXPERIMENT_FILE)
    return hash_file(folder / EXPERIMENT_FILE)


def _keep_series(folder: Path, series: Series | None) -> GivenSeries | None:
    if series is None:
        return None
    names = write_series(series, folder)
    return GivenSeries(
        origin=series.origin,
        hash=series.hash,
        base_commit=series.base_commit,
        prerequisites=list(series.prerequisites),
        notes=list(series.notes),
        patches=[
            GivenPatch(
                file=name,
                name=patch.name,
                subject=patch.subject,
                patch_id=patch.patch_id,
                remark=patch.remark,
            )
            for name, patch in zip(names, series.patches, strict=True)
        ],
    )


def _keep_tree(folder: Path, path: Path | None) -> GivenTree | None:
    if path is None:
        return None
    tree = inspect_tree(path)
    patches = write_changes(tree, folder) if tree.diff is not None else []
    return GivenTree(name=path.name, commit=tree.commit, diff=tree.diff, patches=patches)


def _keep_fragments(folder: Path, fragments: tuple[Path, ...]) -> list[str]:
    names = []
    for number, path in enumerate(fragments, 1):
        folder.mkdir(exist_ok=True)
        names.append(f"{number:02}.config")
        shutil.copyfile(path, folder / names[-1])
    return names


def _keep_kernel(folder: Path, inputs: Inputs) -> GivenImage | None:
    given = inputs.kernel
    if given is None:
        return None
    places = {"image": str(given.image), "modules": str(given.modules) if given.modules else None}
    (folder / PLACES_FILE).write_text(json.dumps(places) + "\n", encoding="utf-8")
    return GivenImage(
        name=given.image.name,
        image_hash=hash_file(given.image),
        release=given.facts.release,
        config=given.config,
        has_modules=given.modules is not None,
    )


def restore_series(kept: RunInputs, files: Mapping[str, bytes]) -> Series | None:
    """The series that a run was given, from its kept files by name below ``inputs``.

    Raises:
        ConfigError: a patch is missing, damaged, or not the one that was given.
    """
    given = kept.series
    if given is None:
        return None
    patches = []
    for entry in given.patches:
        content = files.get(f"{SERIES}/{entry.file}")
        if content is None:
            raise ConfigError("every patch of the series", f"no {entry.file}", hint=_AGAIN)
        patch = read_patch(entry.name, entry.subject, content, remark=entry.remark)
        patches.append(replace(patch, name=entry.name))
    series = Series(
        given.origin,
        tuple(patches),
        given.base_commit,
        tuple(given.prerequisites),
        notes=tuple(given.notes),
    )
    ids = [patch.patch_id for patch in patches]
    if series.hash != given.hash or ids != [entry.patch_id for entry in given.patches]:
        raise ConfigError(f"the series {given.hash[:12]}", f"{series.hash[:12]}", hint=_AGAIN)
    return series


_AGAIN = "get the bundle again from whoever made it"
