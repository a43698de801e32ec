# SPDX-License-Identifier: GPL-2.0-or-later
"""What modes boot on: builds the QEMU, kernels and images that a plan asks for, and boots them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.build.image import ImageArtifact, build_image
from lab.build.kernel import KernelArtifact, KernelChoice, build_kernel
from lab.build.qemu import QemuArtifact, build_qemu
from lab.cache import Cache, hash_file
from lab.config import Clock, LabFile, Qemu
from lab.doctor import ask_kvm
from lab.errors import ConfigError
from lab.experiments.base import ModePlan
from lab.machine import BootFiles, Guest, MachineSpec, boot
from lab.progress import Progress
from lab.results import KernelIdentity

# Host seconds for a whole mode: only a guard for what no single program's limit catches.
SESSION_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class BuiltBench:
    """Artifacts for every mode of a plan, and what executes its guests."""

    qemu: QemuArtifact
    accelerator: Literal["tcg", "kvm"]
    artifacts: dict[KernelChoice, tuple[KernelArtifact, ImageArtifact]]

    @property
    def kernels(self) -> list[KernelIdentity]:
        """The kernels, in the order in which the plan asks for them."""
        return [identity(kernel) for kernel, _image in self.artifacts.values()]

    @property
    def qemu_version(self) -> str:
        """Version of the QEMU that the modes boot in."""
        return self.qemu.version

    def kernel_of(self, mode: ModePlan) -> KernelIdentity:
        """The kernel that a mode boots."""
        return identity(self.artifacts[choice_of(mode)][0])

    @contextmanager
    def boot(
        self, mode: ModePlan, folder: Path, on_start: Callable[[Guest], None]
    ) -> Iterator[Guest]:
        """Boot a mode's machine; `folder` gets its logs and the kernel's configuration."""
        kernel, image = self.artifacts[choice_of(mode)]
        shutil.copyfile(kernel.config, folder / "kernel.config")
        spec = MachineSpec(mode.machine.topology, mode.machine.engine, self.accelerator)
        files = BootFiles.of(self.qemu, kernel, image)
        with boot(
            spec,
            files,
            folder,
            mode.machine.clock,
            SESSION_TIMEOUT_S,
            mode.command_line,
            on_start=on_start,
        ) as guest:
            yield guest


def choice_of(mode: ModePlan) -> KernelChoice:
    """The kernel that a mode boots."""
    kernel = mode.machine.kernel
    return KernelChoice(
        base=kernel.base,
        variant=kernel.variant,
        patched=mode.patched,
        driver_fixes=kernel.driver_fixes,
    )


def prepare(modes: Sequence[ModePlan], progress: Progress) -> BuiltBench:
    """Build what the modes need, or take it from the cache.

    Raises:
        SourceError, BuildError, CacheError, HostError: something can't be had.
    """
    cache = Cache()
    qemu = build_qemu(cache, progress, qemu_base_of(modes))
    artifacts: dict[KernelChoice, tuple[KernelArtifact, ImageArtifact]] = {}
    for choice in dict.fromkeys(choice_of(mode) for mode in modes):
        kernel = build_kernel(cache, choice, progress)
        artifacts[choice] = (kernel, build_image(cache, kernel, progress))
    accelerator: Literal["tcg", "kvm"] = "tcg"
    if any(mode.machine.clock is Clock.HOST for mode in modes):
        answer = ask_kvm(cache, progress)
        progress.note(answer.line)
        accelerator = "kvm" if answer.usable else "tcg"
    return BuiltBench(qemu, accelerator, artifacts)


def qemu_base_of(modes: Sequence[ModePlan]) -> str:
    """The QEMU base of all modes.

    Raises:
        ConfigError: they differ; a record names one QEMU.
    """
    bases = sorted({mode.machine.qemu.base for mode in modes})
    if len(bases) > 1:
        raise ConfigError(
            "modes that boot in the same QEMU",
            f"qemu.base is {' and '.join(bases)}",
            hint="let the experiment's plan leave qemu as the lab file has it",
        )
    return bases[0] if bases else Qemu().base


def build_parts(
    lab: LabFile, progress: Progress, *, qemu: bool, kernels: bool, images: bool
) -> list[tuple[str, Path]]:
    """Build what is asked for, for a vanilla and a patched kernel; an image needs its kernel.

    Returns:
        What was built, with its place in the cache.

    Raises:
        SourceError, BuildError, CacheError, HostError: something can't be had.
    """
    cache = Cache()
    built: list[tuple[str, Path]] = []
    if qemu:
        built.append(("QEMU", build_qemu(cache, progress, lab.qemu.base).binary))
    if kernels or images:
        for patched in (False, True):
            choice = lab.kernel
            wanted = KernelChoice(
                base=choice.base,
                variant=choice.variant,
                patched=patched,
                driver_fixes=choice.driver_fixes,
            )
            kernel = build_kernel(cache, wanted, progress)
            built.append((wanted.label, kernel.vmlinux))
            if images:
                image = build_image(cache, kernel, progress)
                built.append((f"image of {wanted.label}", image.initramfs))
    return built


def identity(kernel: KernelArtifact) -> KernelIdentity:
    """What a record says about a kernel."""
    return KernelIdentity(
        base=kernel.base,
        release=kernel.release,
        variant=kernel.variant,
        series=kernel.series,
        version=kernel.version,
        fallback=kernel.fallback,
        source_hash=kernel.source_hash,
        config_hash=hash_file(kernel.config),
        compiler=kernel.compiler,
    )
