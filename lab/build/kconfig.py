# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration fragments, and the check that the resolved configuration is what they say.

Kconfig drops a wish whose dependencies don't hold without a word. So every line of every fragment
is looked for in the result, and what is missing is reported with its likely cause.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import BuildError, ConfigError

_SET = re.compile(r"^(CONFIG_[A-Za-z0-9_]+)=(.+)$")
_UNSET = re.compile(r"^# (CONFIG_[A-Za-z0-9_]+) is not set$")
# What is meant to be "is not set" and would be a comment to kconfig.
_NEARLY_UNSET = re.compile(r"^\s*#+\s*(?:CONFIG_)?[A-Za-z0-9_]+\s+is\s+not\s+set\b")
_WORD = re.compile(r"\b[A-Z0-9_]{2,}\b")
_MAX_CAUSES = 3
_SHOWN = 5


@dataclass(frozen=True)
class Wish:
    """One line of a fragment: `value` is None for "is not set"."""

    symbol: str
    value: str | None
    fragment: str

    @property
    def line(self) -> str:
        """As it stands in a configuration."""
        if self.value is None:
            return f"# {self.symbol} is not set"
        return f"{self.symbol}={self.value}"


def parse_config(text: str) -> dict[str, str | None]:
    """Symbols of a configuration; None is "is not set", which ``=n`` says, too."""
    symbols: dict[str, str | None] = {}
    for line in text.splitlines():
        if found := _SET.match(line.rstrip()):
            symbols[found[1]] = None if found[2] == "n" else found[2]
        elif found := _UNSET.match(line.rstrip()):
            symbols[found[1]] = None
    return symbols


def read_fragments(paths: Sequence[Path]) -> list[Wish]:
    """The wishes of several fragments.

    Raises:
        ConfigError: a fragment can't be read, has a line that is none of a configuration, or two
            say something about the same symbol.
    """
    wishes: dict[str, Wish] = {}
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"a configuration fragment at {path}", str(error)) from error
        _assert_lines(text, path)
        for symbol, value in parse_config(text).items():
            if symbol in wishes:
                raise ConfigError(
                    "each symbol in one fragment only, so that their order has no meaning",
                    f"{symbol} in {wishes[symbol].fragment} and {path.name}",
                    hint=f"remove {symbol} from one of them",
                )
            wishes[symbol] = Wish(symbol, value, path.name)
    return list(wishes.values())


def _assert_lines(text: str, path: Path) -> None:
    """Refuse what would be passed over: kconfig takes such lines for nothing, without a word.

    Raises:
        ConfigError: a line is neither blank, a comment nor an assignment, or contradicts another.
    """
    wrong = []
    symbols: dict[str, str | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        told = parse_config(line)
        comment = line.lstrip().startswith("#") and _NEARLY_UNSET.match(line) is None
        if not told and line.strip() and not comment:
            wrong.append(f"line {number}: {line!r}")
        wrong += [
            f"line {number}: {line!r}, and another value before"
            for symbol, value in told.items()
            if symbols.get(symbol, value) != value
        ]
        symbols |= told
    if wrong:
        raise ConfigError(
            f"lines CONFIG_X=value or # CONFIG_X is not set in the configuration fragment {path}",
            "; ".join(wrong[:_SHOWN]),
            hint="spell them exactly so, from the line's first column and without blanks around =",
        )


def select_fragments(folder: Path, base: str, variant: str, *, patched: bool) -> list[Path]:
    """Fragments of a variant, as ``fragments.toml`` in `folder` lists them, and the base's own.

    Raises:
        ConfigError: the list can't be read, or there is no such variant or no fragment of the base.
    """
    table = folder / "fragments.toml"
    try:
        data = tomllib.loads(table.read_text(encoding="utf-8"))
        names = list(data["variants"][variant])
        names += list(data["series"]["fragments"]) if patched else []
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"a readable list of fragments at {table}", str(error)) from error
    except (KeyError, TypeError) as error:
        seen = f"nothing under {error}"
        raise ConfigError(f"the fragments of variant {variant!r} in {table}", seen) from error
    own = folder / "bases" / f"{base}.config"
    if not own.is_file():
        raise ConfigError(
            f"what the kernel base {base} calls by another name than the others, in {own}",
            "there is no such file",
            hint="start from that of the nearest base; the build names what is wrong in it",
        )
    return [*(folder / f"{name}.config" for name in names), own]


@dataclass(frozen=True)
class Unmet:
    """A wish that the resolved configuration doesn't fulfil."""

    wish: Wish
    got: str | None
    known: bool

    @property
    def seen(self) -> str:
        """The symbol's line in the resolved configuration."""
        if not self.known:
            return "no such line"
        return Wish(self.wish.symbol, self.got, "").line


