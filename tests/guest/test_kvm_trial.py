# SPDX-License-Identifier: GPL-2.0-or-later
"""The trial that decides about KVM, run where it must succeed: in software."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.cache import Cache
from lab.doctor import boot_under_kvm, find_trial
from lab.machine.argv import BootFiles

pytestmark = pytest.mark.guest


def test_the_trial_succeeds_where_a_guest_runs(
    lab_cache: Cache, vanilla_files: BootFiles, tmp_path: Path
) -> None:
    trial = find_trial(lab_cache)
    assert trial is not None
    answer = boot_under_kvm(trial, tmp_path / "log", accelerator="tcg")
    assert answer.usable, answer.reason


def test_the_trial_fails_without_an_accelerator(
    lab_cache: Cache, vanilla_files: BootFiles, tmp_path: Path
) -> None:
    trial = find_trial(lab_cache)
    assert trial is not None
    answer = boot_under_kvm(trial, tmp_path / "log", accelerator="no-such")
    assert not answer.usable
    assert "exit status 1" in answer.reason
