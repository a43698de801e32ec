# SPDX-License-Identifier: GPL-2.0-or-later
"""The mailbox's line protocol."""

from __future__ import annotations

import json

import pytest

from lab.errors import ConfigError, MachineError, PremiseError
from lab.machine import channel
from lab.machine.jobs import Job, Jobs


def take(jobs: Jobs, **fields: object) -> None:
    jobs.take(channel.parse_line(json.dumps(fields).encode()))


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b'{"type":"idle"}', channel.Idle(type="idle")),
        (
            b'{"type":"hello","protocol":1,"kernel":"7.3.4"}',
            channel.Hello(type="hello", protocol=1, kernel="7.3.4"),
        ),
        (
            b'{"type":"exit","id":"3","signal":9}',
            channel.Exit(type="exit", id="3", status=None, signal=9),
        ),
        (
            '{"type":"output","id":"1","stream":"stderr","data":"\\u00e9 \ufffd"}'.encode(),
            channel.Output(type="output", id="1", stream="stderr", data="é \ufffd"),
        ),
    ],
)
def test_lines_are_typed(raw: bytes, line: channel.Line) -> None:
    assert channel.parse_line(raw) == line


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"[1]",
        b'{"type":"surprise"}',
        b'{"type":"exit","id":3,"status":0}',
        b'{"type":"idle","more":1}',
        b'{"type":"exit","id":"1","status":"0"}',
        b'{"type":"idle"}\xff',
        b'{"type":"id',
        b'{"type":"bytes","id":"1","stream":"stdout","data":"%%%"}',
        b'{"type":"bytes","id":"1","stream":"stdout","data":"YQ"}',
    ],
)
def test_what_is_no_line_is_quoted(raw: bytes) -> None:
    with pytest.raises(MachineError) as caught:
        channel.parse_line(raw)
    assert repr(raw) in caught.value.seen


def test_a_long_malformed_line_is_quoted_in_part() -> None:
    with pytest.raises(MachineError) as caught:
        channel.parse_line(b"x" * 100_000)
    assert len(caught.value.seen) < 1000


def test_requests_are_lines_of_fields() -> None:
    assert channel.request("run", "1", "/bin/a", "b c") == "run\n1\n/bin/a\nb c"
    assert channel.request("poweroff") == "poweroff"


@pytest.mark.parametrize("field", ["a\nb", "a\0b"])
def test_a_field_that_cannot_be_sent_is_refused(field: str) -> None:
    with pytest.raises(ConfigError):
        channel.request("write", "1", "/proc/x", field)


def test_lines_are_cut_wherever_the_bytes_come_apart() -> None:
    stream = b'{"type":"idle"}\n{"type":"bye"}\npartial'
    for size in (1, 2, 7, len(stream)):
        buffer = channel.LineBuffer()
        lines = []
        for start in range(0, len(stream), size):
            lines += buffer.feed(stream[start : start + size])
        assert lines == [b'{"type":"idle"}', b'{"type":"bye"}']
        assert buffer.rest == b"partial"


def test_a_programs_lines_make_its_result() -> None:
    jobs = Jobs()
    first, second = jobs.new(["a"]), jobs.new(["b", "--flag"])
    take(jobs, type="result", id="2", data={"event": "measured", "wall_ns": 5})
    take(jobs, type="output", id="1", stream="stdout", data="other program")
    take(jobs, type="output", id="2", stream="stdout", data="note")
    take(jobs, type="output", id="2", stream="stderr", data="complaint")
    take(jobs, type="exit", id="2", status=0)
    result = jobs.result(second)
    assert result.ok
    assert result.argv == ("b", "--flag")
    assert result.result("measured")["wall_ns"] == 5
    assert (result.stdout, result.stderr) == (["note"], ["complaint"])
    assert not first.ended


def test_bytes_go_to_whom_asked_for_them() -> None:
    jobs = Jobs()
    got: list[tuple[str, bytes]] = []
    jobs.new(["a"], lambda stream, data: got.append((stream, data)))
    jobs.new(["b"])
    take(jobs, type="bytes", id="1", stream="stderr", data="AP8K")
    take(jobs, type="bytes", id="1", stream="stdout", data="")
    assert got == [("stderr", b"\0\xff\n"), ("stdout", b"")]
    with pytest.raises(MachineError, match="asked to stream"):
        take(jobs, type="bytes", id="2", stream="stdout", data="YQ==")


def test_arguments_are_escaped() -> None:
    assert channel.escape("a\nb\\n") == r"a\nb\\n"
    with pytest.raises(ConfigError):
        channel.escape("a\0")


def test_a_failed_program_has_no_result_whatever_it_printed() -> None:
    jobs = Jobs()
    job = jobs.new(["fragment"])
    take(jobs, type="result", id="1", data={"event": "measured"})
    take(jobs, type="result", id="1", data={"event": "error", "what": "mbind", "errno": 22})
    take(jobs, type="result", id="1", data={"event": "error", "what": "task 1 gave up"})
    take(jobs, type="exit", id="1", status=3)
    with pytest.raises(
        PremiseError, match=r"exit status 3: mbind \(Invalid argument\)\n *task 1 gave up$"
    ):
        jobs.result(job).result("measured")


@pytest.mark.parametrize("count", [0, 2])
def test_the_one_result_must_be_one(count: int) -> None:
    jobs = Jobs()
    job = jobs.new(["compact"])
    for _ in range(count):
        take(jobs, type="result", id="1", data={"event": "compacted"})
    take(jobs, type="exit", id="1", status=0)
    with pytest.raises(PremiseError, match=f"{count};"):
        jobs.result(job).result("compacted")


def test_a_signal_is_named() -> None:
    jobs = Jobs()
    job = jobs.new(["hog"])
    take(jobs, type="exit", id="1", signal=9)
    assert jobs.result(job).describe() == "ended by SIGKILL"
    assert not jobs.result(job).ok


def test_a_program_without_an_end_is_an_error() -> None:
    jobs = Jobs()
    job = jobs.new(["hog"])
    with pytest.raises(MachineError, match="without reporting it"):
        jobs.result(job)


def test_a_line_about_an_unknown_job_is_an_error() -> None:
    with pytest.raises(MachineError):
        take(Jobs(), type="ready", id="7")


def test_ready_carries_the_programs_own_words() -> None:
    jobs = Jobs()
    job: Job = jobs.new(["fragment"])
    take(jobs, type="result", id="1", data={"event": "ready", "regions": 12})
    take(jobs, type="ready", id="1")
    assert job.ready == {"event": "ready", "regions": 12}
