# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own fault injection: what is asked for, what is set, and what counts as done."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.config import Kernel, LabFile, Variant
from lab.dcbm import Counters
from lab.errors import ConfigError, PremiseError
from lab.experiments import alloc_failures, failure_checks
from lab.experiments.base import Fault, Findings
from lab.experiments.kernel_faults import Capability, KernelFault, arm
from lab.experiments.kernel_text import text_range
from lab.machine.jobs import GuestFileError, JobResult
from lab.options import OptionError, check_faults_together, check_kernel_faults, parse_fault
from lab.results import DeviceCounters, Integrity, MovePoint

FAILSLAB = "/sys/kernel/debug/failslab"
CACHE = "0000:31:00.0-dmaengine-desc-cache"
NAMES = {
    *("probability", "interval", "times", "space", "verbose", "task-filter"),
    *("ignore-gfp-wait", "cache-filter"),
}
PAGES = "/sys/kernel/debug/fail_page_alloc"
# What lib/fault-inject.c, mm/failslab.c and mm/fail_page_alloc.c start with.
START = {"interval": "1", "times": "1", "verbose": "2", "task-filter": "N", "ignore-gfp-wait": "Y"}
STACKS = {
    **{"stacktrace-depth": "32", "require-start": "0x0", "require-end": "0xffffffffffffffff"},
    **{"reject-start": "0x0", "reject-end": "0x0"},
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
        self.files = {f"{FAILSLAB}/{name}": START.get(name, "0") for name in NAMES}
        self.files[f"{FAILSLAB}/cache-filter"] = "N"
        for name in (NAMES - {"cache-filter"}) | {"min-order", "ignore-gfp-highmem"}:
            self.files[f"{PAGES}/{name}"] = START.get(name, "0")
        self.files |= {f"{PAGES}/min-order": "1", f"{PAGES}/ignore-gfp-highmem": "Y"}
        self.files |= {f"/sys/kernel/slab/{CACHE}/failslab": "0", "/proc/1/make-it-fail": "0"}
        self.files["/proc/kallsyms"] = KALLSYMS
        if filters_stacks:
            self.files |= {f"{FAILSLAB}/{name}": value for name, value in STACKS.items()}
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
    with pytest.raises(PremiseError, match="interval reads '1'"):
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
    assert kernel.order[-1] == "probability"
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


def test_a_name_that_several_functions_have_is_refused_until_a_module_narrows_it() -> None:
    # Every driver has a probe function; what lies between two of them is half the kernel.
    kallsyms = (
        "ffffffff81000000 t probe\nffffffff81000100 T other\nffffffff82000000 t probe\n"
        "ffffffff82000080 T z\nffffffffc0000000 t probe\t[dcbm]\nffffffffc0000100 t b\t[dcbm]\n"
    )
    with pytest.raises(PremiseError) as caught:
        text_range(kallsyms, module=None, function="probe")
    for part in ("3 of that name", "kernel at 0xffffffff82000000", "dcbm at 0xffffffffc0000000"):
        assert part in str(caught.value)
    one = text_range(kallsyms, module="dcbm", function="probe")
    assert one == (0xFFFFFFFFC0000000, 0xFFFFFFFFC0000100)
    assert KernelFault(Capability.FAILSLAB, module="dcbm", function="probe").function == "probe"
    with pytest.raises(PremiseError, match="the code of other of dcbm"):
        text_range(kallsyms, module="dcbm", function="other")


def test_a_module_with_others_code_between_its_own_is_refused() -> None:
    kallsyms = (
        "ffffffffc0000000 t a\t[dcbm]\nffffffffc0000100 t q\t[zz]\nffffffffc0000200 t b\t[dcbm]\n"
    )
    with pytest.raises(PremiseError, match="q of zz at 0xffffffffc0000100"):
        text_range(kallsyms, module="dcbm", function=None)


@pytest.mark.parametrize(
    "fault",
    [
        KernelFault(Capability.FAILSLAB, module="dcbm", task=True, sleeping=True, space=9),
        KernelFault(Capability.FAILSLAB, cache="-desc-cache", interval=7, times=3),
        KernelFault(Capability.FAIL_PAGE_ALLOC, min_order=4, task=True),
    ],
)
def test_a_fault_that_is_taken_back_leaves_the_kernel_as_it_was(fault: KernelFault) -> None:
    kernel = DebugKernel(filters_stacks=True)
    before = dict(kernel.files)
    armed = arm(kernel, fault)
    assert kernel.files != before
    written = len(kernel.order)
    armed.release()
    assert kernel.order[written] == "probability", "nothing may fail while the rest is put back"
    assert kernel.files == before


def test_a_fault_without_filters_has_none_of_what_it_finds() -> None:
    kernel = DebugKernel(filters_stacks=True)
    kernel.files |= {f"{FAILSLAB}/require-start": "0x1000", f"{FAILSLAB}/reject-end": "0x2000"}
    kernel.files |= {f"{FAILSLAB}/task-filter": "Y", f"{FAILSLAB}/cache-filter": "Y"}
    arm(kernel, KernelFault(Capability.FAILSLAB))
    assert {name: kernel.files[f"{FAILSLAB}/{name}"] for name in STACKS} == STACKS
    assert kernel.files[f"{FAILSLAB}/task-filter"] == "N"
    assert kernel.files[f"{FAILSLAB}/cache-filter"] == "N"


@pytest.mark.parametrize("deaf", ["interval", "require-end", "probability", "ignore-gfp-wait"])
def test_a_fault_that_cannot_be_set_leaves_nothing_armed(deaf: str) -> None:
    kernel = DebugKernel(filters_stacks=True)
    before = dict(kernel.files)
    kernel.deaf.add(f"{FAILSLAB}/{deaf}")
    wanted = KernelFault(
        Capability.FAILSLAB, interval=7, module="dcbm", task=True, sleeping=True, cache="cache"
    )
    with pytest.raises(PremiseError, match=f"{deaf} reads"):
        arm(kernel, wanted)
    assert kernel.files == before


def test_what_fails_before_a_fault_is_taken_back_is_counted_and_nothing_after() -> None:
    kernel = DebugKernel()
    armed = arm(kernel, KernelFault(Capability.FAILSLAB))
    write = kernel.write

    def write_late(path: str, text: str) -> None:
        if path == f"{FAILSLAB}/probability":
            kernel.fail(1)  # the last allocation before the kernel takes the 0
        write(path, text)

    kernel.write = write_late  # type: ignore[method-assign]
    armed.release()
    assert armed.struck() == armed.describe()["struck"] == 1
    kernel.files[f"{FAILSLAB}/times"] = "0"
    armed.release()
    assert armed.struck() == 1


def test_two_faults_of_one_capability_are_refused() -> None:
    kernel = DebugKernel()
    first = arm(kernel, KernelFault(Capability.FAILSLAB, interval=200))
    with pytest.raises(PremiseError, match="one fault of failslab at a time"):
        arm(kernel, KernelFault(Capability.FAILSLAB, interval=7))
    assert kernel.files[f"{FAILSLAB}/interval"] == "200"
    arm(kernel, KernelFault(Capability.FAIL_PAGE_ALLOC)).release()
    first.release()
    arm(kernel, KernelFault(Capability.FAILSLAB, interval=7))


def test_the_command_line_refuses_faults_that_overwrite_each_other() -> None:
    slab, pages = Fault("kernel", "failslab"), Fault("kernel", "fail_page_alloc")
    check_faults_together([slab, pages, Fault("dma0", "stall"), Fault("dma0", "stall")])
    with pytest.raises(OptionError, match="kernel:failslab more than once"):
        check_faults_together([slab, pages, slab])
    check_faults_together([Fault("dma0", "stall")], alloc_failures.EXPERIMENT)
    with pytest.raises(OptionError, match="alloc-failures sets the kernel's fault injection"):
        check_faults_together([pages], alloc_failures.EXPERIMENT)


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


def test_with_another_series_a_failed_descriptor_costs_up_to_a_batch() -> None:
    def held(seen: MovePoint, struck: int) -> bool:
        return all(check.held for check in alloc_failures.batch_checks(seen, struck))

    engine = {"bytes": 0, "interrupts": 1, "errors": 0}

    def seen(copied: int, failures: int, descriptors: int) -> MovePoint:
        device = DeviceCounters.model_validate({"descriptors": descriptors, **engine})
        moved = {"folios_per_move": 2048, "dma_copies": copied, "folios_failures": failures}
        return point(**moved, device=device)

    assert held(seen(4086, 10, 4086), 10)
    assert held(seen(4096 - 1024, 1024, 4094), 2)
    assert held(seen(4096 - 1024, 0, 4096 - 1024), 2)
    for broken, struck in (
        (seen(4096 - 1024, 2, 4094), 2),
        (seen(4096 - 1025, 1025, 4094), 2),
        (seen(4095, 1, 4094), 2),
        (seen(4096 - 1024, 1024, 4095), 2),
        (seen(4096 - 1024, 1024, 4096 - 1025), 2),
        (seen(4096, 0, 4096), 0),
    ):
        assert not held(broken, struck)


@pytest.mark.parametrize(("own", "held"), [(True, False), (False, True)])
def test_the_kernel_says_which_series_its_descriptors_are_counted_by(
    monkeypatch: pytest.MonkeyPatch, own: bool, held: bool
) -> None:
    counted = Counters(folios_migrated=36, folios_failures=64)
    device = DeviceCounters(descriptors=80, bytes=0, interrupts=1, errors=0)
    batch = point(dma_copies=36, folios_failures=64, device=device)
    armed = SimpleNamespace(disarm=lambda: 2, describe=dict)
    monkeypatch.setattr(alloc_failures, "arm", lambda *_: armed)
    monkeypatch.setattr(alloc_failures, "_move", lambda *_: (batch, counted))
    result = JobResult((), 0 if own else 1, None, [], [], [])
    session: Any = SimpleNamespace(
        guest=SimpleNamespace(run=lambda _argv: result),
        parameters=alloc_failures.AllocFailuresParameters(),
        findings=Findings(),
    )
    alloc_failures._fail_descriptors(session, cast("Any", None))
    assert all(check.held for check in session.findings.checks) == held
    told = failure_checks.BY_FOLIO if own else failure_checks.BY_THE_BATCH
    assert told in session.findings.checks[0].awaited
    assert session.findings.details["contract"] == told


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
