"""Grades and feedback documents that an instructor uploads for an assignment.

See compatibility-0.3.16.md 4; B147.

The grades are in ``<root>/<assignment>/grades.json``, the documents in
``<root>/<assignment>/feedback/<user>.html``. Entries of grades keep all keys of the upload. They
are merged under a lock. Each file is replaced atomically: readers see the old one or the new.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import JsonValue
from pydantic_core import from_json

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.files.disk import DISK, Disk, Place, explained_when_full
from mograder.core.names import FileName
from mograder.store.filesystem.parsed_file import ParsedFile, UnreadableFileError
from mograder.store.filesystem.records import make_directories

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
    """One entry of the list: its JSON object, and its user id and username, one may be empty.

    0.3.16 may have written entries of nobody: they are kept, with their ``number`` in the list.
    """

    values: Mapping[str, JsonValue]
    userid: str = ""
    username: str = ""
    number: int = 0

    @property
    def name(self) -> str:
        """The name of the person to whom it is told."""
        return self.username or self.userid

    @property
    def key(self) -> tuple[str, str]:
        """Identifies the entry: its user id, which may be another person's name, or its name."""
        # No name begins with a blank.
        return (self.userid, "") if self.userid else ("", self.username or f" {self.number}")


@dataclass(frozen=True, slots=True)
class _Reading:
    """The parsed file. ``marks`` are by username; an entry without one is found by its user id."""

    entries: tuple[Entry, ...]
    marks: Mapping[str, Mark]


def parse_entries(body: bytes, *, named: bool = True) -> tuple[Entry, ...]:
    """Parse ``{"grades": [...]}`` or a list; ``named``: each has a person. Raises: InvalidInput."""
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput("Invalid JSON") from error
    listed = data.get("grades") if isinstance(data, dict) else data
    if not isinstance(listed, list):
        raise InvalidInput("Expected a list of grades, or an object with a list 'grades'")
    if len(listed) > _MOST:
        raise InvalidInput(f"At most {_MOST} grades at once")
    entries = tuple(_entry(number, value) for number, value in enumerate(listed, start=1))
    nobody = next((each.number for each in entries if not each.name), None)
    if named and nobody is not None:
        raise InvalidInput(f"Grade {nobody} has neither 'userid' nor 'username'")
    return entries


class Grades:
    """The grades of one assignment; may be used from any thread and several processes."""

    def __init__(self, directory: Path, *, disk: Disk = DISK) -> None:
        self._directory = directory
        self._path = directory / GRADES_FILE
        self._file = ParsedFile(self._path, _parse, _LIMIT, "no grade is shown", disk=disk)
        self._disk = disk

    def merge(self, entries: Sequence[Entry]) -> int:
        """Add entries, or update those of a person; return how many. Raises: Conflict, Busy."""
        make_directories(self._directory, mode=0o755, disk=self._disk)
        with self._file.alone() as write:
            merged = _merged(self._read(now=True).entries, entries)
            text = json.dumps(list(merged.values()), indent=2, ensure_ascii=False)
            write(f"{text}\n".encode(), self._mode())
            return len(merged)

    def of(self, user: str) -> Mark | None:
        """Return the grade of a username; None without an entry.

        The user id of an entry that has a username, too, may be another person's name.

        Raises: :class:`Conflict` when the file cannot be parsed.
        """
        return self._read().marks.get(user)

    def _read(self, *, now: bool = False) -> _Reading:
        try:
            return self._file.get(now=now) or _Reading((), {})
        except UnreadableFileError as error:
            raise Conflict(
                f"{GRADES_FILE} of {self._directory.name} cannot be read: {error}.",
                hint="Mend it on the server, or move it away and upload the grades again.",
            ) from error

    def _mode(self) -> int:
        """Return the file's mode, which an instructor may have changed; 0600 for a new file."""
        try:
            return self._path.stat().st_mode & 0o777
        except FileNotFoundError:
            return 0o600


def _merged(
    known: Sequence[Entry], news: Sequence[Entry]
) -> dict[tuple[str, str], dict[str, JsonValue]]:
    """Return the entries by key after an upload.

    A person's entry by username alone and one that has the user id, too, are one: with two, the
    older could be the one that the person sees.
    """
    merged = {each.key: dict(each.values) for each in known}
    numbered = {each.name: each.key for each in known if each.userid}
    for each in news:
        key = each.key if each.userid else numbered.get(each.name, each.key)
        held: dict[str, JsonValue] = {}
        if key[0]:
            name = each.username or _person(merged.get(key, {}).get("username")) or each.userid
            numbered[name] = key
            held = merged.pop(("", name), held)
        merged[key] = {**held, **merged.get(key, {}), **each.values}
    return merged


def _parse(content: bytes) -> _Reading:
    entries = parse_entries(content, named=False)
    marks: dict[str, Mark] = {}
    for each in filter(lambda entry: entry.name, entries):
        alone = not (each.username and each.userid)
        marks[each.name] = _mark(each) if alone else marks.get(each.name, _mark(each))
    return _Reading(entries, marks)


def _entry(number: int, value: object) -> Entry:
    if not isinstance(value, dict):
        raise InvalidInput(f"Grade {number} is not an object")
    if not _is_plain(value, _DEEPEST):
        raise InvalidInput(f"Grade {number} is nested too deeply, or has a number too large")
    return Entry(value, _person(value.get("userid")), _person(value.get("username")), number)


def _person(value: object) -> str:
    """Return a user id or username as text, "" for none."""
    is_one = isinstance(value, int | str) and not isinstance(value, bool)
    return str(value).strip() if is_one else ""


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


class FeedbackUpload:
    """Grows documents in temporary files, which :meth:`finish` renames; not thread-safe."""

    def __init__(self, directory: Path, *, disk: Disk = DISK) -> None:
        self._directory = directory
        self._disk = disk
        self._grown: dict[FileName, Path] = {}

    def open(self, name: FileName) -> BinaryIO:
        """Open a file that replaces an earlier one of this name. Raises: Busy (disk full)."""
        with explained_when_full():
            make_directories(self._directory, mode=0o755, disk=self._disk)
            path = self._directory / f".{secrets.token_hex(8)}.tmp"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if name in self._grown:
            self._grown[name].unlink(missing_ok=True)
        self._grown[name] = path
        return os.fdopen(fd, "wb")

    def finish(self) -> tuple[FileName, ...]:
        """Sync and rename every document; return the names, sorted. Raises: Busy (disk full)."""
        with explained_when_full():
            for path in self._grown.values():
                with path.open("rb") as file:
                    self._disk.fsync(file.fileno())
            for name, path in self._grown.items():
                self._disk.rename(Place.of(path), Place.of(self._directory / name))
            if self._grown:
                self._disk.fsync_directory(self._directory)
        return tuple(sorted(self._grown))

    def abandon(self) -> None:
        for path in self._grown.values():
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def receiving(directory: Path, *, disk: Disk = DISK) -> Iterator[FeedbackUpload]:
    upload = FeedbackUpload(directory, disk=disk)
    try:
        yield upload
    finally:
        upload.abandon()
