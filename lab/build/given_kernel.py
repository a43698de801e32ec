# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that somebody else built: image, modules, configuration, and what it lacks here."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.build import kconfig
from lab.build.compressed import decompress
from lab.build.kernel_image import Format, ImageFacts, read_image
from lab.cache import Cache, hash_file, make_key
from lab.checkout import KERNEL_CONFIG
from lab.config import Kernel
from lab.errors import ConfigError
from lab.progress import Progress
from lab.sources.pins import read_pins

NEEDED = KERNEL_CONFIG / "needed.config"
_COMPRESSED = (".gz", ".xz", ".zst")


@dataclass(frozen=True)
class GivenKernel:
    """A kernel as it was given.

    Attributes:
        image: bzImage or vmlinux.
        facts: what it says about itself.
        modules: its ``lib/modules/<release>``; None if none was given.
        config: its configuration; None if nobody knows it.
    """

    image: Path
    facts: ImageFacts
    modules: Path | None
    config: str | None

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"kernel {self.facts.release} ({self.image.name})"


@dataclass(frozen=True)
class GivenArtifact:
    """A given kernel in the cache, with what a boot and a record need of it.

    Attributes:
        path: its entry in the cache.
        given: what was given.
        source_hash: SHA-256 of the image.
        key: key in the cache.
    """

    path: Path
    given: GivenKernel
    source_hash: str
    key: str

    base = "given"
    variant = "given"
    series = None
    version = None
    fallback = None
    compiler = ""
    commit = None
    diff = None

    @property
    def patches(self) -> list[tuple[str, str]]:
        """None: nobody knows them."""
        return []

    @property
    def release(self) -> str:
        """``uname -r``."""
        return self.given.facts.release

    @property
    def vmlinux(self) -> Path:
        """What QEMU boots."""
        return self.path / "image"

    @property
    def system_map(self) -> Path:
        """There is none."""
        return self.path / "System.map"

    @property
    def config(self) -> Path:
        """Its configuration, empty if nobody knows it."""
        return self.path / "config"

    @property
    def coverage(self) -> None:
        """Nobody has kept what would turn its counters into lines."""
        return

    @property
    def modules_dir(self) -> Path:
        """``lib/modules/<release>`` with the modules that were asked for."""
        return self.path / "root" / "lib" / "modules" / self.release


def read_given_kernel(image: Path, modules: Path | None, config: Path | None) -> GivenKernel:
    """Look at what was given.

    Raises:
        ConfigError: no bootable kernel, modules of another one, or something that it has to have
            built in is missing.
    """
    image = image.expanduser().resolve()
    facts = read_image(image)
    text = facts.config
    if config is not None:
        try:
            text = config.expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"a kernel's configuration at {config}", str(error)) from error
        if not kconfig.parse_config(text):
            raise ConfigError(
                f"a kernel's configuration at {config}", "no line that sets an option"
            )
    if text is not None:
        _assert_needed(image, text)
    folder = _find_modules(modules.expanduser().resolve(), facts) if modules else None
    return GivenKernel(image, facts, folder, text)


def lacks(given: GivenKernel) -> list[str]:
    """What the reader has to know about a given kernel before it boots."""
    found = []
    if given.facts.format is Format.BZIMAGE:
        found.append(f"{given.label} boots through the firmware: that takes guest time")
    if given.config is None:
        found.append(
            f"{given.label}: its configuration is unknown, {given.facts.config_problem}; "
            "nothing was checked (--config FILE)"
        )
    else:
        wishes = kconfig.read_fragments(
            kconfig.select_fragments(
                KERNEL_CONFIG, _nearest_base(given.facts.release), "plain", patched=False
            )
        )
        unmet = kconfig.find_unmet(wishes, kconfig.parse_config(given.config))
        if unmet:
            found.append(
                f"{given.label}: {len(unmet)} of the lab's {len(wishes)} options differ, among "
                f"them {', '.join(item.wish.line for item in unmet[:5])}"
            )
    if given.modules is None:
        found.append(f"{given.label}: no modules were given (--modules DIR)")
    return found


