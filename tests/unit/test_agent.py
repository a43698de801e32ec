# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's agent, compiled for the host, behind a pair of pipes instead of the mailbox."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from native import IMAGES, SOURCES, compile_c, make_once

DEADLINE_S = 30.0


class Agent:
    """The agent behind a pair of pipes."""

    def __init__(self, binary: Path) -> None:
        self.process = subprocess.Popen(
            [binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.greeting = self.answer()

    def answer(self) -> list[dict[str, Any]]:
        """Lines up to "idle", which is left out, or to the end."""
        assert self.process.stdout
        lines = []
        for raw in self.process.stdout:
            line = json.loads(raw.decode("utf-8"))
            if line == {"type": "idle"}:
                break
            lines.append(line)
        return lines

    def ask(self, *fields: str | bytes) -> list[dict[str, Any]]:
        assert self.process.stdin
        parts = [field.encode() if isinstance(field, str) else field for field in fields]
        message = b"\n".join(parts)
        self.process.stdin.write(b"%d\n%s" % (len(message), message))
        self.process.stdin.flush()
        return self.answer()


@pytest.fixture(scope="module")
def agent_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ("agent.c", "json.c", "line.c", "programs.c")
    sources = [IMAGES / "agent" / name for name in names]
    sources.append(SOURCES / "pipe_mailbox.c")
    return make_once(tmp_path_factory, "agent", lambda path: compile_c(path, *sources))


@pytest.fixture
def agent(agent_binary: Path) -> Iterator[Agent]:
    agent = Agent(agent_binary)
    yield agent
    agent.process.kill()
    _, errors = agent.process.communicate()
    assert errors == b"", errors.decode()


def outputs(lines: list[dict[str, Any]], stream: str = "stdout") -> list[str]:
    return [line["data"] for line in lines if line.get("stream") == stream]


def test_greeting(agent: Agent) -> None:
    release = os.uname().release
    assert agent.greeting == [{"type": "hello", "protocol": 1, "kernel": release}]


def test_results_outputs_and_exit_status(agent: Agent) -> None:
    script = """echo hello; echo '{"event":"x","n":[1,2]}'; echo '{"bad":}'; exit 7"""
    assert agent.ask("run", "1", "sh", "-c", script) == [
        {"type": "output", "id": "1", "stream": "stdout", "data": "hello"},
        {"type": "result", "id": "1", "data": {"event": "x", "n": [1, 2]}},
        {"type": "output", "id": "1", "stream": "stdout", "data": '{"bad":}'},
        {"type": "exit", "id": "1", "status": 7},
    ]


def test_objects_on_stderr_are_no_results(agent: Agent) -> None:
    lines = agent.ask("run", "1", "sh", "-c", "echo '{}' >&2")
    assert [line["type"] for line in lines] == ["output", "exit"]
    assert outputs(lines, "stderr") == ["{}"]


def test_death_by_signal(agent: Agent) -> None:
    lines = agent.ask("run", "1", "sh", "-c", "printf unfinished; kill -SEGV $$")
    assert lines[-1] == {"type": "exit", "id": "1", "signal": int(signal.SIGSEGV)}
    assert outputs(lines) == ["unfinished"]


def test_bytes_that_are_no_text(agent: Agent, tmp_path: Path) -> None:
    raw = bytes(byte for byte in range(256) if byte != ord("\n"))
    (tmp_path / "bytes").write_bytes(raw + b"\n" + b"caf\xc3\xa9\n")
    lines = agent.ask("run", "1", "cat", str(tmp_path / "bytes"))
    replaced = raw[:127].decode() + "\ufffd" * 128
    assert outputs(lines) == [replaced, "café"]


def test_no_such_program(agent: Agent) -> None:
    (line,) = agent.ask("run", "1", "/nonexistent")
    assert (line["type"], line["id"], line["errno"]) == ("error", "1", 2)
    assert agent.ask("run", "1", "true")[-1]["status"] == 0


def test_much_output_and_long_lines(agent: Agent) -> None:
    lines = agent.ask("run", "1", "sh", "-c", "seq 1 50000; exit 3")
    assert outputs(lines) == [str(number) for number in range(1, 50001)]
    assert lines[-1]["status"] == 3
    lines = agent.ask("run", "2", "sh", "-c", "printf '%0100000d\\nend\\n' 0")
    assert [len(text) for text in outputs(lines)] == [65536, 34464, 3]
    long_object = 'printf \'{"a":"%0100000d"}\\n\' 0'
    lines = agent.ask("run", "3", "sh", "-c", long_object)
    assert {line["type"] for line in lines[:-1]} == {"output"}


def test_long_lines_are_cut_between_characters(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "long").write_text("x" + "é" * 50000, encoding="utf-8")
    lines = agent.ask("run", "1", "cat", str(tmp_path / "long"))
    assert "".join(outputs(lines)) == "x" + "é" * 50000


def streamed(lines: list[dict[str, Any]], stream: str = "stdout") -> bytes:
    return b"".join(
        base64.b64decode(line["data"]) for line in lines if line.get("stream") == stream
    )


def test_a_stream_has_every_byte_in_its_place(agent: Agent, tmp_path: Path) -> None:
    raw = bytes(range(256)) * 300 + b"no line feed"
    (tmp_path / "raw").write_bytes(raw)
    for length in (0, 1, 2, 3, len(raw)):
        script = f"head -c {length} raw; head -c {length} raw >&2; exit 9"
        lines = agent.ask("stream", "1", str(tmp_path), "sh", "-c", script)
        assert streamed(lines) == streamed(lines, "stderr") == raw[:length]
        assert lines[-1] == {"type": "exit", "id": "1", "status": 9}
        assert {line["type"] for line in lines[:-1]} <= {"bytes"}


def test_a_stream_comes_as_it_is_written(agent: Agent) -> None:
    lines = agent.ask("stream", "1", "/", "sh", "-c", "printf one; sleep 0.3; printf two")
    assert [base64.b64decode(line["data"]) for line in lines[:-1]] == [b"one", b"two"]


def test_arguments_of_a_stream_may_hold_line_feeds(agent: Agent) -> None:
    lines = agent.ask("stream", "1", "/", "printf", "%s.", r"a\nb", r"c\\nd", "", "é")
    assert streamed(lines) == "a\nb.c\\nd..é.".encode()
    for wrong in ("\\", r"a\t"):
        assert agent.ask("stream", "1", "/", "true", wrong)[0]["errno"] == 22


def test_a_stream_that_can_not_start(agent: Agent, tmp_path: Path) -> None:
    assert agent.ask("stream", "1", "/", "/nonexistent")[0]["errno"] == 2
    assert agent.ask("stream", "1", str(tmp_path / "none"), "true")[0]["errno"] == 2
    (tmp_path / "text").write_text("no program")
    assert agent.ask("stream", "1", "/", str(tmp_path / "text"))[0]["errno"] == 13
    assert agent.ask("stream", "1", "/")[0]["errno"] == 22


def test_background_program(agent: Agent) -> None:
    script = 'echo early; echo \'{"event": "ready", "n": 1}\'; echo late; exec sleep 100'
    lines = agent.ask("spawn", "bg", "sh", "-c", script)
    assert lines[-1] == {"type": "ready", "id": "bg"}
    assert {"type": "result", "id": "bg", "data": {"event": "ready", "n": 1}} in lines
    assert agent.ask("run", "bg", "true")[0]["type"] == "error"
    assert agent.ask("run", "2", "true")[-1] == {"type": "exit", "id": "2", "status": 0}
    assert agent.ask("signal", "bg", str(int(signal.SIGTERM))) == []
    lines = agent.ask("wait", "bg")
    assert lines[-1] == {"type": "exit", "id": "bg", "signal": int(signal.SIGTERM)}
    assert agent.ask("wait", "bg")[0]["errno"] == 3
    assert agent.ask("signal", "bg", "15")[0]["errno"] == 3


def test_background_program_that_never_gets_ready(agent: Agent) -> None:
    assert agent.ask("spawn", "bg", "sh", "-c", "exit 5") == [
        {"type": "exit", "id": "bg", "status": 5}
    ]
    assert agent.ask("wait", "bg")[0]["type"] == "error"


def test_background_output_during_another_request(agent: Agent, tmp_path: Path) -> None:
    script = f'echo \'{{"event":"ready"}}\'; until [ -e {tmp_path}/go ]; do :; done; echo behind'
    agent.ask("spawn", "bg", "sh", "-c", script)
    lines = agent.ask("run", "2", "sh", "-c", f"touch {tmp_path}/go; sleep 0.3; echo front")
    assert {"behind", "front"} == set(outputs(lines))
    assert [line["id"] for line in lines if line["type"] == "exit"] == ["2"]
    assert agent.ask("wait", "bg")[-1] == {"type": "exit", "id": "bg", "status": 0}


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]


def test_orphans_are_reaped_and_not_waited_for(agent: Agent) -> None:
    before_s = time.monotonic()
    lines = agent.ask("run", "1", "sh", "-c", "(sleep 1; echo lost) & echo shell")
    assert time.monotonic() - before_s < 1
    assert (outputs(lines), lines[-1]["status"]) == (["shell"], 0)
    assert children_of(agent.process.pid), "the orphan has been adopted"
    deadline_s = time.monotonic() + DEADLINE_S
    while children_of(agent.process.pid) and time.monotonic() < deadline_s:
        agent.ask("run", "2", "sleep", "0.2")
    assert not children_of(agent.process.pid)


@pytest.mark.timeout(DEADLINE_S)
def test_many_ends_at_once(agent: Agent) -> None:
    """Signals that arrive together count as one; no end may get lost among them."""
    agent.ask("run", "1", "sh", "-c", "for _ in 1 2 3 4 5; do sleep 0.5 & done")
    assert len(children_of(agent.process.pid)) == 5
    agent.process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    agent.process.send_signal(signal.SIGCONT)
    assert agent.ask("run", "2", "true")[-1]["status"] == 0
    assert not children_of(agent.process.pid)


def test_files(agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "file"
    answer = {"type": "file", "id": "1", "errno": 0, "data": ""}
    assert agent.ask("write", "1", str(path), "some text") == [answer]
    assert path.read_text() == "some text"
    assert agent.ask("read", "1", str(path)) == [{**answer, "data": "some text"}]
    path.write_bytes(b"two\nlines\xff" + b"x" * 20000)
    (read,) = agent.ask("read", "1", str(path))
    assert read["data"] == "two\nlines\ufffd" + "x" * 20000
    assert agent.ask("read", "1", "/nonexistent") == [{**answer, "errno": 2}]
    assert agent.ask("read", "1", "/")[0]["errno"] == 21
    assert agent.ask("write", "1", "/proc/version", "x")[0]["errno"] != 0


def test_requests_that_make_no_sense(agent: Agent) -> None:
    nonsense: list[list[str | bytes]] = [
        ["dance", "1"],
        ["run", "1"],
        ["signal", "1"],
        ["signal", "1", "0"],
        ["signal", "1", "x"],
        ["wait"],
        ["poweroff", "now"],
        ["run", "1", *["x"] * 300],
        ["run", "1", b"tr\0ue"],
        [""],
    ]
    for fields in nonsense:
        (line,) = agent.ask(*fields)
        assert (line["type"], line["errno"]) == ("error", 22), fields
    assert agent.ask("run", "1", "true")[-1]["status"] == 0


def test_more_programs_than_slots(agent: Agent) -> None:
    script = 'echo \'{"event":"ready"}\'; exec sleep 100'
    for number in range(32):
        assert agent.ask("spawn", f"p{number}", "sh", "-c", script)[-1]["type"] == "ready"
    assert agent.ask("spawn", "p32", "sh", "-c", script)[0]["errno"] == 11
    agent.ask("signal", "p7", "9")
    assert agent.ask("wait", "p7")[-1]["signal"] == 9
    assert agent.ask("run", "free", "true")[-1]["status"] == 0
    for number in range(32):
        agent.ask("signal", f"p{number}", "9")


def test_power_off_says_goodbye(agent: Agent) -> None:
    assert agent.ask("poweroff") == [{"type": "bye"}]
    assert agent.process.wait(DEADLINE_S) == 0
