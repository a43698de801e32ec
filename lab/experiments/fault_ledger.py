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
    """

    bug: str
    reaction: str


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

_PTDMA: Mapping[tuple[str, str], KnownBug] = {
    ("error-illegal-engine", "faulted copy"): _ERROR_AS_SUCCESS,
    ("error-illegal-length", "faulted copy"): _ERROR_AS_SUCCESS,
    ("error-illegal-length", "error's name"): KnownBug(
        "ptdma-error-name", r"PTDMA error: ERR 12: ILLEGAL_MEM_SEL \(0x9\)$"
    ),
    ("error-write-decode", "faulted copy"): _ERROR_AS_SUCCESS,
    # What is read behind the table's end is another thing in every build, and can be anything.
    ("error-write-decode", "error's name"): KnownBug(
        "ptdma-error-name", r"PTDMA error: .* \(0x27\)$"
    ),
    ("error-lsb-parity", "faulted copy"): _ERROR_AS_SUCCESS,
    ("error-lsb-parity", "error's name"): KnownBug(
        "ptdma-error-name", r"PTDMA error: .* \(0x2b\)$"
    ),
    ("error-polled", "faulted copy"): _ERROR_AS_SUCCESS,
    ("stall-never", "kernel"): KnownBug(
        "ptdma-terminate-leaves-hardware", r"general protection fault.* in pt_cmd_callback"
    ),
    ("duplicate-busy", "queued copy"): KnownBug("ptdma-stray-completion", _TOO_EARLY),
    ("all-ones", "faulted copy"): _GONE_AS_SUCCESS,
    ("all-ones", "queued copy"): _GONE_AS_SUCCESS,
    ("mixed-flags", "copy with an interrupt"): KnownBug(
        "ptdma-interrupt-enable-shared",
        r"^told nothing \(status not asked\); 0 of 4,096 bytes wrong$",
    ),
    ("pause-resume", "faulted copy"): KnownBug("ptdma-resume-completes", _TOO_EARLY),
    ("pause-resume", "queued copy"): KnownBug("ptdma-resume-completes", _TOO_EARLY),
    ("interrupt-descriptor", "kernel"): KnownBug(
        "ptdma-interrupt-descriptor", r"NULL pointer dereference.* in pt_"
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
        _AE4_TERMINATE, r"general protection fault.* in pt_cmd_callback_work$"
    ),
    ("out-of-order-given-up", "kernel"): KnownBug(
        _AE4_TERMINATE, r"general protection fault.* in ae4_pending_work$"
    ),
    ("interrupt-descriptor", "kernel"): KnownBug(
        "ptdma-interrupt-descriptor", r"NULL pointer dereference.* in pt_"
    ),
}

# By the engines' kind, as the lab file spells it.
KNOWN: Mapping[str, Mapping[tuple[str, str], KnownBug]] = {
    "ptdma": _PTDMA,
    "ae4dma": _AE4DMA,
}


# What kernel-config/driver-fixes corrects.
CORRECTED = frozenset({"ptdma-error-as-success", "ptdma-error-name"})


def known_bugs(kind: str, scenario: str, *, driver_fixes: bool = False) -> dict[str, KnownBug]:
    """The known bugs of an engine's driver in a scenario, by the aspect they show in.

    Args:
        kind: the engine's, as the lab file spells it.
        scenario: name of the scenario.
        driver_fixes: the driver has our corrections; otherwise it is the stock one.
    """
    return {
        aspect: bug
        for (name, aspect), bug in KNOWN.get(kind, {}).items()
        if name == scenario and not (driver_fixes and bug.bug in CORRECTED)
    }
