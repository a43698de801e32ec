# SPDX-License-Identifier: GPL-2.0-or-later
"""What modes boot on: builds the QEMU, kernels and images that a plan asks for, and boots them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from lab.boot_states import BootStates, argv_without_paths
from lab.build import cpio
from lab.build.extra_files import compose_extra, gather, read_image, write_initramfs
from lab.build.fit import Fit
from lab.build.given_kernel import GivenArtifact, GivenKernel, lacks, take_given_kernel
from lab.build.image import ImageArtifact, build_given_image, build_image
from lab.build.inputs import Inputs
from lab.build.kconfig import parse_config
from lab.build.kernel import KernelArtifact, build_kernel
from lab.build.qemu import QemuArtifact, build_qemu
from lab.build.qemu_identity import QemuOrigin, identify_qemu
from lab.build.series_file import write_series
from lab.cache import Cache, hash_file
from lab.config import Clock, LabFile
from lab.doctor import ask_kvm
from lab.errors import ConfigError
from lab.experiments.base import ModePlan
from lab.experiments.offload_core import LATE_WRITE, RIVAL
from lab.kernel_choices import Choice, check_choices, choice_of, qemu_base_of
from lab.machine.argv import BootFiles, MachineSpec, kernel_command_line
from lab.machine.guest import Guest
from lab.machine.session import boot
from lab.progress import Progress
from lab.results import BootIdentity, KernelIdentity, PatchIdentity, QemuIdentity
from lab.variants import slowdown_of

# Host seconds for a whole mode on a plain kernel: only a guard for what no single program's limit
# catches.
SESSION_TIMEOUT_S = 3600.0
# Modules of images/modules: those for any kernel, and the providers, for the core of our series.
OURS = frozenset({"compact_trigger", "contig_trigger", "cpu_account", "dma_probe"})
PROVIDERS = frozenset({RIVAL, LATE_WRITE})
INITRAMFS = "initramfs"


APPLIED = "applied"

# What comes of a choice: built by the lab, or given by the user.
Artifacts = tuple[KernelArtifact | GivenArtifact, ImageArtifact]


@dataclass(frozen=True)
class BuiltBench:
    """Artifacts for every mode of a plan, and what executes its guests.

    `extra` has, by the name of the mode, what goes behind the image where a mode brings files;
    `refused`, by the same, why it can't be booted. `states` is where the states of booted machines
    are kept; None boots each mode. `hash_of` gives a file's SHA-256, perhaps from memory.
    """

    qemu: QemuArtifact
    origin: QemuOrigin
    accelerator: Literal["tcg", "kvm"]
    artifacts: dict[Choice, Artifacts]
    inputs: Inputs
    extra: Mapping[str, cpio.Archive] = field(default_factory=dict)
    refused: Mapping[str, ConfigError] = field(default_factory=dict)
    states: BootStates | None = None
    hash_of: Callable[[Path], str] = hash_file

    @property
    def kernels(self) -> list[KernelIdentity]:
        """The kernels, in the order in which the plan asks for them."""
        return [identity(kernel) for kernel, _image in self.artifacts.values()]

    @property
    def qemu_version(self) -> str:
        """Version of the QEMU that the modes boot in."""
        return self.qemu.version

    @property
    def qemu_identity(self) -> QemuIdentity:
        """The QEMU that the modes boot in, and what it was built from."""
        return QemuIdentity(version=self.qemu.version, **asdict(self.origin))

    def keep(self, folder: Path) -> None:
        """Write the patches of every kernel below `folder`, as they were applied."""
        for kernel, _image in self.artifacts.values():
            if isinstance(kernel, KernelArtifact) and kernel.plan.series is not None:
                series = kernel.plan.series
                write_series(series, folder / APPLIED / series.hash)

    def boot_of(self, mode: ModePlan) -> BootIdentity:
        """The files and the machine that a mode boots."""
        kernel, image = self.artifacts[choice_of(mode, self.inputs)]
        spec = self._spec(mode)
        files = BootFiles.of(self.qemu, kernel, image)
        clock = mode.machine.clock
        return BootIdentity(
            kernel_hash=self.hash_of(kernel.vmlinux),
            initramfs_hash=self.hash_of(image.initramfs),
            command_line=kernel_command_line(spec, clock, mode.command_line),
            argv=argv_without_paths(spec, files, clock, mode.command_line),
        )

    def slowdown(self, mode: ModePlan) -> float:
        """The factor by which a mode's deadlines grow; a given kernel's configuration tells it."""
        choice = choice_of(mode, self.inputs)
        config = choice.config if isinstance(choice, GivenKernel) else None
        return slowdown_of(mode.machine.kernel.variant, parse_config(config or ""))

    def _spec(self, mode: ModePlan) -> MachineSpec:
        return MachineSpec(mode.machine.topology, mode.machine.engine, self.accelerator)

    def kernel_of(self, mode: ModePlan) -> KernelIdentity:
        """The kernel that a mode boots."""
        return identity(self.artifacts[choice_of(mode, self.inputs)][0])

    def coverage_notes(self, mode: ModePlan) -> Path | None:
        """What turns the line counters of a mode's kernel into lines; None if it counts none."""
        return self.artifacts[choice_of(mode, self.inputs)][0].coverage

    @contextmanager
    def boot(
        self, mode: ModePlan, folder: Path, on_start: Callable[[Guest], None]
    ) -> Iterator[Guest]:
        """Boot a mode's machine; `folder` gets its logs and the kernel's configuration.

        Raises:
            ConfigError: its kernel lacks a module that it needs.
        """
        if mode.name in self.refused:
            raise self.refused[mode.name]
        kernel, image = self.artifacts[choice_of(mode, self.inputs)]
        shutil.copyfile(kernel.config, folder / "kernel.config")
        spec = self._spec(mode)
        files = BootFiles.of(self.qemu, kernel, image)
        with contextlib.ExitStack() as stack:
            if mode.name in self.extra:
                # As large as the image, and of no use once the guest has ended.
                whole = folder / INITRAMFS
                stack.callback(whole.unlink, missing_ok=True)
                write_initramfs(image.initramfs, self.extra[mode.name], whole)
                files = replace(files, initramfs=whole)
            yield stack.enter_context(
                boot(
                    spec,
                    files,
                    folder,
                    mode.machine.clock,
                    SESSION_TIMEOUT_S * self.slowdown(mode),
                    mode.command_line,
                    on_start=on_start,
                    states=self.states,
                    checkpoint=mode.checkpoint,
                )
            )


