# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds in kernel source trees, with a source tree whose Makefile answers as the kernel's does.

Real kernels are built by the tests that boot them; here it is about the order of things, what is
built again, and what a killed lab leaves.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.bench import identity
from lab.build import kernel_plan, profiling
from lab.build.kernel import KernelArtifact, KernelChoice, build_kernel
from lab.build.kernel_tree import open_build
from lab.build.profiling import PATCHES
from lab.build.series import Series, read_series
from lab.cache import Cache
from lab.config import Variant
from lab.errors import BuildError
from lab.progress import SilentProgress

MAKEFILE = """\
allnoconfig:
\t@cp $(KCONFIG_ALLCONFIG) $(O)/.config
vmlinux: $(O)/a.o $(O)/b.o
\t@cat $(O)/a.o $(O)/b.o > $(O)/vmlinux
\t@touch $(O)/System.map $(O)/Module.symvers
$(O)/%.o: %.c
\t@echo "  CC $*" && echo "$(O) $*" >> $(LOG)
\t@test ! -e $(LOG).slow || { echo half > $@; touch $(LOG).started; sleep 60; }
\t@grep -v WRONG $< > $@ || { echo "$<:1:1: error: WRONG is no word"; exit 1; }
\t@test -z "$(GCOV_PROFILE_$*.o)" || echo "$(CFLAGS_GCOV)" > $(O)/$*.gcno
modules:
kernelrelease:
\t@echo 7.3.4
modules_install:
\t@mkdir -p $(INSTALL_MOD_PATH)/lib/modules/7.3.4
\t@touch $(INSTALL_MOD_PATH)/lib/modules/7.3.4/modules.dep
\t@ln -s $(CURDIR) $(INSTALL_MOD_PATH)/lib/modules/7.3.4/build
.PHONY: allnoconfig vmlinux modules kernelrelease modules_install
"""
PATCH = """\
--- a/b.c
+++ b/b.c
@@ -1 +1 @@
-b
+patched
"""
PATCH_A = PATCH.replace("b.c", "a.c").replace("-b", "-a")
BUILD = """
import sys
from pathlib import Path
from lab.build import kernel_plan, profiling
from lab.build.kernel import KernelChoice, build_kernel
from lab.cache import Cache
from lab.progress import SilentProgress
kernel_plan.KERNEL_CONFIG = Path(sys.argv[1]) / "config"
choice = KernelChoice(patched=False)
build_kernel(Cache(Path(sys.argv[1]) / "cache"), choice, SilentProgress())
"""


class Bench:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "compiled"
        (root / "linux").mkdir()
        (root / "linux" / "Makefile").write_text(f"LOG = {self.log}\n{MAKEFILE}")
        for name in ("Kbuild", "Kconfig", "MAINTAINERS"):
            (root / "linux" / name).touch()
        (root / "linux" / "a.c").write_text("a\n")
        (root / "linux" / "b.c").write_text("b\n")
        series = root / "config" / "series" / "7.3"
        series.mkdir(parents=True)
        (series / "0001-b.patch").write_text(PATCH)
        (series / "series").write_text("0001-b.patch\n")
        (root / "config" / "pins.toml").write_text(
            f'[["7.3".source]]\nkind = "tree"\npath = "{root / "linux"}"\n'
        )
        (root / "config" / "base.config").write_text("CONFIG_NUMA=y\n")
        (root / "config" / "debug.config").write_text("CONFIG_LOCKDEP=y\n")
        (root / "config" / "gcov.config").write_text("CONFIG_GCOV_KERNEL=y\n")
        (root / "config" / "offload.config").write_text("CONFIG_DCBM_DMA=m\n")
        (root / "config" / "bases").mkdir()
        (root / "config" / "bases" / "7.3.config").write_text("CONFIG_SYSCTL=y\n")
        (root / "config" / "fragments.toml").write_text(
            '[variants]\nplain = ["base"]\ndebug = ["base", "debug"]\ngcov = ["base", "gcov"]\n'
            '[series]\nfragments = ["offload"]\n'
        )

    def build(
        self, *, patched: bool, variant: Variant = Variant.PLAIN, **choice: Any
    ) -> tuple[str, list[str]]:
        """The kernel's content, and what was compiled for it, in no particular order."""
        kernel = self.kernel(KernelChoice(patched=patched, variant=variant, **choice))
        compiled = self.log.read_text().splitlines() if self.log.exists() else []
        return kernel.vmlinux.read_text(), sorted(compiled)

    def kernel(self, choice: KernelChoice) -> KernelArtifact:
        self.log.unlink(missing_ok=True)
        self.progress = SilentProgress()
        kernel = build_kernel(Cache(self.root / "cache"), choice, self.progress)
        assert kernel.release == "7.3.4"
        assert not (kernel.modules_dir / "build").is_symlink()
        return kernel

    def series(self, *patches: str) -> Series:
        """A series as a user gives it."""
        folder = self.root / "given"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for number, patch in enumerate(patches):
            (folder / f"{number}.patch").write_text(patch)
        return read_series(folder)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(kernel_plan, "KERNEL_CONFIG", tmp_path / "config")
    return Bench(tmp_path)


