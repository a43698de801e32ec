# SPDX-License-Identifier: GPL-2.0-or-later
"""The control layouts of dcbm, over a file tree in memory; real kernels are tests/guest's."""

from __future__ import annotations

import errno

import pytest

from lab.dcbm import Counters, Dcbm
from lab.errors import ConfigError, PremiseError
from lab.machine.jobs import GuestFileError, JobResult

V6 = "/sys/module/dcbm/parameters"
SWITCHES = {"offloading": "0\n", "nr_dma_chan": "1\n"}
COUNTERS = {"folios_migrated": "0\n", "folios_failures": "0\n"}


class Tree:
    """A guest's files; `deaf` ones accept writes and keep their value."""

    def __init__(self, directory: str, files: dict[str, str], deaf: str = "") -> None:
        self.files = {f"{directory}/{name}": value for name, value in files.items()}
        self.deaf = deaf
        self.writes: list[tuple[str, str]] = []

    def read(self, path: str) -> str:
        if path not in self.files:
            raise GuestFileError(path, errno.ENOENT)
        return self.files[path]

    def write(self, path: str, text: str) -> None:
        self.read(path)
        self.writes.append((path.rpartition("/")[2], text))
        if not self.deaf or not path.endswith(self.deaf):
            self.files[path] = text + "\n"

    def run(self, argv: list[str]) -> JobResult:
        raise AssertionError(argv)


@pytest.mark.parametrize(
    ("directory", "files", "name"),
    [
        (V6, SWITCHES | COUNTERS | {"reason_mask": "all\n"}, "V6"),
        ("/sys/module/dcbm", SWITCHES | COUNTERS, "V5"),
        ("/sys/kernel/dcbm", SWITCHES | COUNTERS, "V4"),
        ("/sys/kernel/dcbm", SWITCHES, "V3"),
    ],
)
def test_the_layout_is_found_at_run_time(directory: str, files: dict[str, str], name: str) -> None:
    assert Dcbm(Tree(directory, files)).layout.name == name


def test_a_kernel_without_dcbm() -> None:
    with pytest.raises(PremiseError, match="modprobe dcbm"):
        Dcbm(Tree("/sys", {}))


def test_channels_are_set_before_offloading_starts() -> None:
    tree = Tree(V6, SWITCHES | COUNTERS | {"reason_mask": "all\n"})
    dcbm = Dcbm(tree)
    dcbm.enable(channels=16, reasons=["compaction", "demotion"])
    assert tree.writes == [
        ("reason_mask", "compaction,demotion"),
        ("nr_dma_chan", "16"),
        ("offloading", "1"),
    ]
    assert dcbm.offloading
    assert dcbm.channels == 16
    dcbm.disable()
    assert not dcbm.offloading


@pytest.mark.parametrize("deaf", ["offloading", "nr_dma_chan"])
def test_a_switch_that_silently_stays_is_a_failed_premise(deaf: str) -> None:
    dcbm = Dcbm(Tree(V6, SWITCHES | COUNTERS, deaf=deaf))
    with pytest.raises(PremiseError, match=deaf):
        dcbm.enable(channels=2)


@pytest.mark.parametrize("channels", [0, 17, -1])
def test_channel_counts_that_no_dcbm_takes(channels: int) -> None:
    tree = Tree(V6, SWITCHES | COUNTERS)
    with pytest.raises(ConfigError):
        Dcbm(tree).enable(channels=channels)
    assert tree.writes == []


def test_what_an_old_version_lacks_is_said() -> None:
    dcbm = Dcbm(Tree("/sys/kernel/dcbm", SWITCHES))
    with pytest.raises(ConfigError, match="V3 control layout"):
        dcbm.counters()
    with pytest.raises(ConfigError, match="reason_mask"):
        dcbm.enable(reasons="all")


def test_a_module_parameter_reads_y_or_n() -> None:
    dcbm = Dcbm(Tree(V6, {"offloading": "Y\n", "nr_dma_chan": "4\n"}))
    assert dcbm.offloading


def test_counters_are_numbers() -> None:
    tree = Tree(V6, SWITCHES | {"folios_migrated": "4211\n", "folios_failures": "3\n"})
    dcbm = Dcbm(tree)
    assert dcbm.counters() == Counters(folios_migrated=4211, folios_failures=3)
    dcbm.reset_counters()
    assert dcbm.counters() == Counters(0, 0)
    tree.files[f"{V6}/folios_migrated"] = "many\n"
    with pytest.raises(PremiseError, match="a number"):
        dcbm.counters()


REASONS = SWITCHES | COUNTERS | {"reason_mask": "all\n"}


class Naming(Tree):
    """Shows reasons as the kernel does: in its order, a mask as names."""

    def write(self, path: str, text: str) -> None:
        shown = {"demotion,compaction": "compaction,demotion", "0x5": "compaction,demotion"}
        super().write(path, {**shown, "0": "none", "0x3ff": "all"}.get(text, text))


@pytest.mark.parametrize("text", ["all", "none", "demotion,compaction", "0x5", "0", "0x3ff"])
def test_reasons_read_back_in_the_kernels_words(text: str) -> None:
    dcbm = Dcbm(Naming(V6, REASONS))
    dcbm.enable(reasons=text)
    assert dcbm.offloading


@pytest.mark.parametrize("text", ["none", "compaction", "compaction,demotion", "0x5", "0"])
def test_reasons_that_silently_stay_are_a_failed_premise(text: str) -> None:
    dcbm = Dcbm(Tree(V6, REASONS, deaf="reason_mask"))
    with pytest.raises(PremiseError, match="reason_mask to read"):
        dcbm.enable(reasons=text)
    assert not dcbm.offloading
