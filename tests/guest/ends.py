# SPDX-License-Identifier: GPL-2.0-or-later
"""An experiment whose guest ends as it is told, for real; run by its path like any user's own."""

from __future__ import annotations

import os
import signal
from typing import Literal

from lab.config import LabFile
from lab.experiments.base import Experiment, ModePlan, Parameters, Session
from lab.results import Check


class EndsParameters(Parameters):
    """How the guest is to end."""

    end: Literal["well", "panic", "oops", "hang", "killed", "waits"] = "well"


def plan(lab: LabFile, _parameters: EndsParameters) -> list[ModePlan]:
    """One mode."""
    return [ModePlan("only", "ends as told", patched=False, machine=lab)]


def run(session: Session[ModePlan, EndsParameters]) -> None:
    """Bring the end about."""
    guest = session.guest
    session.findings.check(Check(name="booted", held=True, awaited="a guest", seen=guest.release))
    match session.parameters.end:
        case "panic":
            guest.write("/proc/sysrq-trigger", "c")
        case "oops":
            guest.load_module("lkdtm")
            guest.write("/sys/kernel/debug/provoke-crash/DIRECT", "EXCEPTION")
        case "hang":
            spin = ["/bin/busybox", "sh", "-c", "while :; do :; done"]
            guest.run(spin, timeout_s=session.program_timeout_s)
        case "waits":
            guest.run(["/bin/busybox", "sh", "-c", "while :; do :; done"], timeout_s=600)
        case "killed":
            os.kill(guest.machine.pid, signal.SIGKILL)
            guest.read("/proc/version")
        case "well":
            pass


EXPERIMENT: Experiment[ModePlan, EndsParameters] = Experiment(
    name="ends",
    purpose="ends as told",
    parameters=EndsParameters,
    plan=plan,
    run=run,
)
