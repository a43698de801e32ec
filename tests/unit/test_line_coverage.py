# SPDX-License-Identifier: GPL-2.0-or-later
"""Which lines ran, from real counters: a program is built as kbuild builds an object, and run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.build.kernel_plan import KernelChoice
from lab.build.profiling import NOTES, PATCHES, PROFILED, profiled_objects, profiling_arguments
from lab.build.series import Series, read_series
from lab.config import Variant
from lab.errors import PremiseError
from lab.guest_coverage import collect, read_counters, source_path
from lab.line_coverage import KEY, AddedLines, Coverage, count, union
from lab.machine.jobs import JobResult
from lab.report import Format, render
from lab.results import HostFacts, KernelIdentity, Mode, Outcome, Record

SOURCE = """\
int sign(int x)
{
	if (x > 0)
		return 1;
	return -1;
}

int main(int argc, char **argv)
{
	return sign(argc) + sign(argc) - 2;
}
"""
ADDED = {str(number): text for number, text in enumerate(SOURCE.splitlines(), 1)}
PATCH = {"subject": "mm: sign", "files": {"mm/sign.c": ADDED, "mm/absent.c": {"1": "int a;"}}}


class Plan:
    """What the arguments are made from."""

    def __init__(self, variant: Variant, series: Series | None) -> None:
        self.choice = KernelChoice(variant=variant)
        self.series = series


class Host:
    """Programs of the guest, run here, with a directory for the kernel's debugfs."""

    def __init__(self, gcov_fs: Path) -> None:
        self.gcov_fs = str(gcov_fs)

    def run(self, argv: list[str]) -> JobResult:
        assert argv[0] == "/bin/busybox"
        words = [word.replace("/sys/kernel/debug/gcov", self.gcov_fs) for word in argv[1:]]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        return JobResult(tuple(argv), done.returncode, None, [], lines, [done.stderr])


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """An output directory with an object that was compiled as kbuild is told to, and was run."""
    out = tmp_path / "linux" / "out-gcov"
    (out / "mm").mkdir(parents=True)
    (out.parent / "mm").mkdir()
    (out.parent / "mm" / "sign.c").write_text(SOURCE)
    plan: Any = Plan(Variant.GCOV, None)
    flags = profiling_arguments(plan, out)[-1].partition("=")[2].split()
    compiler = ["gcc", *flags]
    subprocess.run([*compiler, "-c", "../mm/sign.c", "-o", "mm/sign.o"], cwd=out, check=True)
    subprocess.run([*compiler, "mm/sign.o", "-o", "sign"], cwd=out, check=True)
    return out


@pytest.fixture
def notes(built: Path, tmp_path: Path) -> Path:
    """As the artifact of a kernel keeps them, with an object beside that never runs."""
    notes = tmp_path / NOTES
    (notes / "mm").mkdir(parents=True)
    (notes / "mm" / "sign.gcno").write_bytes((built / "mm" / "sign.gcno").read_bytes())
    (notes / PATCHES).write_text(json.dumps([PATCH]))
    return notes


def ran(built: Path, at: Path) -> Host:
    """Run it: the counters go below the working directory, under a name without host paths."""
    at.mkdir()
    assert subprocess.run([built / "sign"], cwd=at, check=False).returncode == 0
    return Host(at)


def test_the_counters_name_is_the_same_on_every_host(built: Path, tmp_path: Path) -> None:
    guest = ran(built, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").rglob("*.gcda")] == ["mm#sign.gcda"]
    assert list(read_counters(guest)) == ["mm/sign.gcda"]
    assert str(tmp_path).encode() not in (built / "sign").read_bytes()


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ("../mm/migrate.c", "mm/migrate.c"),
        ("./include/linux/mm.h", "include/linux/mm.h"),
        ("../drivers/dma/amd/ptdma/../../virt-dma.h", "drivers/dma/virt-dma.h"),
        ("../drivers/dma/amd/ptdma/./ptdma.h", "drivers/dma/amd/ptdma/ptdma.h"),
        ("../../linux/mm/x.h", "linux/mm/x.h"),
        ("/usr/lib/gcc/include/stdarg.h", "/usr/lib/gcc/include/stdarg.h"),
    ],
)
def test_a_source_has_its_path_in_the_tree(told: str, path: str) -> None:
    assert source_path(told) == path


def test_a_header_that_no_object_has_code_of_is_named() -> None:
    files = {"a.h": {"1": "int a;"}, "b.h": {"3": "return 1;"}, "c.h": {}}
    patch: AddedLines = {"subject": "mm: sign", "files": files}
    (told,) = count({"b.h": {3: 1}}, [], [patch]).patches
    assert (told.no_code, told.not_built) == (("a.h",), ())
    assert (told.lines, told.missed) == (1, 0)


