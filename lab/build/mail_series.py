# SPDX-License-Identifier: GPL-2.0-or-later
"""The series among mails: one version of it, in its order, nothing missing and nothing twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lab.build.mail import Mail
from lab.build.patch import Patch, has_diff, make_patch, read_diff
from lab.errors import ConfigError

_BASE = re.compile(rb"^base-commit: ([0-9a-f]{12,64})\s*$", re.MULTILINE)
_PREREQUISITE = re.compile(rb"^prerequisite-patch-id: ([0-9a-f]{40,64})\s*$", re.MULTILINE)
# Of a diff that came twice: made on another base, its lines and blobs have other numbers.
_MOVED = re.compile(rb"^(?:@@ -[\d,]+ \+[\d,]+ @@.*|index .*\n)", re.MULTILINE)
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
    announced = [mail for mail in mails if mail.announces]
    tagged = [mail for mail in announced if mail.tag.number is not None]
    if not candidates:
        _refuse_nothing(mails, where, tagged)
    versions = sorted({mail.tag.version for mail in (*candidates, *announced)})
    wanted = versions[-1] if version is None else version
    if wanted not in versions:
        raise ConfigError(
            f"version {wanted} of the series in {where}",
            f"versions {', '.join(str(known) for known in versions)}",
            hint="ask for one of those with --series-version",
        )
    notes = _say_versions(mails, where, versions, wanted)
    of_version = [mail for mail in tagged if mail.tag.version == wanted]
    chosen = [mail for mail in candidates if mail.tag.version == wanted]
    if of_version:
        notes += [
            f"{mail.place} is left out, it has no number in the series: {mail.subject}"
            for mail in chosen
            if mail.tag.number is None
        ]
        chosen = _in_order(chosen, of_version, where, wanted, versions)
    else:
        empty = [mail for mail in announced if mail.tag.version == wanted and not mail.is_patch]
        chosen = _without_numbers(chosen, empty, where, wanted, versions)
        notes += [f"{mail.place} is left out, it has no diff: {mail.subject}" for mail in empty]
        notes += [
            f"{mail.place} answers another mail and is applied all the same: {mail.subject}"
            for mail in chosen
            if mail.answers and len(chosen) > 1
        ]
    notes += [
        f"an attachment of {mail.place} is left out: {name}"
        for mail in chosen
        for name in mail.left_out
    ]
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


def _say_versions(
    mails: Sequence[Mail], where: str, versions: Sequence[int], wanted: int
) -> list[str]:
    notes = []
    if len(versions) > 1:
        others = ", ".join(f"v{known}" for known in versions if known != wanted)
        notes.append(f"{where} holds several versions: taking v{wanted}, leaving {others}")
    answered = max((mail.tag.version for mail in mails if mail.is_reply), default=0)
    if answered > versions[-1]:
        notes.append(f"{where} has replies to v{answered}, but nothing of v{answered} itself")
    return notes


def _in_order(
    chosen: Sequence[Mail],
    tagged: Sequence[Mail],
    where: str,
    version: int,
    versions: Sequence[int],
) -> list[Mail]:
    """The patches by their numbers.

    Args:
        chosen: the patches of the version.
        tagged: all of the version that has a number, the cover letter among them.
        where: what was read, for messages.
        version: the version.
        versions: all versions that there are.

    Raises:
        ConfigError: some are missing or too many, or two mails claim the same place.
    """
    totals = sorted({mail.tag.total or 0 for mail in tagged})
    if len(totals) > 1:
        firsts = [
            next(repr(mail.subject) for mail in tagged if mail.tag.total == total)
            for total in totals
        ]
        raise ConfigError(
            f"one series of version {version} in {where}",
            f"{len(totals)}, of {' and '.join(str(total) for total in totals)} patches: "
            + "; ".join(firsts),
            hint="keep one of them in the file",
        )
    total = totals[0]
    places: dict[int, Mail] = {}
    for mail in chosen:
        number = mail.tag.number
        if number is None:
            continue
        if number > total:
            raise ConfigError(
                f"{total} patches of version {version} in {where}",
                f"one with the number {number}: {mail.place}: {mail.subject}",
                hint="correct its subject, or leave it out",
            )
        known = places.setdefault(number, mail)
        if known.text.strip() != mail.text.strip() and not _same_diff(known, mail):
            raise ConfigError(
                f"one patch {number}/{total} of version {version} in {where}",
                f"two that differ: {known.place} and {mail.place}: {mail.subject}",
                hint="keep the right one",
            )
    missing = [number for number in range(1, total + 1) if number not in places]
    if missing:
        empty = [mail for mail in tagged if mail.tag.number in missing]
        seen = f"missing: {', '.join(f'{number}/{total}' for number in missing)}"
        if empty:
            seen += f"; {empty[0].place} has that number and no diff: {empty[0].subject}"
        awaited = f"all {total} patches of version {version} in {where}"
        raise ConfigError(awaited, seen, hint=_other_version(version, versions))
    return [places[number] for number in range(1, total + 1)]


def _other_version(version: int, versions: Sequence[int]) -> str:
    older = [known for known in versions if known != version]
    if not older:
        return _THREAD_HINT
    return f"{_THREAD_HINT}; or take version {older[-1]} (--series-version {older[-1]})"


def _without_numbers(
    chosen: Sequence[Mail],
    empty: Sequence[Mail],
    where: str,
    version: int,
    versions: Sequence[int],
) -> list[Mail]:
    """The patches in the order in which they came, each once.

    Raises:
        ConfigError: there is none, only mails that say they are.
    """
    if not chosen:
        raise ConfigError(
            f"a patch of version {version} in {where}",
            f"{empty[0].place} has no diff: {empty[0].subject}",
            hint=_other_version(version, versions),
        )
    kept: dict[tuple[str, bytes], Mail] = {}
    for mail in chosen:
        diff = b"" if mail.problem else _unmoved(mail)
        kept.setdefault((mail.title, diff), mail)
    return list(kept.values())


def _same_diff(one: Mail, other: Mail) -> bool:
    """Whether two mails bring the same change to the last space, as after a resend."""
    return has_diff(one.text) and has_diff(other.text) and _unmoved(one) == _unmoved(other)


def _unmoved(mail: Mail) -> bytes:
    """The diff in a mail without what another base changes in it."""
    return _MOVED.sub(b"@@", read_diff(_name(mail), mail.text, mail.remark, place_of=mail.place_of))


def assert_readable(mail: Mail) -> None:
    """Refuse a mail whose text can't be used.

    Raises:
        ConfigError: its character set can't be read.
    """
    if mail.problem is not None:
        raise ConfigError(
            f"readable text in {mail.place}: {mail.subject}",
            mail.problem,
            hint="save the mail as UTF-8, or give the patch as a file",
        )


def _name(mail: Mail) -> str:
    """How messages call the patch in a mail."""
    if mail.tag.number is not None:
        return f"patch {mail.tag.number}/{mail.tag.total}: {mail.title}"
    return f"{mail.place}: {mail.title}" if mail.title != mail.place else mail.place


def _to_patch(mail: Mail) -> Patch:
    assert_readable(mail)
    return make_patch(
        _name(mail),
        mail.title,
        mail.text,
        mail.remark,
        author=mail.sender,
        place_of=mail.place_of,
    )
