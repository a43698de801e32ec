# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own series, broken in every way that we know: the suite turns red, and at the right place.

Each breakage is a kernel of its own, built on what is there in a minute or two ("make test-bases").
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.mutations import read_mutations

pytestmark = pytest.mark.bases

TIMEOUT_S = 7200


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all: runs on the unbroken series that several share are made once."""
    return tmp_path_factory.mktemp("mutations")


@pytest.mark.parametrize("name", [mutation.id for mutation in read_mutations()])
def test_a_breakage_is_caught_where_it_has_to_be(name: str, output: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.mutations", "--only", name, "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    told = done.stdout.splitlines()
    assert told[-1:] == ["1/1"], done.stdout + done.stderr
    assert done.returncode == 0
    assert told[0].startswith(f"caught  {name} ")