def test_lines_that_never_ran_are_told_by_file_and_by_patch(
    built: Path, notes: Path, tmp_path: Path
) -> None:
    guest = ran(built, tmp_path / "run")
    found = collect(guest, notes, tmp_path / "mode")
    (file,) = found.files
    assert (file.path, file.missed) == ("mm/sign.c", (5,))
    assert file.lines == 6
    (patch,) = found.patches
    assert [(line.number, line.text) for line in patch.files[0].missed] == [(5, "\treturn -1;")]
    assert patch.not_built == ("mm/absent.c",)
    assert (found.added, found.added_and_run) == (6, 5)
    kept = tmp_path / "mode" / "coverage" / "mm"
    assert sorted(path.name for path in kept.iterdir()) == ["sign.gcda", "sign.gcno"]


def test_an_object_that_was_never_loaded_ran_no_line(
    built: Path, notes: Path, tmp_path: Path
) -> None:
    (notes / "drivers").mkdir()
    subprocess.run(
        ["gcc", "-ftest-coverage", "-fprofile-arcs", "-c", "../mm/sign.c", "-o", "drivers.o"],
        cwd=built,
        check=True,
    )
    (notes / "drivers" / "other.gcno").write_bytes((built / "drivers.gcno").read_bytes())
    (notes / "mm" / "sign.gcno").write_bytes((built / "mm" / "sign.gcno").read_bytes())
    found = collect(ran(built, tmp_path / "run"), notes, tmp_path / "mode")
    # the same source in both: what one of them ran has run
    assert found.files[0].missed == (5,)


def test_no_counters_are_no_measurement(notes: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PremiseError, match="counters of the kernel"):
        collect(Host(tmp_path / "empty"), notes, tmp_path / "mode")


def test_counters_of_another_build_are_refused(built: Path, notes: Path, tmp_path: Path) -> None:
    guest = ran(built, tmp_path / "run")
    at = notes / "mm" / "sign.gcno"
    data = bytearray(at.read_bytes())
    data[9] ^= 1
    at.write_bytes(data)
    with pytest.raises(PremiseError, match="stamp"):
        collect(guest, notes, tmp_path / "mode")
    at.unlink()
    with pytest.raises(PremiseError, match="kept none"):
        collect(guest, notes, tmp_path / "mode2")


def coverage(*missed: int, path: str = "mm/sign.c") -> Coverage:
    lines = [{"number": number, "text": ADDED[str(number)]} for number in missed]
    file = {"path": path, "lines": 7}
    patch = {"subject": "mm: sign", "files": [{**file, "missed": lines}]}
    return Coverage.model_validate({"files": [{**file, "missed": missed}], "patches": [patch]})


def test_boots_of_a_kernel_add_up() -> None:
    both = union([coverage(4, 5), coverage(5, 6)])
    assert both.files[0].missed == (5,)
    assert both.added_and_run == 6
    with pytest.raises(ValueError, match="not the same"):
        union([coverage(4), coverage(4, path="mm/other.c")])


def record(**coverages: Coverage | None) -> Record:
    kernel = KernelIdentity(
        base="7.3",
        release="7.3.4",
        variant="gcov",
        series="c" * 64,
        source_hash="a" * 64,
        config_hash="b" * 64,
        compiler="gcc",
    )
    modes = [
        Mode(
            name=name,
            outcome=Outcome.PASS if found else Outcome.CRASH,
            kernel=kernel,
            details={KEY: found.model_dump(mode="json")} if found else {},
        )
        for name, found in coverages.items()
    ]
    host = HostFacts(
        started="", duration_s=1, lab_version="", qemu_version="", accelerator="", folder=""
    )
    return Record(
        experiment="compaction",
        outcome=Outcome.PASS,
        clock="virtual",
        kernel=[kernel],
        parameters={},
        modes=modes,
        host=host,
    )


def test_the_report_names_each_line_of_a_patch_that_never_ran() -> None:
    text = render(record(dma=coverage(4, 5), busy=coverage(5), lost=None), Format.COVERAGE)
    assert "modes dma, busy" in text
    assert "mm/sign.c:5: return -1;" in text
    assert "mm/sign.c:4" not in text
    assert "6 of 7 lines that the series adds ran: 85.7%" in text
    assert "left no counters: lost" in text
    assert "kernel.variant=gcov" in render(record(dma=None), Format.COVERAGE)


def test_a_series_own_files_are_profiled(tmp_path: Path) -> None:
    (tmp_path / "0001-x.patch").write_text(
        "--- a/mm/x.c\n+++ b/mm/x.c\n@@ -1 +1 @@\n-a\n+b\n"
        "--- a/mm/x.h\n+++ b/mm/x.h\n@@ -1 +1 @@\n-a\n+b\n"
    )
    series = read_series(tmp_path)
    assert profiled_objects(series) == (*PROFILED, "x")
    plan: Any = Plan(Variant.GCOV, series)
    assert "GCOV_PROFILE_x.o=y" in profiling_arguments(plan, tmp_path)
    for variant in set(Variant) - {Variant.GCOV}:
        other: Any = Plan(variant, series)
        assert profiling_arguments(other, tmp_path) == []
