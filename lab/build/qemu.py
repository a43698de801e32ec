# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU with our devices, its firmware, and the device models' own tests.

The build tree stays between builds: a change in a device model costs the compilation of that
file and a link.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.build.bundle import bundle
from lab.build.flavour import PLAIN, SANITIZED, Flavour
from lab.build.overlay import is_laid, lay, overlay_files
from lab.build.port import open_port
from lab.build.recipe import hash_recipe, identify_packages
from lab.build.source_tree import identify, link_tree, unpack
from lab.build.toolchain import (
    compiler_environment,
    count_jobs,
)
from lab.cache import Cache, WorkTree, hash_file, hash_tree, make_key
from lab.checkout import QEMU_DEVICES
from lab.config import Qemu
from lab.errors import BuildError, ConfigError
from lab.program import Program, ask_program, read_ninja, run_program
from lab.progress import Progress
from lab.sources import Fetched, fetch
from lab.sources.pins import Source, read_pins, sources_of

_RECIPE = (
    "build/bundle.py",
    "build/flavour.py",
    "build/overlay.py",
    "build/port.py",
    "build/qemu.py",
    "build/source_tree.py",
    "build/toolchain.py",
)
_FIRMWARE_RECIPE = ("build/qemu.py",)
_PACKAGES = (
    "libc6-dev",
    "libfdt-dev",
    "libglib2.0-dev",
    "libpixman-1-dev",
    "linux-libc-dev",
    "zlib1g-dev",
)
TARGET = "qemu-system-x86_64"
FUZZER = "qemu-fuzz-x86_64"
CONFIGURE = (
    "--target-list=x86_64-softmmu",
    "--without-default-features",
    "--without-default-devices",
    "--with-devices-x86_64=dcbm-lab",
    "--disable-download",
    "--disable-install-blobs",
    "--disable-debug-info",
    "--enable-system",
    "--enable-tcg",
    "--enable-kvm",
    "--enable-fdt=system",
    "--enable-trace-backends=log",
)
REQUIREMENTS = QEMU_DEVICES / "build-requirements.txt"
_TIMEOUT_S = 3600.0
_CONFIGURED = ".dcbm-lab-configured"
_QTEST_FOLDER = Path("tests/qtest")
DEVICE_BENCH = "amd-dma-bench"
_PINS = QEMU_DEVICES / "pins.toml"
_PIN = "qemu-"


@dataclass(frozen=True)
class QemuArtifact:
    """A QEMU that has our devices.

    Attributes:
        binary: ``qemu-system-x86_64``.
        firmware_dirs: for ``-L``, in order.
        version: what the binary says of itself.
        source_version: version of the source, in its distributor's words.
        fallback: why another source than the pinned one was taken; None if it wasn't.
        key: in the cache.
    """

    binary: Path
    firmware_dirs: tuple[Path, ...]
    version: str
    source_version: str
    fallback: str | None
    key: str


@dataclass(frozen=True)
class _Plan:
    base: str
    fetched: Fetched
    flavour: Flavour
    tree_key: str
    key: str


def list_bases() -> list[str]:
    """Names of the QEMU bases that there are pins for."""
    pins = read_pins(_PINS)
    return [name.removeprefix(_PIN) for name in pins if re.fullmatch(rf"{_PIN}\d+\.\d+", name)]


def sources_of_base(base: str) -> tuple[Source, ...]:
    """Where a base's source comes from.

    Raises:
        ConfigError: there is no such base.
    """
    bases = list_bases()
    if base not in bases:
        raise ConfigError(
            "a QEMU base that the lab knows",
            f"qemu.base = {base!r}",
            hint=f"choose one of {', '.join(bases)}, or add pins of {_PIN}{base} to {_PINS}",
        )
    return sources_of(_PINS, f"{_PIN}{base}")


def _make_plan(cache: Cache, base: str, progress: Progress, flavour: Flavour = PLAIN) -> _Plan:
    fetched = fetch(cache, sources_of_base(base), progress)
    tree_key = make_key(
        source=identify(fetched),
        configure=" ".join(CONFIGURE),
        flavour=flavour.identity,
        tools=hash_file(REQUIREMENTS),
        packages=identify_packages(*_PACKAGES),
    )
    port = open_port(QEMU_DEVICES, base)
    patches = " ".join(hash_file(patch) for patch in [*port.patch_files, *port.glue_files])
    devices = hash_tree(QEMU_DEVICES, skip=lambda relative: not is_laid(relative))
    key = make_key(
        tree=tree_key,
        devices=devices,
        patches=patches,
        rules=port.rules.model_dump_json(),
        recipe=hash_recipe(*_RECIPE),
    )
    return _Plan(base, fetched, flavour, tree_key, key)


