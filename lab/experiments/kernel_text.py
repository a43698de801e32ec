# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a module's or a function's code lies in a running kernel.

Source: /proc/kallsyms as root reads it (the kernel's kernel/kallsyms.c): address, type and name of
each symbol, and the module that it belongs to; none for the kernel itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.errors import PremiseError

_SHOWN = 8
# Behind the last function nobody knows where the code ends; a page is what one may take.
_LAST_FUNCTION_BYTES = 4096


@dataclass(frozen=True, order=True)
class _Code:
    """A symbol of code: address, name, and module; "" is the kernel itself."""

    address: int
    name: str
    module: str

    def __str__(self) -> str:
        return f"{self.name} of {self.module or 'the kernel'} at {self.address:#x}"


def text_range(kallsyms: str, *, module: str | None, function: str | None) -> tuple[int, int]:
    """First address of a module's or function's code, and the first one behind it.

    Args:
        kallsyms: text of /proc/kallsyms.
        module: a module's name.
        function: a function's name; with `module`, the one of that module.

    Raises:
        PremiseError: there is no such code, or it isn't in one piece: several functions have the
            name, or others lie between.
    """
    code = _read_code(kallsyms)
    ours = [
        at
        for at, item in enumerate(code)
        if (function is None or item.name == function) and (module is None or item.module == module)
    ]
    what = " of ".join(filter(None, (function, module)))
    if not ours or not code[ours[0]].address:
        raise PremiseError(
            f"the code of {what} in /proc/kallsyms",
            "nothing of that name",
            hint="is its module loaded?",
        )
    start, last = code[ours[0]].address, code[ours[-1]].address
    if function is not None and start != last:
        found = [str(code[at]) for at in ours]
        raise PremiseError(
            f"one function {what}",
            f"{len(found)} of that name: {_listed(found)}",
            hint="say whose it is with module=…; the kernel's fault injection knows one range only",
        )
    between = [
        str(item) for item in code[ours[0] : ours[-1]] if item.module != code[ours[0]].module
    ]
    if between:
        raise PremiseError(
            f"the code of {what} in one piece", f"between its functions are {_listed(between)}"
        )
    behind = [item.address for item in code[ours[-1] + 1 :] if item.address > last]
    return start, behind[0] if behind else last + _LAST_FUNCTION_BYTES


def _read_code(kallsyms: str) -> list[_Code]:
    """All symbols of code, by address."""
    code = []
    for line in filter(None, kallsyms.splitlines()):
        address, kind, name, *owner = line.split()
        if kind in "tTwW":
            code.append(_Code(int(address, 16), name, owner[0].strip("[]") if owner else ""))
    return sorted(code)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more
