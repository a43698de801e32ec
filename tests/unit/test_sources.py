# SPDX-License-Identifier: GPL-2.0-or-later
"""Upstream source: downloads that break, pins and their fallbacks, apt's own configuration."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Server, serve

from lab.build.qemu import list_bases
from lab.cache import Cache
from lab.checkout import IMAGES, KERNEL_CONFIG, QEMU_DEVICES
from lab.config import Qemu
from lab.errors import ConfigError, SourceError
from lab.progress import SilentProgress
from lab.sources import Fetched, fetch
from lab.sources import archive as archive_module
from lab.sources.archive import (
    MIRROR_VARIABLE,
    AptEntry,
    Candidate,
    choose_mirror,
    choose_newest,
    parse_deb822,
    parse_list,
    read_host_entries,
)
from lab.sources.download import download
from lab.sources.pins import DebianPackage, Source, TreeSource, UrlSource, read_pins, sources_of

ARCHIVE = Path(__file__).parents[1] / "data" / "archive"
CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "source.tar").write_bytes(CONTENT)
    with serve(tmp_path / "served") as running:
        yield running


def load(server: Server, partial: Path, sha256: str = SHA256) -> None:
    with SilentProgress().step("x") as step:
        download(f"{server.url}/source.tar", partial, sha256=sha256, step=step, wait_s=0.01)


# -- by URL --------------------------------------------------------------------------------


def test_a_download(server: Server, tmp_path: Path) -> None:
    load(server, tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT


def test_a_broken_transfer_is_resumed(server: Server, tmp_path: Path) -> None:
    server.break_after = [1000, 5000]
    load(server, tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT
    assert [asked for _, asked in server.log] == [None, "bytes=1000-", "bytes=6000-"]


def test_what_an_earlier_lab_loaded_is_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "partial").write_bytes(CONTENT[:700])
    load(server, tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT
    assert server.log == [("/source.tar", "bytes=700-")]


def test_a_server_that_doesnt_resume_sends_it_all(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "partial").write_bytes(CONTENT[:700])
    load(server, tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT
    assert len(server.log) == 1


def test_a_spoilt_rest_of_an_earlier_lab_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "partial").write_bytes(b"spoilt" * 100)
    load(server, tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT


def test_a_complete_file_of_an_earlier_lab_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "partial").write_bytes(CONTENT)
    load(server, tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT


def test_other_content_than_pinned_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="on two complete transfers"):
        load(server, tmp_path / "partial", "0" * 64)
    assert not (tmp_path / "partial").exists()


def test_a_transfer_that_never_ends_whole_is_given_up(server: Server, tmp_path: Path) -> None:
    server.break_after = [1, 1, 1, 1, 1]
    with pytest.raises(SourceError, match="ended after 4 of"):
        load(server, tmp_path / "partial")


# -- pins and fallbacks --------------------------------------------------------------------


def url(server: Server, name: str = "source.tar", sha256: str = SHA256) -> UrlSource:
    return UrlSource(kind="url", url=f"{server.url}/{name}", sha256=sha256)


def test_the_first_source_is_taken_and_kept(server: Server, tmp_path: Path) -> None:
    cache, progress = Cache(tmp_path / "cache"), SilentProgress()
    sources = (url(server), url(server, "other"))
    first = fetch(cache, sources, progress)
    assert first.one(".tar").read_bytes() == CONTENT
    assert first.fallback is None
    assert fetch(cache, sources, progress) == first
    assert len(server.log) == 1
    assert progress.warnings == []


def test_the_same_content_under_another_name_is_found(server: Server, tmp_path: Path) -> None:
    cache, progress = Cache(tmp_path / "cache"), SilentProgress()
    fetch(cache, (url(server),), progress)
    other = fetch(cache, (url(server, "other.tar"),), progress)
    assert other.files[0].read_bytes() == CONTENT
    assert len(server.log) == 1


def test_a_fallback_is_said_and_recorded(server: Server, tmp_path: Path) -> None:
    progress = SilentProgress()
    fetched = fetch(
        Cache(tmp_path / "cache"), (url(server, "gone", "1" * 64), url(server)), progress
    )
    assert fetched.one(".tar").read_bytes() == CONTENT
    assert fetched.fallback is not None
    assert "404" in fetched.fallback
    assert len(progress.warnings) == 1
    assert "fallback" in progress.warnings[0]


def test_no_source_left_names_every_refusal(server: Server, tmp_path: Path) -> None:
    sources = (url(server, "gone", "1" * 64), TreeSource(kind="tree", path=tmp_path / "no"))
    with pytest.raises(SourceError) as caught:
        fetch(Cache(tmp_path / "cache"), sources, SilentProgress())
    assert "/gone" in caught.value.seen
    assert f"{tmp_path}/no" in caught.value.seen


def test_a_spoilt_download_in_the_cache_is_loaded_again(server: Server, tmp_path: Path) -> None:
    fetched = fetch(Cache(tmp_path / "cache"), (url(server),), SilentProgress())
    fetched.files[0].chmod(0o644)
    fetched.files[0].write_bytes(CONTENT[:-1] + b"!")
    progress = SilentProgress()
    again = fetch(Cache(tmp_path / "cache"), (url(server),), progress)
    assert again.files[0].read_bytes() == CONTENT
    assert len(server.log) == 2
    assert "another content" in progress.warnings[0]


OTHER_QEMUS = set(list_bases()) - {Qemu().base}


@pytest.mark.parametrize(
    "path", [QEMU_DEVICES / "pins.toml", KERNEL_CONFIG / "pins.toml", IMAGES / "pins.toml"]
)
def test_our_pins_begin_with_a_hash_and_have_a_fallback(path: Path) -> None:
    pins = read_pins(path)
    assert pins
    for name, sources in pins.items():
        assert isinstance(sources[0], DebianPackage)
        assert sources[0].version is not None
        assert sources[0].sha256
        # the newest QEMU of a suite that moves on needs another port
        assert len(sources) > 1 or name.removeprefix("qemu-") in OTHER_QEMUS


def test_the_default_base_is_pinned() -> None:
    first = sources_of(KERNEL_CONFIG / "pins.toml", "7.3")[0]
    assert first.label.startswith("linux-source-7.3 7.3.4")


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[[a.source]]\nkind = "floppy"',
        '[[a.source]]\nkind = "url"\nurl = "http://x/y"\nsha256 = "short"',
        '[[a.source]]\nkind = "debian-binary"\nsuite = "--option"\npackage = "p"',
        "[a]\nsource = []",
        "not toml",
    ],
)
def test_bad_pins_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pins.toml").write_text(text)
    with pytest.raises(ConfigError):
        sources_of(tmp_path / "pins.toml", "a")


# -- apt's configuration -------------------------------------------------------------------

LIST = """\
# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib  # trailing
deb-src [arch=amd64 signed-by=/usr/share/k.gpg] http://src.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
nonsense line
"""
DEB822 = """\
# the mirror
Types: deb deb-src
URIs: http://mirror.example/debian
 http://second.example/debian
