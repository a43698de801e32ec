# SPDX-License-Identifier: GPL-2.0-or-later
"""Ports to other versions of QEMU: rules, dropped patches and parts of the glue; and our own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.build.overlay import lay, overlay_files
from lab.build.port import PATCHES, PORTS, Rewrite, open_port, split_patch
from lab.build.qemu import build_qemu, list_bases
from lab.cache import Cache
from lab.checkout import QEMU_DEVICES
from lab.config import LabFile, Qemu
from lab.errors import BuildError, ConfigError
from lab.experiments.base import ModePlan
from lab.kernel_choices import qemu_base_of
from lab.progress import SilentProgress

OWN_PORTS = sorted(path.name for path in (QEMU_DEVICES / PORTS).iterdir())
SOURCE = "static void ours_class_init(ObjectClass *klass, void *data)\n"
RULE = """\
[[rewrite]]
why = "class_data became const"
files = ["hw/*.c"]
pattern = '(?<=, )void \\*data'
replacement = 'const void *data'
"""


def hunk(name: str, line: str) -> str:
    return f"--- a/{name}\n+++ b/{name}\n@@ -1 +1,2 @@\n one\n+{line}\n"


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """An overlay with a device, a patch, a glue for two files, and an empty port."""
    root = tmp_path / "overlay"
    for name, text in {
        "hw/dma/ours.c": SOURCE,
        "tests/ours.c": SOURCE,
        "patches/0001-first.patch": hunk("core/old.h", "first"),
        "glue.patch": hunk("hw/Kconfig", "ours") + hunk("hw/meson.build", "ours"),
        "ports/10.2/port.toml": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def pristine(tmp_path: Path) -> Path:
    root = tmp_path / "pristine"
    for name in ("hw/Kconfig", "hw/meson.build", "core/old.h", "core/new.h"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("one\n")
    return root


def laid(overlay: Path, pristine: Path, version: str) -> Path:
    source = overlay.parent / f"source-{version}"
    source.mkdir()
    lay(overlay, pristine, source, overlay.parent / "log", version)
    return source


def test_a_rule_changes_what_is_laid_and_nothing_else(overlay: Path, pristine: Path) -> None:
    (overlay / "ports/10.2/port.toml").write_text(RULE)
    newer = laid(overlay, pristine, "10.2")
    assert "klass, const void *data)" in (newer / "hw/dma/ours.c").read_text()
    assert (newer / "tests/ours.c").read_text() == SOURCE
    assert (overlay / "hw/dma/ours.c").read_text() == SOURCE
    assert not (newer / "ports").exists()
    assert (laid(overlay, pristine, "10.0") / "hw/dma/ours.c").read_text() == SOURCE


def test_a_rule_can_lead_a_patch_to_another_file(overlay: Path, pristine: Path) -> None:
    (overlay / "ports/10.2/port.toml").write_text(
        RULE.replace("hw/*.c", "patches/*")
        .replace(r"(?<=, )void \*data", "core/old")
        .replace("const void *data", "core/new")
    )
    source = laid(overlay, pristine, "10.2")
    assert (source / "core/new.h").read_text() == "one\nfirst\n"
    assert not (source / "core/old.h").exists()


def test_a_dropped_patch_is_not_applied(overlay: Path, pristine: Path) -> None:
    (overlay / "ports/10.2/port.toml").write_text(
        '[[drop]]\npatch = "0001-first.patch"\nwhy = "upstream has it"\n'
    )
    assert not (laid(overlay, pristine, "10.2") / "core/old.h").exists()
    assert (laid(overlay, pristine, "10.0") / "core/old.h").exists()


def test_a_part_of_the_glue_takes_the_place_of_the_same_part(overlay: Path, pristine: Path) -> None:
    (overlay / "ports/10.2/glue.patch").write_text(hunk("hw/meson.build", "theirs"))
    source = laid(overlay, pristine, "10.2")
    assert (source / "hw/meson.build").read_text() == "one\ntheirs\n"
    assert (source / "hw/Kconfig").read_text() == "one\nours\n"


def test_a_glue_that_does_not_apply_names_both_files(overlay: Path, pristine: Path) -> None:
    (overlay / "ports/10.2/glue.patch").write_text(
        hunk("hw/meson.build", "x").replace(" one", "-no")
    )
    with pytest.raises(BuildError, match=r"overlay/glue.patch with .*10.2/glue.patch applied"):
        laid(overlay, pristine, "10.2")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (RULE.replace(r"(?<=, )", "("), "no regular expression"),
        (RULE.replace("why", "because"), "because"),
        ("[[rewrite", "port.toml"),
        ('[[drop]]\npatch = "0009-none.patch"\nwhy = "?"\n', "0009-none.patch"),
    ],
)
def test_wrong_rules_are_one_clear_error(overlay: Path, text: str, complaint: str) -> None:
    (overlay / "ports/10.2/port.toml").write_text(text)
    with pytest.raises(BuildError, match=complaint):
        open_port(overlay, "10.2")


def test_a_patch_is_split_by_file() -> None:
    parts = split_patch("a header\n" + hunk("x", "1") + hunk("y", "2"))
    assert parts == {"x": hunk("x", "1"), "y": hunk("y", "2")}


def test_a_base_without_pins_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"qemu.base = '9.1'") as caught:
        build_qemu(Cache(tmp_path), SilentProgress(), "9.1")
    assert "10.0, 10.2" in str(caught.value.hint)


def test_the_default_base_has_pins_and_every_port_a_base() -> None:
    assert Qemu().base in list_bases()
    assert set(OWN_PORTS) <= set(list_bases()) - {Qemu().base}


def test_a_record_names_one_qemu() -> None:
    labs = [LabFile(qemu=Qemu(base=base)) for base in ("10.2", "10.2", "10.0")]
    modes = [ModePlan(f"mode {number}", "", True, lab) for number, lab in enumerate(labs)]
    assert qemu_base_of(modes[:2]) == "10.2"
    assert qemu_base_of([]) == Qemu().base
    with pytest.raises(ConfigError, match=r"10\.0 and 10\.2"):
        qemu_base_of(modes)


def rules_of(version: str) -> list[Rewrite]:
    return list(open_port(QEMU_DEVICES, version).rules.rewrite)


@pytest.mark.parametrize(
    ("version", "rule"), [(port, rule) for port in OWN_PORTS for rule in rules_of(port)]
)
def test_every_rule_of_ours_has_something_to_change(version: str, rule: Rewrite) -> None:
    patches = [path.relative_to(QEMU_DEVICES) for path in (QEMU_DEVICES / PATCHES).iterdir()]
    port = open_port(QEMU_DEVICES, version)
    alone = port.__class__(
        port.overlay, port.home, port.rules.model_copy(update={"rewrite": (rule,)})
    )
    changed = [
        path
        for path in [*overlay_files(QEMU_DEVICES), *patches]
        if alone.adapt(path, (QEMU_DEVICES / path).read_bytes())
        != (QEMU_DEVICES / path).read_bytes()
    ]
    assert changed, f"nothing is left that needs: {rule.why}"


def test_newer_versions_take_our_qapi_comments() -> None:
    schema = sorted((QEMU_DEVICES / "qapi").glob("*.json"))
    assert schema
    long = [
        f"{path.name}:{number}"
        for path in schema
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.startswith("#") and len(line) > 70
    ]
    assert not long, "from 10.1 on QEMU refuses comments of more than 70 columns"
