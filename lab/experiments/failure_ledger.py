# SPDX-License-Identifier: GPL-2.0-or-later
"""Where known bugs of the stock drivers show in the experiment ``failures``.

Every id has an entry in docs/known-bugs.md, with reason, evidence and how to tell that it is fixed.
"""

from __future__ import annotations

from lab.experiments.ledger import Deviation

EXPERIMENT = "failures"
# Told that a copy succeeded which was never made: the folio counts as copied and is wrong.
_ERROR = ("ptdma-error-as-success", EXPERIMENT, "*-error-*")

DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(*_ERROR, "*: contents", r" [1-9][\d,]* wrong"),
    Deviation(*_ERROR, "*: dcbm", r"^0 failed, 0 of "),
    Deviation(*_ERROR, "*: engines", r" [1-9][\d,]* errors$"),
)
