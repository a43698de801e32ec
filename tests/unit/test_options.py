# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lab import experiments
from lab.checkout import QEMU_DEVICES
from lab.config import Clock, LabFile, read_lab_file
from lab.errors import ConfigError
from lab.experiments.base import Fault
from lab.options import (
    FAULT_ARGUMENTS,
    FAULT_OPTIONS,
    OptionError,
    override,
    parse_fault,
    parse_value,
    split_settings,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1.5", 1.5),
        ("true", True),
        ("[1, 4]", [1, 4]),
        ("plain", "plain"),
        ('"7"', "7"),
        ("all", "all"),
        ("compaction,demotion", "compaction,demotion"),
        ("", ""),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse_value(text) == value


def test_settings_go_to_the_machine_or_to_the_experiment() -> None:
    machine, experiment = split_settings(
        ["engine.count=4", "nr_dma_chan=2", "topology.nodes.1.memory_mib=2048", "rounds = 3"]
    )
    assert machine == {"engine.count": 4, "topology.nodes.1.memory_mib": 2048}
    assert experiment == {"nr_dma_chan": 2, "rounds": 3}


@pytest.mark.parametrize("text", ["7.10", '"7.10"', "'7.10'", " 7.10 "])
def test_a_version_needs_no_quotes(text: str) -> None:
    machine, _ = split_settings([f"kernel.base={text}"])
    assert override(LabFile(), machine).kernel.base == "7.10"


def test_only_text_is_taken_as_text() -> None:
    machine, _ = split_settings(["engine.count=7", "kernel.base.x=7.10"])
    assert machine == {"engine.count": 7, "kernel.base.x": 7.1}


@pytest.mark.parametrize("text", ["10.2", "10.20", '"10.2"'])
def test_the_name_of_a_base_is_no_number(text: str) -> None:
    machine, _ = split_settings([f"qemu.base={text}"])
    assert override(LabFile(), machine).qemu.base == text.strip('"')


def test_a_fraction_is_refused_where_a_number_belongs() -> None:
    machine, _ = split_settings(["engine.count=1.5"])
    with pytest.raises(OptionError, match=r"engine\.count"):
        override(LabFile(), machine)


@pytest.mark.parametrize("text", ["engine.count", "=3", ""])
def test_setting_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="KEY=VALUE"):
        split_settings([text])


def test_override_changes_what_it_names_and_nothing_else() -> None:
    lab = LabFile.model_validate({"engine": {"latency_ns": 5}})
    changed = override(
        lab, {"topology.nodes.1.memory_mib": 2048, "engine.count": 4}, clock=Clock.HOST
    )
    assert changed.topology.nodes[1].memory_mib == 2048
    assert changed.topology.nodes[0] == lab.topology.nodes[0]
    assert (changed.engine.count, changed.engine.latency_ns) == (4, 5)
    assert changed.clock is Clock.HOST
    assert changed.engine.model_fields_set == {"latency_ns", "count"}
    assert override(lab, {}) == lab


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("engine.count", 17, "engine.count"),
        ("engine.colour", "red", "engine.colour"),
        ("engine.count.x", 1, "engine.count"),
        ("topology.nodes.5.cpus", 1, "5"),
        ("topology.nodes.x.cpus", 1, "x"),
        ("kernel.variant", "fast", "kernel.variant"),
        ("engine.node", 3, "engine.node is 3"),
    ],
)
def test_a_wrong_override_names_its_key(key: str, value: Any, named: str) -> None:
    with pytest.raises(OptionError, match=named):
        override(LabFile(), {key: value})


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (
            "kernel.varient",
            "kernel.varient: no such key; [kernel] has base, variant, layout, driver_fixes; did "
            "you mean variant?",
        ),
        ("engine.colour", "[engine] has kind, count, queues, "),
        ("topology.nodez", "[topology] has nodes, iommu, iommu_mode, swiotlb; did you mean nodes?"),
        ("topology.nodes.1.cpu", "[topology.nodes] has memory_mib, cpus; did you mean cpus?"),
        ("qemu.bases", "[qemu] has base; did you mean base?"),
    ],
)
def test_a_key_that_there_is_not_is_told_with_those_there(key: str, told: str) -> None:
    with pytest.raises(OptionError) as caught:
        override(LabFile(), {key: "x"})
    assert told in str(caught.value)
    assert "Extra inputs" not in str(caught.value)


def test_a_section_that_there_is_not_is_told_with_those_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"engnie\.count: no such section; .* mean engine\?"):
        split_settings(["engnie.count=2"])
    (tmp_path / "lab.toml").write_text("[engnie]\ncount = 2\n")
    told = r"engnie: no such key; the lab file has topology, engine, .*; did you mean engine\?"
    with pytest.raises(ConfigError, match=told):
        read_lab_file(tmp_path / "lab.toml")


