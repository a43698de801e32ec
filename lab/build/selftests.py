# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of the kernel's selftests, built statically from the source of the kernel under test.

Their own makefile builds them, in a copy of what it needs: a source tree is never written into. The
headers are those that this very kernel exports (Documentation/kbuild/headers_install.rst).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lab.build.kernel import KernelArtifact
from lab.build.kernel_tree import kernel_environment, make_program, open_build
from lab.build.recipe import hash_recipe, identify_packages
from lab.build.toolchain import count_jobs, identify_compiler
from lab.cache import Cache, make_key
from lab.errors import BuildError
from lab.guest_files import NOT_BUILT, GuestSelftests
from lab.program import Program, run_program
from lab.progress import Progress

_RECIPE = ("build/selftests.py", "build/kernel_tree.py", "build/toolchain.py")
_SELFTESTS = Path("tools/testing/selftests")
# What the makefiles of a collection include or compile, beside the collection itself.
_NEEDED = ("tools/include", "tools/scripts", "scripts", "include/vdso", "mm/gup_test.h")
_SHARED = ("x86", "kselftest")
_PACKAGES = ("libc6-dev", "libnuma-dev", "libcap-dev")
_SHOWN_LINES = 5


def build_selftests(
    cache: Cache,
    kernel: KernelArtifact,
    wanted: GuestSelftests,
    progress: Progress,
) -> Path:
    """Directory with those of the programs that build; a report says why others don't.

    Raises:
        BuildError: the source has no such collection, or its headers can't be had.
    """
    collection = wanted.collection
    key = make_key(
        recipe=hash_recipe(*_RECIPE),
        source=kernel.plan.source_key,
        series=kernel.series or "",
        collection=collection,
        programs=" ".join(wanted.programs),
        compiler=identify_compiler(),
        libraries=identify_packages(*_PACKAGES),
    )
    label = f"selftests {collection} of {kernel.plan.choice.label}"
    log = cache.root / "logs" / f"selftests-{key}.log"

    def build(directory: Path) -> None:
        log.unlink(missing_ok=True)
        work = directory / "work"
        with (
            open_build(cache, kernel.plan, progress) as out,
            progress.step(f"preparing {label}", log=log) as step,
        ):
            headers = work / "headers"
            headers.mkdir(parents=True)
            argv: list[str | Path] = ["make", "-s", f"O={headers}", f"-j{count_jobs()}", "headers"]
            run_program(make_program(cache, argv, out, f"the headers of {label}", log), step)
            _copy(out.parent, work / "source", collection)
        refused: dict[str, str] = {}
        for name in wanted.programs:
            with progress.step(f"building selftest {name}", log=log):
                at = work / "source" / _SELFTESTS / collection
                reason = _build_one(cache, work, at, name, log)
            if reason is not None:
                refused[name] = reason
                continue
            (work / name).replace(directory / name)
        (directory / NOT_BUILT).write_text(json.dumps(refused, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(work)

    return cache.entry("selftests", key, build, title=label, progress=progress)


def _copy(source: Path, target: Path, collection: str) -> None:
    """Copy what the makefile of a collection needs out of a kernel's source."""
    tests = source / _SELFTESTS
    if not (tests / collection / "Makefile").is_file():
        raise BuildError(
            f"selftests {collection} in the kernel's source",
            f"no {_SELFTESTS / collection}",
            hint="the source may have been stripped of its tools",
        )
    for name in _NEEDED:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, symlinks=True)
        elif (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
    for name in (collection, *_SHARED):
        if (tests / name).is_dir():
            shutil.copytree(tests / name, target / _SELFTESTS / name, symlinks=True)
    for path in tests.iterdir():
        if path.is_file():
            shutil.copyfile(path, target / _SELFTESTS / path.name)


def _build_one(cache: Cache, work: Path, at: Path, name: str, log: Path) -> str | None:
    """Build one program of the makefile in `at` into `work`; None, or why it doesn't build."""
    argv: list[str | Path] = ["make", f"OUTPUT={work}", work / name]
    argv += [f"KHDR_INCLUDES=-isystem {work / 'headers' / 'usr' / 'include'}"]
    argv += ["USERCFLAGS=-static", "USERLDFLAGS=-static -Wl,--build-id=none -s"]
    program = Program(
        argv, awaited=f"the selftest {name}", log=log, cwd=at, env=kernel_environment(cache)
    )
    try:
        run_program(program)
    except BuildError as error:
        # It goes into the guest, where no path of this host may be seen.
        said = error.seen.replace(str(work), "").splitlines()[1 : 1 + _SHOWN_LINES]
        return "\n".join(line for line in said if not line.startswith("make")) or "make failed"
    return None