def _nearest_base(release: str) -> str:
    """The base of the same version, whose names of options it has; else the default one."""
    bases = read_pins(KERNEL_CONFIG / "pins.toml")
    return next((base for base in bases if f"{release}.".startswith(f"{base}.")), Kernel().base)


def take_given_kernel(
    cache: Cache, given: GivenKernel, names: Iterable[str], progress: Progress
) -> GivenArtifact:
    """Keep a given kernel in the cache, with those of its modules that `names` need.

    Raises:
        ConfigError: its modules have no usable index.
        CacheError: the cache can't be written.
    """
    source_hash = hash_file(given.image)
    files = _closure(given.modules, names) if given.modules is not None else []
    key = make_key(
        image=source_hash,
        config=given.config or "",
        modules="\n".join(f"{path.name} {hash_file(path)}" for path in files),
        indices="\n".join(hash_file(path) for path in _indices(given.modules)),
    )

    def build(directory: Path) -> None:
        shutil.copyfile(given.image, directory / "image")
        (directory / "config").write_text(given.config or "", encoding="utf-8")
        target = directory / "root" / "lib" / "modules" / given.facts.release
        target.mkdir(parents=True)
        for path in _indices(given.modules):
            shutil.copyfile(path, target / path.name)
        for path in files:
            (target / "kernel").mkdir(exist_ok=True)
            name = path.name if path.suffix not in _COMPRESSED else path.stem
            (target / "kernel" / name).write_bytes(decompress(path.read_bytes()))

    path = cache.entry("given", key, build, title=given.label, progress=progress)
    return GivenArtifact(path, given, source_hash, key)


def builtin_names(modules_dir: Path) -> set[str]:
    """Modules that are part of the kernel itself, by name."""
    listed = modules_dir / "modules.builtin"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    return {module_name(Path(line)) for line in lines if line.strip()}


def module_name(path: Path) -> str:
    """A module's name as the kernel spells it."""
    return path.name.partition(".ko")[0].replace("-", "_")


def _assert_needed(image: Path, text: str) -> None:
    resolved = kconfig.parse_config(text)
    unmet = kconfig.find_unmet(kconfig.read_fragments([NEEDED]), resolved)
    if unmet:
        raise ConfigError(
            f"a kernel that has built in what the guest can't do without: {image}",
            "; ".join(f"{item.wish.line}: got {item.seen}" for item in unmet),
            hint=f"turn these on and build it again; {NEEDED.name} says what each is for",
        )


def _find_modules(given: Path, facts: ImageFacts) -> Path:
    """``lib/modules/<release>`` in what was given: itself, or a root that has it."""
    for place in (given / "lib" / "modules", given / "usr" / "lib" / "modules", given):
        if (place / facts.release / "modules.dep").is_file():
            return place / facts.release
    if (given / "modules.dep").is_file() and given.name == facts.release:
        return given
    there = sorted(path.parent.name for path in given.glob("**/modules.dep"))[:3]
    raise ConfigError(
        f"modules of {facts.release} in {given}",
        f"those of {', '.join(there)}" if there else "no modules.dep",
        hint="make INSTALL_MOD_PATH=DIR modules_install, and give that DIR",
    )


def _indices(modules: Path | None) -> list[Path]:
    """The lists that go with modules: order, and what is built in."""
    names = ("modules.builtin", "modules.builtin.modinfo", "modules.order")
    return [modules / name for name in names if (modules / name).is_file()] if modules else []


def _closure(modules: Path, names: Iterable[str]) -> list[Path]:
    """Files of the modules named, and of all that those need, as modules.dep says."""
    index = modules / "modules.dep"
    needs: dict[str, list[Path]] = {}
    try:
        for line in index.read_text(encoding="utf-8").splitlines():
            file, _, others = line.partition(":")
            paths = [Path(file), *map(Path, others.split())]
            needs[module_name(paths[0])] = paths
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"an index of modules at {index}", str(error), hint="depmod") from error
    wanted = {path for name in names for path in needs.get(name, [])}
    missing = sorted(str(path) for path in wanted if not (modules / path).is_file())
    if missing:
        raise ConfigError(f"the modules that {index} names", f"missing: {', '.join(missing[:5])}")
    return sorted(modules / path for path in wanted)
