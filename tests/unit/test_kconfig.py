# SPDX-License-Identifier: GPL-2.0-or-later
"""Fragments, and the check of what Kconfig made of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lab.build.kconfig import (
    check_config,
    find_unmet,
    parse_config,
    read_fragments,
    select_fragments,
)
from lab.checkout import KERNEL_CONFIG
from lab.config import Variant
from lab.errors import BuildError, ConfigError
from lab.experiments.kernel_faults import VARIANTS as FAULT_VARIANTS
from lab.sources.pins import read_pins

RESOLVED = """\
#
# Linux/x86 7.3.4 Kernel Configuration
#
CONFIG_NUMA=y
CONFIG_DMATEST=m
CONFIG_NODES_SHIFT=4
CONFIG_LOCALVERSION=""
# CONFIG_SWAP is not set
CONFIG_SELECTED=y
"""
KCONFIG = """\
menuconfig DMADEVICES
\tbool "DMA Engine support"
\tdepends on HAS_DMA && SWAP

if DMADEVICES
config DCBM_DMA
\ttristate "migration by DMA"
\tdepends on 64BIT
endif

config HIDDEN
\tbool
config SELECTED
\tbool "x"
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm" / "Kconfig").write_text(KCONFIG)
    foreign = tmp_path / "arch" / "arm"
    foreign.mkdir(parents=True)
    (foreign / "Kconfig").write_text('config ARM_ONLY\n\tbool "x"\n')
    (tmp_path / ".config").write_text(RESOLVED)
    return tmp_path


def fragment(tree: Path, text: str, name: str = "base.config") -> Path:
    (tree / name).write_text(text)
    return tree / name


def test_a_configuration_is_parsed() -> None:
    assert parse_config(RESOLVED) == {
        "CONFIG_NUMA": "y",
        "CONFIG_DMATEST": "m",
        "CONFIG_NODES_SHIFT": "4",
        "CONFIG_LOCALVERSION": '""',
        "CONFIG_SWAP": None,
        "CONFIG_SELECTED": "y",
    }


def test_what_came_true_is_not_reported(tree: Path) -> None:
    text = "CONFIG_NUMA=y\nCONFIG_DMATEST=m\n# CONFIG_SWAP is not set\n# CONFIG_ABSENT is not set\n"
    wishes = read_fragments([fragment(tree, text)])
    assert find_unmet(wishes, parse_config(RESOLVED)) == []
    check_config(wishes, tree / ".config", tree)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("CONFIG_DMATEST=y", "got CONFIG_DMATEST=m"),
        ("CONFIG_NODES_SHIFT=6", "got CONFIG_NODES_SHIFT=4"),
        ("CONFIG_NOWHERE=y", "got no such line: this kernel has no such symbol"),
        ("CONFIG_ARM_ONLY=y", "this kernel has no such symbol"),
        ("CONFIG_DMADEVICES=y", "depends on what is off: HAS_DMA, SWAP (mm/Kconfig:1)"),
        ("CONFIG_DCBM_DMA=m", "depends on what is off: 64BIT, DMADEVICES (mm/Kconfig:6)"),
        ("CONFIG_HIDDEN=y", "has no prompt"),
        ("CONFIG_SWAP=y", "got # CONFIG_SWAP is not set"),
        ("# CONFIG_SELECTED is not set", "got CONFIG_SELECTED=y: something selects it"),
        ("# CONFIG_NUMA is not set", "got CONFIG_NUMA=y"),
    ],
)
def test_what_did_not_come_true_is_named_with_its_cause(
    tree: Path, line: str, expected: str
) -> None:
    wishes = read_fragments([fragment(tree, line + "\n")])
    with pytest.raises(BuildError) as caught:
        check_config(wishes, tree / ".config", tree)
    assert f"base.config: {line}: " in caught.value.seen
    assert expected in caught.value.seen
    assert caught.value.log == tree / ".config"


@pytest.mark.parametrize(
    "line",
    [
        *("CONFIG_A = y", "B=y", "#CONFIG_C is not set", "# CONFIG_C is  not set", " CONFIG_D=y"),
        *("CONFIG_F: y", "CONFIG_G", "CONFIG_H=", "# C is not set", "<<<<<<< HEAD", "CONFIG-A=y"),
        "CONFIG_NUMA=n",  # after CONFIG_NUMA=y
    ],
)
def test_a_line_that_would_be_passed_over_is_refused(tree: Path, line: str) -> None:
    text = f"# a comment\n\nCONFIG_NUMA=y\n{line}\n"
    with pytest.raises(ConfigError) as caught:
        read_fragments([fragment(tree, text)])
    assert f"line 4: {line!r}" in caught.value.seen


def test_every_form_of_a_line_counts(tree: Path) -> None:
    text = (
        "# CONFIG_NUMA=y was here\n\t\nCONFIG_A=y  \nCONFIG_E=n\n# CONFIG_C is not set\n"
        'CONFIG_S="a b"\n  # not set yet\nCONFIG_A=y\n'
    )
    wishes = {wish.symbol: wish.value for wish in read_fragments([fragment(tree, text)])}
    assert wishes == {"CONFIG_A": "y", "CONFIG_E": None, "CONFIG_C": None, "CONFIG_S": '"a b"'}


