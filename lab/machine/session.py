# SPDX-License-Identifier: GPL-2.0-or-later
"""From a machine's description to a guest that answers, and to its end in every case."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.config import Clock
from lab.errors import GuestLost, MachineError
from lab.machine import health
from lab.machine.argv import BootFiles, MachineSpec
from lab.machine.deadline import Deadline
from lab.machine.guest import CHANNEL_LOG, Guest
from lab.machine.machine import Machine
from lab.machine.saved_state import SavedState, StatePlace, States


@contextmanager
def boot(  # noqa: PLR0917 - what a machine is made of, in the order of its making
    spec: MachineSpec,
    files: BootFiles,
    run_dir: Path,
    clock: Clock,
    deadline: Deadline | float,
    command_line: Sequence[str] = (),
    *,
    fatal: frozenset[health.Kind] = health.FATAL,
    on_start: Callable[[Guest], None] = lambda _guest: None,
    states: States | None = None,
    checkpoint: str = "",
) -> Iterator[Guest]:
    """Boot a guest, give it to the caller, and end it in every case.

    Leaving normally powers the guest off and looks at its console once more; leaving by an
    exception kills it. `run_dir` keeps the logs. `deadline` bounds the whole session, in seconds
    of host time. `fatal` are the reports of the guest's kernel that end the run as a crash.
    `on_start` gets the guest before it boots, so that another thread can abort the boot as well.

    With `states` the guest is restored from the state of an earlier boot of the same machine, or
    its state is kept after the boot. With the name of a `checkpoint` it is restored from there, if
    another has been there: see `Guest.reach_checkpoint`. On the virtual clock the guest can't tell
    which.

    Raises:
        MachineError: QEMU did not start, or the machine is not the one asked for.
        GuestCrash, GuestTimeout, GuestLost: the guest's end, at boot or later.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    end = Deadline.of(deadline)
    with contextlib.ExitStack() as stack:

        def start(state: SavedState | None) -> Guest:
            log = stack.enter_context((run_dir / CHANNEL_LOG).open("w", encoding="utf-8"))
            machine = stack.enter_context(
                Machine(spec, files, run_dir.absolute(), clock, command_line, state=state)
            )
            guest = Guest(machine, log, end, system_map=files.system_map, fatal=fatal)
            on_start(guest)
            return guest

        boot_place = point_place = None
        if states is not None:
            boot_place = states.of(spec, files, clock, command_line)
        if states is not None and checkpoint:
            point_place = states.of(spec, files, clock, command_line, checkpoint)

        def restore(place: StatePlace | None) -> Guest | None:
            if place is None:
                return None
            with place.in_use():  # until QEMU has read it
                saved = place.find()
                if saved is None:
                    return None
                try:
                    guest = start(saved)
                    guest.restore(saved)
                except (MachineError, GuestLost, OSError, ValueError) as error:
                    # Whole by its hashes, and still of no use: a boot shows whether that is QEMU's.
                    stack.close()
                    place.discard(error)
                    return None
                return guest

        guest = restore(point_place) or restore(boot_place)
        if guest is None:
            guest = start(None)
            guest.await_agent(end)
            if boot_place is not None:
                boot_place.keep(guest.save)
        guest.checkpoint_place = point_place
        yield guest
        guest.poweroff()
