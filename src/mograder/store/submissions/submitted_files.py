"""The submissions in a directory, one for each student, however it was filled.

``<student>.py`` is a plain file that was fetched, or a link to the submission that counts,
``<student>_<time>.py``, as a hub or an assignment server keeps it (compatibility-0.3.16.md 9). The
file's stem is the student; nothing in the file says whose it is. An entry that cannot be a
submission, such as any other link, is told and never opened.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.core.name_lookup import listed, nfc
from mograder.core.names import FileName
from mograder.store.submissions.history import stamped_name

_SUFFIX = ".py"
_REMEDY = "Put the notebook itself in its place."


@dataclass(frozen=True, slots=True)
class SubmittedFile:
    """A student's submission: ``path`` is the file to read.

    ``received`` is the time of submission, None where it is unknown, and ``receipt`` the number of
    its receipt. ``problem`` is a sentence that says why it must not be read, empty if it may.
    """

    student: str
    path: Path
    received: datetime | None = None
    receipt: int | None = None
    problem: str = ""


def submitted_file(path: Path) -> SubmittedFile:
    """Return the submission of one path, named by the command line.

    A submission with a time in its name is its student's, whether it counts or not.
    """
    found = stamped_name(path.name)
    if found is not None and not path.is_symlink():
        return _checked(SubmittedFile(nfc(found.user), path, found.received))
    return _entry(path)


def submitted_files(directory: Path) -> tuple[SubmittedFile, ...]:
    """Return the submission that counts of each student in a directory, sorted by student.

    Files whose students differ only in case or in their Unicode form have a problem each, since
    they would be one student's.

    Raises:
        InvalidInput: The directory cannot be read.
    """
    try:
        names = [each.name for each in directory.iterdir() if _is_notebook(each.name)]
    except OSError as error:
        raise InvalidInput(f"{directory} cannot be read: {error.strerror}.") from error
    plain = [_entry(directory / name) for name in names if stamped_name(name) is None]
    files = [*plain, *_without_link(directory, names, {each.student for each in plain})]
    same: dict[str, list[SubmittedFile]] = defaultdict(list)
    for each in files:
        same[each.student.casefold()].append(each)
    groups = (group if len(group) == 1 else _twice(group) for group in same.values())
    told = (each for group in groups for each in group)
    return tuple(sorted(told, key=lambda each: (each.student.casefold(), each.path.name)))


def _is_notebook(name: str) -> bool:
    return name.endswith(_SUFFIX) and not name.startswith(".")


def _entry(path: Path) -> SubmittedFile:
    """Return the submission of ``<student>.py``."""
    student = nfc(path.name.removesuffix(_SUFFIX))
    file = SubmittedFile(student, path)
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


def _without_link(directory: Path, names: Iterable[str], known: set[str]) -> list[SubmittedFile]:
    """Return the newest submission of each student whose link is missing, so that none is lost."""
    newest: dict[str, tuple[tuple[datetime, int], SubmittedFile]] = {}
    for name in names:
        found = stamped_name(name)
        if found is None or nfc(found.user) in known:
            continue
        order = (found.received, found.number)
        file = SubmittedFile(nfc(found.user), directory / name, found.received)
        if file.student not in newest or newest[file.student][0] < order:
            newest[file.student] = (order, file)
    return [_checked(file) for _, file in newest.values()]


def _twice(group: Iterable[SubmittedFile]) -> list[SubmittedFile]:
    names = listed(sorted(ascii(each.path.name) for each in group))
    problem = f"{names} are files of one student. Keep one of them."
    return [replace(each, problem=problem) for each in group]


def _shown(path: Path) -> str:
    """Return a file's name for messages, with escapes for what cannot be printed."""
    return path.name if path.name.isprintable() else ascii(path.name)
