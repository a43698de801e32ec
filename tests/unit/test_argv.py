# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's command line, argument by argument."""

from __future__ import annotations

import types
from itertools import pairwise
from pathlib import Path

import pytest

from lab.config import (
    Clock,
    Engine,
    Iommu,
    IommuMode,
    LabFile,
    Node,
    Profile,
    Swiotlb,
    Topology,
)
from lab.errors import ConfigError
from lab.machine.argv import BootFiles, MachineSpec, build_argv, kernel_command_line

FILES = BootFiles(
    qemu=Path("/b/qemu-system-x86_64"),
    firmware_dirs=(Path("/f/seabios"), Path("/f/qemu")),
    vmlinux=Path("/k/vmlinux"),
    initramfs=Path("/i/initramfs"),
)


def argv(spec: MachineSpec, clock: Clock = Clock.VIRTUAL, **more: object) -> list[str]:
    return build_argv(spec, FILES, clock, qmp_fd=5, mailbox_fd=7, **more)  # type: ignore[arg-type]


def values(arguments: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(arguments) if name == option]


def test_the_whole_default_machine() -> None:
    spec = MachineSpec(engine=Engine(count=1))
    expected = """
        /b/qemu-system-x86_64 -no-user-config -nodefaults -display none -name dcbm-lab
        -machine q35,usb=off,vmport=off,smbus=off,sata=off,i8042=off
        -accel tcg -icount shift=0,sleep=off,pause=200 -seed 42
        -cpu qemu64,+invtsc,+pdpe1gb,+rdtscp,+popcnt,+ssse3,+sse4.1,+sse4.2
        -rtc base=2026-01-01T00:00:00,clock=vm
        -m 2560M -smp cpus=2,sockets=2,cores=1,threads=1
        -object memory-backend-ram,id=ram0,size=1024M -numa node,nodeid=0,cpus=0-0,memdev=ram0
        -object memory-backend-ram,id=ram1,size=1536M -numa node,nodeid=1,cpus=1-1,memdev=ram1
        -device pxb-pcie,id=bridge0,bus=pcie.0,addr=0x10,bus_nr=32,numa_node=0
        -device pxb-pcie,id=bridge1,bus=pcie.0,addr=0x11,bus_nr=48,numa_node=1
        -chardev socket,id=qmp,fd=5 -mon chardev=qmp,mode=control
        -chardev socket,id=mailbox,fd=7
        -chardev file,id=console,path=console.log -serial chardev:console
        -device lab-mailbox,id=mailbox,chardev=mailbox,bus=pcie.0,addr=0x3
        -device pvpanic-pci,bus=pcie.0,addr=0x4
        -object amd-dma-fabric,id=dma-fabric,profile=instant
        -device pcie-root-port,id=port0,bus=bridge1,addr=0x1,chassis=1,slot=0
        -device amd-ptdma,id=dma0,bus=port0,addr=00.0,multifunction=on,fabric=dma-fabric,"""
    expected += """profile=instant,msix=on
        -no-reboot -action panic=none -S -L /f/seabios -L /f/qemu
        -kernel /k/vmlinux -initrd /i/initramfs -append"""
    assert argv(spec)[:-1] == expected.split()


@pytest.mark.parametrize("clock", list(Clock))
def test_the_guest_sees_nothing_of_the_host(clock: Clock) -> None:
    words = kernel_command_line(MachineSpec(), clock).split()
    assert {"nokaslr", "norandmaps", "random.trust_cpu=off", "tsc=reliable"} <= set(words)
    assert {"oops=panic", "panic=-1", "hung_task_panic=1", "unknown_nmi_panic"} <= set(words)
    assert not any("/" in word for word in words)


def test_a_restored_machine_waits_and_adds_to_its_console() -> None:
    booted, restored = argv(MachineSpec()), argv(MachineSpec(), restoring=True)
    assert values(restored, "-incoming") == ["defer"]
    assert "file,id=console,path=console.log,append=on" in restored
    same = [word.removesuffix(",append=on") for word in restored]
    at = same.index("-incoming")
    assert same[:at] + same[at + 2 :] == booted


def test_only_the_virtual_clock_counts_instructions() -> None:
    virtual = argv(MachineSpec(), Clock.VIRTUAL)
    host = argv(MachineSpec(), Clock.HOST)
    assert values(virtual, "-icount") == ["shift=0,sleep=off,pause=200"]
    assert values(host, "-icount") == values(host, "-seed") == []
    assert values(host, "-accel") == ["tcg,thread=multi"]
    assert "tsc_early_khz=1000000" in virtual[-1]
    assert "tsc_early_khz" not in host[-1]


