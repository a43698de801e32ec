# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host must have installed.

Only the standard library, and no import of the lab: ``python3 lab/host.py`` prints the packages
that are missing, one a line, before anything of the lab is set up.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LIB = "/usr/lib/x86_64-linux-gnu"
_INCLUDE = "/usr/include"
_CLANG = "/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux"


@dataclass(frozen=True)
class Need:
    """Something the host must have, and the package that brings it.

    Attributes:
        package: name in the distribution's archive.
        why: what it is for.
        programs: looked for in PATH and in the system's own directories.
        files: absolute paths, of which one is enough.
        modules: Python modules.
    """

    package: str
    why: str
    programs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


NEEDS = (
    Need("python3-venv", "the lab's virtual environment", modules=("venv", "ensurepip")),
    Need("gcc", "compiles QEMU, kernels and guest programs", programs=("gcc", "ld")),
    Need("make", "kernel builds", programs=("make",)),
    Need("libc6-dev", "static guest programs", files=(f"{_LIB}/libc.a",)),
    Need("ninja-build", "QEMU's build", programs=("ninja",)),
    Need("pkg-config", "QEMU's build", programs=("pkg-config",)),
    Need("libglib2.0-dev", "QEMU's build", files=(f"{_LIB}/pkgconfig/glib-2.0.pc",)),
    Need("libpixman-1-dev", "QEMU's build", files=(f"{_LIB}/pkgconfig/pixman-1.pc",)),
    Need("zlib1g-dev", "QEMU's build", files=(f"{_INCLUDE}/zlib.h",)),
    Need("libfdt-dev", "QEMU's build", files=(f"{_INCLUDE}/libfdt.h",)),
    Need("libelf-dev", "the kernel's objtool", files=(f"{_INCLUDE}/libelf.h",)),
    Need("clang-14", "QEMU with sanitizers", programs=("clang-14",)),
    Need("llvm-14", "stacks and coverage of the sanitized QEMU", programs=("llvm-cov-14",)),
    Need("libclang-rt-14-dev", "the sanitizers", files=(f"{_CLANG}/libclang_rt.fuzzer-x86_64.a",)),
    Need("flex", "the kernel's Kconfig", programs=("flex",)),
    Need("bison", "the kernel's Kconfig", programs=("bison",)),
    Need("bc", "the kernel's time constants", programs=("bc",)),
    Need("perl", "the kernel's build", programs=("perl",)),
    Need("xz-utils", "source archives", programs=("xz",)),
    Need("patch", "QEMU's glue", programs=("patch",)),
    Need("dpkg-dev", "unpacking source packages", programs=("dpkg-source",)),
    Need("libnuma-dev", "the kernel's selftests", files=(f"{_INCLUDE}/numa.h",)),
    Need("libcap-dev", "the kernel's selftests", files=(f"{_INCLUDE}/sys/capability.h",)),
    Need("kmod", "module index of the guest image", programs=("depmod",)),
    Need("e2fsprogs", "ext4 on the guest's disks", programs=("mke2fs",)),
    Need("xfsprogs", "XFS on the guest's disks; busybox can't make it", programs=("mkfs.xfs",)),
    Need("cpio", "the tests' second opinion on the initramfs", programs=("cpio",)),
    Need("ccache", "building again in seconds", programs=("ccache",)),
    Need("git", "the checkout; applies series", programs=("git",)),
    Need("zstd", "kernels and modules that are brought along", programs=("zstd",)),
    Need("lz4", "kernels that are brought along", programs=("lz4",)),
    Need("ca-certificates", "downloads", files=("/etc/ssl/certs/ca-certificates.crt",)),
    Need("debian-archive-keyring", "signatures of the archive", files=(str(KEYRING),)),
)


def has(need: Need) -> bool:
    """Whether the host has it."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return (
        all(shutil.which(name, path=path) for name in need.programs)
        and (not need.files or any(Path(file).exists() for file in need.files))
        and all(importlib.util.find_spec(name) is not None for name in need.modules)
    )


def missing_packages() -> list[str]:
    """Packages that the host lacks, in the order of NEEDS."""
    return [need.package for need in NEEDS if not has(need)]


if __name__ == "__main__":
    print("\n".join(missing_packages()))
