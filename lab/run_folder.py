# SPDX-License-Identifier: GPL-2.0-or-later
"""The folder of a run: where it is, what stands in it, and that nothing in it is ever lost.

Layout::

    DIR/run.json          written first: makes the folder known as a run's, finished or not
    DIR/inputs/           what the run was given, so that it can be bundled and run again
    DIR/modes/<mode>/     console.log, qemu.log, argv, channel.jsonl, kernel .config, result.json
    DIR/record.json       written last, and only when the run came to its end
    DIR/earlier-<stamp>/  what a former run had left here, moved aside as a whole
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from lab.errors import ConfigError

MARKER = "run.json"
RECORD = "record.json"
MODES = "modes"
INPUTS = "inputs"
_LOCK = ".lock"
_OWN = (MARKER, RECORD, MODES, INPUTS)
_ASIDE = "earlier-"


def default_folder(experiment: str, started: datetime) -> Path:
    """Make ``runs/<experiment>-<UTC stamp>`` below the working directory, new for each run.

    Raises:
        OSError: it can't be made.
    """
    base = Path("runs") / f"{experiment}-{_stamp(started)}"
    base.parent.mkdir(parents=True, exist_ok=True)
    folder = base
    number = 2
    while True:
        # Made, not looked for: of two runs that start in one second each gets its own.
        try:
            folder.mkdir()
        except FileExistsError:
            folder = base.with_name(f"{base.name}-{number}")
            number += 1
        else:
            return folder


def mode_folder_name(mode: str) -> str:
    """Name of the folder of a mode: as the mode's, without what a path can't hold.

    Raises:
        ConfigError: nothing is left that could name a folder.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "_", mode)
    if not name.strip("."):
        raise ConfigError(
            "a mode's name with a letter or digit", repr(mode), hint="correct the experiment"
        )
    return name


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


@dataclass
class RunFolder:
    """A folder that belongs to one run while it is open (a context manager).

    Attributes:
        path: the folder.
        experiment: name of the experiment.
        started: when the run started.
    """

    path: Path
    experiment: str
    started: datetime

    def __post_init__(self) -> None:
        self._lock = FileLock(self.path / _LOCK)

    def __enter__(self) -> RunFolder:
        """Make the folder, lock it and move an earlier run's files aside.

        Raises:
            ConfigError: it can't be written, another run is at work in it, or it holds files and
                none of them says that a run left them.
        """
        awaited = f"a new or empty folder, or one of an earlier run, at {self.path}"
        try:
            if self.path.exists() and not self.path.is_dir():
                raise ConfigError(awaited, "a file", hint="choose another --output")
            if self.path.is_dir() and not self._may_use():
                raise ConfigError(
                    awaited,
                    f"files that no run left there, among them {self._foreign()}",
                    hint="choose another --output; nothing there was touched",
                )
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                raise ConfigError(
                    awaited, "another run is at work in it", hint="choose another --output"
                ) from None
            self._move_earlier_aside()
            self._write_marker()
        except OSError as error:
            self._lock.release()
            raise ConfigError(awaited, str(error), hint="choose another --output") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def mode(self, name: str) -> Path:
        """The folder of a mode, made if need be."""
        folder = self.path / MODES / mode_folder_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _may_use(self) -> bool:
        if (self.path / MARKER).is_file():
            return True
        return all(
            entry.name == _LOCK or entry.name.startswith(_ASIDE) for entry in self.path.iterdir()
        )

    def _foreign(self) -> str:
        return ", ".join(sorted(entry.name for entry in self.path.iterdir())[:3])

    def _move_earlier_aside(self) -> None:
        own = [self.path / name for name in _OWN if (self.path / name).exists()]
        if not own:
            return
        try:
            started = json.loads((self.path / MARKER).read_text(encoding="utf-8"))["started"]
            stamp = _stamp(datetime.fromisoformat(started))
        except (OSError, ValueError, KeyError, TypeError):
            stamp = "unknown"
        aside = self.path / f"{_ASIDE}{stamp}"
        number = 2
        while aside.exists():
            aside = self.path / f"{_ASIDE}{stamp}-{number}"
            number += 1
        aside.mkdir()
        for entry in own:
            entry.rename(aside / entry.name)

    def _write_marker(self) -> None:
        text = json.dumps(
            {"experiment": self.experiment, "started": self.started.isoformat(timespec="seconds")}
        )
        (self.path / MARKER).write_text(text + "\n", encoding="utf-8")
