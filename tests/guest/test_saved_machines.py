# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines that are restored from the state of an earlier boot: the same, whatever happens."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from test_session import BUSYBOX, DEADLINE_S, exercise

from lab.boot_states import KIND, BootStates
from lab.cache import Cache
from lab.config import Clock, Engine, Iommu, Topology
from lab.errors import GuestCrash, GuestLost, StaleCheckpoint
from lab.machine.argv import BootFiles, MachineSpec
from lab.machine.engines import EngineCounters
from lab.machine.guest import Guest
from lab.machine.session import boot
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
        checkpoint: str = "",
    ) -> tuple[bool, Seen]:
        """Whether the guest was restored, and all that it let see."""
        self.number += 1
        folder = self.root / f"run{self.number}"
        kept = BootStates(self.cache, open_progress(self.told)) if states else None
        with boot(
            spec, files, folder, clock, DEADLINE_S, states=kept, checkpoint=checkpoint
        ) as guest:
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


class Counted:
    """Steps until a checkpoint, and some after it; counts what the guest really does."""

    def __init__(self, first: str = "first") -> None:
        self.first = first
        self.asked: list[str] = []

    def __call__(self, guest: Guest) -> None:
        with pytest.MonkeyPatch.context() as patch:
            send = guest._send

            def count(verb: str, *fields: str) -> None:
                self.asked.append(verb)
                send(verb, *fields)

            patch.setattr(guest, "_send", count)
            script = f'echo {self.first}; echo \'{{"event":"ready"}}\'; read line < /tmp/f'
            guest.run([BUSYBOX, "mkfifo", "/tmp/f"])  # noqa: S108 - the guest's own
            guest.write("/proc/sys/kernel/printk", "7")
            job = guest.spawn([BUSYBOX, "sh", "-c", script])
            guest.load_module("lkdtm")
            guest.write("/sys/kernel/debug/provoke-crash/DIRECT", "WARNING")
            guest.reach_checkpoint()
            # The program of before the checkpoint is alive, and what it has said is known.
            assert job.stdout == [self.first]
            guest.run([BUSYBOX, "sh", "-c", "echo x > /tmp/f"])
            assert guest.wait(job).ok
            guest.read("/proc/stat")
            assert guest.reports_at_boot == 0
            assert len(guest.reports()) == 1


def test_a_machine_from_a_checkpoint_is_exact(vanilla_files: BootFiles, lab: Lab) -> None:
    steps = [Counted() for _ in range(4)]
    fresh = lab.boot(vanilla_files, act=steps[0], states=False)
    saved = lab.boot(vanilla_files, act=steps[1], checkpoint="a program waits")
    restored = lab.boot(vanilla_files, act=steps[2], checkpoint="a program waits")
    other = lab.boot(vanilla_files, act=steps[3], checkpoint="another")
    assert [start for start, _ in (fresh, saved, restored, other)] == [False, False, True, True]
    assert saved[1] == restored[1] == other[1] == fresh[1]
    asked = steps[0].asked
    assert len(asked) == 8
    assert [step.asked for step in steps[1:]] == [asked, asked[5:], asked]
    assert lab.told.getvalue() == ""


def test_other_steps_until_a_checkpoint_are_noticed(vanilla_files: BootFiles, lab: Lab) -> None:
    lab.boot(vanilla_files, act=Counted("one"), checkpoint="waits")
    with pytest.raises(StaleCheckpoint, match="echo one"):
        lab.boot(vanilla_files, act=Counted("two"), checkpoint="waits")
    assert "can't be restored" in lab.told.getvalue()
    fresh = lab.boot(vanilla_files, act=Counted("two"), states=False)
    again = [lab.boot(vanilla_files, act=Counted("two"), checkpoint="waits") for _ in range(2)]
    assert [seen for _, seen in again] == [fresh[1], fresh[1]]


@pytest.mark.parametrize(
    "act",
    [
        lambda guest: None,
        lambda guest: guest.reach_checkpoint(),
        lambda guest: guest.device_counters(),
        lambda guest: guest.inject_fault("dma0", "stall", delay_ns=1),
    ],
    ids=["power-off", "checkpoint", "counters", "fault"],
)
def test_fewer_steps_until_a_checkpoint_are_noticed(
    act: Callable[[Guest], None], vanilla_files: BootFiles, lab: Lab
) -> None:
    spec = MachineSpec(engine=Engine(count=1))

    def steps(guest: Guest) -> None:
        guest.read("/proc/uptime")
        guest.reach_checkpoint()

    lab.boot(vanilla_files, spec, steps, checkpoint="read")
    with pytest.raises(StaleCheckpoint, match="read 1 /proc/uptime"):
        lab.boot(vanilla_files, spec, act, checkpoint="read")


def test_a_checkpoint_behind_a_fault_is_not_kept(vanilla_files: BootFiles, lab: Lab) -> None:
    def steps(guest: Guest) -> None:
        guest.inject_fault("dma0", "stall", delay_ns=1)
        guest.read("/proc/uptime")
        guest.reach_checkpoint()

    spec = MachineSpec(engine=Engine(count=1))
    lab.boot(vanilla_files, spec, steps, checkpoint="faulty")
    assert len(lab.states) == 1, lab.told.getvalue()
    assert not lab.told.getvalue()


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
