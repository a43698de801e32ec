# SPDX-License-Identifier: GPL-2.0-or-later
"""A test session can't be green because its tests did not run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.checkout import ROOT

# Each case is a pytest of its own: too slow for what runs before every commit.
pytestmark = pytest.mark.style

SKIPS = {
    "by itself": "def test_x(): pytest.skip('why')",
    "by a mark": "@pytest.mark.skip(reason='why')\ndef test_x(): pass",
    "by a condition": "@pytest.mark.skipif(True, reason='why')\ndef test_x(): pass",
    "whole module": "pytest.skip('why', allow_module_level=True)",
    "missing module": "pytest.importorskip('no_such_module', reason='why')\ndef test_x(): pass",
    "no parameters": "@pytest.mark.parametrize('x', [])\ndef test_x(x): pass",
}


def run(tmp_path: Path, test: str, *words: str) -> tuple[int, str]:
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests" / "test_it.py").write_text(f"import pytest\n{test}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("how", SKIPS)
def test_a_skip_is_a_failure(tmp_path: Path, how: str) -> None:
    status, output = run(tmp_path, SKIPS[how])
    # what fails at collection interrupts the session
    at_collection = how in {"whole module", "missing module", "no parameters"}
    assert status == (2 if at_collection else 1), output
    assert not re.search(r"\d+ skipped", output), output


def test_an_expected_failure_is_none(tmp_path: Path) -> None:
    status, output = run(tmp_path, "@pytest.mark.xfail\ndef test_x(): assert False")
    assert status == 0, output


def test_the_time_of_fixtures_is_not_the_tests(tmp_path: Path) -> None:
    slow = "@pytest.fixture\ndef f():\n    import time; time.sleep(1.5)\n"
    status, output = run(tmp_path, f"{slow}@pytest.mark.timeout(1)\ndef test_x(f): pass")
    assert status == 0, output


@pytest.mark.parametrize("filter_words", [(), ("-m", "guest"), ("-m", "bases"), ("-k", "test_x")])
def test_long_builds_run_only_where_they_are_asked_for(
    tmp_path: Path, filter_words: tuple[str, ...]
) -> None:
    test = "@pytest.mark.guest\n@pytest.mark.bases\ndef test_x(): assert False"
    status, output = run(tmp_path, test, *filter_words)
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED, output
    assert "1 deselected" in output
    shutil.rmtree(tmp_path / "tests")
    status, output = run(tmp_path, test, "--bases", *filter_words)
    assert status == pytest.ExitCode.TESTS_FAILED, output
