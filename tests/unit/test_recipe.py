# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the lab and of the host stands in an artifact's key."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lab.build import disks, image, kernel_plan, modules, qemu, recipe
from lab.errors import HostError

LAB = Path(recipe.__file__).parent.parent
RECIPES = {
    "programs": image._PROGRAMS_RECIPE,
    "busybox": image._BUSYBOX_RECIPE,
    "disks": disks._RECIPE,
    "image": image._RECIPE,
    "modules": modules._RECIPE,
    "kernel": kernel_plan._RECIPE,
    "qemu": qemu._RECIPE,
    "firmware": qemu._FIRMWARE_RECIPE,
}


@pytest.mark.parametrize("name", ["build/one.py", "environment.py"])
def test_a_recipe_changes_with_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(recipe, "_LAB", tmp_path)
    (tmp_path / "build").mkdir()
    for other in ("build/one.py", "build/two.py", "environment.py"):
        (tmp_path / other).write_text("x")
    before = recipe.hash_recipe("build/one.py")
    (tmp_path / "build" / "two.py").write_text("y")
    assert recipe.hash_recipe("build/one.py") == before
    (tmp_path / name).write_text("y")
    assert recipe.hash_recipe("build/one.py") != before


@pytest.mark.parametrize("artifact", RECIPES)
def test_a_recipe_names_files_that_are_there(artifact: str) -> None:
    assert len(recipe.hash_recipe(*RECIPES[artifact])) == 64


# Modules of lab/build that decide no byte, or whose result is in the key by itself: the diffs.
IN_THE_KEY_BY_RESULT = {"recipe", "series", "mail_series", "mail", "patch"}


@pytest.mark.parametrize(("artifact", "start"), [("kernel", "kernel"), ("qemu", "qemu")])
def test_a_recipe_follows_the_imports(artifact: str, start: str) -> None:
    todo, seen = [start], set()
    while todo:
        name = todo.pop()
        if name in seen or name in IN_THE_KEY_BY_RESULT:
            continue
        seen.add(name)
        for node in ast.walk(ast.parse((LAB / "build" / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lab.build."):
                todo.append(str(node.module).rpartition(".")[2])
    assert {f"build/{name}.py" for name in seen} == set(RECIPES[artifact])


def test_packages_are_named_with_their_versions() -> None:
    known = recipe.identify_packages("libc6-dev", "kmod")
    assert "kmod:amd64 " in known
    assert known == recipe.identify_packages("kmod", "libc6-dev")
    with pytest.raises(HostError, match="no-such-package"):
        recipe.identify_packages("no-such-package")


def test_a_package_that_was_removed_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "installed a:amd64 1\nconfig-files b:amd64 2\ninstalled a:i386 3\n"
    asked: list[object] = []

    def ask(argv: object, **_: object) -> str:
        asked.append(argv)
        return told

    monkeypatch.setattr(recipe, "ask_program", ask)
    recipe._installed_packages.cache_clear()
    try:
        assert recipe.identify_packages("a") == "a:amd64 1; a:i386 3"
        with pytest.raises(HostError, match="no b"):
            recipe.identify_packages("a", "b")
    finally:
        recipe._installed_packages.cache_clear()
    assert len(asked) == 1
