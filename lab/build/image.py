# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest image: an initramfs with busybox, our agent and workloads, and a kernel's modules.

It is not compressed: the guest would pay for unpacking on every boot, the host gains nothing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.build import cpio
from lab.build.disks import DISKS, build_disks
from lab.build.given_kernel import GivenArtifact, builtin_names, module_name
from lab.build.kernel import KernelArtifact
from lab.build.modules import build_modules
from lab.build.recipe import hash_recipe, identify_packages
from lab.build.toolchain import compiler_environment, count_jobs, find_compiler, identify_compiler
from lab.cache import Cache, hash_tree, make_key
from lab.checkout import IMAGES
from lab.errors import BuildError
from lab.program import Program, ask_program, run_program
from lab.progress import Progress
from lab.sources import fetch
from lab.sources.pins import sources_of

AGENT = "agent"
_PROGRAMS_RECIPE = ("build/image.py", "build/toolchain.py")
_BUSYBOX_RECIPE = ("build/image.py",)
_RECIPE = ("build/image.py", "build/cpio.py")
_DIRECTORIES = ("bin", "dev", "lib", "proc", "sys", "tmp", "run", "etc", "root")
_EXTRA_MODULES = "extra"


@dataclass(frozen=True)
class ImageArtifact:
    """A guest image.

    Attributes:
        initramfs: the archive.
        key: in the cache.
        modules: names of all modules in it and of those that are part of its kernel.
    """

    initramfs: Path
    key: str
    modules: frozenset[str]


def build_programs(cache: Cache, progress: Progress) -> Path:
    """Directory with the agent and the workloads, linked statically.

    Raises:
        BuildError: one doesn't build, or there is no agent.
    """
    sources = hash_tree(
        IMAGES, skip=lambda path: path.parts[0] == "modules" or path.suffix == ".md"
    )
    key = make_key(
        recipe=hash_recipe(*_PROGRAMS_RECIPE),
        sources=sources,
        compiler=identify_compiler(),
        libraries=identify_packages("libc6-dev", "linux-libc-dev"),
    )
    log = cache.root / "logs" / f"programs-{key}.log"

    def build(directory: Path) -> None:
        log.unlink(missing_ok=True)
        argv: list[str | Path] = ["make", "-C", IMAGES, f"-j{count_jobs()}", f"OUT={directory}"]
        argv += [f"CC={find_compiler()}", "all"]
        with progress.step("building the guest's programs", log=log) as step:
            run_program(
                Program(
                    argv,
                    awaited="the guest's programs",
                    log=log,
                    env=compiler_environment(cache),
                ),
                step,
            )
        for path in directory.iterdir():
            if path.is_dir() or path.suffix == ".o":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not (directory / AGENT).is_file():
            raise BuildError(f"{AGENT} among the guest's programs", "no such file", log=log)

    return cache.entry("programs", key, build, title="the guest's programs", progress=progress)


def fetch_busybox(cache: Cache, progress: Progress) -> Path:
    """Directory with a static ``busybox`` and the names of its applets in ``applets``.

    Raises:
        SourceError: the package can't be had.
        BuildError: it doesn't run here.
    """
    fetched = fetch(cache, sources_of(IMAGES / "pins.toml", "busybox"), progress)
    log = cache.root / "logs" / "busybox.log"

    def build(directory: Path) -> None:
        package = directory / "package"
        deb = fetched.one(".deb")
        run_program(Program(["dpkg-deb", "-x", deb, package], awaited="busybox", log=log))
        found = sorted(package.glob("**/bin/busybox"))
        if not found:
            raise BuildError(f"busybox in {deb.name}", "no such file")
        found[0].replace(directory / "busybox")
        shutil.rmtree(package)
        applets = ask_program(
            [directory / "busybox", "--list"], awaited="busybox's applets", error=BuildError
        )
        (directory / "applets").write_text(applets, encoding="utf-8")

    key = make_key(recipe=hash_recipe(*_BUSYBOX_RECIPE), source=fetched.identity)
    return cache.entry("busybox", key, build, title="busybox", progress=progress)


