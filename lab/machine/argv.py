# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's command line from the models: pure, so that a machine can be read and tested as text.

The guest must not see anything that varies between two runs on the virtual clock: no path, process
id, host time or random number is part of what it can read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from lab.config import Clock, Engine, Iommu, IommuMode, Profile, Swiotlb, Topology
from lab.errors import ConfigError

CONSOLE_LOG = "console.log"
MAILBOX_ID = "mailbox"

# Bus numbers of the nodes' host bridges: 16 apart leaves room for root ports behind each.
_FIRST_BUS_NUMBER = 0x20
_BUS_NUMBER_STEP = 0x10
# Slots on pcie.0, said rather than left to QEMU so that a new device moves none of the others.
_MAILBOX_SLOT = 0x03
_PVPANIC_SLOT = 0x04
_FIRST_BRIDGE_SLOT = 0x10
_FUNCTIONS_PER_SLOT = 8
# Latency in ns and bandwidth for HMAT: memory of a node with CPUs, and of one without.
_FAST_MEMORY = (100, "100G")
_SLOW_MEMORY = (400, "10G")
# Not "fabric": as a partial path that also matches the engines' own property of this name.
_FABRIC_ID = "dma-fabric"

# The instruction-counting clock charges every iteration of a `rep` string instruction, so a CPU
# that announces ERMS/FSRM makes the kernel choose a copy loop that costs 2.5 times as much. qemu64
# announces neither, exists unchanged in every QEMU release, and TCG implements all of it (named
# processors print warnings for what TCG lacks). 1 GiB pages shorten KASAN's shadow set-up, rdtscp
# and popcnt are what today's kernels are tuned for. An invariant TSC (patch 0010) is what the
# virtual clock is, and spares Linux its calibration on every socket.
_TCG_CPU = "qemu64,+invtsc,+pdpe1gb,+rdtscp,+popcnt,+ssse3,+sse4.1,+sse4.2"

# What a PAUSE takes of virtual time. Hardware takes 10 to 50 ns, and the virtual CPU is 1.5 to 5
# times slower than that. At 0 the kernel's calibration of the local APIC timer, a loop of PAUSE for
# 100 ms of virtual time, is most of a boot.
_PAUSE_NS = 200

_BASE_COMMAND_LINE = (
    "console=ttyS0,115200",
    # Until the real console is up; a kernel that dies early would otherwise die unheard.
    "earlyprintk=serial,ttyS0,115200",
    # TCG announces no constant TSC, so Linux would distrust it: sched_clock and with it all CPU
    # accounting would go by ticks, and every clock reading by HPET. It is one counter for all CPUs.
    "tsc=reliable",
    "panic=-1",
    "oops=panic",
    "hung_task_panic=1",
    # Six times the longest wait that the kernel under test has (10 s for a copy).
    "sysctl.kernel.hung_task_timeout_secs=60",
    "softlockup_panic=1",
    "sysctl.kernel.panic_on_rcu_stall=1",
    # Together they turn the NMI that the lab injects into a hung guest into every CPU's stack.
    "unknown_nmi_panic",
    "panic_sys_info=all_bt,blocked_tasks",
    "nokaslr",
    "norandmaps",
    "random.trust_cpu=off",
    "random.trust_bootloader=off",
)

_IOMMU_COMMAND_LINE = {
    Iommu.NONE: (),
    Iommu.AMD: ("iommu.passthrough=0",),
    Iommu.INTEL: ("intel_iommu=on", "iommu.passthrough=0"),
}


@dataclass(frozen=True)
class MachineSpec:
    """A machine to boot: nodes, engines, and what executes it.

    ``kvm`` is for the host clock, where the host has been seen to run a guest with it.
    """

    topology: Topology = field(default_factory=Topology)
    engine: Engine = field(default_factory=Engine)
    accelerator: Literal["tcg", "kvm"] = "tcg"


class QemuLike(Protocol):
    """A built QEMU: the binary and where its firmware lies."""

    @property
    def binary(self) -> Path:
        """The system emulator."""

    @property
    def firmware_dirs(self) -> Sequence[Path]:
        """Directories for QEMU's ``-L``, in order."""


class KernelLike(Protocol):
    """A built kernel."""

    @property
    def vmlinux(self) -> Path:
        """The uncompressed kernel with its PVH note."""

    @property
    def system_map(self) -> Path:
        """Its symbols, for the stacks of a guest that hangs."""


class ImageLike(Protocol):
    """A built guest image."""

    @property
    def initramfs(self) -> Path:
        """The initramfs."""


