# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzzing the device models with libFuzzer, and replaying what it has kept.

``tests/qtest/fuzz`` of the overlay has the targets, ``tests/device/corpus`` a directory of inputs
for each: those that reach something which no other one does. libFuzzer names inputs after the
SHA-1 of their content.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.build.qemu import build_sanitized_qemu
from lab.cache import Cache
from lab.checkout import QEMU_DEVICES, ROOT
from lab.devices.sanitizers import sanitizer_environment
from lab.errors import BuildError, LabError
from lab.program import Program, run_program
from lab.progress import Progress

# The model that each target is for
_MODELS = {
    "amd-ae4dma": "hw/dma/amd_ae4dma.c",
    "amd-ptdma": "hw/dma/amd_ptdma.c",
    "lab-mailbox": "hw/misc/lab_mailbox.c",
}
CORPUS = ROOT / "tests" / "device" / "corpus"
# libFuzzer's names for an input that crashed, leaked, hung or ate the memory
FINDINGS = ("crash-*", "leak-*", "timeout-*", "oom-*")
_MEMORY_MB = 2048
_INPUT_BYTES = 1024
_REPLAY_TIMEOUT_S = 600.0
_ENDS_S = 600.0
_DONE = re.compile(r"Done [1-9]\d* runs in ")


class FuzzFinding(LabError):
    """An input makes a device model crash, leak, hang, or lose its state in a migration."""


@dataclass(frozen=True)
class Fuzzer:
    """The fuzzer.

    Attributes:
        binary: QEMU with libFuzzer's main program.
        profiles: pattern of names for the files that count executed lines.
        input_timeout_s: one input that takes longer hangs.
    """

    binary: Path
    profiles: str = "/dev/null"
    input_timeout_s: int = 25

    def run(
        self, target: str, arguments: list[str | Path], log: Path, timeout_s: float
    ) -> list[str]:
        """Run libFuzzer on a target; returns the last lines of its output.

        Raises:
            FuzzFinding: it found something, or did not end in time.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        return run_program(
            Program(
                [self.binary, f"--fuzz-target={target}", *arguments],
                awaited=f"no finding in {target}",
                log=log,
                cwd=log.parent,
                env=sanitizer_environment(self.profiles),
                timeout_s=timeout_s,
                error=FuzzFinding,
                hint="the log has the sanitizer's report",
            )
        )

    def replay(self, target: str, inputs: list[Path], log: Path) -> None:
        """Run inputs once each.

        Raises:
            FuzzFinding: one of them is a finding.
        """
        if not inputs:
            raise FuzzFinding(f"inputs for {target}", "none", hint=f"make fuzz fills {CORPUS}")
        limits = [f"-timeout={self.input_timeout_s}", f"-rss_limit_mb={_MEMORY_MB}"]
        before = log.stat().st_size if log.exists() else 0
        self.run(target, [*limits, *inputs], log, _REPLAY_TIMEOUT_S)
        # A fuzzer that does not know the target says how to use it, and is content
        said = log.read_bytes()[before:].decode(errors="replace")
        executed = sum(f"Executed {path} in " in said for path in inputs)
        if executed != len(inputs):
            raise FuzzFinding(f"{len(inputs)} inputs of {target} run", f"{executed}", log=log)


def list_targets(devices: Path = QEMU_DEVICES) -> tuple[str, ...]:
    """Names of the targets whose models are in the overlay."""
    return tuple(name for name, model in _MODELS.items() if (devices / model).is_file())


def list_corpus(target: str, corpus: Path = CORPUS) -> list[Path]:
    """The inputs that are kept for a target, sorted."""
    return sorted(path for path in (corpus / target).glob("*") if path.is_file())


def fuzz(cache: Cache, progress: Progress, seconds: float, targets: tuple[str, ...]) -> None:
    """Fuzz each target for its share of the time, and keep the inputs that reach more.

    Raises:
        FuzzFinding: the message names the input and how to run it again.
        BuildError: the fuzzer doesn't build.
    """
    if seconds < len(targets):
        raise BuildError("a second of fuzzing for each target", f"{seconds:g} s")
    fuzzer = Fuzzer(build_sanitized_qemu(cache, progress).fuzzer)
    for target in targets:
        work = cache.root / "fuzz" / target
        with progress.step(f"fuzzing {target}", log=work / "fuzz.log"):
            _fuzz_target(fuzzer, work, target, seconds / len(targets))


def _fuzz_target(fuzzer: Fuzzer, work: Path, target: str, seconds: float) -> None:
    found, artifacts, kept = work / "inputs", work / "findings", CORPUS / target
    for directory in (found, artifacts, kept):
        directory.mkdir(parents=True, exist_ok=True)
    log = work / "fuzz.log"
    log.unlink(missing_ok=True)
    known = {path for pattern in FINDINGS for path in artifacts.glob(pattern)}
    try:
        said = fuzzer.run(
            target,
            [
                f"-max_total_time={max(1, round(seconds))}",
                f"-timeout={fuzzer.input_timeout_s}",
                f"-rss_limit_mb={_MEMORY_MB}",
                f"-max_len={_INPUT_BYTES}",
                f"-artifact_prefix={artifacts}/",
                "-print_final_stats=1",
                found,
                kept,
            ],
            log,
            seconds + _ENDS_S,
        )
    except FuzzFinding as finding:
        new = [path for pattern in FINDINGS for path in artifacts.glob(pattern)]
        raise _explain(finding, fuzzer, target, [path for path in new if path not in known]) from (
            finding
        )
    if not any(_DONE.match(line) for line in said):
        raise FuzzFinding(f"inputs of {target} run", "none", log=log, hint="is the target built?")
    merge(fuzzer, target, kept, [found], work / "merge.log")
    shutil.rmtree(found)


def merge(fuzzer: Fuzzer, target: str, kept: Path, others: list[Path], log: Path) -> None:
    """Keep in `kept` the fewest inputs of all directories that reach what all of them reach.

    Raises:
        FuzzFinding: an input is a finding.
    """
    smaller = kept.with_name(f".{kept.name}-merge")
    shutil.rmtree(smaller, ignore_errors=True)
    smaller.mkdir(parents=True)
    try:
        fuzzer.run(target, ["-merge=1", smaller, kept, *others], log, _REPLAY_TIMEOUT_S)
        wanted = {path.name for path in smaller.iterdir()}
        if not wanted:
            raise FuzzFinding(f"inputs of {target} that reach something", "none", log=log)
        for path in smaller.iterdir():
            path.replace(kept / path.name)
        for path in kept.iterdir():
            if path.name not in wanted:
                path.unlink()
    finally:
        shutil.rmtree(smaller, ignore_errors=True)


def _explain(finding: FuzzFinding, fuzzer: Fuzzer, target: str, new: list[Path]) -> FuzzFinding:
    if not new:
        return finding
    return FuzzFinding(
        finding.awaited,
        f"{new[0].name.split('-')[0]} by the input {new[0]}",
        log=finding.log,
        hint=f"{fuzzer.binary} --fuzz-target={target} {new[0]} runs it again",
    )
