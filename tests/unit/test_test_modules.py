# SPDX-License-Identifier: GPL-2.0-or-later
"""The test modules can be collected together."""

from __future__ import annotations

from pathlib import Path

from lab.checkout import ROOT


def test_every_test_module_has_a_name_of_its_own() -> None:
    """Two of one name can't be collected together, and the whole session ends with an error."""
    folders: dict[str, list[str]] = {}
    for module in sorted((ROOT / "tests").rglob("*.py")):
        if module.name != "conftest.py":
            folders.setdefault(module.name, []).append(str(module.parent.relative_to(ROOT)))
    assert Path(__file__).name in folders
    assert {name: where for name, where in folders.items() if len(where) > 1} == {}
