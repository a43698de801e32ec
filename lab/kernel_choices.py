# SPDX-License-Identifier: GPL-2.0-or-later
"""Which kernels and QEMU the modes of a plan boot, and whether there can be such."""

from __future__ import annotations

from collections.abc import Sequence

from lab.build.given_kernel import GivenKernel
from lab.build.inputs import Inputs
from lab.build.kernel_plan import KernelChoice, check_choice
from lab.config import Qemu
from lab.errors import ConfigError
from lab.experiments.base import ModePlan

# What is asked for: built by the lab, or given by the user.
Choice = KernelChoice | GivenKernel


def choice_of(mode: ModePlan, inputs: Inputs) -> Choice:
    """The kernel that a mode boots."""
    return inputs.choose(mode.machine.kernel, patched=mode.patched)


def check_choices(choices: Sequence[Choice]) -> list[Choice]:
    """The choices, each once, sure to be possible before minutes go into what they boot in.

    Raises:
        ConfigError: one isn't; no source has been looked at to find out.
    """
    once = list(dict.fromkeys(choices))
    for choice in once:
        if isinstance(choice, KernelChoice):
            check_choice(choice)
    return once


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


def check_modes(modes: Sequence[ModePlan], inputs: Inputs) -> None:
    """Refuse modes whose kernels or QEMU can't be had together, whatever their source says.

    Raises:
        ConfigError: options, lab file and plan contradict each other, or the lab has no such
            kernel.
    """
    check_choices([choice_of(mode, inputs) for mode in modes])
    qemu_base_of(modes)