@dataclass(frozen=True)
class BootFiles:
    """What a boot needs from the disk."""

    qemu: Path
    firmware_dirs: tuple[Path, ...]
    vmlinux: Path
    initramfs: Path
    system_map: Path | None = None

    @classmethod
    def of(cls, qemu: QemuLike, kernel: KernelLike, image: ImageLike) -> BootFiles:
        """Take the files from built artifacts."""
        system_map = kernel.system_map
        return cls(
            qemu=qemu.binary,
            firmware_dirs=tuple(qemu.firmware_dirs),
            vmlinux=kernel.vmlinux,
            initramfs=image.initramfs,
            system_map=system_map if system_map.is_file() else None,
        )


def engine_ids(engine: Engine) -> list[str]:
    """QOM ids of the engines, in the order of their PCI slots."""
    return [f"dma{index}" for index in range(engine.count)]


def kernel_command_line(spec: MachineSpec, clock: Clock, extra: Sequence[str] = ()) -> str:
    """The guest kernel's command line; `extra` comes last and so wins."""
    topology = spec.topology
    words = [*_BASE_COMMAND_LINE, *_IOMMU_COMMAND_LINE[topology.iommu]]
    if topology.iommu is not Iommu.NONE:
        words.append(f"iommu.strict={int(topology.iommu_mode is IommuMode.STRICT)}")
    if topology.swiotlb is Swiotlb.FORCE:
        # Linux 7.3 counts the slots in use, which is the proof that they are, on request only.
        words.append("swiotlb=force,track_hiwater")
    if clock is Clock.VIRTUAL:
        # Exactly 1 GHz of virtual time, which calibration against the PIT could only blur.
        words.append("tsc_early_khz=1000000")
    return " ".join([*words, *extra])


