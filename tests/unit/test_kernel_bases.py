# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel bases: what the project says of each, and what of them is on this host."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from lab import bench
from lab.build import kernel_plan
from lab.build.inputs import Inputs
from lab.build.kernel_bases import BaseFacts, list_bases
from lab.build.kernel_plan import KernelChoice, check_choice, make_plan, queue_of
from lab.build.patch import Patch
from lab.cache import Cache
from lab.checkout import KERNEL_CONFIG
from lab.config import ControlLayout, Kernel, LabFile, Variant
from lab.dcbm import LAYOUTS, Layout
from lab.errors import ConfigError
from lab.experiments.base import ModePlan
from lab.progress import SilentProgress
from lab.sources import fetch, find
from lab.sources.pins import UrlSource, read_pins, sources_of

BASES = list(read_pins(KERNEL_CONFIG / "pins.toml"))
SOURCE = b"a source"


def added(base: str) -> str:
    """What the series of a base adds, without the marks of a diff."""
    lines = "\n".join(patch.diff.decode() for patch in queue_of(base).patches).splitlines()
    return "\n".join(line[1:] for line in lines if line.startswith("+") and line[:3] != "+++")


@pytest.mark.parametrize("base", BASES)
def test_every_base_has_the_same_controls_and_the_same_api(base: str) -> None:
    for pattern in (r"module_param_cb\((\w+), [^)]*\)", r"EXPORT_SYMBOL_GPL\((\w+)\)", r"What:.*"):
        found = re.findall(pattern, added(base))
        assert found
        assert found == re.findall(pattern, added(Kernel().base))


@pytest.mark.parametrize("base", BASES)
def test_a_series_speaks_of_its_own_base(base: str) -> None:
    assert set(re.findall(r"KernelVersion:\t(\S+)", added(base))) == {base}
    # 7.3 has a word of its own for the mark, the others share one with the folio's owner
    assert ("migrate_info" in added(base)) == (base == "7.3")
    # the last "reason" of 7.3 is none, older kernels have none that is none
    assert ("MR_NEVER" in added(base)) == (base == "7.3")


def test_the_default_base_is_pinned_first() -> None:
    assert BASES[0] == Kernel().base


def patches_of(choice: KernelChoice) -> tuple[Patch, ...]:
    series = kernel_plan.read_choice(choice)[1]
    return series.patches if series else ()


@pytest.mark.parametrize("layout", list(ControlLayout))
def test_a_layout_is_a_patch_on_top_of_the_same_series(layout: ControlLayout) -> None:
    wanted = Kernel(layout=layout)
    choice = Inputs().choose(wanted, patched=True)
    assert isinstance(choice, KernelChoice)
    names = [patch.name for patch in patches_of(choice)]
    own = [patch.name for patch in queue_of(Kernel().base).patches]
    assert names == own + ([] if layout is ControlLayout.V6 else [f"{layout.value}.patch"])
    assert (layout.value in choice.label) == (layout is not ControlLayout.V6)
    # One vanilla kernel serves them all.
    assert Inputs().choose(wanted, patched=False) == KernelChoice(patched=False)
    # Driver fixes are on top of everything.
    fixed = patches_of(replace(choice, driver_fixes=True))
    assert fixed[: len(names)] == patches_of(choice)
    assert all(
        path.startswith("drivers/dma/amd/") for patch in fixed[len(names) :] for path in patch.paths
    )
    assert len(fixed) > len(names)


def test_a_layout_is_one_of_our_own_series_only(tmp_path: Path) -> None:
    ours = queue_of(Kernel().base)
    wanted = Kernel(layout=ControlLayout.V4)
    for given in (Inputs(series=ours), Inputs(tree=tmp_path)):
        for patched in (False, True):
            with pytest.raises(ConfigError, match=r"kernel\.layout is v4 with a series"):
                given.choose(wanted, patched=patched)


