# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests as users have them: restored from the state of an earlier boot, where there is one."""

from __future__ import annotations

from functools import partial

from lab import machine
from lab.boot_states import BootStates
from lab.cache import Cache

boot = partial(machine.boot, states=BootStates(Cache()))
