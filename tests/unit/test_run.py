# SPDX-License-Identifier: GPL-2.0-or-later
"""The runner with guests that end in every way; the real ends are under tests/guest/."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedBench, carry_out, experiment, passing, raising

from lab.config import Clock, Engine, LabFile
from lab.errors import (
    BuildError,
    ConfigError,
    GuestCrash,
    GuestLost,
    GuestTimeout,
    MachineError,
    PremiseError,
    ProgramDied,
    StaleCheckpoint,
)
from lab.experiments.base import Experiment, ModePlan, Parameters, Session
from lab.machine.health import Kind, Report
from lab.progress import SilentProgress
from lab.results import Check, Outcome
from lab.run import modes_at_once, run_experiment
from lab.run_folder import RunFolder
from lab.run_mode import RunOptions

ENDS = [
    (GuestCrash("a", "s", excerpt="BUG: x"), Outcome.CRASH),
    (GuestTimeout("a", "s"), Outcome.TIMEOUT),
    (GuestLost("a", "s"), Outcome.LOST),
    (MachineError("a", "s"), Outcome.ERROR),
    (PremiseError("a", "s"), Outcome.ERROR),
    (ProgramDied("a", "s"), Outcome.FAIL),
    (ZeroDivisionError("a bug in the experiment"), Outcome.ERROR),
]


@pytest.mark.parametrize(("error", "outcome"), ENDS)
def test_every_end_has_its_outcome_and_keeps_what_was_found(
    error: Exception, outcome: Outcome, tmp_path: Path
) -> None:
    record = carry_out(experiment(raising(error)), tmp_path)
    mode = record.modes[0]
    assert (record.outcome, mode.outcome) == (outcome, outcome)
    assert mode.pages_migrated == 7
    assert mode.error
    assert mode.excerpt == ("BUG: x" if outcome is Outcome.CRASH else None)
    saved = json.loads((tmp_path / "modes" / "one" / "result.json").read_text())
    assert saved["outcome"] == outcome.value


def test_a_bug_in_an_experiment_leaves_its_traceback(tmp_path: Path) -> None:
    record = carry_out(experiment(raising(ZeroDivisionError("boom"))), tmp_path)
    assert "modes/one/traceback.txt" in (record.modes[0].error or "")
    assert "boom" in (tmp_path / "modes" / "one" / "traceback.txt").read_text()


def test_a_crash_while_the_guest_powers_off_is_no_pass(tmp_path: Path) -> None:
    class Bench(ScriptedBench):
        @contextmanager
        def boot(
            self, mode: ModePlan, folder: Path, on_start: Callable[[Any], None]
        ) -> Iterator[Any]:
            with super().boot(mode, folder, on_start) as guest:
                yield guest
            raise GuestCrash("a clean end", "KASAN", excerpt="KASAN: use-after-free")

    assert carry_out(experiment(passing), tmp_path, bench=Bench()).outcome is Outcome.CRASH


def test_a_stale_checkpoint_is_tried_again_from_the_start(tmp_path: Path) -> None:
    tries = []

    def run(session: Session[Any, Any]) -> None:
        tries.append(session)
        session.findings.notes.append("one")
        if len(tries) == 1:
            raise StaleCheckpoint("to be asked 'a'", "the request 'b'")
        passing(session)

    record = carry_out(experiment(run), tmp_path)
    assert record.outcome is Outcome.PASS
    assert record.modes[0].notes == ["one"]
    tries.clear()
    stale = StaleCheckpoint("to be asked 'a'", "the request 'b'")
    record = carry_out(experiment(raising(stale)), tmp_path / "again")
    assert record.outcome is Outcome.ERROR


def test_no_check_is_no_pass(tmp_path: Path) -> None:
    assert carry_out(experiment(lambda _session: None), tmp_path).outcome is Outcome.ERROR


def test_a_check_that_does_not_hold_fails_the_run(tmp_path: Path) -> None:
    def run(session: Session[Any, Any]) -> None:
        passing(session)
        session.findings.check(Check(name="d", held=False, awaited="a", seen="s"))

    assert carry_out(experiment(run), tmp_path).outcome is Outcome.FAIL


def test_error_texts_do_not_depend_on_where_the_run_lies(tmp_path: Path) -> None:
    seen = []
    for name in ("here", "elsewhere"):
        folder = tmp_path / name
        log = folder / "modes" / "one" / "console.log"
        record = carry_out(experiment(raising(GuestTimeout("a", "s", log=log))), folder)
        seen.append(record.model_dump(exclude={"host"}))
    assert seen[0] == seen[1]
    assert "modes/one/console.log" in seen[0]["modes"][0]["error"]


def test_what_cannot_be_prepared_is_an_error_of_every_mode(tmp_path: Path) -> None:
    def prepare(_modes: object, _progress: object) -> Any:
        raise BuildError("QEMU to build", "error: x.c:3", hint="install y")

    what = experiment(passing, ("one", "two"))
    with RunFolder(tmp_path, what.name, datetime(2026, 1, 1, tzinfo=UTC)) as at:
        record = run_experiment(
            what,
            LabFile(),
            Parameters(),
            prepare=prepare,
            folder=at,
            options=RunOptions(),
            progress=SilentProgress(),
        )
    assert [mode.outcome for mode in record.modes] == [Outcome.ERROR, Outcome.ERROR]
    assert "install y" in (record.error or "")


def test_a_machine_that_cannot_run_is_an_error_before_anything_is_built(tmp_path: Path) -> None:
    def refuse(_lab: LabFile, _parameters: Parameters) -> list[ModePlan]:
        raise ConfigError("1 engine", "engine.count is 0")

    what = Experiment("scripted", "", Parameters, refuse, passing)
    bench = ScriptedBench()
    record = carry_out(what, tmp_path, bench=bench)
    assert record.outcome is Outcome.ERROR
    assert record.outcome.exit_code == 3
    assert "engine.count is 0" in (record.error or "")
    assert (record.modes, bench.guests) == ([], {})


def test_only_some_modes(tmp_path: Path) -> None:
    what = experiment(passing, ("one", "two", "three"))
    record = carry_out(what, tmp_path / "a", RunOptions(only=("three", "one")))
    assert [mode.name for mode in record.modes] == ["one", "three"]
    record = carry_out(what, tmp_path / "b", RunOptions(only=("four",)))
    assert record.outcome is Outcome.ERROR
    assert "'four'" in (record.error or "")


@pytest.mark.parametrize(
    ("count", "cpus", "gib", "clock", "at_once"),
    [
        *((count, 2, 16, Clock.VIRTUAL, 2) for count in (1, 2, 4, 6)),
        *((count, 2, 16, Clock.VIRTUAL, 3) for count in (3, 5, 7)),
        (5, 2, 8, Clock.VIRTUAL, 2),
        (5, 1, 16, Clock.VIRTUAL, 1),
        (5, 8, 16, Clock.VIRTUAL, 3),
        (5, 2, 16, Clock.HOST, 2),
    ],
)
def test_the_last_mode_does_not_run_alone(
    count: int, cpus: int, gib: int, clock: Clock, at_once: int
) -> None:
    plans = [ModePlan(str(at), "", False, LabFile(clock=clock)) for at in range(count)]
    assert modes_at_once(plans, cpus=cpus, memory_bytes=gib << 30) == at_once


def test_modes_run_at_once_and_stay_in_order(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=10)

    def run(session: Session[Any, Any]) -> None:
        both.wait()
        if session.mode.name == "one":
            time.sleep(0.2)
        passing(session)

    record = carry_out(experiment(run, ("one", "two")), tmp_path, RunOptions(jobs=2))
    assert [(mode.name, mode.outcome.value) for mode in record.modes] == [
        ("one", "PASS"),
        ("two", "PASS"),
    ]


def test_an_interrupt_ends_a_guest_that_still_boots(tmp_path: Path) -> None:
    booting = threading.Event()

    class Bench(ScriptedBench):
        @contextmanager
        def boot(
            self, mode: ModePlan, folder: Path, on_start: Callable[[Any], None]
        ) -> Iterator[Any]:
            with super().boot(mode, folder, on_start) as guest:
                booting.set()
                if not guest.aborted.wait(10):
                    raise AssertionError("the guest was left booting")
                raise GuestLost("the agent", "QEMU was killed")

    def interrupt() -> None:
        booting.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        carry_out(experiment(passing), tmp_path, bench=Bench())
    assert not (tmp_path / "record.json").exists()


def test_an_interrupt_ends_every_guest_and_leaves_no_record(tmp_path: Path) -> None:
    bench = ScriptedBench()
    started = threading.Barrier(3, timeout=10)

    def run(session: Session[Any, Any]) -> None:
        started.wait()
        if not session.guest.aborted.wait(10):  # type: ignore[attr-defined]
            raise AssertionError("the guest was left running")
        raise GuestLost("an answer", "QEMU was killed")

    def interrupt() -> None:
        started.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        carry_out(experiment(run, ("one", "two", "three")), tmp_path, RunOptions(jobs=2), bench)
    assert time.monotonic() - began < 8
    assert set(bench.guests) == {"one", "two"}
    assert all(guest.aborted.is_set() for guest in bench.guests.values())
    assert not (tmp_path / "record.json").exists()


WARNING = Report(Kind.WARNING, "WARNING: mm/x.c:3 at f", 1.25, "the whole warning", 9)


def telling(**values: Any) -> ScriptedBench:
    """A bench whose guests say this once they are gone: the runner has to look then."""

    class Bench(ScriptedBench):
        @contextmanager
        def boot(
            self, mode: ModePlan, folder: Path, on_start: Callable[[Any], None]
        ) -> Iterator[Any]:
            with super().boot(mode, folder, on_start) as guest:
                try:
                    yield guest
                finally:
                    for name, value in values.items():
                        setattr(guest, name, value)

    return Bench()


@pytest.mark.parametrize("run", [passing, raising(GuestTimeout("a", "s"))])
def test_what_the_kernel_reports_until_its_end_is_in_the_record(
    run: Callable[[Session[Any, Any]], None], tmp_path: Path
) -> None:
    record = carry_out(experiment(run), tmp_path, bench=telling(told=[WARNING]))
    (report,) = record.modes[0].kernel_reports
    assert (report.kind, report.title, report.time_s) == ("warning", WARNING.title, 1.25)
    assert report.excerpt == "the whole warning"
    assert not report.fatal
    assert record.modes[0].details["kernel_reports"] == [str(WARNING)]


@pytest.mark.parametrize(
    ("kind", "judges", "outcome"),
    [
        (Kind.WARNING, False, Outcome.FAIL),
        (Kind.WARNING, True, Outcome.PASS),
        (Kind.DATA_RACE, False, Outcome.PASS),
        (Kind.LEAK, False, Outcome.PASS),
    ],
)
def test_a_warning_after_the_boot_is_a_check_that_does_not_hold(
    tmp_path: Path, kind: Kind, judges: bool, outcome: Outcome
) -> None:
    what = replace(experiment(passing), judges_warnings=judges)
    record = carry_out(what, tmp_path, bench=telling(told=[replace(WARNING, kind=kind)]))
    assert record.modes[0].outcome is outcome
    unheld = [check for check in record.modes[0].checks if not check.held]
    assert [(check.name, check.seen) for check in unheld] == (
        [("kernel log", str(WARNING))] if outcome is Outcome.FAIL else []
    )


def test_a_warning_of_the_boot_is_a_fact(tmp_path: Path) -> None:
    class Warned(ScriptedBench):
        @contextmanager
        def boot(
            self, mode: ModePlan, folder: Path, on_start: Callable[[Any], None]
        ) -> Iterator[Any]:
            with super().boot(mode, folder, on_start) as guest:
                guest.told = [WARNING]
                yield guest

    record = carry_out(experiment(passing), tmp_path, bench=Warned())
    assert record.outcome is Outcome.PASS
    assert len(record.modes[0].kernel_reports) == 1


def test_the_record_says_whether_a_guest_came_up(tmp_path: Path) -> None:
    class NoQemu(ScriptedBench):
        @contextmanager
        def boot(
            self, mode: ModePlan, folder: Path, on_start: Callable[[Any], None]
        ) -> Iterator[Any]:
            if mode.name == "one":
                raise MachineError("QEMU to start", "it did not")
            with super().boot(mode, folder, on_start) as guest:
                yield guest

    what = experiment(raising(PremiseError("a", "s")), ("one", "two"))
    one, two = carry_out(what, tmp_path, bench=NoQemu()).modes
    assert (one.outcome, one.booted) == (Outcome.ERROR, False)
    assert (two.outcome, two.booted) == (Outcome.ERROR, True)


def test_each_mode_says_on_what_it_ran(tmp_path: Path) -> None:
    def plan(lab: LabFile, _parameters: Parameters) -> list[ModePlan]:
        many = lab.model_copy(update={"engine": Engine(count=16)})
        return [ModePlan("few", "", False, lab), ModePlan("many", "", True, many)]

    what = Experiment("scripted", "", Parameters, plan, passing)
    few, many = carry_out(what, tmp_path).modes
    assert few.machine is not None
    assert many.machine is not None
    assert (few.machine["engine"]["count"], many.machine["engine"]["count"]) == (1, 16)
    assert few.machine["clock"] == "virtual"
    assert few.kernel is not None
    assert many.kernel is not None
    assert few.kernel.series is None
    assert many.kernel.series is not None


def test_modes_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    bench = ScriptedBench()
    for names in (("one", "one"), ("a b", "a_b")):
        record = carry_out(experiment(passing, names), tmp_path, bench=bench)
        assert record.outcome is Outcome.ERROR
        assert "a folder each" in (record.error or "")
    assert bench.guests == {}


def test_a_host_that_refuses_a_file_is_no_fault_of_the_experiment(tmp_path: Path) -> None:
    full = OSError(28, "No space left on device", "/there")
    record = carry_out(experiment(raising(full)), tmp_path)
    assert record.outcome is Outcome.ERROR
    assert "No space left on device: /there" in (record.modes[0].error or "")
    assert "correct the experiment" not in (record.modes[0].error or "")
