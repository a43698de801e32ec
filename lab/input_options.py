# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that several verbs share: what a user brings (series, tree or kernel), and how to run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SeriesOption = Annotated[
    str | None,
    typer.Option(
        "--series",
        metavar="PATH|REPO:A..B",
        help="Patches instead of the lab's own: an mbox, a folder of patches, or commits.",
    ),
]
SeriesVersionOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Which version, where the mbox holds several.", show_default="the newest"
    ),
]
TreeOption = Annotated[
    Path | None,
    typer.Option(
        help="A kernel source tree instead of the base; never written into. Without --series it "
        "boots in every mode as it is."
    ),
]
FragmentOption = Annotated[
    list[Path] | None,
    typer.Option("--fragment", help="Configuration lines on top; may be repeated."),
]
KernelOption = Annotated[
    Path | None,
    typer.Option("--kernel", help="A built bzImage or vmlinux, which boots in every mode."),
]
ModulesOption = Annotated[
    Path | None, typer.Option("--modules", help="Where the modules of --kernel are installed.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration of --kernel.", show_default="the one inside it"),
]
FreshOption = Annotated[
    bool,
    typer.Option(
        "--fresh", help="Boot each guest, instead of restoring it from the state of a boot."
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Modes at once.",
        show_default="CPUs, at most 2; one more rather than leave the last mode alone",
    ),
]
