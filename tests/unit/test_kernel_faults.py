# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own fault injection: what is asked for, what is set, and what counts as done."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from lab.config import Kernel, LabFile, Variant
from lab.errors import ConfigError, PremiseError
from lab.experiments import alloc_failures
from lab.experiments.base import Fault
from lab.experiments.kernel_faults import Capability, KernelFault, arm, text_range
from lab.machine.jobs import GuestFileError, JobResult
from lab.options import OptionError, check_kernel_faults, parse_fault
from lab.results import DeviceCounters, Integrity, MovePoint

FAILSLAB = "/sys/kernel/debug/failslab"
CACHE = "0000:31:00.0-dmaengine-desc-cache"
NAMES = {
    *("probability", "interval", "times", "space", "verbose", "task-filter"),
    *("ignore-gfp-wait", "cache-filter"),
}
KALLSYMS = """\
ffffffff81000000 T _stext
ffffffffc0100000 t pt_one\t[ptdma]
ffffffffc0100040 t pt_two\t[ptdma]
ffffffffc0100300 d pt_data\t[ptdma]
ffffffffc0200000 t dcbm_copy_done\t[dcbm]
ffffffffc0200040 t dcbm_offload_copy\t[dcbm]
"""


class DebugKernel:
    """The files of a kernel with failslab, which behave as lib/fault-inject.c has them."""

    def __init__(self, *, filters_stacks: bool = False) -> None:
        self.files = {f"{FAILSLAB}/{name}": "0" for name in NAMES}
        self.files |= {f"/sys/kernel/slab/{CACHE}/failslab": "0", "/proc/1/make-it-fail": "0"}
        self.files["/proc/kallsyms"] = KALLSYMS
        if filters_stacks:
            for name in ("stacktrace-depth", "require-start", "require-end"):
                self.files[f"{FAILSLAB}/{name}"] = "0"
        self.deaf: set[str] = set()
        self.order: list[str] = []

    def read(self, path: str) -> str:
        if path not in self.files:
            raise GuestFileError(f"{path} readable", errno.ENOENT)
        return self.files[path] + "\n"

    def write(self, path: str, text: str) -> None:
        self.read(path)
        self.order.append(path.rsplit("/", 1)[1])
        if path not in self.deaf:
            self.files[path] = text

    def run(self, argv: list[str]) -> JobResult:
        assert argv[1:] == ["ls", "/sys/kernel/slab"]
        return JobResult(tuple(argv), 0, None, [], ["kmalloc-64", CACHE], [])

    def fail(self, times: int) -> None:
        at = f"{FAILSLAB}/times"
        self.files[at] = str(int(self.files[at]) - times)


def test_what_is_armed_is_set_and_read_back_and_counted() -> None:
    kernel = DebugKernel()
    armed = arm(kernel, KernelFault(Capability.FAILSLAB, interval=7, cache="-desc-cache"))
    shown = {name: kernel.files[f"{FAILSLAB}/{name}"] for name in NAMES}
    assert shown["probability"] == "100"
    assert (shown["interval"], shown["cache-filter"], shown["task-filter"]) == ("7", "Y", "N")
    assert shown["ignore-gfp-wait"] == "Y"
    assert kernel.files[f"/sys/kernel/slab/{CACHE}/failslab"] == "1"
    assert kernel.order[-1] == "probability", "nothing may fail while the rest is set"
    kernel.fail(3)
    assert armed.struck() == 3
    assert armed.describe()["struck"] == 3
    assert armed.disarm() == 3
    assert kernel.files[f"{FAILSLAB}/probability"] == "0"
    assert kernel.files[f"/sys/kernel/slab/{CACHE}/failslab"] == "0"


def test_one_that_never_struck_is_a_premise_that_failed() -> None:
    armed = arm(DebugKernel(), KernelFault(Capability.FAILSLAB, times=5))
    with pytest.raises(PremiseError, match="never struck"):
        armed.disarm()


def test_a_task_filter_reaches_what_the_agent_starts() -> None:
    kernel = DebugKernel()
    arm(kernel, KernelFault(Capability.FAILSLAB, task=True, sleeping=True))
    assert kernel.files["/proc/1/make-it-fail"] == "1"
    assert kernel.files[f"{FAILSLAB}/task-filter"] == "Y"
    assert kernel.files[f"{FAILSLAB}/ignore-gfp-wait"] == "N"


def test_a_kernel_without_it_names_the_variant_that_has_it() -> None:
    kernel = DebugKernel()
    del kernel.files[f"{FAILSLAB}/probability"]
    with pytest.raises(ConfigError, match=r"no /sys/kernel/debug/failslab.*\n.*variant=debug"):
        arm(kernel, KernelFault(Capability.FAILSLAB))


def test_a_setting_that_reads_back_otherwise_is_refused() -> None:
    kernel = DebugKernel()
    kernel.deaf.add(f"{FAILSLAB}/interval")
    with pytest.raises(PremiseError, match="interval reads '0'"):
        arm(kernel, KernelFault(Capability.FAILSLAB, interval=7))


def test_a_cache_that_is_not_there_or_deaf_is_refused() -> None:
    kernel = DebugKernel()
    with pytest.raises(PremiseError, match="none of 2"):
        arm(kernel, KernelFault(Capability.FAILSLAB, cache="no-such"))
    kernel.deaf.add(f"/sys/kernel/slab/{CACHE}/failslab")
    with pytest.raises(PremiseError, match="marked to fail"):
        arm(kernel, KernelFault(Capability.FAILSLAB, cache="desc-cache"))


