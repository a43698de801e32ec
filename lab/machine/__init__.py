# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine under test: its command line, its process, and the session with its guest."""

from lab.machine.argv import BootFiles, MachineSpec
from lab.machine.deadline import Deadline
from lab.machine.engines import EngineCounters, EngineView
from lab.machine.guest import Guest
from lab.machine.jobs import GuestFileError, Job, JobResult
from lab.machine.session import boot

__all__ = [
    "BootFiles",
    "Deadline",
    "EngineCounters",
    "EngineView",
    "Guest",
    "GuestFileError",
    "Job",
    "JobResult",
    "MachineSpec",
    "boot",
]
