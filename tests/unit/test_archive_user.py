# SPDX-License-Identifier: GPL-2.0-or-later
"""The user that apt is told to run as, where a container brings one without a name."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from lab.cache import Cache
from lab.progress import SilentProgress
from lab.sources import archive


def test_a_user_without_a_name_is_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_number: int) -> pwd.struct_passwd:
        raise KeyError("uid not found")

    keyring = tmp_path / "keyring.gpg"
    keyring.write_bytes(b"")
    monkeypatch.setattr(archive, "KEYRING", keyring)
    monkeypatch.setattr(archive, "find_mirror", lambda: "http://127.0.0.1:9/debian")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    written = archive.Archive(Cache(), "trixie", SilentProgress())._prepare().read_text()
    assert f'APT::Sandbox::User "{os.geteuid()}";' in written