def read_layout(choice: KernelChoice) -> str:
    """The file that moves the controls, its words about them included."""
    folder = KERNEL_CONFIG / "layouts"
    own = folder / choice.base / f"{choice.layout.value}.patch"
    text = (own if own.is_file() else folder / f"{choice.layout.value}.patch").read_text()
    diff = patches_of(choice)[-1].diff.decode()
    assert diff.rstrip() in text
    return text


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout.name != "V6"])
def test_a_layout_makes_the_files_that_the_lab_looks_for(layout: Layout, base: str) -> None:
    choice = KernelChoice(base, layout=ControlLayout(layout.name.lower()))
    patch = read_layout(choice)
    # an attribute of the module itself: its functions have got const arguments since 6.12
    assert ("(struct module_attribute *" in patch) == (layout.name == "V5" and base == "6.12")
    assert ("(const struct module_attribute *" in patch) == (layout.name == "V5" and base != "6.12")
    assert set(re.findall(r"^\+DCBM_FILE\((\w+),", patch, re.MULTILINE)) == layout.files
    assert f"control files in {layout.directory}\n" in patch
    # The parameters are gone, or V6 would be found.
    gone = set(re.findall(r"^-module_param_cb\((\w+),", patch, re.MULTILINE))
    assert gone == LAYOUTS[0].files


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two bases: 1.0 whose source is a local file, 2.0 that nobody has."""
    folder = tmp_path / "config"
    (folder / "bases").mkdir(parents=True)
    (folder / "series" / "1.0").mkdir(parents=True)
    (folder / "series" / "1.0" / "0001.patch").write_text("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n")
    (folder / "series" / "1.0" / "series").write_text("0001.patch\n")
    for base in ("1.0", "2.0"):
        (folder / "bases" / f"{base}.config").write_text("CONFIG_SYSCTL=y\n")
    for name in ("base", "offload"):
        (folder / f"{name}.config").write_text(f"CONFIG_{name.upper()}=y\n")
    for variant in Variant:
        (folder / f"{variant.value}.config").write_text(f"CONFIG_{variant.name}=y\n")
    lists = "".join(f'{variant.value} = ["base", "{variant.value}"]\n' for variant in Variant)
    (folder / "fragments.toml").write_text(
        f'[variants]\n{lists}[series]\nfragments = ["offload"]\n'
    )
    (tmp_path / "linux.tar").write_bytes(SOURCE)
    pins = ""
    for base, name, content in (("1.0", "linux.tar", SOURCE), ("2.0", "none.tar", b"")):
        pins += f'[["{base}".source]]\nkind = "url"\nurl = "file://{tmp_path / name}"\n'
        pins += f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    (folder / "pins.toml").write_text(pins)
    monkeypatch.setattr(kernel_plan, "KERNEL_CONFIG", folder)
    return folder


def test_what_is_fetched_and_built_is_listed(config: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first, second = list_bases(cache)
    assert (first.name, first.version, first.patches, first.built) == ("1.0", None, 1, ())
    assert second == BaseFacts("2.0", f"file://{tmp_path}/none.tar", None, 0, None, ())
    assert not (tmp_path / "cache" / "download").exists()

    plan = make_plan(cache, KernelChoice("1.0", Variant.DEBUG, patched=True), SilentProgress())
    cache.entry("kernel", plan.key, lambda directory: (directory / "vmlinux").touch())
    first, second = list_bases(cache)
    assert (first.version, first.built) == ("linux.tar", ("debug patched",))
    assert plan.series is not None
    assert first.series == plan.series.hash
    assert first.lines[1] == "source  linux.tar, in the cache"
    assert second.lines[1:] == (f"source  {second.pinned}", "series  none", "built   nothing")
    assert second.built == ()


def test_find_gives_what_fetch_gave(config: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    sources = sources_of(config / "pins.toml", "1.0")
    absent = UrlSource(kind="url", url="file:///nowhere", sha256="1" * 64)
    assert find(cache, (absent, *sources)) is None
    fetched = fetch(cache, sources, SilentProgress())
    assert find(cache, (absent, *sources)) == fetched


@pytest.mark.parametrize(
    ("choice", "seen"),
    [
        (KernelChoice("3.0"), "pins of '3.0'"),
        (KernelChoice("2.0"), "our series for base 2.0"),
    ],
)
def test_a_kernel_that_there_is_not_is_refused_before_anything_is_built(
    config: Path, monkeypatch: pytest.MonkeyPatch, choice: KernelChoice, seen: str
) -> None:
    def build(*_arguments: object) -> None:
        raise AssertionError("something is built")

    monkeypatch.setattr(bench, "build_qemu", build)
    monkeypatch.setattr(bench, "choice_of", lambda _mode, _inputs: choice)
    with pytest.raises(ConfigError, match=seen):
        check_choice(choice)
    modes = [ModePlan.__new__(ModePlan)]
    with pytest.raises(ConfigError, match=seen):
        bench.prepare(modes, SilentProgress())
    with pytest.raises(ConfigError, match=seen):
        bench.build_parts(
            LabFile(kernel=Kernel(base=choice.base)),
            SilentProgress(),
            qemu=True,
            kernels=True,
            images=False,
        )