def test_the_patched_kernel_compiles_only_what_the_series_touches(bench: Bench) -> None:
    assert bench.build(patched=False) == ("a\nb\n", ["out-plain a", "out-plain b"])
    assert bench.build(patched=True) == ("a\npatched\n", ["out-plain b"])
    assert bench.build(patched=False) == ("a\nb\n", [])


def test_asking_for_the_patched_kernel_builds_both(bench: Bench) -> None:
    content, compiled = bench.build(patched=True)
    assert content == "a\npatched\n"
    assert compiled == ["out-plain a", "out-plain b", "out-plain b"]
    assert bench.build(patched=False) == ("a\nb\n", [])


def test_another_series_starts_from_the_vanilla_build_again(bench: Bench) -> None:
    bench.build(patched=True)
    patch = bench.root / "config" / "series" / "7.3" / "0001-b.patch"
    patch.write_text(PATCH.replace("+patched", "+other"))
    assert bench.build(patched=True) == ("a\nother\n", ["out-plain b"])


def test_another_variant_of_an_older_patched_tree_is_no_mixture(bench: Bench) -> None:
    bench.build(patched=True)
    time.sleep(0.02)
    # The vanilla objects of this variant are newer than the patched sources.
    assert bench.build(patched=False, variant=Variant.DEBUG)[0] == "a\nb\n"
    assert bench.build(patched=True, variant=Variant.DEBUG) == ("a\npatched\n", ["out-debug b"])


def test_an_edit_of_one_patch_compiles_only_what_it_touches(bench: Bench) -> None:
    bench.build(patched=True, series=bench.series(PATCH_A, PATCH))
    edited = bench.series(PATCH_A, PATCH.replace("+patched", "+edited"))
    time.sleep(0.02)
    # a.c is patched, too, but as it was before: its object comes from the last patched build.
    assert bench.build(patched=True, series=edited) == ("patched\nedited\n", ["out-plain b"])


def test_a_patch_that_is_left_out_leaves_nothing_behind(bench: Bench) -> None:
    header = PATCH_A.replace("a.c", "a.h").replace("-1 +1", "-0,0 +1").replace("-a\n", "")
    header = header.replace("--- a/a.h", "--- /dev/null")
    # With the header in common the last patched build differs least, and its b.o is wrong.
    bench.build(patched=True, series=bench.series(header, PATCH))
    assert bench.build(patched=True, series=bench.series(header)) == ("a\nb\n", ["out-plain b"])
    vanilla = next((bench.root / "cache" / "work" / "kernel").glob("*/vanilla/b.c"))
    assert vanilla.stat().st_mtime == (bench.root / "linux" / "b.c").stat().st_mtime


def test_a_given_series_replaces_ours(bench: Bench) -> None:
    bench.build(patched=True)
    kernel = bench.kernel(KernelChoice(series=bench.series(PATCH_A)))
    assert kernel.vmlinux.read_text() == "patched\nb\n"
    assert [subject for subject, _patch_id in kernel.patches] == ["0"]
    # Of our own fragment for a series it knows nothing, which is said.
    assert any("CONFIG_DCBM_DMA" in warning for warning in bench.progress.warnings)


def test_a_wish_of_the_users_own_has_to_come_true(bench: Bench) -> None:
    # Kconfig drops what no file defines.
    wanted = bench.root / "mine.config"
    wanted.write_text("CONFIG_NOWHERE=y\n")
    makefile = bench.root / "linux" / "Makefile"
    makefile.write_text(
        makefile.read_text().replace(
            "@cp $(KCONFIG_ALLCONFIG) $(O)/.config",
            "@sed /NOWHERE/d $(KCONFIG_ALLCONFIG) > $(O)/.config",
        )
    )
    series, tree = bench.series(PATCH_A), bench.root / "linux"
    for choice in (
        KernelChoice(series=series, fragments=(wanted,)),
        KernelChoice(patched=False, tree=tree, carries=True, fragments=(wanted,)),
        KernelChoice(patched=False, fragments=(wanted,)),
    ):
        with pytest.raises(BuildError, match=r"mine\.config: CONFIG_NOWHERE=y: got no such line"):
            bench.kernel(choice)


