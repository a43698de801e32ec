# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel series, whatever it comes as: mails, a folder of patches, or a range of commits."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from lab.build.git import Repository
from lab.build.mail import read_mails
from lab.build.mail_series import MailedSeries, assert_readable, choose_series
from lab.build.patch import Patch, has_diff, make_patch
from lab.errors import ConfigError

ORDER = "series"
_RANGE = re.compile(r"(?P<repository>.+):(?P<first>[^:.][^:]*?)\.\.(?P<last>[^:.][^:]*)?")
_SUFFIXES = (".patch", ".diff", ".eml", ".mbox", ".mbx")
_DIFF_OPTIONS = (
    *("--full-index", "--binary", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv"),
    *("--src-prefix=a/", "--dst-prefix=b/", "--unified=3", "--diff-algorithm=myers"),
)
_STRIPPED = "-p1"  # quilt's word for what git writes
_MAX_LOOK_BYTES = 16 << 20


@dataclass(frozen=True)
class Series:
    """Patches in their order, all of them whole.

    Attributes:
        origin: what they come from, for messages.
        patches: the patches.
        base_commit: the commit that the series says it is for.
        prerequisites: ids of patches that it says have to be applied before.
        objects: git objects of who made it, for three-way merges.
        notes: what the reader has to know about how it was read.
    """

    origin: str
    patches: tuple[Patch, ...]
    base_commit: str | None = None
    prerequisites: tuple[str, ...] = ()
    objects: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 over the diffs in order: messages and trailers build nothing."""
        digest = hashlib.sha256()
        for patch in self.patches:
            digest.update(hashlib.sha256(patch.diff).digest())
        return digest.hexdigest()

    def followed_by(self, other: Series) -> Series:
        """The series with the patches of `other` on top."""
        origin = f"{self.origin} and {other.origin}"
        return replace(self, origin=origin, patches=self.patches + other.patches)

    def first(self, count: int) -> Series:
        """The series up to a patch."""
        origin = f"{self.origin}, patches 1 to {count}"
        return Series(
            origin, self.patches[:count], self.base_commit, self.prerequisites, self.objects
        )


def read_series(given: str | Path, version: int | None = None) -> Series:
    """The series at a path, or in a range of commits ``REPOSITORY:A..B``.

    A path is an mbox (plain or gzipped), a maildir, one patch, or a folder of patches; a folder's
    file ``series`` gives their order, else their numbers do, else their names.

    Raises:
        ConfigError: there is no whole series; each kind of damage has its own message.
    """
    path = Path(given).expanduser()
    if path.is_dir():
        if (path / "cur").is_dir() and (path / "new").is_dir():
            return _of_mails(str(given), choose_series(read_mails(path), str(given), version))
        return _read_folder(path, version)
    if path.exists():
        return _of_mails(path.name, choose_series(read_mails(path), path.name, version))
    found = _RANGE.fullmatch(str(given))
    if found is not None and Path(found["repository"]).expanduser().is_dir():
        repository = Path(found["repository"]).expanduser()
        _assert_no_version(version, "a range of commits")
        return _read_range(repository, found["first"], found["last"] or "HEAD")
    raise ConfigError(
        "a series: an mbox, a folder of patches, or commits as REPOSITORY:A..B",
        f"nothing at {given}",
        hint="check the path",
    )


def _assert_no_version(version: int | None, what: str) -> None:
    if version is not None:
        raise ConfigError(
            f"mails of several versions to take version {version} from",
            f"{what}, which is one version",
            hint="leave --series-version out",
        )


def _of_mails(origin: str, found: MailedSeries) -> Series:
    return Series(origin, found.patches, found.base_commit, found.prerequisites, notes=found.notes)


def _read_folder(folder: Path, version: int | None) -> Series:
    """A folder of patches, each a mail or a bare diff."""
    if (folder / ORDER).is_file():
        _assert_no_version(version, f"the queue {folder}")
        return read_queue(folder)
    names = [path for path in folder.iterdir() if path.is_file()]
    files = sorted((path for path in names if _is_patch_name(path)), key=_by_numbers)
    if not files:
        looks = "a git repository" if (folder / ".git").exists() else "no file *.patch"
        raise ConfigError(f"patches in {folder}", looks, hint="for commits give REPOSITORY:A..B")
    mails = [mail for path in files for mail in read_mails(path)]
    series = _of_mails(str(folder), choose_series(mails, str(folder), version))
    aside = [path.name for path in sorted(names) if path not in files and _looks_like_patch(path)]
    notes = tuple(f"left out, it isn't called *.patch: {name}" for name in aside)
    return replace(series, notes=series.notes + notes)


def _is_patch_name(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(_SUFFIXES)


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    return [
        (int(part), "") if part.isdigit() else (-1, part)
        for part in re.split(r"([0-9]+)", path.name)
    ]


def _looks_like_patch(path: Path) -> bool:
    if path.name.startswith(".") or path.stat().st_size > _MAX_LOOK_BYTES:
        return False
    return has_diff(path.read_bytes())


def read_queue(folder: Path) -> Series:
    """A patch queue: its file ``series`` names every patch, in order.

    Raises:
        ConfigError: there is no such file, it names a patch that isn't there or none, wants one
            applied otherwise than as it is, or a patch is damaged.
    """
    order = tuple(_read_order(folder))
    try:
        contents = tuple(path.read_bytes() for path in order)
    except OSError:  # says more about it
        contents = ()
    return _read_patches(folder, order, contents)


@functools.lru_cache(maxsize=16)
def _read_patches(folder: Path, order: tuple[Path, ...], _contents: tuple[bytes, ...]) -> Series:
    """The patches of a queue, once for what is in them: a run asks several times, each with git."""
    mails = [mail for path in order for mail in read_mails(path)]
    for mail in mails:
        assert_readable(mail)
    patches = tuple(
        make_patch(
            mail.place,
            mail.title,
            mail.text,
            mail.remark,
            author=mail.sender,
            place_of=mail.place_of,
        )
        for mail in mails
    )
    return Series("/".join(folder.resolve().parts[-2:]), patches)


def _read_order(folder: Path) -> list[Path]:
    """Patches of a queue in the order of its ``series`` file.

    Raises:
        ConfigError: it names a patch that isn't there, or names none.
    """
    order = folder / ORDER
    try:
        lines = order.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"a patch queue at {folder}", str(error)) from error
    names = [line.partition("#")[0].split() for line in lines]
    patches = [folder / words[0] for words in names if words]
    for words in names:
        if words[1:] and words[1:] != [_STRIPPED]:
            raise ConfigError(
                f"patches in {order} that are applied as they are",
                f"{' '.join(words)!r}, with options",
                hint="write the patch as git does (a/, b/), and turned round where it says -R",
            )
    missing = [patch.name for patch in patches if not patch.is_file()]
    if missing or not patches:
        raise ConfigError(
            f"the patches that {order} names",
            f"missing: {', '.join(missing)}" if missing else "it names no patch",
            hint="correct that file, or remove it: then the patches' numbers or names count",
        )
    return patches


def _read_range(path: Path, first: str, last: str) -> Series:
    """The commits that `last` has and `first` hasn't, oldest first.

    Raises:
        ConfigError: no repository, no such commits, or a merge among them.
    """
    repository = Repository(path)
    awaited = f"commits {first}..{last} in {path}"
    hint = "name a linear range of commits that are there, as in ~/linux:v7.3..my-branch"
    ends = []
    for name in (first, last):
        answer = repository.ask(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        )
        if not answer.ok:
            raise ConfigError(awaited, answer.said or f"no commit {name!r}", hint=hint)
        ends.append(answer.text)
    listed = repository.tell("rev-list", "--reverse", "--parents", f"{ends[0]}..{ends[1]}")
    commits = [line.split() for line in listed.decode().splitlines()]
    if not commits:
        raise ConfigError(awaited, "an empty range", hint=hint)
    merges = [commit[0] for commit in commits if len(commit) != 2]  # noqa: PLR2004 - itself, parent
    if merges:
        raise ConfigError(awaited, f"{merges[0][:12]} has not one parent", hint=hint)
    found = [_read_commit(repository, commit[0]) for commit in commits]
    patches = tuple(patch for patch in found if isinstance(patch, Patch))
    if not patches:
        raise ConfigError(awaited, "commits that change nothing", hint=hint)
    notes = tuple(
        f"left out, it changes nothing: {name}" for name in found if isinstance(name, str)
    )
    objects = repository.tell("rev-parse", "--path-format=absolute", "--git-path", "objects")
    origin = f"{path.name}:{first}..{last}"
    base = repository.tell("rev-parse", f"{commits[0][0]}^").decode().strip()
    return Series(origin, patches, base, objects=Path(objects.decode().strip()), notes=notes)


def _read_commit(repository: Repository, commit: str) -> Patch | str:
    """A commit as a patch; its name where it is empty, as one that keeps a cover letter."""
    subject = repository.tell("log", "-1", "--format=%s", "--no-show-signature", commit)
    about = ("log", "-1", "--no-show-signature", commit)
    author = repository.tell(*about, "--format=%an <%ae>").decode("utf-8", errors="replace")
    message = repository.tell(*about, "--format=%b")
    diff = repository.tell("diff-tree", "-p", "--no-commit-id", *_DIFF_OPTIONS, commit)
    title = subject.decode("utf-8", errors="replace").strip()
    name = f"commit {commit[:12]}: {title}"
    if not diff:
        return name
    patch = make_patch(name, title, diff, author=author.strip())
    return replace(patch, message=message)