def build_qemu(cache: Cache, progress: Progress, base: str = Qemu().base) -> QemuArtifact:
    """QEMU, from the cache or built.

    Raises:
        ConfigError: there is no such base.
        SourceError: its source can't be had.
        BuildError: it doesn't build.
    """
    plan = _make_plan(cache, base, progress)

    def build(directory: Path) -> None:
        with _open_build(cache, plan, [TARGET], progress) as out:
            shutil.copy2(out / TARGET, directory / TARGET)
            version = ask_program(
                [out / TARGET, "--version"], awaited="a QEMU that runs", error=BuildError
            )
            (directory / "version").write_text(version.splitlines()[0] + "\n", encoding="utf-8")

    title = f"QEMU {base} with our devices"
    path = cache.entry("qemu", plan.key, build, title=title, progress=progress)
    return QemuArtifact(
        binary=path / TARGET,
        firmware_dirs=fetch_firmware(cache, progress),
        version=(path / "version").read_text(encoding="utf-8").strip(),
        source_version=plan.fetched.version,
        fallback=plan.fetched.fallback,
        key=plan.key,
    )


@dataclass(frozen=True)
class SanitizedQemu:
    """A QEMU that stops at the first error of memory or undefined behaviour, and counts its lines.

    Attributes:
        binary: ``qemu-system-x86_64``; finds its firmware by itself.
        fuzzer: the same with libFuzzer in the place of its main program.
    """

    binary: Path
    fuzzer: Path


def build_sanitized_qemu(cache: Cache, progress: Progress) -> SanitizedQemu:
    """QEMU with sanitizers, from the cache or built.

    Raises:
        SourceError: its source can't be had.
        BuildError: it doesn't build.
    """
    plan = _make_plan(cache, Qemu().base, progress, SANITIZED)
    firmware_dirs = fetch_firmware(cache, progress)
    firmware = " ".join(directory.parent.name for directory in firmware_dirs)

    def build(directory: Path) -> None:
        with _open_build(cache, plan, [TARGET, FUZZER], progress) as out:
            bundle([out / TARGET, out / FUZZER], firmware_dirs, directory)

    key = make_key(qemu=plan.key, firmware=firmware)
    title = "QEMU with sanitizers"
    path = cache.entry("qemu-sanitized", key, build, title=title, progress=progress)
    return SanitizedQemu(path / TARGET, path / FUZZER)


def list_qtests(devices: Path = QEMU_DEVICES) -> list[str]:
    """Names of our qtest programs: every ``tests/qtest/…-test.c`` of the overlay."""
    return [
        path.stem
        for path in overlay_files(devices)
        if path.parent == _QTEST_FOLDER and path.name.endswith("-test.c")
    ]


def build_qtests(cache: Cache, progress: Progress, base: str = Qemu().base) -> dict[str, Path]:
    """Our qtest programs by name, from the cache or built.

    Raises:
        ConfigError: there is no such base.
        BuildError: there is none, or one doesn't build.
    """
    plan = _make_plan(cache, base, progress)
    names = list_qtests()
    if not names:
        raise BuildError(f"qtests in {QEMU_DEVICES / _QTEST_FOLDER}", "no file …-test.c")

    def build(directory: Path) -> None:
        targets = [str(_QTEST_FOLDER / name) for name in names]
        with _open_build(cache, plan, [TARGET, *targets], progress) as out:
            for target in targets:
                shutil.copy2(out / target, directory)

    path = cache.entry(
        "qtest", plan.key, build, title=f"device tests of QEMU {base}", progress=progress
    )
    return {name: path / name for name in names}


def build_device_bench(cache: Cache, progress: Progress, base: str = Qemu().base) -> Path:
    """The program that measures the device models' speed, from the cache or built.

    Raises:
        ConfigError: there is no such base.
        BuildError: it doesn't build.
    """
    plan = _make_plan(cache, base, progress)

    def build(directory: Path) -> None:
        target = str(_QTEST_FOLDER / DEVICE_BENCH)
        with _open_build(cache, plan, [TARGET, target], progress) as out:
            shutil.copy2(out / target, directory)

    key = make_key(qemu=plan.key, program=DEVICE_BENCH)
    return cache.entry("qtest", key, build, title="device bench", progress=progress) / DEVICE_BENCH


