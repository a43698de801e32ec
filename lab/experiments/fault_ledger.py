# SPDX-License-Identifier: GPL-2.0-or-later
"""What certain drivers are known to get wrong in the fault scenarios, by entry of the ledger.

The ledger is docs/known-bugs.md: every bug named here has an entry of that id there, with reason,
evidence and how to tell that it is fixed. Seen with Linux 7.3.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownBug:
    """How a known bug shows in one aspect of a scenario.

    Attributes:
        bug: id of its entry in the ledger.
        reaction: regular expression for what the aspect tells while the bug is there.
        steps: of a bug that kills the kernel: where in the scenario it does.
        always: whether it shows in every build; if not, a sound reaction is right as well.
    """

    bug: str
    reaction: str
    steps: tuple[str, ...] = ()
    always: bool = True


# An error, a lie or a missing device, and the client is told that all is well.
_SUCCESS_WITHOUT_DATA = (
    r"^told success \(status complete\); 4,096 of 4,096 bytes wrong from 0 on, 4,096 never written$"
)
_ERROR_AS_SUCCESS = KnownBug("ptdma-error-as-success", _SUCCESS_WITHOUT_DATA)
_GONE_AS_SUCCESS = KnownBug("ptdma-gone-as-success", _SUCCESS_WITHOUT_DATA)
# Told at the stray completion or at resume, 40 ms before the data.
_TOO_EARLY = (
    r"^told success \(status complete\); [\d,]+ bytes wrong when told, 0 of 4,096 bytes wrong$"
)

# The wild pointer that is printed as a name may be none at all.
_NO_NAME = KnownBug(
    "ptdma-error-name",
    r" in \w+ below pt_\w+$",
    steps=("issue", "wait 100", "wait 1000", "status"),
    always=False,
)

_PTDMA: Mapping[tuple[str, str], KnownBug] = {
    ("error-illegal-engine", "faulted copy"): _ERROR_AS_SUCCESS,
    ("error-illegal-length", "faulted copy"): _ERROR_AS_SUCCESS,
    ("error-illegal-length", "error's name"): KnownBug(
        "ptdma-error-name", r"PTDMA error: ERR 12: ILLEGAL_MEM_SEL \(0x9\)$"
    ),
    ("error-write-decode", "kernel"): _NO_NAME,
    ("error-write-decode", "faulted copy"): _ERROR_AS_SUCCESS,
    # What is read behind the table's end is another thing in every build, and can be anything.
    ("error-write-decode", "error's name"): KnownBug(
        "ptdma-error-name", r"PTDMA error: .* \(0x27\)$"
    ),
    ("error-lsb-parity", "kernel"): _NO_NAME,
    ("error-lsb-parity", "faulted copy"): _ERROR_AS_SUCCESS,
    ("error-lsb-parity", "error's name"): KnownBug(
        "ptdma-error-name", r"PTDMA error: .* \(0x2b\)$"
    ),
    ("error-polled", "faulted copy"): _ERROR_AS_SUCCESS,
    ("error-twice", "faulted copy"): _ERROR_AS_SUCCESS,
    ("error-twice", "second faulted copy"): _ERROR_AS_SUCCESS,
    ("stall-never", "kernel"): KnownBug(
        "ptdma-terminate-leaves-hardware",
        r"general protection fault.* in pt_cmd_callback$",
        steps=("clear", "pass 200"),
    ),
    ("duplicate-busy", "queued copy"): KnownBug("ptdma-stray-completion", _TOO_EARLY),
    ("all-ones", "kernel"): _NO_NAME,
    ("all-ones", "faulted copy"): _GONE_AS_SUCCESS,
    ("all-ones", "queued copy"): _GONE_AS_SUCCESS,
    ("mixed-flags", "copy with an interrupt"): KnownBug(
        "ptdma-interrupt-enable-shared",
        r"^told nothing \(status not asked\); 0 of 4,096 bytes wrong$",
    ),
    ("pause-resume", "faulted copy"): KnownBug("ptdma-resume-completes", _TOO_EARLY),
    ("pause-resume", "queued copy"): KnownBug("ptdma-resume-completes", _TOO_EARLY),
    ("interrupt-descriptor", "kernel"): KnownBug(
        "ptdma-interrupt-descriptor",
        r"NULL pointer dereference.* in pt_cmd_callback$",
        steps=("issue",),
    ),
    ("resume-fills-ring", "copies"): KnownBug(
        "ptdma-ring-overrun", r"^\d+ of 40 told success, [1-9]\d* of these never written$"
    ),
    ("rebind", "DMA pools"): KnownBug("ptdma-dma-pool-leak", r"^4: "),
}

# Issued, and never started: the call that was to start it started the copy before it.
_NOT_STARTED = KnownBug(
    "ae4dma-one-start-a-call",
    r"^told nothing \(status in progress\); "
    r"4,096 of 4,096 bytes wrong from 0 on, 4,096 never written$",
)
_AE4_TERMINATE = "ae4dma-terminate-keeps-commands"

_AE4DMA: Mapping[tuple[str, str], KnownBug] = {
    **{
        (scenario, "later copy"): _NOT_STARTED
        for scenario in (
            *("error-fatal", "flip-byte", "partial-copy", "wrong-address"),
            *("interrupt-before-data", "stall-late", "slow-link", "spurious-interrupt"),
            *("duplicate-idle", "out-of-order"),
        )
    },
    ("out-of-order", "copy behind it"): _NOT_STARTED,
    ("mixed-flags", "copy without one"): _NOT_STARTED,
    ("error-fatal", "faulted copy"): KnownBug("ae4dma-error-as-success", _SUCCESS_WITHOUT_DATA),
    ("error-fatal", "error's lines"): KnownBug(
        "ae4dma-error-as-success", r"^5 with the code 0x21$"
    ),
    ("lost-interrupt-asked", "faulted copy"): KnownBug(
        "ae4dma-lost-interrupt",
        r"^told nothing \(status in progress\); 0 of 4,096 bytes wrong$",
    ),
    ("stall-never", "kernel"): KnownBug(
        _AE4_TERMINATE,
        r"general protection fault.* in pt_cmd_callback_work$",
        steps=("clear", "pass 200"),
    ),
    ("out-of-order-given-up", "kernel"): KnownBug(
        _AE4_TERMINATE,
        r"general protection fault.* in ae4_pending_work$",
        steps=("issue", "wait 100"),
    ),
    ("interrupt-descriptor", "kernel"): KnownBug(
        "ptdma-interrupt-descriptor", r"NULL pointer dereference.* in pt_", steps=("issue",)
    ),
}

# By the engines' kind, as the lab file spells it.
KNOWN: Mapping[str, Mapping[tuple[str, str], KnownBug]] = {
    "ptdma": _PTDMA,
    "ae4dma": _AE4DMA,
}


# What kernel-config/driver-fixes corrects.
CORRECTED = frozenset(
    {
        *("ptdma-error-as-success", "ptdma-error-name", "ptdma-gone-as-success"),
        *("ae4dma-error-as-success", "ae4dma-one-start-a-call", "ae4dma-terminate-keeps-commands"),
    }
)

# What shows otherwise with it: None if no longer. The late completion finds no freed descriptor,
# but the hardware is not stopped either.
_WITH_FIXES: Mapping[tuple[str, str], KnownBug | None] = {
    ("stall-never", "kernel"): None,
    ("stall-never", "faulted copy"): KnownBug(
        "ptdma-terminate-leaves-hardware", r"^told nothing .*; 0 of 4,096 bytes wrong$"
    ),
}


def known_bugs(kind: str, scenario: str, *, driver_fixes: bool = False) -> dict[str, KnownBug]:
    """The known bugs of an engine's driver in a scenario, by the aspect they show in.

    Args:
        kind: the engine's, as the lab file spells it.
        scenario: name of the scenario.
        driver_fixes: the driver has our corrections; otherwise it is the stock one.
    """
    table: dict[tuple[str, str], KnownBug | None] = {**KNOWN.get(kind, {})}
    if driver_fixes and kind == "ptdma":
        table.update(_WITH_FIXES)
    return {
        aspect: bug
        for (name, aspect), bug in table.items()
        if name == scenario and bug and not (driver_fixes and bug.bug in CORRECTED)
    }
