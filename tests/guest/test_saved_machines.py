# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that are restored from the state of an earlier boot: the same, whatever happens."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from test_session import DEADLINE_S, exercise

from lab.boot_states import KIND, BootStates
from lab.cache import Cache
from lab.config import Clock, Engine, Iommu, Topology
from lab.errors import GuestCrash, GuestLost
from lab.machine import BootFiles, EngineCounters, Guest, MachineSpec, boot
from lab.progress import open_progress

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]
NO_ENGINES = MachineSpec(engine=Engine(count=0))
Seen = tuple[Mapping[str, EngineCounters], bytes, bytes]


class Lab:
    """A lab with a cache of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told = io.StringIO()
        self.number = 0

    @property
    def cache(self) -> Cache:
        """What a new process finds."""
        return Cache(self.root / "cache")

    @property
    def states(self) -> list[Path]:
        """Folders of the states that are kept."""
        return [entry.path for entry in self.cache.list_entries() if entry.kind == KIND]

    def boot(
        self,
        files: BootFiles,
        spec: MachineSpec = NO_ENGINES,
        act: Callable[[Guest], None] = lambda guest: None,
        clock: Clock = Clock.VIRTUAL,
        *,
        states: bool = True,
    ) -> tuple[bool, Seen]:
        """Whether the guest was restored, and all that it let see."""
        self.number += 1
        folder = self.root / f"run{self.number}"
        kept = BootStates(self.cache, open_progress(self.told)) if states else None
        with boot(spec, files, folder, clock, DEADLINE_S, states=kept) as guest:
            act(guest)
            counted = guest.device_counters()
        logs = [(folder / log).read_bytes() for log in ("console.log", "channel.jsonl")]
        return guest.restored, (counted, *logs)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "cache").mkdir()
    return Lab(tmp_path)


@pytest.mark.parametrize("engines", [1, 16])
def test_a_restored_machine_is_exact(engines: int, vanilla_files: BootFiles, lab: Lab) -> None:
    spec = MachineSpec(engine=Engine(count=engines))

    def act(guest: Guest) -> None:
        exercise(guest, engines)

    fresh = lab.boot(vanilla_files, spec, act, states=False)
    saved = lab.boot(vanilla_files, spec, act)
    restored = lab.boot(vanilla_files, spec, act)
    assert [start for start, _ in (fresh, saved, restored)] == [False, False, True]
    assert sum(counters.descriptors for counters in fresh[1][0].values()) >= 20 * engines
    assert len(fresh[1][1]) > 10_000
    assert saved[1] == fresh[1]
    assert restored[1] == fresh[1]
    assert lab.told.getvalue() == ""


def test_a_restored_machine_behind_an_iommu_is_exact(vanilla_files: BootFiles, lab: Lab) -> None:
    spec = MachineSpec(Topology(iommu=Iommu.INTEL), Engine(count=1))
    runs = [lab.boot(vanilla_files, spec, lambda guest: exercise(guest, 1)) for _ in range(2)]
    assert [restored for restored, _ in runs] == [False, True]
    assert runs[0][1] == runs[1][1]


def test_a_machine_that_qemu_cannot_save_boots_each_time(
    vanilla_files: BootFiles, lab: Lab
) -> None:
    spec = MachineSpec(Topology(iommu=Iommu.AMD), Engine(count=1))
    runs = [lab.boot(vanilla_files, spec, lambda guest: exercise(guest, 1)) for _ in range(2)]
    assert [restored for restored, _ in runs] == [False, False]
    assert runs[0][1] == runs[1][1]
    assert lab.states == []
    assert "amd-iommu" in lab.told.getvalue()


def test_the_host_clock_has_states_of_its_own(vanilla_files: BootFiles, lab: Lab) -> None:
    def act(guest: Guest) -> None:
        guest.load_module("ptdma")
        guest.assert_engines(1, 1)

    spec = MachineSpec(engine=Engine(count=1))
    starts = [
        lab.boot(vanilla_files, spec, act, clock)[0]
        for clock in (Clock.VIRTUAL, Clock.HOST, Clock.HOST, Clock.VIRTUAL)
    ]
    assert starts == [False, False, True, True]


def overwrite(path: Path) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xa5" * 4096)


def truncate(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size - 4096)


@pytest.mark.parametrize("damage", [overwrite, truncate, Path.unlink])
@pytest.mark.parametrize("name", ["machine", "console.log"])
def test_a_damaged_state_is_made_anew(
    damage: Callable[[Path], None], name: str, vanilla_files: BootFiles, lab: Lab
) -> None:
    first = lab.boot(vanilla_files)
    (state,) = lab.states
    damage(state / name)
    assert lab.boot(vanilla_files) == first
    assert "damaged" in lab.told.getvalue()
    assert lab.boot(vanilla_files) == (True, first[1])


def test_a_state_that_qemu_does_not_take_is_made_anew(
    vanilla_files: BootFiles, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whole by its hashes, but of a machine with an engine, which this one hasn't.
    monkeypatch.setattr("lab.boot_states.state_key", lambda *_: "a" * 24)
    lab.boot(vanilla_files, MachineSpec(engine=Engine(count=1)))
    first = lab.boot(vanilla_files)
    assert "can't be restored" in lab.told.getvalue()
    assert lab.boot(vanilla_files) == (True, first[1])
    assert first[0] is False


def test_a_guest_that_dies_at_boot_leaves_no_state(
    vanilla_files: BootFiles, lab: Lab, tmp_path: Path
) -> None:
    states = BootStates(lab.cache)
    with (
        pytest.raises(GuestCrash, match="panic"),
        boot(
            NO_ENGINES,
            vanilla_files,
            tmp_path / "run",
            Clock.VIRTUAL,
            DEADLINE_S,
            ("rdinit=/no/such/program", "root=/dev/none"),
            states=states,
        ),
    ):
        pass
    assert lab.states == []


def test_a_guest_that_is_aborted_while_it_is_restored_is_lost(
    vanilla_files: BootFiles, lab: Lab, tmp_path: Path
) -> None:
    lab.boot(vanilla_files)

    def kill(guest: Guest) -> None:
        if (tmp_path / "killed").exists():
            raise GuestLost("a mode that runs to its end", "the run was interrupted")
        (tmp_path / "killed").touch()
        guest.abort()

    with (
        pytest.raises(GuestLost, match="interrupted"),
        boot(
            NO_ENGINES,
            vanilla_files,
            tmp_path / "run",
            Clock.VIRTUAL,
            DEADLINE_S,
            on_start=kill,
            states=BootStates(lab.cache),
        ),
    ):
        pass
