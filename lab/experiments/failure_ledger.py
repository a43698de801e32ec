# SPDX-License-Identifier: GPL-2.0-or-later
"""Where known bugs of the stock drivers show in the experiment ``failures``.

Every id has an entry in docs/known-bugs.md, with reason, evidence and how to tell that it is fixed.
"""

from __future__ import annotations

from lab.experiments.ledger import Deviation

EXPERIMENT = "failures"
# The attempts of a scenario that plays all positions; what comes after them is sound.
_STRUCK = "(first|middle|last|every)"
# Told that a copy succeeded which was never made: the folio counts as copied and is wrong.
_ERROR = ("ptdma-error-as-success", EXPERIMENT, "*-error-*")
_COMPACTED = ("ptdma-error-as-success", EXPERIMENT, "compaction-error-*")

DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(*_ERROR, rf"{_STRUCK}: contents", r" [1-9][\d,]* wrong"),
    Deviation(*_ERROR, rf"{_STRUCK}: dcbm", r"^0 failed, 0 of "),
    Deviation(*_ERROR, rf"{_STRUCK}: engines", r" [1-9][\d,]* errors$"),
    Deviation(*_COMPACTED, "kept pages: contents", r" [1-9][\d,]* wrong"),
)
