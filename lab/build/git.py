# SPDX-License-Identifier: GPL-2.0-or-later
"""git, asked by the lab: in scratch repositories of its own, and in those of a user, read-only."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.environment import program_environment
from lab.errors import ConfigError, HostError

_TIMEOUT_S = 600.0
# A user's settings must not change what a scratch repository makes of a patch.
_OWN = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (
            ("NAME", "dcbm-lab"),
            ("EMAIL", "lab@dcbm-lab.invalid"),
            ("DATE", "2026-01-01T00:00:00Z"),
        )
    },
}
# In a user's repository nothing is written: no lock, no refreshed index, no daemon.
_THEIRS = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
_THEIR_OPTIONS = (
    *("-c", "core.fsmonitor=false", "-c", "core.quotePath=true"),
    *("-c", "diff.suppressBlankEmpty=false"),
)


@dataclass(frozen=True)
class Answer:
    """What git said.

    Attributes:
        status: its exit status.
        out: standard output.
        said: standard error, as text.
    """

    status: int
    out: bytes
    said: str

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.status == 0

    @property
    def text(self) -> str:
        """Standard output without the white space around it."""
        return self.out.decode("utf-8", errors="replace").strip()


@dataclass(frozen=True)
class Repository:
    """A repository and how git is run in it.

    Attributes:
        path: its directory.
        own: made by the lab; otherwise a user's, in which nothing may be written.
        variables: environment on top.
    """

    path: Path
    own: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    def ask(self, *words: str, stdin: bytes = b"") -> Answer:
        """Run git and return what it said, whatever its exit status is.

        Raises:
            HostError: git can't be run, or doesn't end.
        """
        options = () if self.own else _THEIR_OPTIONS
        return run_git(
            "-C",
            str(self.path),
            *options,
            *words,
            stdin=stdin,
            env={**(_OWN if self.own else _THEIRS), **self.variables},
        )

    def tell(self, *words: str, stdin: bytes = b"") -> bytes:
        """Run git, which has to succeed, and return its standard output.

        Raises:
            HostError: it fails in a repository of the lab's.
            ConfigError: it fails in a user's.
        """
        answer = self.ask(*words, stdin=stdin)
        if not answer.ok:
            error = HostError if self.own else ConfigError
            raise error(
                f"git {shlex.join(words)[:200]} in {self.path}",
                f"exit status {answer.status}: {answer.said[-1000:]}",
                hint="see to room and permissions"
                if self.own
                else "run it there by hand: the repository may be damaged or another user's",
            )
        return answer.out


def run_git(*words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Answer:
    """Run git anywhere.

    Raises:
        HostError: git can't be run, or doesn't end.
    """
    try:
        done = subprocess.run(
            ["git", *words],
            env=program_environment(env),
            input=stdin,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(
            f"an answer of git {shlex.join(words)[:200]}",
            str(error),
            hint="dcbm-lab doctor says whether git is missing",
        ) from error
    said = done.stderr.decode("utf-8", errors="replace").strip()
    return Answer(done.returncode, done.stdout, said)


def patch_id(diff: bytes) -> str:
    """``git patch-id --stable`` of a diff: what the patch does, whatever the lines around it.

    Raises:
        HostError: git can't be run.
    """
    answer = run_git("patch-id", "--stable", stdin=diff, env=_OWN)
    return answer.text.partition(" ")[0]