def prepare(
    modes: Sequence[ModePlan],
    progress: Progress,
    inputs: Inputs | None = None,
    *,
    fresh: bool = False,
) -> BuiltBench:
    """Build what the modes need from what the user brought, or take it from the cache.

    With `fresh` each mode boots, instead of being restored from the state of an earlier boot.

    Raises:
        SourceError, BuildError, CacheError, HostError: something can't be had.
        ConfigError: each mode's kernel lacks a module that the mode needs.
    """
    inputs = inputs or Inputs()
    cache = Cache()
    choices = check_choices([choice_of(mode, inputs) for mode in modes])
    say_inputs(inputs, progress)
    base = qemu_base_of(modes)
    qemu = build_qemu(cache, progress, base)
    names = sorted({name for mode in modes for name in mode.modules})
    artifacts: dict[Choice, Artifacts] = {}
    for choice in choices:
        if isinstance(choice, GivenKernel):
            # The providers go along if they are there: who can do without asks the guest.
            given = take_given_kernel(cache, choice, sorted({*names, *PROVIDERS}), progress)
            artifacts[choice] = (given, build_given_image(cache, given, progress))
        else:
            kernel = build_kernel(cache, choice, progress)
            artifacts[choice] = (kernel, build_image(cache, kernel, progress))
    refused = refuse(modes, artifacts, inputs)
    for name, reason in refused.items():
        progress.warn(f"mode {name} can't be run: {reason.seen}")
    extra = _gather_extra(cache, modes, artifacts, inputs, progress)
    accelerator: Literal["tcg", "kvm"] = "tcg"
    if any(mode.machine.clock is Clock.HOST for mode in modes):
        answer = ask_kvm(cache, progress)
        progress.note(answer.line)
        accelerator = "kvm" if answer.usable else "tcg"
    origin = identify_qemu(cache, base, progress)
    return BuiltBench(
        qemu,
        origin,
        accelerator,
        artifacts,
        inputs,
        extra,
        refused,
        states=None if fresh else BootStates(cache, progress),
        hash_of=cache.hash_file,
    )


def _gather_extra(
    cache: Cache,
    modes: Sequence[ModePlan],
    artifacts: Mapping[Choice, Artifacts],
    inputs: Inputs,
    progress: Progress,
) -> dict[str, cpio.Archive]:
    """What modes bring into the guest, ready to be put behind their images.

    Raises:
        BuildError: a program of theirs doesn't compile.
        ConfigError: a file can't have its place, or can't be used in the guest.
    """
    extra = {}
    for mode in modes:
        if mode.files:
            kernel, image = artifacts[choice_of(mode, inputs)]
            items = gather(cache, mode.files, progress, kernel)
            extra[mode.name] = compose_extra(items, read_image(image.initramfs))
    return extra


