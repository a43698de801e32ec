# SPDX-License-Identifier: GPL-2.0-or-later
"""The series among mails: one version of it, in its order, nothing missing and nothing twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lab.build.mail import Mail
from lab.build.patch import Patch, has_diff, make_patch
from lab.errors import ConfigError

_BASE = re.compile(rb"^base-commit: ([0-9a-f]{12,64})\s*$", re.MULTILINE)
_PREREQUISITE = re.compile(rb"^prerequisite-patch-id: ([0-9a-f]{40,64})\s*$", re.MULTILINE)
_THREAD_HINT = "get the whole thread, as from b4 mbox or a mailing-list archive's mbox"


@dataclass(frozen=True)
class MailedSeries:
    """What was found.

    Attributes:
        patches: in order.
        base_commit: the commit that it says it is for.
        prerequisites: patch ids of what it says has to be applied before.
        notes: what was left out, and why.
    """

    patches: tuple[Patch, ...]
    base_commit: str | None
    prerequisites: tuple[str, ...]
    notes: tuple[str, ...]


def choose_series(mails: Sequence[Mail], where: str, version: int | None = None) -> MailedSeries:
    """The newest version of the series among `mails`, or the one asked for.

    Raises:
        ConfigError: there is none, it isn't whole, there are two, or a patch is damaged.
    """
    candidates = [mail for mail in mails if mail.is_patch]
    tagged = [mail for mail in mails if mail.tag.number is not None and not mail.is_reply]
    if not candidates:
        _refuse_nothing(mails, where, tagged)
    versions = sorted({mail.tag.version for mail in candidates})
    wanted = versions[-1] if version is None else version
    if wanted not in versions:
        raise ConfigError(
            f"version {wanted} of the series in {where}",
            f"versions {', '.join(str(known) for known in versions)}",
            hint="ask for one of those with --series-version",
        )
    notes = []
    if len(versions) > 1:
        others = ", ".join(f"v{known}" for known in versions if known != wanted)
        notes.append(f"{where} holds several versions: taking v{wanted}, leaving {others}")
    of_version = [mail for mail in tagged if mail.tag.version == wanted]
    chosen = [mail for mail in candidates if mail.tag.version == wanted]
    numbered = [mail for mail in chosen if mail.tag.number is not None]
    if numbered:
        notes += [
            f"{mail.place} is left out, it has no number in the series: {mail.subject}"
            for mail in chosen
            if mail.tag.number is None
        ]
        chosen = _in_order(numbered, of_version, where, wanted, versions)
    else:
        chosen = _without_repetition(chosen)
    texts = [mail.text for mail in (*of_version, *chosen)]
    return MailedSeries(
        patches=tuple(_to_patch(mail) for mail in chosen),
        base_commit=next(
            (found[1].decode() for text in texts if (found := _BASE.search(text))), None
        ),
        prerequisites=tuple(
            dict.fromkeys(found.decode() for text in texts for found in _PREREQUISITE.findall(text))
        ),
        notes=tuple(notes),
    )


def _refuse_nothing(mails: Sequence[Mail], where: str, tagged: Sequence[Mail]) -> None:
    awaited = f"a series in {where}"
    if not mails:
        raise ConfigError(awaited, "it is empty", hint=_THREAD_HINT)
    replies = sum(mail.is_reply for mail in mails)
    if replies == len(mails):
        seen = f"{replies} mail(s), all of them replies"
    elif tagged:
        seen = f"{len(mails)} mail(s), of which none has a diff of its own; the first is " + (
            repr(tagged[0].subject)
        )
    else:
        seen = f"{len(mails)} mail(s) or files, of which none is a patch ({replies} replies)"
    raise ConfigError(awaited, seen, hint=_THREAD_HINT)


def _in_order(
    numbered: Sequence[Mail],
    tagged: Sequence[Mail],
    where: str,
    version: int,
    versions: Sequence[int],
) -> list[Mail]:
    """The patches by their numbers.

    Raises:
        ConfigError: some are missing, or two mails claim the same place.
    """
    totals = sorted({mail.tag.total or 0 for mail in numbered})
    if len(totals) > 1:
        firsts = [
            next(repr(mail.subject) for mail in numbered if mail.tag.total == total)
            for total in totals
        ]
        raise ConfigError(
            f"one series of version {version} in {where}",
            f"{len(totals)}, of {' and '.join(str(total) for total in totals)} patches: "
            + "; ".join(firsts),
            hint="keep one of them in the file",
        )
    places: dict[int, Mail] = {}
    for mail in numbered:
        number = mail.tag.number or 0
        known = places.setdefault(number, mail)
        if known.text.strip() != mail.text.strip() and not _same_diff(known, mail):
            raise ConfigError(
                f"one patch {number}/{totals[0]} of version {version} in {where}",
                f"two that differ: {known.place} and {mail.place}: {mail.subject}",
                hint="keep the right one",
            )
    missing = [number for number in range(1, totals[0] + 1) if number not in places]
    if missing:
        empty = [mail for mail in tagged if mail.tag.number in missing]
        seen = f"missing: {', '.join(f'{number}/{totals[0]}' for number in missing)}"
        if empty:
            seen += f"; {empty[0].place} has that number and no diff: {empty[0].subject}"
        older = [known for known in versions if known != version]
        hint = _THREAD_HINT
        if older:
            hint += f"; or take version {older[-1]} (--series-version {older[-1]})"
        raise ConfigError(
            f"all {totals[0]} patches of version {version} in {where}", seen, hint=hint
        )
    return [places[number] for number in range(1, totals[0] + 1)]


def _same_diff(one: Mail, other: Mail) -> bool:
    """Whether two mails bring the same change, as after a resend."""
    if not (has_diff(one.text) and has_diff(other.text)):
        return False
    return _to_patch(one).patch_id == _to_patch(other).patch_id


def _without_repetition(mails: Sequence[Mail]) -> list[Mail]:
    kept: list[Mail] = []
    for mail in mails:
        if not any(mail.title == known.title and _same_diff(mail, known) for known in kept):
            kept.append(mail)
    return kept


def _to_patch(mail: Mail) -> Patch:
    name = f"{mail.place}: {mail.title}" if mail.title != mail.place else mail.place
    if mail.tag.number is not None:
        name = f"patch {mail.tag.number}/{mail.tag.total}: {mail.title}"
    if mail.problem is not None:
        raise ConfigError(
            f"readable text in {mail.place}: {mail.subject}",
            mail.problem,
            hint="save the mail as UTF-8, or give the patch as a file",
        )
    return make_patch(name, mail.title, mail.text, mail.remark, author=mail.sender)
