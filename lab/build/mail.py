# SPDX-License-Identifier: GPL-2.0-or-later
"""Mails of an mbox, a maildir or a file: subject, series tag and text, whatever their encoding."""

from __future__ import annotations

import gzip
import mailbox
import re
import zlib
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from pathlib import Path

from lab.build.patch import has_diff
from lab.errors import ConfigError

_GZIP = b"\x1f\x8b"
# A separator has a date and a header below it; a line of a message that starts with "From " hasn't.
_SEPARATOR = re.compile(rb"^From ([^\n]*)\n(?=[!-9;-~]+:)", re.MULTILINE)
_TIME, _YEAR = re.compile(rb"\d\d:\d\d"), re.compile(rb"\d{4}")
_HEADER = re.compile(rb"^(?:From |[!-9;-~]+:)")
_BRACKETS = re.compile(r"^\s*((?:\[[^\]]*\]\s*)+)")
_NUMBERS = re.compile(r"(?<![\w./])(\d+)\s*/\s*(\d+)(?![\w./])")
_VERSION = re.compile(r"(?:(?<![A-Za-z0-9])|(?<=PATCH))v(\d+)(?![A-Za-z0-9])", re.IGNORECASE)
_REPLY = re.compile(r"^\s*(?:re|aw|sv|antw|vs|fwd?)\s*(?:\[\d+\])?\s*:", re.IGNORECASE)
_IS_PATCH = re.compile(r"\b(?:PATCH|RFC)|\d/\d", re.IGNORECASE)
_ANY_PATCH = re.compile(r"\[[^\]]*PATCH[^\]]*\]", re.IGNORECASE)
_NOT_THE_PATCH = re.compile(r"(?:inter|range)-?diff", re.IGNORECASE)
_PATCH_TYPES = {"text/plain", "text/x-patch", "text/x-diff", "application/x-patch"}


@dataclass(frozen=True)
class Tag:
    """What ``[PATCH v3 2/6]`` says; number and total are None without ``2/6``."""

    version: int
    number: int | None
    total: int | None


@dataclass(frozen=True)
class Mail:
    """A mail, or a bare patch file taken for one.

    Attributes:
        place: where it stands, for messages.
        subject: the whole subject.
        title: the subject without its brackets.
        tag: what the brackets say; of a reply, what those of its subject say of the other mail.
        is_reply: answers to patches quote them, and are none.
        text: its text parts, decoded.
        problem: why its text can't be used.
        remark: what may have damaged a diff in it.
        sender: its author, for a patch's sign-off; None where it says none.
        answers: whether it says which mail it answers; patches of a thread do, too.
        left_out: attachments with a diff that is none of the patch.
        stands: the file and the line of it that `text` starts at; None where its lines aren't those
            of a file, as of base64.
    """

    place: str
    subject: str
    title: str
    tag: Tag
    is_reply: bool
    text: bytes
    problem: str | None = None
    remark: str | None = None
    sender: str | None = None
    answers: bool = False
    left_out: tuple[str, ...] = ()
    stands: tuple[Path, int] | None = field(default=None, compare=False)

    def place_of(self, line: int) -> str:
        """Where a line of `text`, counted from 1, is found, for messages."""
        if self.stands is None:
            return f"line {line} of the mail's body"
        path, first = self.stands
        return f"{path}:{first + line - 1}"

    @property
    def announces(self) -> bool:
        """Whether its subject says that it is part of a series, with a diff or without."""
        brackets = self.subject.removesuffix(self.title)
        return not self.is_reply and (self.tag.number is not None or "PATCH" in brackets.upper())

    @property
    def is_patch(self) -> bool:
        """Whether it brings a diff of its own, or says that it does and can't be read."""
        if self.is_reply or self.tag.number == 0:
            return False
        return has_diff(self.text) or (self.problem is not None and "PATCH" in self.subject)


def read_mails(path: Path) -> list[Mail]:
    """The mails in a file (mbox, gzipped or not; one mail; a bare diff) or a maildir.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        raws: list[tuple[bytes, int | None]]  # with the line of the file that each starts at
        if path.is_dir():
            box = mailbox.Maildir(path, create=False)
            raws = [(box.get_bytes(key), None) for key in sorted(box.keys())]
        else:
            raws = _split(_content(path))
    except (OSError, EOFError, zlib.error, MessageError) as error:
        raise ConfigError(
            f"a readable series at {path}", str(error), hint="check the path and its permissions"
        ) from error
    several = len(raws) > 1
    mails = []
    for number, (raw, first) in enumerate(raws, 1):
        place = f"mail {number} of {path.name}" if several else path.name
        mail = _read_mail(raw, place, path.stem)
        before = _lines_before(raw, mail.text) if first is not None else None
        if first is not None and before is not None:
            mail = replace(mail, stands=(path, first + before))
        mails.append(mail)
    return mails


def _content(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if raw.startswith(_GZIP) else raw


def _lines_before(raw: bytes, text: bytes) -> int | None:
    """Lines of a raw mail before its text, if that stands in it as it is; None if it doesn't."""
    raw = _unix(raw)
    at = raw.find(text) if text else -1
    return raw.count(b"\n", 0, at) if at >= 0 else None