Suites: bookworm bookworm-updates
Components: main
# a comment inside
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""


def test_one_line_style() -> None:
    assert parse_list(LIST) == [
        AptEntry(("http://mirror.example/debian",), ("bookworm",), ("main", "contrib")),
        AptEntry(("http://src.example/debian",), ("bookworm",), ("main",)),
        AptEntry(("http://security.example/debian-security",), ("bookworm-security",), ("main",)),
    ]


def test_deb822_style() -> None:
    assert parse_deb822(DEB822) == [
        AptEntry(
            ("http://mirror.example/debian", "http://second.example/debian"),
            ("bookworm", "bookworm-updates"),
            ("main",),
        )
    ]


def test_the_mirror_is_that_of_the_hosts_release() -> None:
    security = AptEntry(("http://s.example/sec",), ("bookworm-security",), ("main",))
    other = AptEntry(("http://o.example/tool",), ("stable",), ("tool",))
    disc = AptEntry(("cdrom:[Debian]/",), ("bookworm",), ("main",))
    own = AptEntry(("http://m.example/debian",), ("bookworm", "bookworm-updates"), ("main",))
    assert choose_mirror([security, other, disc, own], "bookworm") == "http://m.example/debian"
    assert choose_mirror([security, other, disc], "bookworm") is None