def test_n_is_fulfilled_by_what_is_off_or_absent_and_by_nothing_else(tree: Path) -> None:
    off = read_fragments([fragment(tree, "CONFIG_SWAP=n\nCONFIG_ABSENT=n\n")])
    assert find_unmet(off, parse_config(RESOLVED)) == []
    on = read_fragments([fragment(tree, "CONFIG_NUMA=n\n")])
    assert [item.wish.symbol for item in find_unmet(on, parse_config(RESOLVED))] == ["CONFIG_NUMA"]


def test_a_symbol_in_two_fragments_is_refused(tree: Path) -> None:
    one = fragment(tree, "CONFIG_NUMA=y\n", "one.config")
    two = fragment(tree, "# CONFIG_NUMA is not set\n", "two.config")
    with pytest.raises(ConfigError, match=r"CONFIG_NUMA in one\.config and two\.config"):
        read_fragments([one, two])


@pytest.mark.parametrize("patched", [False, True])
@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("base", list(read_pins(KERNEL_CONFIG / "pins.toml")))
def test_our_variants_are_whole(base: str, variant: Variant, patched: bool) -> None:
    wishes = read_fragments(select_fragments(KERNEL_CONFIG, base, variant.value, patched=patched))
    symbols = {wish.symbol for wish in wishes}
    assert {"CONFIG_NUMA", "CONFIG_PVH", "CONFIG_AMD_PTDMA"} <= symbols
    # An allnoconfig kernel has neither unless it is asked for by the name that this base knows.
    assert len(symbols & {"CONFIG_SYSCTL", "CONFIG_PROC_SYSCTL"}) == 1
    assert len(symbols & {"CONFIG_PREEMPT_LAZY", "CONFIG_PREEMPT"}) == 1
    assert ("CONFIG_DCBM_DMA" in symbols) == patched
    assert ("CONFIG_KASAN" in symbols) == (variant is Variant.KASAN)


# What each variant's name promises, and what it must not have: KCSAN excludes KASAN (lib/Kconfig),
# and no times are to be measured beside an instrument that nobody asked for.
INSTRUMENTS = {
    Variant.PLAIN: set[str](),
    Variant.DEBUG: {"PROVE_LOCKING", "DEBUG_VM", "FAILSLAB", "FAIL_PAGE_ALLOC", "DEBUG_KMEMLEAK"},
    Variant.KASAN: {
        *("PROVE_LOCKING", "DEBUG_VM", "FAILSLAB", "FAIL_PAGE_ALLOC", "DEBUG_KMEMLEAK"),
        *("KASAN", "UBSAN"),
    },
    Variant.KCSAN: {"KCSAN"},
    Variant.UBSAN: {"UBSAN"},
    Variant.GCOV: {"GCOV_KERNEL"},
}


@pytest.mark.parametrize("patched", [False, True])
@pytest.mark.parametrize("base", list(read_pins(KERNEL_CONFIG / "pins.toml")))
@pytest.mark.parametrize("variant", list(Variant))
def test_a_variant_has_what_its_name_says_and_no_other_instrument(
    variant: Variant, base: str, patched: bool
) -> None:
    wishes = read_fragments(select_fragments(KERNEL_CONFIG, base, variant.value, patched=patched))
    on = {wish.symbol.removeprefix("CONFIG_") for wish in wishes if wish.value == "y"}
    every = set[str]().union(*INSTRUMENTS.values())
    assert on & every == INSTRUMENTS[variant]
    # Counting every line of the kernel would make its start take minutes.
    off = {wish.symbol for wish in wishes if wish.value is None}
    assert ("CONFIG_GCOV_PROFILE_ALL" in off) == (variant is Variant.GCOV)
    # Scans that nobody asked for would come by chance.
    assert ("CONFIG_DEBUG_KMEMLEAK_AUTO_SCAN" in off) == ("DEBUG_KMEMLEAK" in on)


def test_the_variants_that_can_fail_allocations_are_those_that_say_so() -> None:
    able = {variant for variant, names in INSTRUMENTS.items() if "FAILSLAB" in names}
    assert able == set(FAULT_VARIANTS)


def test_every_variant_of_the_lab_file_is_listed() -> None:
    data = tomllib.loads((KERNEL_CONFIG / "fragments.toml").read_text())
    assert {variant.value for variant in Variant} <= set(data["variants"])


def test_an_unknown_variant_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fragments.toml").write_text("[variants]\n[series]\nfragments = []\n")
    with pytest.raises(ConfigError, match="variant 'plain'"):
        select_fragments(tmp_path, "7.3", "plain", patched=False)


def test_a_base_without_a_fragment_of_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fragments.toml").write_text("[variants]\nplain = []\n[series]\nfragments = []\n")
    with pytest.raises(ConfigError, match=r"9\.9.*\n.*no such file"):
        select_fragments(tmp_path, "9.9", "plain", patched=False)