def test_kvm_is_for_the_host_clock_alone() -> None:
    spec = MachineSpec(accelerator="kvm")
    arguments = argv(spec, Clock.HOST)
    assert values(arguments, "-accel") == ["kvm"]
    assert values(arguments, "-cpu") == ["host"]
    with pytest.raises(ConfigError, match="only TCG can"):
        argv(spec, Clock.VIRTUAL)


def test_sixteen_engines_on_node_0_behind_two_ports() -> None:
    devices = values(argv(MachineSpec(engine=Engine(count=16, node=0, msix=False))), "-device")
    ports = [device for device in devices if device.startswith("pcie-root-port")]
    engines = [device for device in devices if device.startswith("amd-ptdma")]
    assert ports == [
        "pcie-root-port,id=port0,bus=bridge0,addr=0x1,chassis=1,slot=0",
        "pcie-root-port,id=port1,bus=bridge0,addr=0x2,chassis=2,slot=1",
    ]
    assert [engine.split(",")[1:4] for engine in engines] == [
        [f"id=dma{number}", f"bus=port{number // 8}", f"addr=00.{number % 8}"]
        for number in range(16)
    ]
    assert all(engine.endswith(",msix=off") for engine in engines)


def test_ae4dma_functions_have_queues() -> None:
    engine = Engine(kind="ae4dma", count=2, queues=8, latency_ns=7, bandwidth_bytes_per_s=11)
    devices = values(argv(MachineSpec(engine=engine)), "-device")
    assert devices[-2:] == [
        f"amd-ae4dma,id=dma{number},bus=port0,addr=00.{number},multifunction=on,queues=8,"
        "fabric=dma-fabric,profile=custom,latency-ns=7,bandwidth=11,msix=on"
        for number in range(2)
    ]


