# SPDX-License-Identifier: GPL-2.0-or-later
"""How the sanitizers are to behave."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.build.flavour import LLVM_SYMBOLIZER

# What QEMU itself gets wrong, each with its reason
_UNDEFINED = Path(__file__).with_name("ubsan.suppressions")
_LEAKS = Path(__file__).with_name("lsan.suppressions")


def sanitizer_environment(
    profiles: str = "/dev/null", *, whole_stacks: bool = False
) -> dict[str, str]:
    """Variables for a sanitized QEMU: everything that is found ends it, with a stack.

    Args:
        profiles: pattern of LLVM for the names of the files that count executed lines.
        whole_stacks: with the callers of GLib, too, which the suppression of a leak may need; makes
            every allocation slower.
    """
    symbolizer = shutil.which(LLVM_SYMBOLIZER)
    return {
        "ASAN_OPTIONS": "detect_leaks=1:handle_abort=1:allocator_may_return_null=1"
        f":fast_unwind_on_malloc={int(not whole_stacks)}",
        "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:suppressions={_UNDEFINED}",
        "LSAN_OPTIONS": f"suppressions={_LEAKS}:print_suppressions=0",
        "LLVM_PROFILE_FILE": profiles,
        **({"ASAN_SYMBOLIZER_PATH": symbolizer} if symbolizer else {}),
    }