def say_inputs(inputs: Inputs, progress: Progress) -> None:
    """Say how the series was read and what a given kernel lacks, before it costs time."""
    for note in inputs.series.notes if inputs.series is not None else ():
        progress.warn(note)
    for lack in lacks(inputs.kernel) if inputs.kernel is not None else ():
        progress.warn(lack)


def refuse(
    modes: Sequence[ModePlan], artifacts: Mapping[Choice, Artifacts], inputs: Inputs
) -> dict[str, ConfigError]:
    """Why modes can't be booted, by their names: the others can.

    Raises:
        ConfigError: none can.
    """
    refused: dict[str, ConfigError] = {}
    for mode in modes:
        choice = choice_of(mode, inputs)
        try:
            _assert_modules(mode, choice, artifacts[choice][1])
        except ConfigError as error:
            refused[mode.name] = error
    if modes and len(refused) == len(modes):
        raise refused[modes[0].name]
    return refused


def _assert_modules(mode: ModePlan, choice: Choice, image: ImageArtifact) -> None:
    """Refuse a mode whose kernel hasn't the modules that it needs."""
    missing = [name for name in mode.modules if name not in image.modules]
    if not missing:
        return
    hint = "; ".join(_how_to_get(missing, given=isinstance(choice, GivenKernel)))
    raise ConfigError(
        f"modules {', '.join(mode.modules)} for mode {mode.name} in {choice.label}",
        f"no {', '.join(missing)}",
        hint=f"{hint}; or choose modes that need less (--mode NAME)",
    )


def _how_to_get(missing: Sequence[str], *, given: bool) -> Iterator[str]:
    """What helps where modules aren't there, by whose they are."""
    providers = ", ".join(name for name in missing if name in PROVIDERS)
    ours = ", ".join(name for name in missing if name in OURS)
    if providers:
        yield (
            f"{providers}: the lab's own (images/modules), built only with the core of the "
            "project's series, because what a provider looks like differs between series"
        )
    if ours and given:
        yield (
            f"{ours}: the lab's own (images/modules), built for kernels that the lab builds: "
            "give the source (--tree)"
        )
    elif ours:
        yield f"{ours}: the lab's own (images/modules): the log of their build says why"
    if set(missing) <= PROVIDERS | OURS:
        return
    if given:
        yield "give the kernel's modules (--modules DIR), built with these"
    else:
        yield (
            "the series or tree doesn't bring it, or its option has another name: turn it on "
            "with --fragment FILE"
        )


def build_parts(
    lab: LabFile,
    progress: Progress,
    *,
    qemu: bool,
    kernels: bool,
    images: bool,
    inputs: Inputs | None = None,
) -> list[tuple[str, Path]]:
    """Build what is asked for, for a vanilla and a patched kernel; an image needs its kernel.

    Returns:
        What was built, with its place in the cache.

    Raises:
        SourceError, BuildError, CacheError, HostError: something can't be had.
    """
    cache = Cache()
    inputs = inputs or Inputs()
    wanted: list[Choice] = []
    if kernels or images:
        wanted = check_choices([inputs.choose(lab.kernel, patched=on) for on in (False, True)])
        say_inputs(inputs, progress)
    built: list[tuple[str, Path]] = []
    if qemu:
        built.append(("QEMU", build_qemu(cache, progress, lab.qemu.base).binary))
    for choice in wanted:
        if isinstance(choice, GivenKernel):
            continue
        kernel = build_kernel(cache, choice, progress)
        built.append((choice.label, kernel.vmlinux))
        if images:
            image = build_image(cache, kernel, progress)
            built.append((f"image of {choice.label}", image.initramfs))
    return built


def identity(kernel: KernelArtifact | GivenArtifact) -> KernelIdentity:
    """What a record says about a kernel."""
    fit = kernel.fit if isinstance(kernel, KernelArtifact) else Fit()
    return KernelIdentity(
        base=kernel.base,
        release=kernel.release,
        variant=kernel.variant,
        series=kernel.series,
        patches=[
            PatchIdentity(
                subject=subject,
                patch_id=patch_id,
                merged=number in fit.merged,
                known=number in fit.known,
            )
            for number, (subject, patch_id) in enumerate(kernel.patches, 1)
        ],
        version=kernel.version,
        fallback=kernel.fallback,
        source_hash=kernel.source_hash,
        commit=kernel.commit,
        diff=kernel.diff,
        config_hash=hash_file(kernel.config),
        compiler=kernel.compiler,
    )