def test_a_parameter_that_there_is_not_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"nod: no such parameter; did you mean node\?"):
        experiments.find("compaction").choose({"nod": 1})


def test_a_list_is_asked_for_with_what_was_given() -> None:
    with pytest.raises(ConfigError, match=r'kinds: a list is awaited, such as \["anon"\]\n'):
        experiments.find("matrix").choose({"kinds": "anon"})


def test_an_entry_that_is_refused_does_not_make_its_list_too_short() -> None:
    with pytest.raises(OptionError) as caught:
        override(LabFile(), {"topology.nodes.0.memory_mib": 100})
    assert str(caught.value).endswith("Input should be greater than or equal to 128")
    with pytest.raises(OptionError, match="at least 2 items"):
        override(LabFile(), {"topology.nodes": []})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("matrix", {"kinds": ["anonn"]}),
        ("matrix", {"triggers": ["anonn"]}),
        ("faults", {"scenarios": ["anonn"]}),
        ("failures", {"scenarios": ["anonn"]}),
    ],
)
def test_a_wrong_name_says_what_to_choose_from(name: str, parameters: dict[str, Any]) -> None:
    chosen = experiments.find(name)
    with pytest.raises(ConfigError) as caught:
        chosen.plan(LabFile(), chosen.choose(parameters))
    assert caught.value.seen == "anonn"
    assert (caught.value.hint or "").startswith("choose from: ")


def test_faults() -> None:
    assert parse_fault("dma0:lost-interrupt") == Fault("dma0", "lost-interrupt", {})
    assert parse_fault("dma15:flip-byte:nth=100,offset=0x10") == Fault(
        "dma15", "flip-byte", {"nth": 100, "offset": 16}
    )


@pytest.mark.parametrize("text", ["dma0", "cpu0:stall", "dma0:", "dma0:stall:nth", "dma0:stall:=3"])
def test_faults_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_fault(text)


def test_the_faults_are_those_of_the_device_models() -> None:
    schema = (QEMU_DEVICES / "qapi" / "amd-dma.json").read_text()
    kinds = re.search(r"'enum': 'AmdDmaFaultKind',\s*'data': \[(.*?)\]", schema, re.DOTALL)
    assert kinds is not None
    assert set(re.findall(r"'([a-z-]+)'", kinds[1])) == set(FAULT_ARGUMENTS)
    structs = dict(
        re.findall(r"'struct': '(AmdDmaFault\w+)',\s*'data': \{ '([a-z-]+)': '\w+' \} \}", schema)
    )
    union = re.search(r"'discriminator': 'kind',\s*'data': \{(.*?)\}", schema, re.DOTALL)
    assert union is not None
    branches = re.findall(r"'([a-z-]+)': '(\w+)'", union[1])
    needed = {kind: (structs[struct],) for kind, struct in branches}
    assert needed == {kind: keys for kind, keys in FAULT_ARGUMENTS.items() if keys}
    base = re.search(r"'base': \{(.*?)\}", schema, re.DOTALL)
    assert base is not None
    assert re.findall(r"'\*([a-z-]+)'", base[1]) == list(FAULT_OPTIONS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dma0:foo", "no fault 'foo'"),
        ("dma0:flip-byte:nth=1", "offset is missing"),
        ("dma0:flip-byte:offset=1,nht=1", "no key 'nht'"),
    ],
)
def test_a_fault_that_the_device_would_refuse_is_wrong_usage(text: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        parse_fault(text)


@pytest.mark.parametrize("text", ["6.10", '"6.10"', "next"])
def test_a_version_is_text_and_no_number(text: str) -> None:
    machine, _ = split_settings([f"kernel.base={text}", "engine.count=3"])
    assert machine == {"kernel.base": text.strip('"'), "engine.count": 3}
    assert override(LabFile(), machine).kernel.base == text.strip('"')


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("error:code=0", "code is 0"),
        ("error:code=256", "from 1 to 255"),
        ("error:code=x", "code is 'x'"),
        ("flip-byte:offset=1,nth=0", "nth is 0"),
        ("flip-byte:offset=99999999999999999999", "offset is 99999999999999999999"),
        ("stall:delay-ns=-1", "delay-ns is -1"),
        ("out-of-order:later=0", "later is 0"),
        ("flip-byte:offset=1,probability-ppm=1000001", "probability-ppm is 1000001"),
    ],
)
def test_a_number_that_the_device_would_refuse(arguments: str, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        parse_fault(f"dma0:{arguments}")