def build_argv(
    spec: MachineSpec,
    files: BootFiles,
    clock: Clock,
    *,
    qmp_fd: int,
    mailbox_fd: int,
    command_line: Sequence[str] = (),
    restoring: bool = False,
) -> list[str]:
    """QEMU's argument vector for `spec`; the working directory is the run folder.

    `qmp_fd` and `mailbox_fd` are connected sockets that QEMU inherits: no path has to be chosen,
    found or removed. With `restoring` the machine waits for a saved state instead of booting, and
    adds to the console log that is there.

    Raises:
        ConfigError: a combination that can't work.
    """
    argv = [str(files.qemu), "-no-user-config", "-nodefaults", "-display", "none"]
    argv += ["-name", "dcbm-lab", *_clock_arguments(spec, clock)]
    argv += _topology_arguments(spec.topology)
    argv += [
        *("-chardev", f"socket,id=qmp,fd={qmp_fd}", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=mailbox,fd={mailbox_fd}"),
        *("-chardev", f"file,id=console,path={CONSOLE_LOG}{',append=on' if restoring else ''}"),
        *("-serial", "chardev:console"),
        "-device",
        f"lab-mailbox,id={MAILBOX_ID},chardev=mailbox,bus=pcie.0,addr={_MAILBOX_SLOT:#x}",
        *("-device", f"pvpanic-pci,bus=pcie.0,addr={_PVPANIC_SLOT:#x}"),
    ]
    argv += _engine_arguments(spec.engine)
    # A panicking guest is let run to its restart, which -no-reboot turns into an exit: stopped at
    # the panic notifier, the last lines of its console would be lost.
    argv += ["-no-reboot", "-action", "panic=none", "-S"]
    if restoring:
        argv += ["-incoming", "defer"]
    for directory in files.firmware_dirs:
        argv += ["-L", str(directory)]
    argv += ["-kernel", str(files.vmlinux), "-initrd", str(files.initramfs)]
    argv += ["-append", kernel_command_line(spec, clock, command_line)]
    return argv


def _clock_arguments(spec: MachineSpec, clock: Clock) -> list[str]:
    # Nothing here has disks or a keyboard; firmware would wait for them, polling.
    machine = "q35,usb=off,vmport=off,smbus=off,sata=off,i8042=off"
    if spec.topology.slow_node is not None:
        machine += ",hmat=on"
    cpu = _TCG_CPU
    match (clock, spec.accelerator):
        case (Clock.VIRTUAL, "tcg"):
            arguments = ["-accel", "tcg", "-icount", f"shift=0,sleep=off,pause={_PAUSE_NS}"]
            arguments += ["-seed", "42"]
        case (Clock.HOST, "tcg"):
            arguments = ["-accel", "tcg,thread=multi"]
        case (Clock.HOST, "kvm"):
            arguments = ["-accel", "kvm"]
            cpu = "host"
            if spec.topology.iommu is Iommu.INTEL:
                machine += ",kernel-irqchip=split"
        case _:
            raise ConfigError(
                "an accelerator that fits the clock",
                f"clock {clock} with {spec.accelerator}",
                hint="the virtual clock counts instructions, which only TCG can: use tcg",
            )
    return [
        *("-machine", machine),
        *arguments,
        *("-cpu", cpu),
        # Fixed on both clocks: nothing in the lab needs the date, and a run is easier to compare.
        *("-rtc", "base=2026-01-01T00:00:00,clock=vm"),
    ]


def _topology_arguments(topology: Topology) -> list[str]:
    nodes = topology.nodes
    cpus = [node.cpus for node in nodes if node.cpus]
    sockets, cores = (len(cpus), cpus[0]) if len(set(cpus)) == 1 else (sum(cpus), 1)
    arguments = ["-m", f"{sum(node.memory_mib for node in nodes)}M"]
    arguments += ["-smp", f"cpus={sum(cpus)},sockets={sockets},cores={cores},threads=1"]
    first_cpu = 0
    for number, node in enumerate(nodes):
        last_cpu = first_cpu + node.cpus - 1
        # With HMAT a node of memory alone has to name the one that it is nearest to.
        who = f"cpus={first_cpu}-{last_cpu}" if node.cpus else "initiator=0"
        arguments += [
            "-object",
            f"memory-backend-ram,id=ram{number},size={node.memory_mib}M",
            "-numa",
            f"node,nodeid={number},{who},memdev=ram{number}",
        ]
        first_cpu = last_cpu + 1
    if topology.slow_node is not None:
        arguments += _memory_attributes(topology)
    # Before the bridges: QEMU wants the IOMMU to be there when a bus is made.
    if topology.iommu is Iommu.AMD:
        arguments += ["-device", "amd-iommu"]
    elif topology.iommu is Iommu.INTEL:
        arguments += ["-device", "intel-iommu,aw-bits=48"]
    for number in range(len(nodes)):
        bus_number = _FIRST_BUS_NUMBER + _BUS_NUMBER_STEP * number
        arguments += [
            "-device",
            f"pxb-pcie,id=bridge{number},bus=pcie.0,addr={_FIRST_BRIDGE_SLOT + number:#x},"
            f"bus_nr={bus_number},numa_node={number}",
        ]
    return arguments


def _memory_attributes(topology: Topology) -> list[str]:
    """What HMAT tells Linux of each node's memory, from which it makes memory tiers.

    A tier is a range of abstract distances, which grow with latency and fall with bandwidth
    (mm/memory-tiers.c); these lie several tiers apart. Emulated memory is equally fast everywhere.
    """
    arguments: list[str] = []
    for initiator, starts in enumerate(topology.nodes):
        if not starts.cpus:
            continue
        for target, node in enumerate(topology.nodes):
            latency_ns, bandwidth = _FAST_MEMORY if node.cpus else _SLOW_MEMORY
            of = f"hmat-lb,initiator={initiator},target={target},hierarchy=memory"
            arguments += ["-numa", f"{of},data-type=access-latency,latency={latency_ns}"]
            arguments += ["-numa", f"{of},data-type=access-bandwidth,bandwidth={bandwidth}"]
    return arguments


def _engine_arguments(engine: Engine) -> list[str]:
    """The engines behind root ports of their node, because a pxb takes bridges only.

    Eight share a port as the functions of one slot: a port for each would nearly double the boot.
    """
    if not engine.count:
        return []
    fabric_timing, engine_timing = _timing_properties(engine)
    arguments = ["-object", f"amd-dma-fabric,id={_FABRIC_ID},{fabric_timing}"]
    for index, name in enumerate(engine_ids(engine)):
        port, function = divmod(index, _FUNCTIONS_PER_SLOT)
        if function == 0:
            arguments += [
                "-device",
                f"pcie-root-port,id=port{port},bus=bridge{engine.node},addr={port + 1:#x},"
                f"chassis={port + 1},slot={port}",
            ]
        queues = f"queues={engine.queues}," if engine.kind == "ae4dma" else ""
        arguments += [
            "-device",
            f"amd-{engine.kind},id={name},bus=port{port},addr=00.{function},multifunction=on,"
            f"{queues}fabric={_FABRIC_ID},{engine_timing},msix={'on' if engine.msix else 'off'}",
        ]
    return arguments


def _timing_properties(engine: Engine) -> tuple[str, str]:
    """Properties of the fabric and of each engine."""
    profile = f"profile={engine.timing}"
    if engine.timing is not Profile.CUSTOM:
        return profile, profile
    fabric = (
        f"{profile},bandwidth={engine.fabric_bandwidth_bytes_per_s or 0},"
        f"link-bandwidth={engine.link_bandwidth_bytes_per_s or 0}"
    )
    device = (
        f"{profile},latency-ns={engine.latency_ns or 0},"
        f"bandwidth={engine.bandwidth_bytes_per_s or 0}"
    )
    return fabric, device
