# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab file: what machine to build, which kernels to boot and what to run, validated.

Everything has a default, so an empty file (or none) describes the published set-up scaled to a
small host. Units stand in the names.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from lab.errors import ConfigError
from lab.option_values import MAX_ENGINES as MAX_ENGINES  # noqa: PLC0414 - of this interface, too
from lab.option_values import Clock as Clock  # noqa: PLC0414 - of this interface, too

# Of a lab file: what says what to run, and not on which machine.
NOT_OF_THE_MACHINE = frozenset({"experiment", "experiments"})
# Nodes that programs run on in every experiment.
_CPU_NODES = 2


class Variant(StrEnum):
    """Instrumentation of a kernel build; each is a list of configuration fragments."""

    PLAIN = "plain"
    DEBUG = "debug"
    KASAN = "kasan"
    KCSAN = "kcsan"
    UBSAN = "ubsan"
    GCOV = "gcov"


class ControlLayout(StrEnum):
    """Where our dcbm keeps its control files: as a version of the published series does."""

    V3 = "v3"
    V4 = "v4"
    V5 = "v5"
    V6 = "v6"


class Iommu(StrEnum):
    """The IOMMU in front of the engines, translating when there is one."""

    NONE = "none"
    AMD = "amd"
    INTEL = "intel"


class Profile(StrEnum):
    """How long the engines take to copy, in virtual time; the device model has the numbers.

    ``zen3`` is fitted to the published figures (`lab.timing_fit`), ``slow`` keeps windows for races
    open, ``custom`` takes its numbers from the lab file.
    """

    INSTANT = "instant"
    SLOW = "slow"
    ZEN3 = "zen3"
    CUSTOM = "custom"


class IommuMode(StrEnum):
    """When an unmapped address is out of the engines' reach: at once, or with the next flush."""

    STRICT = "strict"
    LAZY = "lazy"


class Swiotlb(StrEnum):
    """Whether the kernel has the engines copy from and to bounce buffers instead of the pages."""

    NONE = "none"
    FORCE = "force"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Node(_Model):
    """A NUMA node of the guest; one without CPUs is slow memory, a lower tier to Linux."""

    memory_mib: Annotated[int, Field(ge=128, le=65536)]
    cpus: Annotated[int, Field(ge=0, le=16)] = 1


class Topology(_Model):
    """NUMA nodes in node order, and what stands between all PCI functions and memory.

    ``iommu_mode`` counts with an IOMMU only. An IOMMU and ``swiotlb`` exclude each other: Linux
    bounces for an engine behind a translating IOMMU only if it distrusts the device.
    """

    nodes: Annotated[tuple[Node, ...], Field(min_length=2, max_length=8)] = (
        Node(memory_mib=1024),
        Node(memory_mib=1536),
    )
    iommu: Iommu = Iommu.NONE
    iommu_mode: IommuMode = IommuMode.STRICT
    swiotlb: Swiotlb = Swiotlb.NONE

    @model_validator(mode="after")
    def _linux_can_do_it(self) -> Topology:
        if self.swiotlb is Swiotlb.FORCE and self.iommu is not Iommu.NONE:
            raise ValueError(
                f"swiotlb is force and iommu is {self.iommu}: Linux bounces nothing for devices "
                "behind an IOMMU; set one of them to none"
            )
        if self.iommu_mode is IommuMode.LAZY and self.iommu is not Iommu.INTEL:
            # Told by QEMU's IOMMU that it is emulated, the AMD driver enforces strict mode.
            raise ValueError(
                f"iommu_mode is lazy and iommu is {self.iommu}: Linux is lazy with intel only"
            )
        return self

    @model_validator(mode="after")
    def _first_nodes_have_cpus(self) -> Topology:
        for number, node in enumerate(self.nodes[:_CPU_NODES]):
            if not node.cpus:
                raise ValueError(
                    f"nodes.{number}.cpus is 0: nodes 0 and 1 need a CPU; nodes after them may be "
                    "memory alone"
                )
        return self

    @property
    def slow_node(self) -> int | None:
        """The first node without CPUs; None if all have some."""
        return next((at for at, node in enumerate(self.nodes) if not node.cpus), None)


