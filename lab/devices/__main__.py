# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m lab.devices fuzz|coverage``: what the Makefile's targets of these names run."""

from __future__ import annotations

import argparse
import sys

from lab.cache import Cache
from lab.devices import coverage, fuzzing
from lab.errors import LabError
from lab.progress import open_progress


def _seconds(text: str) -> float:
    value = float(text)
    if not value >= 1:
        raise argparse.ArgumentTypeError("to be at least 1")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run a verb; returns the exit status: 0, or 1 after a finding or too little coverage."""
    parser = argparse.ArgumentParser(prog="python -m lab.devices", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    fuzz = verbs.add_parser("fuzz", help="fuzz the device models")
    fuzz.add_argument("--seconds", type=_seconds, required=True, help="of host time, for all")
    fuzz.add_argument("--target", choices=fuzzing.list_targets(), action="append")
    verbs.add_parser("coverage", help="lines of the device models that the tests run")
    given = parser.parse_args(arguments)
    cache, progress = Cache(), open_progress()
    try:
        if given.verb == "fuzz":
            targets = tuple(given.target or fuzzing.list_targets())
            fuzzing.fuzz(cache, progress, given.seconds, targets)
            print(f"no finding in {given.seconds:g} s of {', '.join(targets)}")
            return 0
        files = coverage.measure(cache, progress)
    except LabError as error:
        print(f"{type(error).__name__}\n{error}", file=sys.stderr)
        return 1
    print(coverage.show(files))
    if coverage.percent(files) < coverage.WANTED_PERCENT:
        print(f"below {coverage.WANTED_PERCENT:g} %", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
