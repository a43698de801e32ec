# SPDX-License-Identifier: GPL-2.0-or-later
"""The environment that programs of the host are run in.

A build is named after its inputs, so nothing else may reach it. Compilers, make and kbuild listen
to dozens of variables (CFLAGS, KCFLAGS, CPATH, LOCALVERSION, LLVM, …), and no list of those is ever
complete. So only what is named here is passed on: how to find programs, where to put files, and
how to get through the network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# Both cases are in use for these.
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_PASSED = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "TMPDIR",
        *_PROXIES,
        *(name.upper() for name in _PROXIES),
        # certificates and credentials of downloads
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NETRC",
        "APT_CONFIG",
    }
)
_PASSED_PREFIXES = ("XDG_", "PIP_", "DCBM_LAB_")
# Messages are searched for errors, so they have to be untranslated.
_SET = {"LC_ALL": "C"}


def program_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What of the lab's own environment a program gets, with `extra` on top."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    return {**passed, **_SET, **(extra or {})}
