# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels of the variant ``gcov``: which objects count their lines, and what reads the counters.

kbuild takes ``GCOV_PROFILE_<object>.o`` from make's command line as from a Makefile
(scripts/Makefile.lib), so no source is changed. Of the finished build the compiler's notes are kept
(``.gcno``: what the counters of an object belong to), and which lines each patch added.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from lab.build.kernel_plan import KernelPlan
from lab.build.merge import added_lines
from lab.build.series import Series
from lab.config import Variant
from lab.errors import BuildError

NOTES = "coverage"
PATCHES = "patches.json"
# What the copy offload runs through, whatever the series. kbuild knows objects by their bare names.
PROFILED = (
    *("migrate", "migrate_offload", "compaction", "dcbm"),
    *("ptdma-dev", "ptdma-dmaengine", "ptdma-pci", "ptdma-debugfs"),
    *("ae4dma-dev", "ae4dma-pci"),
)
_DIRECTORY = "dcbm-lab"
_COUNTED = {".c", ".h"}


def profiled_objects(series: Series | None) -> tuple[str, ...]:
    """Bare names of the objects that count: the usual ones and all that the series touches."""
    touched = (
        PurePosixPath(path) for patch in (series.patches if series else ()) for path in patch.paths
    )
    return tuple(dict.fromkeys((*PROFILED, *(at.stem for at in touched if at.suffix == ".c"))))


def profiling_arguments(plan: KernelPlan, out: Path) -> list[str]:
    """What make is told beside its targets; nothing for other variants.

    Counters would be filed under the object's absolute path, which is in the object then; these
    options file them under a name that is the same on every host. The rest of ``CFLAGS_GCOV`` is
    the kernel's own, with atomic counters on every base: others get lost between two CPUs.
    """
    if plan.choice.variant is not Variant.GCOV:
        return []
    flags = (
        *("-fprofile-arcs", "-ftest-coverage", "-fno-tree-loop-im"),
        "-fprofile-update=prefer-atomic",
        *(f"-fprofile-dir={_DIRECTORY}", f"-fprofile-prefix-path={out}"),
    )
    chosen = [f"GCOV_PROFILE_{name}.o=y" for name in profiled_objects(plan.series)]
    return [*chosen, f"CFLAGS_GCOV={' '.join(flags)}"]


def keep_notes(
    plan: KernelPlan, out: Path, directory: Path, label: str, others: Mapping[str, Path]
) -> None:
    """Keep what turns counters into lines, of a finished build of this variant.

    Args:
        plan: the kernel.
        out: its output directory.
        directory: the artifact; it gets the folder `NOTES`.
        label: the base's name for messages.
        others: pristine sources of other bases, as for `lab.build.merge.apply_series`.

    Raises:
        BuildError: no object of the build counts.
    """
    if plan.choice.variant is not Variant.GCOV:
        return
    notes = directory / NOTES
    notes.mkdir()
    names = set(profiled_objects(plan.series))
    found = [path for path in sorted(out.rglob("*.gcno")) if path.stem in names]
    if not found:
        raise BuildError(
            "notes of the compiler (.gcno) for the profiled objects",
            f"none below {out}",
            hint="is CONFIG_GCOV_KERNEL in the configuration?",
        )
    for path in found:
        kept = notes / path.relative_to(out)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, kept)
    text = json.dumps(_patches(plan, out.parent, label, others))
    (notes / PATCHES).write_text(text, encoding="utf-8")


def _patches(
    plan: KernelPlan, tree: Path, label: str, others: Mapping[str, Path]
) -> list[dict[str, object]]:
    """For each patch its subject, and number and text of each line of C that it added."""
    if plan.series is None:
        return []
    found = added_lines(plan.series, tree.with_name("vanilla"), label=label, others=others)
    texts = {
        path: (tree / path).read_text(encoding="utf-8", errors="replace").split("\n")
        for lines in found
        for path in lines
        if PurePosixPath(path).suffix in _COUNTED
    }
    return [
        {
            "subject": patch.subject,
            "files": {
                path: {number: texts[path][number - 1] for number in numbers}
                for path, numbers in lines.items()
                if path in texts
            },
        }
        for patch, lines in zip(plan.series.patches, found, strict=True)
    ]
