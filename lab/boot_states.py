# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps the states of booted machines in the cache: made at the first boot, restored after that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from lab.cache import Cache, hash_file, make_key
from lab.config import Clock
from lab.errors import CacheError, GuestLost, LabError
from lab.machine.argv import BootFiles, MachineSpec, build_argv
from lab.machine.saved_state import SavedState
from lab.progress import Progress, SilentProgress

KIND = "state"
# On disk: a machine that has booted takes 80 MiB, one with a full node 800.
LIMIT_BYTES = 6 << 30
# Changes whenever what is saved, or when, is another.
_FORMAT = "1"
# What stands for the two sockets that QEMU inherits, whose numbers differ from run to run.
_QMP_FD, _MAILBOX_FD = -1, -2


def argv_without_paths(
    spec: MachineSpec, files: BootFiles, clock: Clock, command_line: Sequence[str]
) -> list[str]:
    """QEMU's command line for a machine, the same wherever the same machine boots."""
    named = replace(
        files,
        qemu=Path("<qemu>"),
        firmware_dirs=tuple(
            Path(f"<firmware {number}>") for number, _ in enumerate(files.firmware_dirs, 1)
        ),
        vmlinux=Path("<vmlinux>"),
        initramfs=Path("<initramfs>"),
    )
    return build_argv(
        spec, named, clock, qmp_fd=_QMP_FD, mailbox_fd=_MAILBOX_FD, command_line=command_line
    )


def state_key(
    spec: MachineSpec,
    files: BootFiles,
    clock: Clock,
    command_line: Sequence[str],
    hash_of: Callable[[Path], str] = hash_file,
) -> str:
    """Key of a machine's state right after its boot, from all that decides it.

    That is QEMU and its firmware (in folders that are named by content), kernel, initramfs, and
    QEMU's command line: the machine, its clock and the kernel's command line.
    """
    return make_key(
        format=_FORMAT,
        qemu=hash_of(files.qemu),
        firmware=" ".join(str(folder) for folder in files.firmware_dirs),
        kernel=hash_of(files.vmlinux),
        initramfs=hash_of(files.initramfs),
        argv="\0".join(argv_without_paths(spec, files, clock, command_line)),
    )


@dataclass(frozen=True)
class BootState:
    """The place of one machine's state in the cache.

    Attributes:
        cache: where it is kept.
        key: see `state_key`.
        title: for people.
        progress: takes warnings.
    """

    cache: Cache
    key: str
    title: str
    progress: Progress

    def in_use(self) -> AbstractContextManager[None]:
        """Keep the state from being removed to make room, until the context ends."""
        return self.cache.in_use(KIND, self.key)

    def find(self) -> SavedState | None:
        """The state, whole, or None."""
        found = self.cache.find(KIND, self.key, self.progress)
        return SavedState(found) if found is not None else None

    def keep(self, save: Callable[[Path], None]) -> None:
        """Keep what `save` writes; what keeps it from being kept is a warning.

        Raises:
            GuestLost: the machine went away meanwhile.
        """
        try:
            self.cache.entry(KIND, self.key, save, title=self.title, progress=self.progress)
            self.cache.keep_within(KIND, LIMIT_BYTES)
        except GuestLost:
            raise
        except (LabError, OSError) as error:
            self.progress.warn(f"the state of {self.title} isn't kept, so each run boots: {error}")

    def discard(self, error: Exception) -> None:
        """Remove a state that could not be restored, and say so."""
        self.progress.warn(f"the state of {self.title} can't be restored, so it boots: {error}")
        with contextlib.suppress(OSError, CacheError):
            self.cache.remove(KIND, self.key)


class BootStates:
    """The states of all machines that booted with this cache."""

    def __init__(self, cache: Cache, progress: Progress | None = None) -> None:
        self._cache = cache
        self._progress = progress or SilentProgress()

    def of(
        self,
        spec: MachineSpec,
        files: BootFiles,
        clock: Clock,
        command_line: Sequence[str],
        checkpoint: str = "",
    ) -> BootState | None:
        """The place of a machine's state; None for one that has to boot each time."""
        # KVM's processor is the host's own, and its clock goes on while a machine is saved.
        if spec.accelerator == "kvm":
            return None
        try:
            key = state_key(spec, files, clock, command_line, self._cache.hash_file)
        except OSError:  # QEMU itself says best what it misses
            return None
        engines = f"{spec.engine.count} {spec.engine.kind}"
        title = f"a machine with {engines} that booted on the {clock} clock"
        if checkpoint:
            key = make_key(boot=key, checkpoint=checkpoint)
            title += f", {checkpoint}"
        return BootState(self._cache, key, title, self._progress)
