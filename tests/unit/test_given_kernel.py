# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels that somebody else built: what they say about themselves, and what they lack."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.bench import _assert_modules
from lab.build.compressed import decompress
from lab.build.given_kernel import (
    GivenKernel,
    builtin_names,
    lacks,
    module_name,
    read_given_kernel,
    take_given_kernel,
)
from lab.build.image import ImageArtifact
from lab.build.inputs import read_inputs
from lab.build.kernel_image import Format, read_image
from lab.cache import Cache
from lab.checkout import KERNEL_CONFIG
from lab.config import Kernel, LabFile
from lab.errors import ConfigError
from lab.experiments.base import ModePlan
from lab.progress import SilentProgress

RELEASE = "7.3.4-test"
CONFIG = (KERNEL_CONFIG / "needed.config").read_text()


def ikconfig(text: str) -> bytes:
    return b"IKCFG_ST" + gzip.compress(text.encode()) + b"IKCFG_ED"


def lz4(data: bytes) -> bytes:
    return subprocess.run(["lz4", "-l", "-c"], input=data, capture_output=True, check=True).stdout


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "lz4": lz4,
    "zstd": zstd,
}


def bzimage(
    vmlinux: bytes, *, compress: str = "gzip", release: str = RELEASE, flags: int = 0x7F
) -> bytes:
    """A bzImage as Documentation/arch/x86/boot.rst lays it out: two setup sectors, a payload."""
    setup = bytearray(3 * 512)
    setup[0x1F1] = 2
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, 0x20F)
    struct.pack_into("<H", setup, 0x236, flags)
    version = f"{release} (a@b) #1 SMP".encode() + b"\0"
    setup[0x400 + 0x10 : 0x400 + 0x10 + len(version)] = version
    struct.pack_into("<H", setup, 0x20E, 0x400 + 0x10 - 0x200)
    payload = COMPRESSORS[compress](vmlinux)
    # The build appends the size of the uncompressed kernel.
    payload += struct.pack("<I", len(vmlinux))
    struct.pack_into("<II", setup, 0x248, 64, len(payload))
    loaded = bytes(64) + payload + b"trailer" * 100
    loaded += bytes(-len(loaded) % 512)
    struct.pack_into("<I", setup, 0x1F4, len(loaded) // 16)
    return bytes(setup) + loaded


def vmlinux(*, pvh: bool = True, content: bytes = b"", machine: int = 62) -> bytes:
    """An ELF file with one PT_NOTE of two notes, the second of them Xen's."""
    kind = 18 if pvh else 6
    notes = struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes(20)
    notes += struct.pack("<III", 4, 4, kind) + b"Xen\0" + struct.pack("<I", 0x1000)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    program = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4)
    banner = f"Linux version {RELEASE} (a@b) #1".encode()
    return header + program + notes + banner + content


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes | str], Path]:
    def write(content: bytes | str) -> Path:
        path = tmp_path / "kernel"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def modules_of(root: Path, release: str = RELEASE) -> Path:
    folder = root / "lib" / "modules" / release
    (folder / "kernel").mkdir(parents=True)
    for name in ("ptdma", "virt-dma", "unrelated"):
        (folder / "kernel" / f"{name}.ko.xz").write_bytes(lzma.compress(f"{name}!".encode()))
    (folder / "modules.dep").write_text(
        "kernel/ptdma.ko.xz: kernel/virt-dma.ko.xz\nkernel/virt-dma.ko.xz:\n"
        "kernel/unrelated.ko.xz:\n"
    )
    (folder / "modules.builtin").write_text("kernel/drivers/dma/dma-test.ko\n")
    return root


@pytest.mark.parametrize("compress", list(COMPRESSORS))
def test_a_bzimage_tells_release_and_configuration(
    file: Callable[[bytes], Path], compress: str
) -> None:
    content = vmlinux(content=bytes(5000) + ikconfig(CONFIG) + bytes(5000))
    facts = read_image(file(bzimage(content, compress=compress)))
    assert (facts.format, facts.release, facts.config) == (Format.BZIMAGE, RELEASE, CONFIG)


