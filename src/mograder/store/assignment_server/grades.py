"""``grades.json``: the list of grades that an instructor uploads for an assignment.

See compatibility-0.3.16.md 4; B147.

Entries keep all keys of the upload. They are merged under a lock, and the file is replaced
atomically: readers see the old grades or the new ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue
from pydantic_core import from_json

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.files.disk import DISK, Disk
from mograder.core.files.shared_files import SharedFile, again_if_stale
from mograder.store.filesystem.files import atomic_write
from mograder.store.filesystem.records import locked_directory, make_directories

GRADES_FILE = "grades.json"
_LIMIT = 64 * 1024 * 1024
_MOST = 100_000
_DEEPEST = 8
_LARGEST_NUMBER = 2**63


@dataclass(frozen=True, slots=True)
class Mark:
    """The grade and feedback shown to a student; ``grade`` is None if not yet graded."""

    grade: str | None
    feedback: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the list: its user id or username as ``key``, and its JSON object."""

    key: str
    values: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class _Reading:
    """The parsed file; valid while ``stamp`` equals that of the file on disk."""

    stamp: tuple[int, int, int]
    marks: Mapping[str, Mark]


def parse_entries(body: bytes) -> tuple[Entry, ...]:
    """Parse an upload: ``{"grades": [...]}``, or the list alone.

    Raises: :class:`InvalidInput` if any part of it is invalid.
    """
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput("Invalid JSON") from error
    listed = data.get("grades") if isinstance(data, dict) else data
    if not isinstance(listed, list):
        raise InvalidInput("Expected a list of grades, or an object with a list 'grades'")
    if len(listed) > _MOST:
        raise InvalidInput(f"At most {_MOST} grades at once")
    return tuple(_entry(number, value) for number, value in enumerate(listed, start=1))


class Grades:
    """The grades of one assignment; may be used from any thread and several processes.

    Mutable state: ``_last``, the last parsed file, replaced as a whole.
    """

    def __init__(self, directory: Path, *, disk: Disk = DISK) -> None:
        self._last: _Reading | None = None
        self._directory = directory
        self._path = directory / GRADES_FILE
        self._file = SharedFile(self._path, disk=disk)
        self._disk = disk

    def merge(self, entries: Sequence[Entry]) -> int:
        """Add entries, or update those with the same key; return the number of all entries.

        Raises: :class:`Conflict` when the existing file cannot be parsed,
        :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        make_directories(self._directory, mode=0o755, disk=self._disk)
        with locked_directory(self._directory, disk=self._disk):
            merged = {each.key: dict(each.values) for each in self._entries()}
            for each in entries:
                merged[each.key] = {**merged.get(each.key, {}), **each.values}
            text = json.dumps(list(merged.values()), indent=2, ensure_ascii=False)
            atomic_write(self._path, f"{text}\n".encode(), self._mode(), disk=self._disk)
            return len(merged)

    def of(self, user: str) -> Mark | None:
        """Return the grade of a user id or username; None without an entry.

        Raises: :class:`Conflict` when the file cannot be parsed.
        """
        return self._reading().marks.get(user)

    def _reading(self) -> _Reading:
        """Return the marks by key and by username; parse the file again if it changed."""
        try:
            status = self._file.status()
        except FileNotFoundError:
            return _Reading((0, 0, 0), {})
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        last = self._last
        if last is None or last.stamp != stamp:
            marks: dict[str, Mark] = {}
            for each in self._entries():
                mark = _mark(each)
                marks[each.key] = mark
                if isinstance(name := each.values.get("username"), str):
                    marks.setdefault(name.strip(), mark)
            self._last = last = _Reading(stamp, marks)
        return last

    def _content(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(_LIMIT + 1)

    def _entries(self) -> tuple[Entry, ...]:
        try:
            content = again_if_stale(self._content)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._broken(str(error)) from error
        if len(content) > _LIMIT:
            raise self._broken("it is too large")
        try:
            return parse_entries(content)
        except InvalidInput as error:
            raise self._broken(error.message) from error

    def _broken(self, reason: str) -> Conflict:
        return Conflict(
            f"{GRADES_FILE} of {self._directory.name} cannot be read: {reason}.",
            hint="Mend it on the server, or move it away and upload the grades again.",
        )

    def _mode(self) -> int:
        """Return the file's mode, which an instructor may have changed; 0600 for a new file."""
        try:
            return self._path.stat().st_mode & 0o777
        except FileNotFoundError:
            return 0o600


def _entry(number: int, value: object) -> Entry:
    if not isinstance(value, dict):
        raise InvalidInput(f"Grade {number} is not an object")
    if not _is_plain(value, _DEEPEST):
        raise InvalidInput(f"Grade {number} is nested too deeply, or has a number too large")
    for name in ("userid", "username"):
        person = value.get(name)
        if isinstance(person, int | str) and not isinstance(person, bool) and str(person).strip():
            return Entry(str(person).strip(), value)
    raise InvalidInput(f"Grade {number} has neither 'userid' nor 'username'")


def _mark(entry: Entry) -> Mark:
    grade, feedback = entry.values.get("grade"), entry.values.get("feedback")
    text = None if grade is None or grade == "" else _text(grade)
    return Mark(text, "" if feedback is None else _text(feedback))


def _is_plain(value: object, depth: int) -> bool:
    """Whether a value is at most ``depth`` levels deep, with numbers that fit 64 bits."""
    if depth == 0:
        return False
    if isinstance(value, dict):
        return all(_is_plain(each, depth - 1) for each in value.values())
    if isinstance(value, list):
        return all(_is_plain(each, depth - 1) for each in value)
    return not isinstance(value, int | float) or abs(value) < _LARGEST_NUMBER


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