def test_what_only_the_series_has_is_on_with_it_and_said_without_it(bench: Bench) -> None:
    wanted = bench.root / "mine.config"
    wanted.write_text("CONFIG_OF_SERIES=y\n")
    (bench.root / "linux" / "Kconfig").write_text("config NUMA\n\tbool\n")
    adds = (
        "--- a/Kconfig\n+++ b/Kconfig\n@@ -1,2 +1,4 @@\n config NUMA\n \tbool\n"
        '+config OF_SERIES\n+\tbool "x"\n'
    )
    choice = KernelChoice(series=bench.series(adds), fragments=(wanted,))
    config = bench.kernel(choice).config.read_text()
    assert "CONFIG_OF_SERIES=y" in config
    assert any("CONFIG_OF_SERIES" in warning for warning in bench.progress.warnings)  # the base
    below = KernelChoice(patched=False, fragments=(wanted,), under_series=True)
    kernel = bench.kernel(below)
    assert "OF_SERIES" not in kernel.config.read_text()
    # without a series it is refused, and what is in the cache changes nothing about that
    alone = replace(below, under_series=False)
    cache = Cache(bench.root / "cache")
    key = kernel_plan.make_plan(cache, alone, SilentProgress()).key
    assert key != kernel.key


def test_how_the_patches_went_on_is_said_and_kept_each_time(bench: Bench) -> None:
    """Also where the kernel comes from the cache and the series as mails, which wouldn't merge."""
    author, linux = bench.root / "author", bench.root / "linux"
    author.mkdir()
    lines = [f"{at}\n" for at in range(1, 11)]
    for folder in (author, linux):
        (folder / "b.c").write_text("".join(lines))
    (author / "a.c").write_text("a\n")
    git(author, "init", "-q", "-b", "main")
    git(author, "add", "-A")
    git(author, "commit", "-qm", "base")
    (author / "a.c").write_text("patched\n")
    git(author, "commit", "-qam", "has it")
    (author / "b.c").write_text("".join(lines).replace("5", "five"))
    git(author, "commit", "-qam", "merges")
    (linux / "a.c").write_text("patched\n")
    (linux / "b.c").write_text("".join(lines).replace("8", "eight"))
    series = read_series(f"{author}:main~2..main")
    first = [patch.name for patch in series.patches]
    mails = [replace(patch, name=f"mail {at}") for at, patch in enumerate(series.patches, 1)]
    posted = Series("posted", tuple(mails))
    with pytest.raises(BuildError, match="mail 1: applied to base"):
        bench.kernel(KernelChoice(series=posted))
    for given, names in ((series, first), (series, first), (posted, ["mail 1", "mail 2"])):
        kernel = bench.kernel(KernelChoice(series=given))
        assert kernel.vmlinux.read_text().split()[:6] == ["patched", *"1234", "five"]
        assert bench.progress.notes == [f"merged three ways: {name}" for name in names]
        known = f"changes nothing, the base has it already: {names[0]}"
        assert bench.progress.warnings.count(known) == 1
        told = [(patch.merged, patch.known) for patch in identity(kernel).patches]
        assert told == [(True, True), (True, False)]


def test_a_patched_tree_of_which_nothing_is_known_is_made_again(bench: Bench) -> None:
    series = bench.series(PATCH)
    bench.kernel(KernelChoice(series=series))
    (kept,) = (bench.root / "cache" / "work" / "kernel").glob("*/patched-*/.dcbm-lab-fit")
    kept.unlink()
    kernel = bench.kernel(KernelChoice(series=series, variant=Variant.DEBUG))
    assert kernel.vmlinux.read_text() == "a\npatched\n"
    assert kept.is_file()


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=A", "-c", "user.email=a@b.invalid")
    subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)


