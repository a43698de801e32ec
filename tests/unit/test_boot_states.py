# SPDX-License-Identifier: GPL-2.0-or-later
"""States of booted machines: what decides which one is used, and what becomes of failures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from lab.boot_states import KIND, BootStates, state_key
from lab.cache import Cache
from lab.config import Clock, Engine, Iommu, Topology
from lab.errors import GuestLost, MachineError
from lab.machine.argv import BootFiles, MachineSpec
from lab.machine.saved_state import Exchange, SavedState
from lab.progress import open_progress

SPEC = MachineSpec()


@pytest.fixture
def files(tmp_path: Path) -> BootFiles:
    for name in ("qemu", "vmlinux", "initramfs"):
        (tmp_path / name).write_text(name, encoding="ascii")
    return BootFiles(
        tmp_path / "qemu",
        (tmp_path / "firmware-1",),
        tmp_path / "vmlinux",
        tmp_path / "initramfs",
    )


@pytest.mark.parametrize("name", ["qemu", "vmlinux", "initramfs"])
def test_another_content_is_another_state(files: BootFiles, name: str) -> None:
    before = state_key(SPEC, files, Clock.VIRTUAL, ())
    path: Path = getattr(files, name)
    path.write_text(path.read_text(encoding="ascii").upper(), encoding="ascii")
    assert state_key(SPEC, files, Clock.VIRTUAL, ()) != before


def test_each_part_of_a_machine_decides_its_state(files: BootFiles) -> None:
    node = Topology().nodes[1]
    specs = [
        SPEC,
        MachineSpec(engine=Engine(count=2)),
        MachineSpec(engine=Engine(count=1, node=0)),
        MachineSpec(engine=Engine(kind="ae4dma")),
        MachineSpec(engine=Engine(msix=False)),
        MachineSpec(Topology(iommu=Iommu.INTEL)),
        MachineSpec(
            Topology(nodes=[*Topology().nodes[:1], node.model_copy(update={"memory_mib": 1024})])
        ),
    ]
    keys = [state_key(spec, files, Clock.VIRTUAL, ()) for spec in specs]
    keys += [
        state_key(SPEC, files, Clock.HOST, ()),
        state_key(SPEC, files, Clock.VIRTUAL, ("cma=64M",)),
        state_key(SPEC, replace(files, firmware_dirs=(Path("other"),)), Clock.VIRTUAL, ()),
    ]
    assert len(set(keys)) == len(keys)


def test_where_the_files_lie_decides_nothing(files: BootFiles, tmp_path: Path) -> None:
    before = state_key(SPEC, files, Clock.VIRTUAL, ())
    moved = tmp_path / "moved"
    files.vmlinux.rename(moved)
    assert state_key(SPEC, replace(files, vmlinux=moved), Clock.VIRTUAL, ()) == before


def test_kvm_boots_each_time(files: BootFiles, tmp_path: Path) -> None:
    states = BootStates(Cache(tmp_path / "cache"))
    assert states.of(MachineSpec(accelerator="kvm"), files, Clock.HOST, ()) is None
    assert states.of(SPEC, files, Clock.HOST, ()) is not None


def test_what_cannot_be_kept_is_told_and_leaves_nothing(files: BootFiles, tmp_path: Path) -> None:
    told = io.StringIO()
    cache = Cache(tmp_path / "cache")
    place = BootStates(cache, open_progress(told)).of(SPEC, files, Clock.VIRTUAL, ())
    assert place is not None

    def fails(folder: Path) -> None:
        (folder / "machine").write_bytes(b"half")
        raise MachineError("a saved machine", "No space left on device")

    place.keep(fails)
    assert "No space left on device" in told.getvalue()
    assert place.find() is None
    assert list(cache.root.glob(f"{KIND}/*")) == []

    def lost(_folder: Path) -> None:
        raise GuestLost("a saved machine", "QEMU went away")

    with pytest.raises(GuestLost):
        place.keep(lost)
    place.keep(lambda folder: (folder / "machine").touch())
    assert place.find() is not None
    place.discard(MachineError("a restored machine", "it isn't"))
    assert place.find() is None


def test_the_channels_log_is_a_conversation(tmp_path: Path) -> None:
    state = SavedState(tmp_path)
    hello, idle = b'{"type":"hello","protocol":1,"kernel":"7.3"}', b'{"type":"idle"}'
    request, done = b'{"type": "request", "fields": ["run", "1", "true"]}', b'{"type":"exit"}'
    state.channel.write_bytes(b"\n".join((hello, idle, request, done, idle, request, idle, b"")))
    assert state.conversation() == (
        [hello, idle],
        [Exchange(("run", "1", "true"), [done, idle]), Exchange(("run", "1", "true"), [idle])],
    )


def test_a_checkpoint_has_a_state_of_its_own(files: BootFiles, tmp_path: Path) -> None:
    states = BootStates(Cache(tmp_path / "cache"))
    places = [states.of(SPEC, files, Clock.VIRTUAL, (), name) for name in ("", "one", "two")]
    assert len({place.key for place in places if place is not None}) == 3


def test_a_state_in_use_is_not_removed_to_make_room(files: BootFiles, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    for name in ("one", "two"):
        place = BootStates(cache).of(SPEC, files, Clock.VIRTUAL, (), name)
        assert place is not None
        place.keep(lambda folder: (folder / "machine").touch())
    first = BootStates(cache).of(SPEC, files, Clock.VIRTUAL, (), "one")
    assert first is not None
    with first.in_use():
        assert cache.keep_within(KIND, 0) == []
    assert cache.keep_within(KIND, 0) == [cache.path(KIND, first.key)]