def test_a_vmlinux_tells_the_same(file: Callable[[bytes], Path]) -> None:
    facts = read_image(file(vmlinux(content=ikconfig(CONFIG))))
    assert (facts.format, facts.release, facts.config) == (Format.VMLINUX, RELEASE, CONFIG)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (vmlinux(pvh=False), "no PVH note"),
        (vmlinux(machine=183), "another kind"),
        (vmlinux().replace(b"Linux version", b"Xunil version"), "no Linux"),
        (b"\x7fELF", "cut off"),
        (bzimage(b"")[:0x230], "in the header"),
        (bzimage(bytes(9000), compress="none")[:5000], "cut off: 5000 bytes"),
        (bzimage(b"")[:-1], "cut off"),
        (bzimage(b"", flags=0x7E), r"32-bit one \(XLF_KERNEL_64 is off\)"),
        (b"MZ" + bytes(5000), "neither bzImage nor ELF"),
        (b"", "neither bzImage nor ELF"),
    ],
)
def test_what_cannot_be_booted_is_refused(
    file: Callable[[bytes], Path], content: bytes, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_image(file(content))
    assert "bzImage" in str(caught.value.hint)


def test_a_kernel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_given_kernel(tmp_path / "no", None, None)


def test_a_damaged_payload_leaves_the_configuration_unknown(file: Callable[[bytes], Path]) -> None:
    raw = bytearray(bzimage(vmlinux(content=ikconfig(CONFIG)), compress="xz"))
    raw[3 * 512 + 64 + 40] ^= 0xFF
    given = read_given_kernel(file(bytes(raw)), None, None)
    assert given.config is None
    assert "damaged" in str(given.facts.config_problem)


def test_what_it_lacks_is_said_before_it_boots(file: Callable[[bytes], Path]) -> None:
    told = "\n".join(lacks(read_given_kernel(file(bzimage(vmlinux())), None, None)))
    assert "boots through the firmware" in told
    assert "CONFIG_IKCONFIG is off" in told
    assert "no modules were given" in told
    told = "\n".join(lacks(read_given_kernel(file(vmlinux(content=ikconfig(CONFIG))), None, None)))
    assert "firmware" not in told
    assert "options differ" in told


def test_a_missing_option_is_an_error_and_a_given_configuration_wins(
    file: Callable[[bytes], Path], tmp_path: Path
) -> None:
    poor = CONFIG.replace("CONFIG_NUMA=y", "# CONFIG_NUMA is not set").replace(
        "CONFIG_DEVTMPFS=y", "CONFIG_DEVTMPFS=m"
    )
    image = file(vmlinux(content=ikconfig(poor)))
    with pytest.raises(ConfigError, match="CONFIG_NUMA=y: got # CONFIG_NUMA is not set") as caught:
        read_given_kernel(image, None, None)
    assert "CONFIG_DEVTMPFS=y: got CONFIG_DEVTMPFS=m" in caught.value.seen
    (tmp_path / "config").write_text(CONFIG)
    assert read_given_kernel(image, None, tmp_path / "config").config == CONFIG
    (tmp_path / "config").write_text("no options here\n")
    with pytest.raises(ConfigError, match="no line that sets"):
        read_given_kernel(image, None, tmp_path / "config")
    with pytest.raises(ConfigError, match="configuration at"):
        read_given_kernel(image, None, tmp_path / "none")


def test_modules_have_to_be_those_of_the_kernel(
    file: Callable[[bytes], Path], tmp_path: Path
) -> None:
    image = file(vmlinux(content=ikconfig(CONFIG)))
    root = modules_of(tmp_path / "root")
    for given in (root, root / "lib" / "modules", root / "lib" / "modules" / RELEASE):
        assert read_given_kernel(image, given, None).modules == root / "lib" / "modules" / RELEASE
    with pytest.raises(ConfigError, match=r"those of 6\.1\.0"):
        read_given_kernel(image, modules_of(tmp_path / "other", "6.1.0"), None)
    with pytest.raises(ConfigError, match="those of"):
        read_given_kernel(image, tmp_path / "other" / "lib" / "modules" / "6.1.0", None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no modules\.dep"):
        read_given_kernel(image, tmp_path / "empty", None)


def test_only_modules_that_are_needed_are_taken_and_unpacked(
    file: Callable[[bytes], Path], tmp_path: Path
) -> None:
    image = file(vmlinux(content=ikconfig(CONFIG)))
    given = read_given_kernel(image, modules_of(tmp_path / "root"), None)
    cache = Cache(tmp_path / "cache")
    artifact = take_given_kernel(cache, given, ["ptdma", "dcbm"], SilentProgress())
    taken = {path.name: path.read_text() for path in artifact.modules_dir.rglob("*.ko")}
    assert taken == {"ptdma.ko": "ptdma!", "virt-dma.ko": "virt-dma!"}
    assert builtin_names(artifact.modules_dir) == {"dma_test"}
    assert artifact.config.read_text() == CONFIG
    assert take_given_kernel(cache, given, ["ptdma"], SilentProgress()).key == artifact.key
    assert take_given_kernel(cache, given, [], SilentProgress()).key != artifact.key
    assert given.modules is not None
    (given.modules / "kernel" / "virt-dma.ko.xz").unlink()
    with pytest.raises(ConfigError, match=r"missing: kernel/virt-dma\.ko\.xz"):
        take_given_kernel(cache, given, ["ptdma"], SilentProgress())


def test_a_mode_that_needs_more_is_refused_before_it_boots(
    file: Callable[[bytes], Path], tmp_path: Path
) -> None:
    given = read_given_kernel(file(vmlinux(content=ikconfig(CONFIG))), None, None)
    image = ImageArtifact(tmp_path / "initramfs", "key", frozenset({"ptdma"}))
    needs = ("ptdma", "compact_trigger", "dcbm")
    mode = ModePlan("dma", "x", patched=True, machine=LabFile(), modules=needs)
    with pytest.raises(ConfigError) as caught:
        _assert_modules(mode, given, image)
    assert caught.value.seen == "no compact_trigger, dcbm"
    assert "--modules" in str(caught.value.hint)
    image = ImageArtifact(tmp_path / "initramfs", "key", frozenset({"ptdma", "dcbm"}))
    with pytest.raises(ConfigError, match="no compact_trigger") as caught:
        _assert_modules(mode, given, image)
    assert "--tree" in str(caught.value.hint)
    _assert_modules(
        ModePlan("x", "x", patched=False, machine=LabFile(), modules=("ptdma",)), given, image
    )


def test_names_of_modules_are_the_kernels() -> None:
    assert module_name(Path("kernel/drivers/virt-dma.ko.zst")) == "virt_dma"
    assert decompress(b"plain") == b"plain"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": Path("k"), "series": "s"}, "--kernel with --series"),
        ({"kernel": Path("k"), "tree": Path("t")}, "--kernel with --tree"),
        ({"modules": Path("m")}, "without --kernel"),
        ({"config": Path("c")}, "without --kernel"),
        ({"series_version": 2}, "--series-version without --series"),
        ({"tree": Path("/nonexistent")}, "no such directory"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_inputs(**options)  # type: ignore[arg-type]


def test_what_was_given_decides_the_kernel_of_a_mode(file: Callable[[bytes], Path]) -> None:
    kernel = file(vmlinux(content=ikconfig(CONFIG)))
    given = read_inputs(kernel=kernel)
    for patched in (False, True):
        choice = given.choose(Kernel(), patched=patched)
        assert isinstance(choice, GivenKernel)
        assert choice.image == kernel
    assert read_inputs() == read_inputs()
    assert not read_inputs().given