def test_a_kernel_that_counts_keeps_its_notes_and_what_each_patch_added(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "PROFILED", ("a",))
    series = bench.series(PATCH)
    kernel = bench.kernel(KernelChoice(variant=Variant.GCOV, series=series))
    assert kernel.coverage is not None
    # b.c is the series' own
    kept = sorted(path.name for path in kernel.coverage.iterdir())
    assert kept == ["a.gcno", "b.gcno", PATCHES]
    assert "-fprofile-dir=dcbm-lab" in (kernel.coverage / "b.gcno").read_text()
    (patch,) = json.loads((kernel.coverage / PATCHES).read_text())
    assert patch["files"] == {"b.c": {"1": "patched"}}
    assert bench.kernel(KernelChoice(series=series)).coverage is None


def test_a_kernel_that_should_count_and_does_not_is_an_error(bench: Bench) -> None:
    with pytest.raises(BuildError, match=r"\.gcno.*\n.*none below"):
        bench.kernel(KernelChoice(variant=Variant.GCOV, patched=False))


def test_a_series_that_does_not_apply_leaves_no_tree(bench: Bench) -> None:
    with pytest.raises(BuildError, match=r"b\.c: hunk 1 of 1"):
        bench.build(patched=True, series=bench.series(PATCH.replace("-b", "-c")))
    trees = [path.name for path in (bench.root / "cache" / "work" / "kernel").glob("*/*")]
    assert trees == ["vanilla"]
    assert not bench.log.exists(), "said before anything is compiled"


def test_a_local_tree_is_built_as_it_is_and_again_after_an_edit(bench: Bench) -> None:
    tree = bench.root / "linux"
    own = {"tree": tree, "carries": True}
    assert bench.build(patched=False, **own) == ("a\nb\n", ["out-plain a", "out-plain b"])
    assert bench.build(patched=False, **own) == ("a\nb\n", [])
    (tree / "b.c").write_text("edited\n")
    assert bench.build(patched=False, **own) == ("a\nedited\n", ["out-plain b"])
    kernel = bench.kernel(KernelChoice(patched=False, tree=tree, carries=True))
    assert (kernel.base, kernel.version, kernel.series) == ("tree", "tree", None)


def test_a_local_tree_under_a_series(bench: Bench) -> None:
    tree = bench.root / "linux"
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "base")):
        subprocess.run(
            ["git", "-C", tree, "-c", "user.name=A", "-c", "user.email=a@b.invalid", *words],
            check=True,
        )
    series = bench.series(PATCH)
    bench.build(patched=True, tree=tree, series=series)
    (tree / "a.c").write_text("edited\n")
    content, compiled = bench.build(patched=True, tree=tree, series=series)
    assert content == "edited\npatched\n"
    assert compiled == ["out-plain a", "out-plain b"]  # for the tree alone, then for the series
    (tree / "a.c").write_text("a\n")
    assert bench.build(patched=True, tree=tree, series=series) == ("a\npatched\n", [])
    # The tree's own kernel is in the cache, the copy holds what was edited: it must not be taken
    # for the tree as it is now.
    other = bench.series(PATCH.replace("+patched", "+other"))
    assert bench.build(patched=True, tree=tree, series=other)[0] == "a\nother\n"
    # And the other way round: objects of the edit are there, its source is not any more.
    (tree / "a.c").write_text("edited\n")
    cache = Cache(bench.root / "cache")
    plan = kernel_plan.make_plan(cache, KernelChoice(patched=False, tree=tree), SilentProgress())
    with open_build(cache, plan, SilentProgress()) as out:
        assert (out.parent / "a.c").read_text() == "edited\n"


def test_the_first_compiler_error_is_shown(bench: Bench) -> None:
    (bench.root / "linux" / "b.c").write_text("WRONG\n")
    with pytest.raises(BuildError, match=r"b\.c:1:1: error: WRONG is no word"):
        bench.build(patched=False)


def test_a_wish_that_came_to_nothing_is_an_error(bench: Bench) -> None:
    makefile = bench.root / "linux" / "Makefile"
    makefile.write_text(makefile.read_text().replace("@cp $(KCONFIG_ALLCONFIG)", "@echo >"))
    with pytest.raises(BuildError, match="this kernel has no such symbol"):
        bench.build(patched=False)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_half_written_object_of_a_killed_lab_is_not_used(
    bench: Bench, number: signal.Signals
) -> None:
    slow, started = (bench.root / f"compiled.{name}" for name in ("slow", "started"))
    slow.touch()
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + BUILD
    lab = subprocess.Popen([sys.executable, "-c", script, bench.root], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    lab.send_signal(number)
    lab.wait(timeout=30)
    slow.unlink()
    assert bench.build(patched=False)[0] == "a\nb\n"
