# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies between the engines and memory: that it is what the lab file asks for, and at work.

An IOMMU that is there but passes addresses through proves nothing about translation, nor do bounce
buffers that nobody uses. Sources: the kernel's Documentation/ABI/testing/sysfs-kernel-iommu_groups
and sysfs-class-iommu, drivers/iommu/iommu.c (types of a group), kernel/dma/swiotlb.c (debugfs).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from lab.config import Iommu, IommuMode, Swiotlb, Topology
from lab.errors import PremiseError

if TYPE_CHECKING:
    from lab.machine.guest import Guest

# A slot of the kernel's bounce buffers, and the slots that a mapping has at most (linux/swiotlb.h:
# IO_TLB_SHIFT, IO_TLB_SEGSIZE).
SLOT_BYTES = 2048
_SLOTS_AT_ONCE = 128
_SWIOTLB = "/sys/kernel/debug/swiotlb"
_USED_MOST = f"{_SWIOTLB}/io_tlb_used_hiwater"
# Names that the drivers give their IOMMUs in /sys/class/iommu.
_IOMMU_NAMES = {Iommu.AMD: "ivhd", Iommu.INTEL: "dmar"}
_GROUP_TYPES = {IommuMode.STRICT: "DMA", IommuMode.LAZY: "DMA-FQ"}
_SCRIPT = """
for a in "$@"; do
 d=/sys/bus/pci/devices/$a; i=-; t=-;
 [ -e $d/iommu ] && i=$(/bin/busybox readlink $d/iommu);
 [ -e $d/iommu_group/type ] && read -r t < $d/iommu_group/type;
 echo $a ${i##*/} $t;
done
""".replace("\n", " ")


class DmaPath(StrEnum):
    """The ways from an engine to memory, under short names."""

    DIRECT = "direct"
    SWIOTLB = "swiotlb"
    AMD = "amd"
    INTEL = "intel"
    INTEL_LAZY = "intel-lazy"


_OF_TOPOLOGY = {
    DmaPath.DIRECT: (Iommu.NONE, IommuMode.STRICT, Swiotlb.NONE),
    DmaPath.SWIOTLB: (Iommu.NONE, IommuMode.STRICT, Swiotlb.FORCE),
    DmaPath.AMD: (Iommu.AMD, IommuMode.STRICT, Swiotlb.NONE),
    DmaPath.INTEL: (Iommu.INTEL, IommuMode.STRICT, Swiotlb.NONE),
    DmaPath.INTEL_LAZY: (Iommu.INTEL, IommuMode.LAZY, Swiotlb.NONE),
}


def through(topology: Topology, path: DmaPath) -> Topology:
    """`topology`, with `path` in the place of its own way to memory."""
    iommu, iommu_mode, swiotlb = _OF_TOPOLOGY[path]
    asked = {"iommu": iommu, "iommu_mode": iommu_mode, "swiotlb": swiotlb}
    return Topology.model_validate({**topology.model_dump(), **asked})


def path_of(topology: Topology) -> DmaPath:
    """The way to memory that a topology has."""
    asked = (topology.iommu, topology.iommu_mode, topology.swiotlb)
    return next(path for path, settings in _OF_TOPOLOGY.items() if settings == asked)


def longest_copy_bytes(topology: Topology) -> int | None:
    """What dma_max_mapping_size() says for an engine: the limit of a copy; None is no limit."""
    return SLOT_BYTES * _SLOTS_AT_ONCE if topology.swiotlb is Swiotlb.FORCE else None


def establish(guest: Guest, topology: Topology, addresses: Sequence[str]) -> None:
    """Make sure of the engines' way to memory before anything is measured.

    Args:
        guest: with the engines' driver bound.
        topology: the machine as it was asked for.
        addresses: PCI addresses of the engines.

    Raises:
        PremiseError: an engine isn't behind the IOMMU asked for, or that one doesn't translate in
            the mode asked for; or the kernel has no bounce buffers.
    """
    assert_translated(guest, topology, addresses)
    if topology.swiotlb is Swiotlb.FORCE:
        _bounced_most(guest)
        guest.write(_USED_MOST, "0")


def assert_translated(
    guest: Guest, topology: Topology, addresses: Sequence[str]
) -> list[dict[str, str]]:
    """Each engine is behind the IOMMU asked for, in a domain that translates in the mode asked for.

    Returns:
        What the kernel says of each: address, IOMMU and type of the group; nothing without IOMMU.

    Raises:
        PremiseError: one isn't.
    """
    if topology.iommu is Iommu.NONE or not addresses:
        return []
    result = guest.run(["/bin/busybox", "sh", "-c", _SCRIPT, "sh", *addresses])
    seen = [line.split() for line in result.stdout]
    name, wanted = _IOMMU_NAMES[topology.iommu], _GROUP_TYPES[topology.iommu_mode]
    wrong = [line for line in seen if not line[1].startswith(name) or line[2] != wanted]
    if not result.ok or len(seen) != len(addresses) or wrong:
        raise PremiseError(
            f"{len(addresses)} engines behind the {topology.iommu} IOMMU, in groups of type "
            f"{wanted} ({topology.iommu_mode})",
            "; ".join(f"{a} behind {i}, type {t}" for a, i, t in wrong) or result.describe(),
            log=guest.machine.console.path,
            hint="look for AMD-Vi, DMAR and 'Default domain type' in the console log; an "
            "identity domain translates nothing",
        )
    return [dict(zip(("address", "iommu", "type"), line, strict=True)) for line in seen]


def confirm(guest: Guest, topology: Topology, descriptors: int) -> dict[str, Any]:
    """Make sure, when all is measured, that the engines have gone the way asked for.

    Args:
        guest: still running.
        topology: the machine as it was asked for.
        descriptors: what the engines completed since `establish`.

    Returns:
        What is worth keeping in the record; nothing for engines that reach memory directly.

    Raises:
        PremiseError: they have not.
    """
    if topology.iommu is not Iommu.NONE:
        addresses = [view.address for view in guest.engines()]
        return {"engines": assert_translated(guest, topology, addresses)}
    if topology.swiotlb is Swiotlb.FORCE:
        used_bytes = _bounced_most(guest) * SLOT_BYTES
        if descriptors and not used_bytes:
            raise PremiseError(
                "copies through bounce buffers (swiotlb=force)",
                f"{descriptors:,} descriptors, and never a byte of the buffers in use",
                log=guest.machine.console.path,
                hint="look for 'software IO TLB' in the console log",
            )
        return {"swiotlb_used_most_bytes": used_bytes}
    return {}


def _bounced_most(guest: Guest) -> int:
    """Slots of the bounce buffers that were in use at once, at most."""
    # The files are missing, too, when the buffers were asked for but could not be had.
    result = guest.run(["/bin/busybox", "cat", _USED_MOST])
    text = "".join(result.stdout)
    if not result.ok or not text.isdecimal():
        raise PremiseError(
            f"the kernel's bounce buffers in {_SWIOTLB}",
            result.describe(),
            log=guest.machine.console.path,
            hint="the kernel needs CONFIG_SWIOTLB and CONFIG_DEBUG_FS, and memory for the buffers",
        )
    return int(text)
