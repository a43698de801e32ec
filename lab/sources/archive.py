# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's archive through a private apt root: any suite, no root rights, signatures checked.

The mirror is the host's own: it is read from the host's apt sources, so that nobody has to name it
and mirrors, proxies and credentials that the host's administrator set up are used. Lists, downloads
and configuration lie below the cache; the host's package state is neither read nor changed.
"""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import re
import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.cache import Cache, hash_file
from lab.errors import HostError, SourceError
from lab.host import KEYRING
from lab.program import Program, ask_program, run_program
from lab.progress import Progress

MIRROR_VARIABLE = "DCBM_LAB_DEBIAN_MIRROR"
_UPDATE_TIMEOUT_S = 900.0
_DOWNLOAD_TIMEOUT_S = 1800.0
_ATTEMPTS = 3


class PackageGone(SourceError):
    """The archive answers, and doesn't have the package in that version."""


@dataclass(frozen=True)
class AptEntry:
    """One source of packages in apt's configuration."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """A package that the signed lists hold; `sha256` is by file name."""

    package: str
    version: str
    sha256: dict[str, str]


def parse_list(text: str) -> list[AptEntry]:
    """Entries of a one-line-style ``sources.list`` file."""
    found = []
    for line in text.splitlines():
        body = line.partition("#")[0].strip()
        body = re.sub(r"^(deb|deb-src)\s+\[[^\]]*\]", r"\1", body)
        words = body.split()
        if len(words) >= 3 and words[0] in {"deb", "deb-src"}:  # noqa: PLR2004 - type URI suite
            found.append(AptEntry((words[1],), (words[2],), tuple(words[3:])))
    return found


def parse_deb822(text: str) -> list[AptEntry]:
    """Entries of a deb822-style ``.sources`` file that aren't disabled."""
    found = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, list[str]] = {}
        current: list[str] = []
        for line in paragraph.splitlines():
            if line[:1].isspace():
                current += line.split()
                continue
            name, colon, value = line.partition(":")
            if colon:
                current = fields.setdefault(name.strip().lower(), [])
                current += value.split()
        if fields.get("enabled", ["yes"])[0].lower() in {"no", "false", "0"}:
            continue
        if fields.get("uris") and fields.get("suites"):
            found.append(
                AptEntry(
                    tuple(fields["uris"]),
                    tuple(fields["suites"]),
                    tuple(fields.get("components", ())),
                )
            )
    return found


def read_host_entries(etc: Path = Path("/etc/apt")) -> list[AptEntry]:
    """What the host's apt is configured with, both styles, in apt's order."""
    found: list[AptEntry] = []
    main = etc / "sources.list"
    for path in [main, *sorted((etc / "sources.list.d").glob("*"))]:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if path.suffix == ".list":
                found += parse_list(path.read_text(encoding="utf-8"))
            elif path.suffix == ".sources":
                found += parse_deb822(path.read_text(encoding="utf-8"))
    return found


def choose_mirror(entries: Iterable[AptEntry], codename: str) -> str | None:
    """URI of Debian's main archive among apt entries: the one with the host's own release."""
    own = {codename, "stable", "testing", "unstable", "sid", "oldstable"} - {""}
    for entry in entries:
        plain = [suite for suite in entry.suites if suite.partition("/")[0] in own]
        if plain and "main" in entry.components:
            for uri in entry.uris:
                if uri.partition(":")[0] not in {"cdrom", "file", "copy"}:
                    return uri
    return None


def find_mirror() -> str:
    """The mirror to use.

    Raises:
        HostError: the host's apt knows no Debian archive and the environment names none.
    """
    named = os.environ.get(MIRROR_VARIABLE)
    if named:
        return named
    hint = f"set {MIRROR_VARIABLE} to the URI of a Debian mirror"
    try:
        release = platform.freedesktop_os_release()
    except OSError as error:
        raise HostError("a Debian host", str(error), hint=hint) from error
    if release.get("ID") == "debian":
        mirror = choose_mirror(read_host_entries(), release.get("VERSION_CODENAME", ""))
        if mirror is not None:
            return mirror
    seen = f"{release.get('PRETTY_NAME', 'an unknown host')} whose apt sources name none"
    raise HostError("the URI of Debian's archive in the host's apt sources", seen, hint=hint)