@pytest.mark.parametrize(
    ("engine", "named"),
    [
        ({"queues": 2}, "a ptdma function has one"),
        ({"kind": "ae4dma", "queues": 17}, "less than or equal to 16"),
        ({"kind": "ae4dma", "queues": 0}, "greater than or equal to 1"),
        ({"kind": "ae4dma", "count": 2, "queues": 9}, "18 channels"),
        ({"kind": "idxd"}, "'ptdma' or 'ae4dma'"),
    ],
)
def test_engines_that_cannot_be(engine: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Engine.model_validate(engine)


def test_as_many_engines_as_give_so_many_channels() -> None:
    many = Engine(count=3, latency_ns=7).with_channels(16)
    assert (many.count, many.queues, many.channels, many.latency_ns) == (16, 1, 16, 7)
    many = Engine(kind="ae4dma", count=3, msix=False).with_channels(16)
    assert (many.count, many.queues, many.channels, many.msix) == (1, 16, 16, False)


def test_no_engines_no_fabric() -> None:
    arguments = argv(MachineSpec(engine=Engine(count=0)))
    assert not any("amd-" in argument or "root-port" in argument for argument in arguments)


def test_the_timing_model_reaches_the_devices() -> None:
    engine = Engine(
        latency_ns=7,
        bandwidth_bytes_per_s=11,
        fabric_bandwidth_bytes_per_s=13,
        link_bandwidth_bytes_per_s=17,
    )
    arguments = argv(MachineSpec(engine=engine))
    (device,) = [d for d in values(arguments, "-device") if d.startswith("amd-ptdma")]
    assert {"profile=custom", "latency-ns=7", "bandwidth=11"} <= set(device.split(","))
    fabric = "amd-dma-fabric,id=dma-fabric,profile=custom,bandwidth=13,link-bandwidth=17"
    assert fabric in values(arguments, "-object")


@pytest.mark.parametrize("profile", [Profile.INSTANT, Profile.SLOW, Profile.ZEN3])
def test_the_device_knows_a_named_profile_s_numbers(profile: Profile) -> None:
    arguments = argv(MachineSpec(engine=Engine(profile=profile)))
    (device,) = [d for d in values(arguments, "-device") if d.startswith("amd-ptdma")]
    assert f"profile={profile}" in device.split(",")
    assert "latency" not in device
    assert "bandwidth" not in device
    assert f"amd-dma-fabric,id=dma-fabric,profile={profile}" in values(arguments, "-object")


@pytest.mark.parametrize(
    ("iommu", "device", "word"),
    [
        (Iommu.AMD, "amd-iommu", "iommu.passthrough=0"),
        (Iommu.INTEL, "intel-iommu,aw-bits=48", "intel_iommu=on"),
    ],
)
def test_an_iommu_comes_before_every_bus(iommu: Iommu, device: str, word: str) -> None:
    arguments = argv(MachineSpec(topology=Topology(iommu=iommu)))
    assert values(arguments, "-device")[0] == device
    assert {word, "iommu.strict=1"} <= set(arguments[-1].split())


def test_ways_to_memory_reach_the_kernel() -> None:
    lazy = Topology(iommu=Iommu.INTEL, iommu_mode=IommuMode.LAZY)
    assert "iommu.strict=0" in argv(MachineSpec(topology=lazy))[-1].split()
    bounced = argv(MachineSpec(topology=Topology(swiotlb=Swiotlb.FORCE)))[-1].split()
    assert "swiotlb=force,track_hiwater" in bounced
    direct = argv(MachineSpec())[-1]
    assert "iommu" not in direct
    assert "swiotlb" not in direct


def test_unequal_nodes() -> None:
    nodes = (Node(memory_mib=256, cpus=1), Node(memory_mib=512, cpus=3), Node(memory_mib=128))
    arguments = argv(MachineSpec(topology=Topology(nodes=nodes), engine=Engine(count=0)))
    assert values(arguments, "-m") == ["896M"]
    assert values(arguments, "-smp") == ["cpus=5,sockets=5,cores=1,threads=1"]
    assert [value.split(",")[2] for value in values(arguments, "-numa")] == [
        "cpus=0-0",
        "cpus=1-3",
        "cpus=4-4",
    ]


def test_the_callers_words_come_last_and_so_win() -> None:
    arguments = argv(MachineSpec(), command_line=("panic=5", "swiotlb=force"))
    assert arguments[-1].endswith(" panic=5 swiotlb=force")


def test_symbols_come_from_the_kernel_that_boots(tmp_path: Path) -> None:
    built = types.SimpleNamespace(
        binary=FILES.qemu,
        firmware_dirs=FILES.firmware_dirs,
        vmlinux=tmp_path / "vmlinux",
        initramfs=tmp_path / "initramfs",
        system_map=tmp_path / "System.map",
        build_dir=tmp_path / "rebuilt",
    )
    assert BootFiles.of(built, built, built).system_map is None
    built.build_dir.mkdir()
    for folder in (built.build_dir, tmp_path):
        (folder / "System.map").write_text("")
    assert BootFiles.of(built, built, built).system_map == tmp_path / "System.map"


def test_a_node_of_memory_alone_is_told_as_slow() -> None:
    nodes = (Node(memory_mib=256), Node(memory_mib=256), Node(memory_mib=128, cpus=0))
    arguments = argv(MachineSpec(topology=Topology(nodes=nodes)))
    assert values(arguments, "-machine") == [
        "q35,usb=off,vmport=off,smbus=off,sata=off,i8042=off,hmat=on"
    ]
    assert values(arguments, "-smp") == ["cpus=2,sockets=2,cores=1,threads=1"]
    told = values(arguments, "-numa")
    assert told[2] == "node,nodeid=2,initiator=0,memdev=ram2"
    of = "hmat-lb,initiator=1,target=%d,hierarchy=memory,data-type=access-latency,latency=%d"
    assert {of % (0, 100), of % (1, 100), of % (2, 400)} <= set(told)
    # From each of two nodes with CPUs to all three, latency and bandwidth.
    assert sum(word.startswith("hmat-lb,") for word in told) == 12


def test_without_such_a_node_there_is_no_word_of_it() -> None:
    assert not any("hmat" in word or "initiator" in word for word in argv(MachineSpec()))


@pytest.mark.parametrize("number", [0, 1])
def test_the_first_two_nodes_have_cpus(number: int) -> None:
    nodes = [Node(memory_mib=256) for _ in range(3)]
    nodes[number] = Node(memory_mib=256, cpus=0)
    with pytest.raises(ValueError, match=rf"nodes\.{number}\.cpus is 0"):
        Topology(nodes=tuple(nodes))


def test_an_engine_needs_a_node_with_cpus() -> None:
    nodes = (Node(memory_mib=256), Node(memory_mib=256), Node(memory_mib=128, cpus=0))
    with pytest.raises(ValueError, match="no CPU to serve interrupts"):
        LabFile(topology=Topology(nodes=nodes), engine=Engine(node=2))
