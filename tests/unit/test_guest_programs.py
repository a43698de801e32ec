# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's JSON scanner and page pattern, compiled for the host."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from native import IMAGES, SOURCES, compile_c, make_once

# -- the JSON scanner ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def json_filter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [SOURCES / "json_filter.c", IMAGES / "agent/json.c"]
    return make_once(tmp_path_factory, "json_filter", lambda path: compile_c(path, *sources))


def scan(json_filter: Path, cases: list[bytes]) -> list[tuple[bool, int]]:
    stdin = b"".join(struct.pack("<I", len(case)) + case for case in cases)
    done = subprocess.run([json_filter], input=stdin, capture_output=True, check=True)
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    return [(accepted == "1", int(prefix)) for accepted, prefix in lines]


ACCEPTED = [
    b"{}",
    b' { "a" : 1 } ',
    b'{"a":[],"b":{},"c":[1,-0.5e+7,0,1E2,true,false,null,"x"]}',
    b'{"text":"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"}',
    b'{"escape":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00"}',
    b'{"a":' + b"[" * 31 + b"]" * 31 + b"}",
    b'{"event":"ready","regions":738}',
]

REFUSED = [
    b"",
    b" ",
    b"[]",
    b"1",
    b'"{}"',
    b"{",
    b"}",
    b"{}{}",
    b"{} x",
    b"{a:1}",
    b"{'a':1}",
    b'{"a"}',
    b'{"a":}',
    b'{"a":1,}',
    b'{,"a":1}',
    b'{"a":[1,]}',
    b'{"a":[1}',
    b'{"a":01}',
    b'{"a":+1}',
    b'{"a":.5}',
    b'{"a":1.}',
    b'{"a":1e}',
    b'{"a":-}',
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":truE}',
    b'{"a":tru',
    b'{"a":"\t"}',
    b'{"a":"\x00"}',
    b'{"a":"\\x41"}',
    b'{"a":"\\u12g4"}',
    b'{"a":"\\ud83d"}',
    b'{"a":"\\ude00"}',
    b'{"a":"\\ud83d\\u0041"}',
    b'{"a":"unfinished',
    b'{"a":"unfinished\\',
    b'{"a":"\xff"}',
    b'{"a":"\xc0\xaf"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xf4\x90\x80\x80"}',
    b'{"a":"\xe2\x82"}',
    b'{"a":\n1}',
    b'{"a":1}\r',
    b"\xef\xbb\xbf{}",
    b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
    b'{"a":' + b"9" * 5000 + b"}",
]


def test_scanner_takes_objects_and_nothing_else(json_filter: Path) -> None:
    for case, (accepted, _) in zip(ACCEPTED, scan(json_filter, ACCEPTED), strict=True):
        assert accepted, case
        assert isinstance(json.loads(case), dict)
    for case, (accepted, _) in zip(REFUSED, scan(json_filter, REFUSED), strict=True):
        assert not accepted, case


def test_what_the_scanner_takes_never_breaks_the_host(json_filter: Path) -> None:
    """Every byte of every good case replaced, dropped and doubled: accepted means parseable."""
    cases = []
    for good in ACCEPTED:
        for at in range(len(good)):
            cases += [good[:at] + good[at + 1 :], good[:at] + good[at : at + 1] + good[at:]]
            cases += [good[:at] + bytes([byte]) + good[at + 1 :] for byte in b'"\\{}[],:0e\x1f\xc3']
    accepted = 0
    for case, (taken, _) in zip(cases, scan(json_filter, cases), strict=True):
        if taken:
            accepted += 1
            assert isinstance(json.loads(case.decode("utf-8")), dict), case
    assert accepted > len(ACCEPTED)


def test_bytes_are_cut_between_characters(json_filter: Path) -> None:
    cases = {
        b"": 0,
        b"abc": 3,
        b"ab\xc3": 2,
        b"ab\xc3\xa9": 4,
        b"\xe2\x82": 0,
        b"a\xf0\x9f\x98": 1,
        b"\x80\x80\x80\x80": 4,
    }
    assert [prefix for _, prefix in scan(json_filter, list(cases))] == list(cases.values())


# -- the pattern ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pattern_probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sources = [IMAGES / "workloads" / name for name in ("pattern.c", "report.c")]
    sources.append(SOURCES / "pattern_probe.c")
    return make_once(tmp_path_factory, "pattern_probe", lambda path: compile_c(path, *sources))


def probe(pattern_probe: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run([pattern_probe, *arguments], capture_output=True, check=True)
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def test_no_two_words_are_equal(pattern_probe: Path) -> None:
    answer = probe(pattern_probe, "distinct")
    assert answer == {"words": 2 * 1024 * 512, "equal": 0, "zero": 0}


def test_an_untouched_region_is_right(pattern_probe: Path) -> None:
    answer = probe(pattern_probe, "nothing")
    assert (answer["pages_verified"], answer["pages_wrong"], answer["wrong"]) == (1024, 0, [])


@pytest.mark.parametrize("offset", [0, 1, 7, 8, 2049, 4095])
@pytest.mark.parametrize("mask", [0x01, 0x80])
def test_one_flipped_bit_is_named(pattern_probe: Path, offset: int, mask: int) -> None:
    answer = probe(pattern_probe, "flip", str(offset), hex(mask))
    assert answer["pages_wrong"] == 1
    (wrong,) = answer["wrong"]
    assert (wrong["page"], wrong["offset"], wrong["bytes_wrong"]) == (3, offset, 1)
    assert int(wrong["address"], 16) == int(answer["base"], 16) + 3 * 4096 + offset
    difference = int(wrong["expected"], 16) ^ int(wrong["seen"], 16)
    assert difference == mask << (8 * (offset % 8))


@pytest.mark.parametrize("spoiled", ["other_page", "other_generation"])
def test_contents_of_another_page_or_time_are_wrong(pattern_probe: Path, spoiled: str) -> None:
    answer = probe(pattern_probe, spoiled)
    (wrong,) = answer["wrong"]
    assert wrong["page"] == 3
    assert wrong["bytes_wrong"] > 4096 // 2


def test_wrong_pages_are_counted_beyond_those_listed(pattern_probe: Path) -> None:
    answer = probe(pattern_probe, "all_wrong")
    assert answer["pages_wrong"] == 1024
    assert [wrong["page"] for wrong in answer["wrong"]] == list(range(16))