class Engine(_Model):
    """The emulated DMA functions and their timing.

    ``count`` functions have ``queues`` queues each, and every queue is a dmaengine channel; a ptdma
    function has one queue.

    Without a ``profile`` the experiment has its own, unless a number is given, which makes it
    ``custom``. ``latency_ns`` is the fixed cost of a descriptor, ``bandwidth_bytes_per_s`` the rate
    of one queue, ``fabric_bandwidth_bytes_per_s`` the limit that all functions of a node share,
    ``link_bandwidth_bytes_per_s`` that of all copies from node to node; 0 is unlimited, and so is
    what a custom profile doesn't say.
    """

    kind: Literal["ptdma", "ae4dma"] = "ptdma"
    count: Annotated[int, Field(ge=0, le=MAX_ENGINES)] = 1
    queues: Annotated[int, Field(ge=1, le=MAX_ENGINES)] = 1
    node: Annotated[int, Field(ge=0, le=7)] = 1
    msix: bool = True
    profile: Profile | None = None
    latency_ns: Annotated[int, Field(ge=0, le=10_000_000_000)] | None = None
    bandwidth_bytes_per_s: Annotated[int, Field(ge=0)] | None = None
    fabric_bandwidth_bytes_per_s: Annotated[int, Field(ge=0)] | None = None
    link_bandwidth_bytes_per_s: Annotated[int, Field(ge=0)] | None = None

    @property
    def timing_given(self) -> bool:
        """Whether there is a number, which only the custom profile takes."""
        numbers = (
            self.latency_ns,
            self.bandwidth_bytes_per_s,
            self.fabric_bandwidth_bytes_per_s,
            self.link_bandwidth_bytes_per_s,
        )
        return any(number is not None for number in numbers)

    @property
    def timing(self) -> Profile:
        """The profile that applies."""
        if self.profile is None:
            return Profile.CUSTOM if self.timing_given else Profile.INSTANT
        return self.profile

    @model_validator(mode="after")
    def _numbers_are_custom(self) -> Engine:
        if self.timing_given and self.timing is not Profile.CUSTOM:
            raise ValueError(
                f"profile = {self.profile} has its own latency and bandwidths; give them with "
                "profile = custom, or without a profile"
            )
        return self

    @model_validator(mode="after")
    def _queues_fit(self) -> Engine:
        if self.kind == "ptdma" and self.queues != 1:
            raise ValueError(
                f"queues is {self.queues}, but a ptdma function has one; use kind = ae4dma, or "
                "count for more functions"
            )
        if self.channels > MAX_ENGINES:
            raise ValueError(
                f"count = {self.count} functions of queues = {self.queues} are {self.channels} "
                f"channels; the lab takes at most {MAX_ENGINES}"
            )
        return self

    @property
    def channels(self) -> int:
        """Channels that all functions give together."""
        return self.count * self.queues

    @property
    def size_text(self) -> str:
        """How many there are, in the lab file's words."""
        text = f"engine.count is {self.count}"
        return text if self.kind == "ptdma" else f"{text}, engine.queues is {self.queues}"

    def with_channels(self, channels: int) -> Engine:
        """As many engines as give `channels`: ptdma functions, or queues of one ae4dma function."""
        size = {"count": channels} if self.kind == "ptdma" else {"count": 1, "queues": channels}
        return Engine.model_validate({**self.model_dump(), **size})


class Kernel(_Model):
    """Which kernel to build: a base, its instrumentation, and the controls that its dcbm has.

    ``driver_fixes`` puts our corrections of the engines' driver on top; without them it is stock.
    """

    base: str = "7.3"
    variant: Variant = Variant.PLAIN
    layout: ControlLayout = ControlLayout.V6
    driver_fixes: bool = False