@contextmanager
def _open_build(
    cache: Cache, plan: _Plan, targets: list[str], progress: Progress
) -> Iterator[Path]:
    """The build directory with `targets` built, this lab's alone until the context ends."""
    log = cache.root / "logs" / f"qemu-{plan.key}.log"
    tools = _install_tools(cache, progress)
    with cache.worktree("qemu", plan.tree_key, progress, "QEMU's build tree") as tree:
        log.unlink(missing_ok=True)
        source, out = _prepare(tree, plan, log, progress)
        lay(QEMU_DEVICES, tree.path / "pristine", source, log, plan.base)
        plan.flavour.prepare(tree.path)
        environment = {
            **compiler_environment(cache),
            "PATH": f"{tools / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "CC": plan.flavour.command,
        }
        configured = out / _CONFIGURED
        recipe = hash_recipe(*_RECIPE)
        if not configured.exists() or configured.read_text(encoding="utf-8") != recipe:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            with progress.step("configuring QEMU", log=log) as step:
                argv = ["../source/configure", f"--python={tools / 'bin' / 'python3'}", *CONFIGURE]
                argv += [*plan.flavour.configure, *plan.flavour.flags(tree.path)]
                run_program(_program(argv, "a configured QEMU", log, out, environment), step)
            configured.write_text(recipe, encoding="utf-8")
        with progress.step("building QEMU", log=log) as step:
            argv = ["ninja", f"-j{count_jobs()}", *targets]
            run_program(_program(argv, "a built QEMU", log, out, environment), step, read_ninja)
        yield out


def _program(
    argv: list[str], awaited: str, log: Path, out: Path, environment: dict[str, str]
) -> Program:
    return Program(
        argv,
        awaited=awaited,
        log=log,
        cwd=out,
        env=environment,
        timeout_s=_TIMEOUT_S,
        hint="the log has the whole output; dcbm-lab doctor says whether a package is missing",
    )


def _prepare(tree: WorkTree, plan: _Plan, log: Path, progress: Progress) -> tuple[Path, Path]:
    """The source tree and the build directory; the latter may not exist yet."""
    pristine, source, out = (tree.path / name for name in ("pristine", "source", "build"))
    if tree.interrupted:
        shutil.rmtree(out, ignore_errors=True)
    if not pristine.is_dir():
        unpack(plan.fetched, pristine, log, progress)
    if not source.is_dir():
        link_tree(pristine, source, log)
    return source, out


def _install_tools(cache: Cache, progress: Progress) -> Path:
    """A virtual environment with what QEMU's build wants from PyPI; returns its directory.

    Raises:
        BuildError: it can't be installed.
    """
    key = make_key(requirements=hash_file(REQUIREMENTS), python=sys.version)
    log = cache.root / "logs" / "build-tools.log"
    with cache.worktree("tools", key, progress, "QEMU's build tools") as tree:
        home = tree.path / "venv"
        stamp = tree.path / "installed"
        if stamp.exists():
            return home
        shutil.rmtree(home, ignore_errors=True)
        with progress.step("installing QEMU's build tools", log=log) as step:
            pip = home / "bin" / "pip"
            options = ["--quiet", "--no-deps", "--require-hashes"]
            commands: list[list[str | Path]] = [
                [sys.executable, "-m", "venv", home],
                [pip, "install", *options, "-r", REQUIREMENTS],
            ]
            for argv in commands:
                awaited = "meson and pycotap from the Python package index"
                hint = "check the network and pip's configuration"
                run_program(Program(argv, awaited=awaited, log=log, hint=hint), step)
        stamp.touch()
        return home


def fetch_firmware(cache: Cache, progress: Progress) -> tuple[Path, ...]:
    """Directories with SeaBIOS and the option ROMs, for ``-L``.

    Raises:
        SourceError: the packages can't be had.
        BuildError: they don't hold what a PVH boot needs.
    """
    directories = []
    for package, folder, needed in (
        ("seabios", "usr/share/seabios", "bios-256k.bin"),
        ("qemu-system-data", "usr/share/qemu", "pvh.bin"),
    ):
        fetched = fetch(cache, sources_of(_PINS, package), progress)
        log = cache.root / "logs" / "firmware.log"

        def build(
            directory: Path, fetched: Fetched = fetched, folder: str = folder, log: Path = log
        ) -> None:
            package = directory / "package"
            deb = fetched.one(".deb")
            run_program(
                Program(["dpkg-deb", "-x", deb, package], awaited="unpacked firmware", log=log)
            )
            (package / folder).replace(directory / "firmware")
            shutil.rmtree(package)

        key = make_key(recipe=hash_recipe(*_FIRMWARE_RECIPE), source=fetched.identity)
        path = cache.entry("firmware", key, build, title=package, progress=progress) / "firmware"
        if not (path / needed).is_file():
            raise BuildError(f"{needed} in {package} {fetched.version}", f"no such file in {path}")
        directories.append(path)
    return tuple(directories)
