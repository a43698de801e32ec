# SPDX-License-Identifier: GPL-2.0-or-later
"""What else boots a kernel for a test on this host: how long it takes until it has an answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.build.kernel import KernelChoice
from lab.build.kernel_plan import make_plan
from lab.build.kernel_tree import build_dir, prepare_source
from lab.build.toolchain import compiler_environment, count_jobs
from lab.cache import Cache
from lab.errors import MachineError
from lab.program import Program, run_program
from lab.progress import Progress

QEMU = "qemu-system-x86_64"
_TIMEOUT_S = 300.0
_KUNIT_CONFIG = "CONFIG_KUNIT=y\nCONFIG_KUNIT_EXAMPLE_TEST=y\n"


class NoPeer(Exception):
    """A peer can't be had here; the text says why, and how it could be."""


def vanilla_source(cache: Cache, progress: Progress) -> Path:
    """The source of the lab's default kernel, as upstream has it; nothing is written there."""
    plan = make_plan(cache, KernelChoice(patched=False), progress)
    prepare_source(cache, plan, progress)
    return build_dir(cache, plan).parent


@contextmanager
def kunit(cache: Cache, progress: Progress) -> Iterator[list[str]]:
    """A command that boots kunit.py's kernel and runs its example test, built beforehand.

    Raises:
        NoPeer: the host has no QEMU of its own.
        BuildError: its kernel doesn't build.
    """
    if shutil.which(QEMU) is None:
        raise NoPeer(f"kunit.py starts {QEMU} from PATH, and there is none (qemu-system-x86)")
    source = vanilla_source(cache, progress)
    with cache.worktree("bench", "kunit", progress, "the bench's kunit kernel") as tree:
        config = tree.path / ".kunitconfig"
        config.write_text(_KUNIT_CONFIG, encoding="ascii")
        tool = ["python3", str(source / "tools/testing/kunit/kunit.py")]
        options = ["--arch=x86_64", f"--build_dir={tree.path}"]
        log = cache.root / "logs" / "bench-kunit.log"
        build = [*tool, "build", *options, f"--kunitconfig={config}", f"--jobs={count_jobs()}"]
        with progress.step("building kunit's kernel", log=log) as step:
            program = Program(
                build,
                awaited="kunit's kernel",
                log=log,
                cwd=source,
                env=compiler_environment(cache),
            )
            run_program(program, step)
        yield [*tool, "exec", *options, "--raw_output=all"]


def time_kunit(command: list[str], source: Path) -> float:
    """Seconds that a run of it takes, from the command to its verdict.

    Raises:
        MachineError: it gave none.
    """
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=source,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    took_s = time.monotonic() - started
    if done.returncode or "ok 1 example" not in done.stdout:
        raise MachineError("kunit.py to run its example test", done.stdout[-1000:])
    return took_s