def _split(raw: bytes) -> list[tuple[bytes, int | None]]:
    """The mails in a file, each with the line that it starts at."""
    starts = [found.start() for found in _SEPARATOR.finditer(raw) if _has_date(found[1])]
    if not starts or raw[: starts[0]].strip():
        starts.insert(0, 0)
    ends = [*starts[1:], len(raw)]
    pieces: list[tuple[bytes, int | None]] = []
    line = 1
    for start, end in zip(starts, ends, strict=True):
        piece = raw[start:end]
        if piece.strip():
            pieces.append((piece, line))
        line += piece.count(b"\n")
    return pieces


def _has_date(line: bytes) -> bool:
    time = _TIME.search(line)
    return time is not None and _YEAR.search(line, time.end()) is not None


def _read_mail(raw: bytes, place: str, stem: str) -> Mail:
    if not _HEADER.match(raw.lstrip()):
        return Mail(place, stem, stem, Tag(1, None, None), is_reply=False, text=_unix(raw))
    raw = raw.lstrip()
    message = message_from_bytes(raw.partition(b"\n")[2] if raw.startswith(b"From ") else raw)
    subject = _header(message, "Subject") or stem
    found = _BRACKETS.match(subject)
    brackets, title = (found[1], subject[found.end() :]) if found else ("", subject)
    answers = "In-Reply-To" in message or "References" in message
    is_reply = _is_reply(brackets, title, answers=answers)
    other = _ANY_PATCH.search(title) if is_reply else None
    text, problem, remark, left_out = _text(message)
    return Mail(
        place=place,
        subject=subject,
        title=title.strip(),
        tag=read_tag(other[0] if other else brackets),
        is_reply=is_reply,
        text=text,
        problem=problem,
        remark=remark,
        sender=_header(message, "From") or None,
        answers=answers,
        left_out=left_out,
    )


def _is_reply(brackets: str, title: str, *, answers: bool) -> bool:
    """Whether a subject is that of an answer; ``[PATCH] fw: …`` is about firmware."""
    if _IS_PATCH.search(brackets) or not _REPLY.match(title):
        return False
    return answers or _ANY_PATCH.search(title) is not None


def read_tag(brackets: str) -> Tag:
    """Version and numbers out of ``[RFC PATCH v3 2/6]``; kernels as in 5.10/5.15 are neither."""
    version = _VERSION.search(brackets)
    numbers = _NUMBERS.findall(brackets)
    return Tag(
        version=int(version[1]) if version else 1,
        number=int(numbers[-1][0]) if numbers else None,
        total=int(numbers[-1][1]) if numbers else None,
    )


def _header(message: Message, name: str) -> str:
    raw = message.get(name)
    if raw is None:
        return ""
    try:
        text = str(make_header(decode_header(raw)))
    except (LookupError, ValueError, MessageError):
        text = str(raw)
    return " ".join(text.split())


def _text(message: Message) -> tuple[bytes, str | None, str | None, tuple[str, ...]]:
    """The text of a mail, why it can't be used, what may have damaged it, and what isn't of it.

    A diff in the mail itself is the patch; attached ones count where there is none.
    """
    inline: list[bytes] = []
    attached: list[tuple[str, bytes]] = []
    problem = remark = None
    for part in message.walk():
        name = part.get_filename() or ""
        if part.get_content_type() not in _PATCH_TYPES and not name.endswith((".patch", ".diff")):
            continue
        payload = part.get_payload(decode=True)
        if not isinstance(payload, bytes):
            continue
        text, wrong = _to_utf8(payload, part.get_content_charset())
        problem = problem or wrong
        if part.get_param("format") == "flowed":
            remark = "the mail is format=flowed, which breaks long lines and moves spaces"
        if name or part.get_content_type() != "text/plain":
            attached.append((name, _unix(text)))
        else:
            inline.append(_unix(text))
    whole = any(has_diff(text) for text in inline)
    others = [
        (name, text)
        for name, text in attached
        if has_diff(text) and (whole or _NOT_THE_PATCH.search(name))
    ]
    pieces = [*inline, *(text for name, text in attached if (name, text) not in others)]
    return b"\n".join(pieces), problem, remark, tuple(name or "a part" for name, _text in others)


def _to_utf8(payload: bytes, charset: str | None) -> tuple[bytes, str | None]:
    """A part's text in UTF-8; what is said to be that, or nothing, stays as it is."""
    if charset is None or charset in {"utf-8", "us-ascii", "unknown-8bit", "y"}:
        return payload, None
    try:
        return payload.decode(charset).encode("utf-8"), None
    except (LookupError, UnicodeError) as error:
        return b"", f"its text is said to be {charset!r} and can't be read as that: {error}"


def _unix(text: bytes) -> bytes:
    """A text whose lines all end in CR LF, as some servers encode them, with LF alone."""
    if text.count(b"\r\n") and text.count(b"\r\n") == text.count(b"\n"):
        return text.replace(b"\r\n", b"\n")
    return text