def test_both_styles_of_a_host_are_read(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://a.example/debian bookworm main\n")
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "x.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "y.list").write_text(LIST)
    (tmp_path / "sources.list.d" / "z.list.disabled").write_text(LIST)
    assert [entry.uris[0].split("/")[2] for entry in read_host_entries(tmp_path)] == [
        "a.example",
        "mirror.example",
        "mirror.example",
        "src.example",
        "security.example",
    ]


def test_the_newest_version_is_dpkgs() -> None:
    versions = ["7.3.4-1", "7.3.10-1", "7.3.10-1~bpo13+1", "7.3.9-2"]
    assert choose_newest(Candidate("p", version, {}) for version in versions).version == versions[1]
    assert choose_newest(Candidate("p", version, {}) for version in ["1:1", "2"]).version == "1:1"


# -- the archive: a small signed one, served on the loopback interface ----------------------


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    shutil.copytree(ARCHIVE, tmp_path / "mirror")
    monkeypatch.setattr(archive_module, "KEYRING", ARCHIVE / "keyring.gpg")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(tmp_path / "mirror") as running:
        monkeypatch.setenv(MIRROR_VARIABLE, running.url)
        yield running


def package(version: str | None = None, *, source: bool = False) -> DebianPackage:
    return DebianPackage(
        kind="debian-source" if source else "debian-binary",
        suite="lab",
        package="lab-sample",
        version=version,
    )


def get(tmp_path: Path, *sources: Source) -> tuple[Fetched, SilentProgress]:
    progress = SilentProgress()
    return fetch(Cache(tmp_path / "cache"), sources, progress), progress


def test_a_pinned_package(mirror: Server, tmp_path: Path) -> None:
    fetched, progress = get(tmp_path, package("1.0-1"))
    assert (
        fetched.files[0].read_bytes()
        == (ARCHIVE / "pool" / "lab-sample_1.0-1_all.deb").read_bytes()
    )
    assert (fetched.version, fetched.fallback, progress.warnings) == ("1.0-1", None, [])
    asked = len(mirror.log)
    again, _ = get(tmp_path, package("1.0-1"))
    assert again == fetched
    assert len(mirror.log) == asked


def test_a_source_package(mirror: Server, tmp_path: Path) -> None:
    fetched, _ = get(tmp_path, package("2.0", source=True))
    assert [path.name for path in fetched.files] == ["lab-sample_2.0.dsc", "lab-sample_2.0.tar.xz"]


def test_a_version_that_has_gone_leads_to_the_newest(mirror: Server, tmp_path: Path) -> None:
    fetched, progress = get(tmp_path, package("0.9-1"), package())
    assert fetched.version == "1.10-1"  # and not 1.0-1, as text order would have it
    assert "the archive has" in str(fetched.fallback)
    assert len(progress.warnings) == 1
    asked = len(mirror.log)
    again, progress = get(tmp_path, package("0.9-1"), package())
    assert again.files == fetched.files
    assert len(progress.warnings) == 1
    assert len(mirror.log) == asked  # neither question is asked twice a day


def test_lists_with_another_signature_are_refused(
    mirror: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv(MIRROR_VARIABLE, mirror.url)
    with pytest.raises(SourceError, match="not signed"):
        get(tmp_path, package("1.0-1"))


def test_lists_that_were_changed_after_signing_are_refused(mirror: Server, tmp_path: Path) -> None:
    packages = mirror.root / "dists" / "lab" / "main" / "binary-amd64" / "Packages"
    packages.write_text(packages.read_text().replace("1.0-1", "1.1-1"))
    with pytest.raises(SourceError, match=r"(?i)hash|size|unexpected"):
        get(tmp_path, package("1.0-1"))


def test_a_package_that_was_changed_is_refused(mirror: Server, tmp_path: Path) -> None:
    deb = mirror.root / "pool" / "lab-sample_1.0-1_all.deb"
    data = bytearray(deb.read_bytes())
    data[-1] ^= 1
    deb.write_bytes(data)
    with pytest.raises(SourceError):
        get(tmp_path, package("1.0-1"))
    assert Cache(tmp_path / "cache").list_entries() == []


def test_another_package_than_pinned_is_refused_without_fallback(
    mirror: Server, tmp_path: Path
) -> None:
    pinned = package("1.0-1").model_copy(update={"sha256": {"lab-sample_1.0-1_all.deb": "0" * 64}})
    with pytest.raises(SourceError, match="0000"):
        get(tmp_path, pinned, package())