def find_unmet(wishes: Sequence[Wish], resolved: Mapping[str, str | None]) -> list[Unmet]:
    """Wishes that did not come true. A symbol that isn't there at all counts as not set."""
    return [
        Unmet(wish, resolved.get(wish.symbol), wish.symbol in resolved)
        for wish in wishes
        if resolved.get(wish.symbol) != wish.value
    ]


def split_known(wishes: Sequence[Wish], source: Path) -> tuple[list[Wish], list[Wish]]:
    """Wishes for symbols that a source tree defines, and those that want one which it doesn't.

    What isn't there is off, so a wish that it be off is neither.
    """
    defined = find_definitions(source, {wish.symbol for wish in wishes})
    known = [wish for wish in wishes if wish.symbol in defined]
    unknown = [
        wish for wish in wishes if wish.symbol not in defined and wish.value not in {None, '""'}
    ]
    return known, unknown


def check_config(wishes: Sequence[Wish], config: Path, source: Path) -> None:
    """Compare a resolved configuration with its fragments.

    Raises:
        BuildError: at least one line did not come true; each is named with its likely cause.
    """
    resolved = parse_config(config.read_text(encoding="utf-8"))
    unmet = find_unmet(wishes, resolved)
    if not unmet:
        return
    definitions = find_definitions(source, {item.wish.symbol for item in unmet})
    lines = [
        f"{item.wish.fragment}: {item.wish.line}: got {item.seen}: "
        + explain(item, definitions.get(item.wish.symbol, []), resolved)
        for item in unmet
    ]
    raise BuildError(
        "a configuration that holds every line of its fragments",
        "\n".join(lines),
        log=config,
        hint="correct the fragments (kernel-config/ has the lab's), or turn on what they depend on",
    )


@dataclass(frozen=True)
class Definition:
    """A ``config`` block of a Kconfig file: where, on what it depends, and its prompt."""

    place: str
    depends: tuple[str, ...]
    has_prompt: bool


def find_definitions(source: Path, symbols: set[str]) -> dict[str, list[Definition]]:
    """Where the kernel's Kconfig files define `symbols`; x86's and the generic files count."""
    names = {symbol.removeprefix("CONFIG_") for symbol in symbols}
    found: dict[str, list[Definition]] = {}
    for path in sorted(source.rglob("Kconfig*")):
        folders = path.relative_to(source).parts[:-1]
        foreign = folders[:1] == ("arch",) and folders[1:2] not in {(), ("x86",)}
        built = any(folder.startswith("out-") for folder in folders)
        if path.is_file() and not foreign and not built:
            text = path.read_text(encoding="utf-8", errors="replace")
            for name, definition in _definitions(text, str(path.relative_to(source)), names):
                found.setdefault(f"CONFIG_{name}", []).append(definition)
    return found


def _definitions(text: str, place: str, names: set[str]) -> list[tuple[str, Definition]]:
    found = []
    conditions: list[str] = []
    name, prompt, line_number = "", False, 0
    depends: list[str] = []
    blocks: list[tuple[str, int, list[str], bool]] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        word, _, rest = line.partition(" ")
        if word in {"config", "menuconfig", "if", "endif", "menu", "endmenu", "choice", "source"}:
            if name in names:
                blocks.append((name, line_number, depends, prompt))
            name, depends, prompt, line_number = "", list(conditions), False, number
        if word in {"config", "menuconfig"}:
            name = rest.strip()
        elif word == "if":
            conditions.append(rest.strip())
        elif word == "endif" and conditions:
            conditions.pop()
        elif line.startswith("depends on "):
            depends.append(line.removeprefix("depends on ").strip())
        elif word in {"bool", "tristate", "int", "hex", "string", "prompt"} and '"' in rest:
            prompt = True
    if name in names:
        blocks.append((name, line_number, depends, prompt))
    for block_name, block_line, block_depends, block_prompt in blocks:
        definition = Definition(f"{place}:{block_line}", tuple(block_depends), block_prompt)
        found.append((block_name, definition))
    return found


def explain(
    unmet: Unmet, definitions: Sequence[Definition], resolved: Mapping[str, str | None]
) -> str:
    """The likely cause in words."""
    if not definitions:
        return "this kernel has no such symbol"
    causes = []
    for definition in definitions[:_MAX_CAUSES]:
        off = sorted(
            {
                word
                for condition in definition.depends
                for word in _WORD.findall(condition)
                if resolved.get(f"CONFIG_{word}") is None
            }
        )
        if unmet.wish.value is None:
            causes.append(f"something selects it ({definition.place})")
        elif off:
            causes.append(f"depends on what is off: {', '.join(off)} ({definition.place})")
        elif not definition.has_prompt:
            causes.append(f"has no prompt, so only a select sets it ({definition.place})")
        else:
            causes.append(f"its range, choice or default decided otherwise ({definition.place})")
    return "; ".join(causes)
