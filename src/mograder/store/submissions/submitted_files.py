"""The names of submissions' files, and the submissions in a directory, however it was filled.

``<student>.py`` is a plain file that was fetched, or a link to the submission that counts,
``<student>_<time>.py``, as a hub or an assignment server keeps it (compatibility-0.3.16.md 9). The
file's stem is the student; nothing in the file says whose it is. An entry that cannot be a
submission, such as any other link, is told and never opened.
"""

from __future__ import annotations

import json
import os
import re
import stat
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from mograder.core.clock import FIRST
from mograder.core.errors import InvalidInput
from mograder.core.name_lookup import listed
from mograder.core.names import FileName, nfc

_STAMPED = re.compile(r"(?P<user>.+)_(?P<time>\d{8}T\d{6})(?:-(?P<number>\d{1,4}))?\.py")
_SAME_SECOND = 1000
_SUFFIX = ".py"
_REMEDY = "Put the notebook itself in its place."


@dataclass(frozen=True, slots=True)
class StampedName:
    """The name of a submission's file: its user, its time, and its number within that second."""

    user: str
    received: datetime
    number: int = 0


def stamped_name(name: str) -> StampedName | None:
    """Return the parts of a file name ``<user>_<time>.py``, None if it has another form."""
    found = _STAMPED.fullmatch(name)
    if found is None:
        return None
    try:
        when = datetime.strptime(found["time"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return StampedName(found["user"], when, int(found["number"] or 0))


def reads_as_a_submission(user: str) -> bool:
    """Return whether ``<user>.py`` has the form of a submission's file name, with a time."""
    return _STAMPED.fullmatch(f"{user}.py") is not None


def names_for(user: str, when: datetime) -> Iterator[str]:
    """Yield the file names that a submission of this second may have, unnumbered first."""
    stem = f"{user}_{when.astimezone(UTC):%Y%m%dT%H%M%S}"
    yield f"{stem}.py"
    for number in range(1, _SAME_SECOND):
        yield f"{stem}-{number}.py"


@dataclass(frozen=True, slots=True)
class SubmittedFile:
    """A student's submission: ``path`` is the file to read.

    ``received`` is the time of submission, None where it is unknown, and ``receipt`` the number of
    its receipt. ``problem`` is a sentence that says why it must not be read, empty if it may.
    ``counts_as`` is the path ``<student>.py`` under which it was found, None for one that was found
    under a name with a time.
    """

    student: str
    path: Path
    received: datetime | None = None
    receipt: int | None = None
    problem: str = ""
    counts_as: Path | None = None


def submitted_files(
    directory: Path,
    recorded: Collection[str] = (),
    *,
    named: Sequence[Path] | None = None,
) -> tuple[SubmittedFile, ...]:
    """Return the submission that counts of each student in a directory, sorted by student.

    With ``named`` these are those of that directory's files instead, in their order: one with a
    time in its name is its student's, whether it counts or not. Of several of one student, such as
    ``*.py`` names, the one is returned that counts among them.

    Students whose names look the same may be one, or two who would be taken for each other. The
    only one whose files ``recorded`` names, else the only one with times in the files' names, keeps
    the submission; each other has a problem that names both.

    Raises: InvalidInput if the directory cannot be read.
    """
    try:
        names = [each.name for each in directory.iterdir() if _is_notebook(each.name)]
    except OSError as error:
        raise InvalidInput(f"{directory} cannot be read: {error.strerror}.") from error
    alike = _Alike(names, recorded)
    if named is not None:
        counting: dict[str, SubmittedFile] = {}
        for file in map(_named, named):
            other = counting.setdefault(file.student, file)
            counting[file.student] = max(other, file, key=_counts)
        return tuple(map(alike.told, counting.values()))
    plain = [name for name in names if stamped_name(name) is None]
    files = [_entry(directory / name) for name in plain]
    # The newest of each student whose link is missing, so that none is lost.
    newest: dict[str, tuple[datetime, int, str]] = {}
    linked = {_owner(name) for name in plain}
    for name in names:
        found = stamped_name(name)
        if found is not None and found.user not in linked:
            this = found.received, found.number, name
            newest[found.user] = max(this, newest.get(found.user, this))
    files += [
        _checked(SubmittedFile(nfc(user), directory / name, received))
        for user, (received, _, name) in newest.items()
    ]
    told = map(alike.told, files)
    return tuple(sorted(told, key=lambda each: (each.student.casefold(), each.path.name)))


def _named(path: Path) -> SubmittedFile:
    found = stamped_name(path.name)
    if found is not None and not path.is_symlink():
        return _checked(SubmittedFile(nfc(found.user), path, found.received))
    return _entry(path)


def _counts(file: SubmittedFile) -> tuple[bool, datetime, int]:
    """Return a key whose largest value has the one of a student's files that counts."""
    found = stamped_name(file.path.name)
    stamp = (FIRST, 0) if found is None else (found.received, found.number)
    return (file.counts_as is not None, *stamp)


def _owner(name: str) -> str:
    """Return the student of a file, as its name spells it."""
    found = stamped_name(name)
    return name.removesuffix(_SUFFIX) if found is None else found.user


class _Alike:
    """Whose names in a directory look the same: case, blanks and forms of Unicode do not count."""

    def __init__(self, names: Iterable[str], recorded: Collection[str]) -> None:
        self._files: dict[str, dict[str, list[str]]] = {}
        self._recorded = frozenset(recorded)
        for name in names:
            owner = _owner(name)
            self._files.setdefault(_look(owner), {}).setdefault(owner, []).append(name)

    def told(self, file: SubmittedFile) -> SubmittedFile:
        """Return the file, with a problem if it may be taken for another's."""
        owner = _owner(file.path.name)
        owners = self._files.get(_look(owner), {})
        if file.problem or len(owners) < 2 or owner not in owners:
            return file
        kept = self._kept(owners)
        if kept == owner:
            return file
        if kept:
            problem = (
                f"{_spelled(owner)} is not graded, since it looks like {_spelled(kept)}, whose "
                f"submission is recorded. Remove it, or give it the student's right name."
            )
        else:
            both = listed([_spelled(each) for each in sorted(owners)])
            problem = (
                f"{both} look like files of one student: none of them is graded. Keep one, under "
                f"the student's right name."
            )
        return replace(file, problem=problem)

    def _kept(self, owners: dict[str, list[str]]) -> str:
        """Return the one among students that look the same who has a record, "" if none has."""
        for has in (self._recorded.__contains__, stamped_name):
            found = [each for each, names in owners.items() if any(map(has, names))]
            if found:
                return found[0] if len(found) == 1 else ""
        return ""


def _look(name: str) -> str:
    same = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(same.split())


def _spelled(owner: str) -> str:
    """Return the name of a student's file, so that names that look the same can be told apart."""
    return ascii(f"{owner}{_SUFFIX}")


def _is_notebook(name: str) -> bool:
    return name.endswith(_SUFFIX) and not name.startswith(".")


def _entry(path: Path) -> SubmittedFile:
    """Return the submission of ``<student>.py``."""
    student = nfc(path.name.removesuffix(_SUFFIX))
    file = SubmittedFile(student, path, counts_as=path)
    if not path.is_symlink():
        return _checked(file)
    target = os.readlink(path)  # noqa: PTH115 - a Path would hide a slash
    found = stamped_name(target)
    if found is None or nfc(found.user) != student:
        problem = f"{_shown(path)} is a link, and not to a submission of its student. {_REMEDY}"
        return replace(file, problem=problem)
    return _checked(replace(file, path=path.with_name(target), received=found.received))


def _checked(file: SubmittedFile) -> SubmittedFile:
    """Return the file, with a problem unless it is a regular file with a usable name."""
    problem = ""
    if FileName.valid(f"{file.student}{_SUFFIX}") is None or not file.student:
        problem = f"{_shown(file.path)} is no name for a student's files. Rename it."
        file = replace(file, student=_shown(Path(file.student)))
    else:
        try:
            regular = stat.S_ISREG(file.path.lstat().st_mode)
            problem = "" if regular else f"{_shown(file.path)} is no regular file. {_REMEDY}"
        except OSError as error:
            problem = f"{_shown(file.path)} cannot be read: {error.strerror}."
    return replace(file, problem=problem)


def _shown(path: Path) -> str:
    """Return a file's name for messages, with escapes for what cannot be printed."""
    return path.name if path.name.isprintable() else ascii(path.name)


METADATA = ".fetch_metadata.json"
"""Unix time of submission by username."""

_LATEST = 1 << 53


def read_numbers(directory: Path, name: str = METADATA) -> dict[str, float]:
    """Return the numbers by username in a file of an earlier run or of 0.3.16, {} if unreadable."""
    try:
        found = json.loads((directory / name).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    numbers = ((user, at) for user, at in found.items() if isinstance(at, int | float))
    return {user: at for user, at in numbers if abs(at) < _LATEST}
