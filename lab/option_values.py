# SPDX-License-Identifier: GPL-2.0-or-later
"""What options of the command line can be, apart from the models, whose import takes a while."""

from __future__ import annotations

from enum import StrEnum

MAX_ENGINES = 16
# Where a guest has the folder that --share gives.
SHARE = "/share"


class Clock(StrEnum):
    """What time a guest sees: instructions executed, or the host's."""

    VIRTUAL = "virtual"
    HOST = "host"


class Format(StrEnum):
    """What a record can be turned into."""

    TABLE = "table"
    HTML = "html"
    JUNIT = "junit"
    KTAP = "ktap"
    JSON = "json"
    COVERAGE = "coverage"