def test_a_module_is_looked_for_on_the_stack_where_the_kernel_can() -> None:
    fault = KernelFault(Capability.FAILSLAB, module="ptdma")
    kernel = DebugKernel(filters_stacks=True)
    arm(kernel, fault)
    assert kernel.files[f"{FAILSLAB}/require-start"] == "0xffffffffc0100000"
    assert kernel.files[f"{FAILSLAB}/require-end"] == "0xffffffffc0200000"
    with pytest.raises(ConfigError, match="CONFIG_FAULT_INJECTION_STACKTRACE_FILTER=y"):
        arm(DebugKernel(), fault)


def test_code_is_found_by_module_and_by_function() -> None:
    assert text_range(KALLSYMS, module=None, function="pt_two") == (
        0xFFFFFFFFC0100040,
        0xFFFFFFFFC0200000,
    )
    start, end = text_range(KALLSYMS, module="dcbm", function=None)
    assert start == 0xFFFFFFFFC0200000
    assert end > 0xFFFFFFFFC0200040
    with pytest.raises(PremiseError, match="is its module loaded"):
        text_range(KALLSYMS, module="ae4dma", function=None)


def test_the_command_line_takes_it() -> None:
    text = "kernel:failslab:interval=7,cache=-dmaengine-desc-cache,task=true"
    fault = parse_fault(text)
    assert (fault.device, fault.kind) == ("kernel", "failslab")
    assert KernelFault.of(fault.kind, fault.arguments) == KernelFault(
        Capability.FAILSLAB, interval=7, cache="-dmaengine-desc-cache", task=True
    )
    assert parse_fault("kernel:fail_page_alloc:min-order=3").kind == "fail_page_alloc"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kernel:failslabs", "failslab or fail_page_alloc"),
        ("kernel:failslab:interval=0", "interval is at least 1"),
        ("kernel:failslab:probability=101", "1 to 100"),
        ("kernel:failslab:times=0", "times is from 1"),
        ("kernel:failslab:nth=4", "one of probability, interval"),
        ("kernel:failslab:interval=often", "a int for interval"),
        ("kernel:failslab:task=1", "a bool for task"),
        ("kernel:failslab:min-order=1", "min-order is for fail_page_alloc"),
        ("kernel:fail_page_alloc:cache=x", "cache is for failslab"),
        ("kernel:failslab:module=a,function=b", "not both"),
        ("dma0:fail_page_alloc", "no fault 'fail_page_alloc'"),
    ],
)
def test_what_no_kernel_takes_is_refused_at_once(text: str, expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        parse_fault(text)


@pytest.mark.parametrize("variant", list(Variant))
def test_a_variant_without_it_is_refused_before_it_is_built(variant: Variant) -> None:
    lab = LabFile(kernel=Kernel(variant=variant))
    parameters = alloc_failures.AllocFailuresParameters()
    if variant in {Variant.DEBUG, Variant.KASAN}:
        check_kernel_faults([Fault("kernel", "failslab")], lab)
        assert len(alloc_failures.plan(lab, parameters)) == 2
        return
    check_kernel_faults([Fault("dma0", "stall")], lab)
    with pytest.raises(ConfigError, match="variant=debug"):
        check_kernel_faults([Fault("kernel", "failslab")], lab)
    with pytest.raises(ConfigError, match="variant=debug"):
        alloc_failures.plan(lab, parameters)


def point(**values: Any) -> MovePoint:
    counted = {"descriptors": 90, "bytes": 90 * 4096, "interrupts": 90, "errors": 0}
    fields = {
        **{"folio_kib": 4, "moves": 2, "folios_per_move": 50, "gb_per_s_mean": 1.0},
        **{"gb_per_s_stdev": 0.0, "dma_copies": 90, "folios_failures": 10, "channels_used": 1},
        "device": DeviceCounters.model_validate(counted),
        "integrity": Integrity(pages_verified=100, pages_wrong=0, wrong=[]),
    }
    return MovePoint.model_validate({**fields, **values})


def test_each_failed_descriptor_costs_one_folio() -> None:
    assert all(check.held for check in alloc_failures.descriptor_checks(point(), 10))
    for broken, struck in (
        (point(folios_failures=9), 10),
        (point(dma_copies=91), 10),
        (point(), 11),
        (point(dma_copies=100, folios_failures=0), 0),
    ):
        assert not all(check.held for check in alloc_failures.descriptor_checks(broken, struck))


def test_a_sweep_is_off_after_an_error_and_on_after_a_success() -> None:
    sound = [(1, False, False), (2, True, True), (3, True, True)]
    assert all(check.held for check in alloc_failures.sweep_checks(sound))
    for broken in (
        [(1, False, True), (2, True, True)],
        [(1, False, False), (2, True, False)],
        [(1, True, True)],
        [(1, False, False)],
    ):
        assert not all(check.held for check in alloc_failures.sweep_checks(broken))


def test_the_sweeps_line_is_read() -> None:
    assert alloc_failures.read_sweep(["sh: can't create x", "told 1 left 0"]) == (False, 0)
    assert alloc_failures.read_sweep(["told 0 left 3"]) == (True, 3)
    assert alloc_failures.read_sweep(["told 0 left"]) == (True, 0)
    with pytest.raises(PremiseError):
        alloc_failures.read_sweep([])
