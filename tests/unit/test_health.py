# SPDX-License-Identifier: GPL-2.0-or-later
"""Crash detection on logs that real guests left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.machine import health
from lab.machine.health import Kind

DATA = Path(__file__).parent.parent / "data" / "console"


def reports(name: str) -> list[health.Report]:
    return health.scan((DATA / name).read_text(encoding="utf-8"))


def test_a_healthy_boot_has_no_reports() -> None:
    text = (DATA / "healthy.log").read_text(encoding="utf-8")
    assert len(text.splitlines()) > 200
    assert health.scan(text) == []


@pytest.mark.parametrize(
    ("log", "kinds", "title"),
    [
        ("oops.log", [Kind.OOPS, Kind.PANIC], "BUG: kernel NULL pointer dereference"),
        ("bug.log", [Kind.BUG, Kind.PANIC], "kernel BUG at bugs.c:132!"),
        ("panic.log", [Kind.PANIC], "Kernel panic - not syncing: sysrq triggered crash"),
        ("warning.log", [Kind.WARNING], "WARNING: bugs.c:164 at lkdtm_WARNING"),
        ("hung-task.log", [Kind.HUNG_TASK, Kind.PANIC], "INFO: task init:1 blocked for more"),
        ("soft-lockup.log", [Kind.LOCKUP, Kind.PANIC], "watchdog: BUG: soft lockup - CPU#1"),
        ("atomic.log", [Kind.BUG], "BUG: scheduling while atomic: init/1/0x00000002"),
        ("slub.log", [Kind.CHECKER], "BUG 0000:32:00.6-dmaengine-desc-cache (Not tainted): Object"),
        ("injected-nmi.log", [Kind.PANIC], "Kernel panic - not syncing: NMI: Not continuing"),
    ],
)
def test_each_report_is_found_once(log: str, kinds: list[Kind], title: str) -> None:
    found = reports(log)
    assert [report.kind for report in found] == kinds
    assert found[0].title.startswith(title)
    assert found[0].time_s is not None


def test_an_oops_before_userspace_is_the_first_of_its_followers() -> None:
    found = reports("stray-int3.log")
    assert found[0].kind is Kind.OOPS
    assert found[0].title == "Oops: int3: 0000 [#1] SMP"
    assert {report.kind for report in found} <= {Kind.OOPS, Kind.PANIC, Kind.BUG, Kind.WARNING}


def test_the_excerpt_of_an_oops_is_whole_and_nothing_else() -> None:
    found = reports("oops.log")
    excerpt = health.crash_excerpt(found, found[0]).splitlines()
    assert "BUG: kernel NULL pointer dereference" in excerpt[0]
    assert any("RIP: 0010:lkdtm_EXCEPTION" in line for line in excerpt)
    assert any("---[ end trace" in line for line in excerpt)
    assert "Kernel panic - not syncing: Fatal exception" in excerpt[-1]
    assert not any("lkdtm: Performing" in line for line in excerpt)
    assert not any("NMI backtrace" in line for line in excerpt)


def test_a_bug_and_a_warning_start_at_their_cut_mark() -> None:
    for log in ("bug.log", "warning.log"):
        excerpt = reports(log)[0].excerpt.splitlines()
        assert excerpt[0].endswith("------------[ cut here ]------------")
        assert excerpt[-1].endswith("---[ end trace 0000000000000000 ]---")


def test_warnings_alone_are_no_crash() -> None:
    assert health.first_fatal(reports("warning.log")) is None


@pytest.mark.parametrize(
    "line",
    [
        # the form of Linux 7.3, and that of 6.12
        "WARNING: kernel/dma/debug.c:1003 at check_unmap+0x1b0/0xa60, CPU#0: rmmod/77",
        "WARNING: CPU: 0 PID: 77 at kernel/dma/debug.c:1003 check_unmap+0x1b0/0xa60",
        "WARNING: lib/debugobjects.c:629 at debug_print_object+0x82/0xb0, CPU#1: insmod/60",
        "WARNING: lib/list_debug.c:62 at __list_del_entry_valid+0x71/0xe0, CPU#1: sh/50",
        "WARNING: lib/refcount.c:28 at refcount_warn_saturate+0xba/0x110, CPU#0: sh/50",
        "BUG kmalloc-64 (Tainted: G        W  ): Right Redzone overwritten",
        "page dumped because: VM_WARN_ON_FOLIO(!folio_test_locked(folio))",
    ],
)
def test_what_a_debugging_facility_finds_is_a_crash(line: str) -> None:
    (found,) = health.scan(f"[    1.000000] {line}\n")
    assert (found.kind, found.fatal) == (Kind.CHECKER, True)


def test_a_tolerated_kind_does_not_hide_a_fatal_one() -> None:
    found = reports("warning.log") + reports("atomic.log")
    cause = health.first_fatal(found, health.FATAL - {Kind.OOPS})
    assert cause is not None
    assert cause.kind is Kind.BUG
    assert health.first_fatal(found, health.FATAL - {Kind.BUG}) is None


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("BUG: KASAN: slab-use-after-free in pt_cmd_callback+0x3c/0x90", Kind.SANITIZER),
        ("UBSAN: array-index-out-of-bounds in drivers/dma/x.c:80:3", Kind.SANITIZER),
        ("WARNING: possible circular locking dependency detected", Kind.LOCKDEP),
        ("WARNING: possible recursive locking detected", Kind.LOCKDEP),
        ("WARNING: inconsistent lock state", Kind.LOCKDEP),
        ("WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected", Kind.LOCKDEP),
        ("WARNING: suspicious RCU usage", Kind.LOCKDEP),
        ("WARNING: bad unlock balance detected!", Kind.LOCKDEP),
        ("[ BUG: Invalid wait context ]", Kind.LOCKDEP),
        ("BUG: Bad page state in process movepages  pfn:12345", Kind.BAD_PAGE),
        ("BUG: Bad rss-counter state mm:0000000 type:MM_ANONPAGES val:1", Kind.BAD_PAGE),
        ("BUG: sleeping function called from invalid context at mm/x.c:1", Kind.BUG),
        ("Oops: general protection fault, probably for non-canonical address", Kind.OOPS),
        ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", Kind.RCU_STALL),
        ("rcu: INFO: rcu_sched self-detected stall on CPU", Kind.RCU_STALL),
        ("BUG: workqueue lockup - pool cpus=1 node=1", Kind.LOCKUP),
        ("kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", Kind.LEAK),
        ("BUG: KCSAN: data-race in tick_nohz_stop_tick / timer_expire_remote", Kind.DATA_RACE),
        ("BUG: KCSAN: assert: race in f / g", Kind.SANITIZER),
        ("compact invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=9", Kind.OUT_OF_MEMORY),
        ("WARNING: CPU: 1 PID: 77 at mm/migrate.c:12 f+0x1/0x2", Kind.WARNING),
    ],
)
def test_messages_by_name(message: str, kind: Kind) -> None:
    for prefix in ("", "[    1.234567] ", "[   12.345678][  T123] ", "[   12.345678][    C0] "):
        found = health.scan(f"{prefix}before\n{prefix}{message}\n{prefix} after\n")
        assert [(report.kind, report.title) for report in found] == [(kind, message)]
        facts = {Kind.DATA_RACE, Kind.LEAK, Kind.OUT_OF_MEMORY, Kind.WARNING}
        assert found[0].fatal == (kind not in facts)


@pytest.mark.parametrize(
    "line",
    [
        "[    0.1] NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.",
        "[    0.1] Kernel command line: oops=panic panic=-1 hung_task_panic=1",
        "[    0.1] kasan: KernelAddressSanitizer initialized",
        "[    0.1] lkdtm: Performing direct entry BUG",
        "[    0.1] debug: this is no WARNING: at all",
    ],
)
def test_harmless_lines_stay_harmless(line: str) -> None:
    assert health.scan(line + "\n") == []


@pytest.mark.parametrize(
    "title",
    [
        "BUG: KASAN: slab-use-after-free in f+0x1/0x2",
        "BUG: KCSAN: data-race in f / g",
    ],
)
def test_a_sanitizers_report_is_framed_by_its_rules(title: str) -> None:
    rule = "=" * 66
    text = "\n".join(
        (
            "[    1.0] before",
            f"[    1.1] {rule}",
            f"[    1.2] {title}",
            "[    1.3]  <TASK>",
            "[    1.4]  </TASK>",
            "[    1.5] Allocated by task 7:",
            f"[    1.6] {rule}",
            "[    1.7] after",
        )
    )
    (report,) = health.scan(text)
    assert report.excerpt.splitlines() == text.splitlines()[1:7]


def test_a_leak_is_one_line_and_hides_no_crash_behind_it() -> None:
    text = "[ 1.0] kmemleak: 1 new suspected memory leaks (see x)\n[ 1.1] kernel BUG at a.c:1!\n"
    found = health.scan(text)
    assert [report.kind for report in found] == [Kind.LEAK, Kind.BUG]
    assert len(found[0].excerpt.splitlines()) == 1
    assert health.first_fatal(found) is found[1]


def test_a_panic_right_after_a_bug_without_a_stack_is_told_apart() -> None:
    text = "[ 1.0] BUG: unable to handle page fault\n[ 1.1] Kernel panic - not syncing: Fatal\n"
    assert [report.kind for report in health.scan(text)] == [Kind.OOPS, Kind.PANIC]


def test_an_unfinished_report_is_bounded() -> None:
    text = "[ 1.0] BUG: unable to handle page fault for address: 1\n" + "[ 1.1] line\n" * 5000
    (report,) = health.scan(text)
    assert len(report.excerpt.splitlines()) == health.MAX_EXCERPT_LINES