class Archive:
    """One suite of the archive, with lists of its own below the cache."""

    def __init__(self, cache: Cache, suite: str, progress: Progress) -> None:
        self._cache = cache
        self._suite = suite
        self._progress = progress
        self._root = cache.root / "apt" / suite
        self._log = cache.root / "logs" / f"apt-{suite}.log"

    def _prepare(self) -> Path:
        """Write the apt configuration of this suite; returns it."""
        if not KEYRING.is_file():
            raise HostError(
                f"the archive's signing keys at {KEYRING}",
                "there is no such file",
                hint="apt-get install debian-archive-keyring",
            )
        for name in ("lists/partial", "archives/partial"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        mirror = find_mirror()
        origin = f"[signed-by={KEYRING}] {mirror} {self._suite} main"
        _write(self._root / "sources.list", f"deb {origin}\ndeb-src {origin}\n")
        _write(self._root / "status", "")
        user = _user_name()
        settings = {
            "Dir::Etc::SourceList": self._root / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State::Lists": self._root / "lists",
            "Dir::State::Status": self._root / "status",
            "Dir::Cache": self._root,
            "Dir::Cache::Archives": self._root / "archives",
            "APT::Sandbox::User": user,
            "APT::Architecture": "amd64",
            "APT::Default-Release": "",
            "APT::Get::AllowUnauthenticated": "false",
            "APT::Update::Error-Mode": "any",
            "Acquire::AllowInsecureRepositories": "false",
            "Acquire::AllowDowngradeToInsecureRepositories": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
        }
        lines = ["#clear APT::Update::Post-Invoke;", "#clear APT::Update::Post-Invoke-Success;"]
        lines += ["#clear APT::Architectures;"]
        lines += [f'{name} "{value}";' for name, value in settings.items()]
        configuration = self._root / "apt.conf"
        _write(configuration, "\n".join(lines) + "\n")
        return configuration

    def _update(self, configuration: Path) -> None:
        with self._progress.step(f"package lists of {self._suite}", log=self._log) as step:
            run_program(
                Program(
                    ["apt-get", "-c", configuration, "-q", "update"],
                    awaited=f"signed package lists of {self._suite}",
                    log=self._log,
                    env={"LC_ALL": "C"},
                    timeout_s=_UPDATE_TIMEOUT_S,
                    error=SourceError,
                    hint="check the network and the host's apt sources",
                ),
                step,
            )

    def find_package(self, package: str, version: str | None, *, source: bool) -> Candidate:
        """The package in `version`, or in the suite's newest; lists are loaded if need be.

        Raises:
            PackageGone: fresh lists don't have it.
            SourceError: the lists can't be had.
            HostError: apt or the archive's keys are missing.
        """
        name = f"apt-{self._suite}"
        with self._cache.lock(name, self._progress, f"package lists of {self._suite}"):
            configuration = self._prepare()
            found = self._candidates(configuration, package, source=source)
            if version is None or all(item.version != version for item in found):
                self._update(configuration)
                found = self._candidates(configuration, package, source=source)
        if version is None and found:
            return choose_newest(found)
        for item in found:
            if item.version == version:
                return item
        raise PackageGone(
            f"{package} {version or ''} in {self._suite}",
            f"the archive has {', '.join(item.version for item in found) or 'none'}",
        )

    def _candidates(self, configuration: Path, package: str, *, source: bool) -> list[Candidate]:
        verb = ["showsrc", "--only-source"] if source else ["show"]
        try:
            text = ask_program(
                ["apt-cache", "-c", configuration, *verb, package],
                awaited=f"what the package lists say about {package}",
                error=PackageGone,
            )
        except PackageGone:
            return []
        return parse_candidates(text, package)

    def download(self, candidate: Candidate, directory: Path, *, source: bool) -> None:
        """Put the package's files into `directory`, checked against the signed lists.

        Raises:
            SourceError: they can't be had, or have another hash after _ATTEMPTS attempts.
        """
        what = f"{candidate.package} {candidate.version}"
        wanted = f"{candidate.package}={candidate.version}"
        verb = ["source", "--download-only"] if source else ["download"]
        name = f"apt-{self._suite}"
        with (
            self._cache.lock(name, self._progress, f"download of {what}"),
            self._progress.step(f"downloading {what}", log=self._log) as step,
        ):
            configuration = self._prepare()
            for attempt in range(1, _ATTEMPTS + 1):
                run_program(
                    Program(
                        ["apt-get", "-c", configuration, "-q", *verb, wanted],
                        awaited=f"{what} from {self._suite}",
                        log=self._log,
                        cwd=directory,
                        env={"LC_ALL": "C"},
                        timeout_s=_DOWNLOAD_TIMEOUT_S,
                        error=SourceError,
                        hint="check the network; the next run tries again",
                    ),
                    step,
                )
                wrong = _wrong_files(candidate, directory)
                if not wrong:
                    return
                self._progress.warn(f"{what}: {wrong}; attempt {attempt} of {_ATTEMPTS}")
                for path in directory.iterdir():
                    path.unlink()
        raise SourceError(f"{what} as the signed lists describe it", wrong, log=self._log)


def parse_candidates(text: str, package: str) -> list[Candidate]:
    """Packages in the output of ``apt-cache show`` or ``showsrc``."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        current = ""
        for line in paragraph.splitlines():
            if line[:1].isspace():
                fields[current] += "\n" + line.strip()
                continue
            current, _, value = line.partition(":")
            fields[current] = value.strip()
        if fields.get("Package") != package or "Version" not in fields:
            continue
        sha256 = {}
        if "SHA256" in fields and "Filename" in fields:
            sha256[fields["Filename"].rpartition("/")[2]] = fields["SHA256"]
        for line in fields.get("Checksums-Sha256", "").splitlines():
            words = line.split()
            if len(words) == 3:  # noqa: PLR2004 - hash, size, name
                sha256[words[2]] = words[0]
        if sha256:
            found.append(Candidate(package, fields["Version"], sha256))
    return found


def choose_newest(candidates: Iterable[Candidate]) -> Candidate:
    """The candidate with the highest version, in dpkg's order and not in that of the text."""
    return max(candidates, key=_VersionOrder)


def _wrong_files(candidate: Candidate, directory: Path) -> str:
    """What is missing or different, in words; empty if nothing is."""
    by_content = {hash_file(path): path for path in directory.iterdir() if path.is_file()}
    missing = [name for name, sha256 in candidate.sha256.items() if sha256 not in by_content]
    if not missing:
        # apt writes an epoch's colon as %3a: give each file the archive's own name
        for name, sha256 in candidate.sha256.items():
            if by_content[sha256].name != name:
                shutil.move(by_content[sha256], directory / name)
    return f"{', '.join(missing)} missing or with another content" if missing else ""


class _VersionOrder:
    """Orders candidates as dpkg orders their versions."""

    def __init__(self, candidate: Candidate) -> None:
        self.version = candidate.version

    def __lt__(self, other: _VersionOrder) -> bool:
        command = ["dpkg", "--compare-versions", self.version, "lt", other.version]
        try:
            ask_program(command, awaited=shlex.join(command), error=PackageGone)
        except PackageGone:
            return False
        return True


def _user_name() -> str:
    """Name of the user that the lab runs as; one that a container brought has a number alone."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _write(path: Path, text: str) -> None:
    """Write a file unless it already says so."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