def build_image(cache: Cache, kernel: KernelArtifact, progress: Progress) -> ImageArtifact:
    """The guest image for a kernel, from the cache or built.

    Raises:
        SourceError: busybox can't be had.
        BuildError: a program or module doesn't build.
    """
    busybox = fetch_busybox(cache, progress)
    programs = build_programs(cache, progress)
    disks = build_disks(cache, progress)
    modules = build_modules(cache, kernel, progress)
    key = make_key(
        recipe=hash_recipe(*_RECIPE),
        depmod=identify_packages("kmod"),
        busybox=busybox.name,
        programs=programs.name,
        disks=disks.name,
        modules=modules.name,
        kernel=kernel.key,
    )

    def build(directory: Path) -> None:
        root = _install_modules(kernel, modules, directory)
        _install_disks(disks, root)
        archive = compose(busybox, programs, root)
        shutil.rmtree(root)
        with (directory / "initramfs").open("wb") as file:
            archive.write(file)

    path = cache.entry("image", key, build, title="guest image", progress=progress)
    return ImageArtifact(path / "initramfs", key, _names(kernel, modules))


def build_given_image(cache: Cache, kernel: GivenArtifact, progress: Progress) -> ImageArtifact:
    """The guest image for a kernel that was given, without modules of ours.

    Raises:
        SourceError: busybox can't be had.
        BuildError: a program doesn't build, or the modules can't be indexed.
    """
    busybox = fetch_busybox(cache, progress)
    programs = build_programs(cache, progress)
    disks = build_disks(cache, progress)
    key = make_key(
        recipe=hash_recipe(*_RECIPE),
        depmod=identify_packages("kmod"),
        busybox=busybox.name,
        programs=programs.name,
        disks=disks.name,
        kernel=kernel.key,
    )

    def build(directory: Path) -> None:
        root = _install_modules(kernel, None, directory)
        _install_disks(disks, root)
        archive = compose(busybox, programs, root)
        shutil.rmtree(root)
        with (directory / "initramfs").open("wb") as file:
            archive.write(file)

    path = cache.entry("image", key, build, title="guest image", progress=progress)
    return ImageArtifact(path / "initramfs", key, _names(kernel, None))


def _names(kernel: KernelArtifact | GivenArtifact, modules: Path | None) -> frozenset[str]:
    """Every module that the image can load or need not load."""
    files = [*kernel.modules_dir.rglob("*.ko"), *(modules.glob("*.ko") if modules else ())]
    return frozenset({module_name(file) for file in files} | builtin_names(kernel.modules_dir))


def _install_modules(
    kernel: KernelArtifact | GivenArtifact, modules: Path | None, directory: Path
) -> Path:
    """Make a root with all modules and their index for modprobe below `directory`."""
    root = directory / "root"
    target = root / "lib" / "modules" / kernel.release
    shutil.copytree(kernel.modules_dir, target, symlinks=True)
    for path in target.rglob("*"):
        path.chmod(path.stat().st_mode | 0o200)
    (target / _EXTRA_MODULES).mkdir()
    for module in sorted(modules.glob("*.ko")) if modules is not None else ():
        shutil.copyfile(module, target / _EXTRA_MODULES / module.name)
    symbols = ("-F", kernel.system_map) if kernel.system_map.is_file() else ()
    ask_program(
        ["depmod", "-b", root, *symbols, kernel.release],
        awaited="an index of the image's modules",
        error=BuildError,
        env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    )
    for index in target.glob("modules.*.bin"):
        index.unlink()  # busybox reads the text forms
    return root


def _install_disks(disks: Path, root: Path) -> None:
    """Put what the guest's disks hold at first below the image's root."""
    target = root / "lib" / "disks"
    target.mkdir()
    for disk in DISKS:
        shutil.copyfile(disks / disk.name, target / disk.name)


def compose(busybox: Path, programs: Path, root: Path) -> cpio.Archive:
    """Put the image together; our programs go before busybox's applets of the same name."""
    archive = cpio.Archive()
    for name in _DIRECTORIES:
        archive.add_directory(name)
    archive.add_device("dev/console", 0o600, 5, 1)
    archive.add_device("dev/null", 0o666, 1, 3)
    archive.add_file("bin/busybox", (busybox / "busybox").read_bytes(), runs=True)
    ours = [path for path in sorted(programs.iterdir()) if not path.name.startswith(".")]
    for path in ours:
        where = "init" if path.name == AGENT else f"bin/{path.name}"
        archive.add_file(where, path.read_bytes(), runs=True)
    archive.add_link(f"bin/{AGENT}", "/init")
    taken = {f"bin/{path.name}" for path in ours} | {"bin/busybox"}
    for applet in (busybox / "applets").read_text(encoding="utf-8").split():
        if f"bin/{applet}" not in taken:
            archive.add_link(f"bin/{applet}", "busybox")
    archive.add_link("sbin", "bin")
    archive.add_tree("lib", root / "lib")
    return archive
