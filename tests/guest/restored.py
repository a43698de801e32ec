# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests as users have them: restored from the state of an earlier boot, where there is one."""

from __future__ import annotations

from functools import partial

from lab.boot_states import BootStates
from lab.cache import Cache
from lab.machine import session

boot = partial(session.boot, states=BootStates(Cache()))