class Qemu(_Model):
    """Which QEMU to build: a base of ``qemu-devices/pins.toml``, named after its version."""

    base: str = "10.0"


class LabFile(_Model):
    """A whole lab file; `experiment` holds each experiment's parameters under its name.

    ``experiments`` are directories with experiments of the user's, relative to the file.
    """

    topology: Topology = Topology()
    engine: Engine = Engine()
    kernel: Kernel = Kernel()
    qemu: Qemu = Qemu()
    clock: Clock = Clock.VIRTUAL
    experiments: tuple[Path, ...] = ()
    experiment: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _engine_node_exists(self) -> LabFile:
        if self.engine.node >= len(self.topology.nodes):
            raise ValueError(
                f"engine.node is {self.engine.node}, but there are only "
                f"{len(self.topology.nodes)} nodes"
            )
        if not self.topology.nodes[self.engine.node].cpus:
            raise ValueError(
                f"engine.node is {self.engine.node}, which has no CPU to serve interrupts"
            )
        return self


def with_default_profile(lab: LabFile, profile: Profile) -> LabFile:
    """`lab` with a timing profile for its engines if it doesn't choose one itself."""
    if lab.engine.profile is not None or lab.engine.timing_given:
        return lab
    engine = lab.engine.model_copy(update={"profile": profile})
    return lab.model_copy(update={"engine": engine})


def describe_errors(error: ValidationError, model: type[BaseModel], whole: str = "file") -> str:
    """What pydantic refused in `model`, each by its key; a key that there isn't, with those there.

    Args:
        error: what it raised.
        model: what was to be validated.
        whole: what has no key of its own.
    """
    texts = []
    for item in without_followers(error):
        told = told_of(item)
        if item["type"] == "extra_forbidden":
            told = _no_such_key(model, item["loc"])
        texts.append(f"{'.'.join(str(part) for part in item['loc']) or whole}: {told}")
    return "; ".join(texts)


def without_followers(error: ValidationError) -> list[ErrorDetails]:
    """What pydantic refused, but for lists that are too short because an entry was refused."""
    refused = error.errors()
    return [
        item
        for item in refused
        if item["type"] != "too_short"
        or not any(
            other["loc"][: len(item["loc"])] == item["loc"] != other["loc"] for other in refused
        )
    ]


def told_of(item: ErrorDetails) -> str:
    """What was wrong with a value, in the terms of who wrote it."""
    if item["type"] in ("tuple_type", "list_type"):
        example = json.dumps([item["input"]], default=str)
        return f"a list is awaited, such as {example}"
    return item["msg"]


def _no_such_key(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """That a section has no such key, which it has, and which of them is nearly the same."""
    section: Any = model
    for part in loc[:-1]:
        if isinstance(part, str):
            section = section.model_fields[part].annotation
        for inner in get_args(section):  # of a list of tables: the table
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                section = inner
    known = list(section.model_fields)
    names = [str(part) for part in loc[:-1] if isinstance(part, str)]
    where = f"[{'.'.join(names)}]" if names else "the lab file"
    return f"no such key; {where} has {', '.join(known)}{suggest(str(loc[-1]), known)}"


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that there is not: which one was meant, if one is near."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def read_lab_file(path: Path) -> LabFile:
    """Read and validate a lab file (TOML).

    Raises:
        ConfigError: the file can't be read, is no TOML, or says something that can't be run; the
            message names each field.
    """
    hint = f"correct {path}; docs/lab-file.md lists every field"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"a readable lab file at {path}", str(error), hint=hint) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"TOML in {path}", str(error), hint=hint) from error
    try:
        lab = LabFile.model_validate(data)
    except ValidationError as error:
        seen = describe_errors(error, LabFile)
        raise ConfigError(f"a valid lab file in {path}", seen, hint=hint) from error
    if not lab.experiments:
        return lab
    places = tuple(path.parent / directory for directory in lab.experiments)
    return lab.model_copy(update={"experiments": places})
