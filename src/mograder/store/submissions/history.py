"""The contents of a directory of submissions, in memory: each user's, and the one that counts.

The files are authoritative: ``<user>_<UTC time>.py`` each, and ``<user>.py``, a link to the one
that counts (B157, B158). The records beside them add the digest, the milliseconds and the number
of each; they may be missing, for submissions of 0.3.16 or after a power cut.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from mograder.core.clock import from_unix, from_unix_or_none
from mograder.core.errors import NotFound
from mograder.core.files.disk import DISK, Disk, SharedFile
from mograder.core.names import INSTRUCTOR, Username, nfc
from mograder.store.filesystem.records import Records
from mograder.store.submissions.submitted_files import (
    read_numbers,
    reads_as_a_submission,
    stamped_name,
)


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission; ``size`` (bytes) and ``sha256`` are None if the file was not yet read.

    ``sequence`` counts this user's submissions to this item, from 1; ``late`` is relative to the
    due date at the time of submission, None if no record tells it.
    """

    user: str
    filename: str
    received: AwareDatetime
    sequence: int
    late: bool | None = None
    size: int | None = None
    sha256: str | None = None


RECEIPTS = "receipts"
"""The directory of the records, in the program's own directory."""

RECORD = TypeAdapter(Submission)
"""A submission as JSON in one line of the records, with size and digest."""


@dataclass(slots=True)
class Person:
    """In the order of arrival; ``last`` is the highest number ever given, also to removed files."""

    submissions: list[Submission] = field(default_factory=list)
    counting: Submission | None = None
    last: int = 0

    def add(self, submission: Submission, *, counts: bool) -> None:
        """Append a submission; with ``counts`` it becomes the one that counts."""
        self.submissions.append(submission)
        self.last = max(self.last, submission.sequence)
        if counts:
            self.counting = submission

    def put(self, known: Submission) -> None:
        """Replace the entry of the same file, after its size and digest became known."""
        names = [each.filename for each in self.submissions]
        if known.filename in names:
            self.submissions[names.index(known.filename)] = known
        if self.counting and self.counting.filename == known.filename:
            self.counting = known

    def numbered(self, sequence: int) -> Submission:
        """Return the submission of a number. Raises: NotFound without it."""
        found = next((each for each in self.submissions if each.sequence == sequence), None)
        if found is None:
            raise NotFound("There is no such submission.")
        return found

    @property
    def next_sequence(self) -> int:
        return max(self.last, len(self.submissions)) + 1


class History:
    """The submissions in one directory; not thread-safe.

    ``mixed``: the directory has the item's own files too, so ``<item>.py`` is nobody's submission
    without one with a time in its name. Mutable state: all attributes, read again when the
    directory changed.
    """

    def __init__(
        self,
        directory: Path,
        records: Records | None,
        *,
        mixed: bool = False,
        disk: Disk = DISK,
    ) -> None:
        self.directory = directory
        self._records = records
        self._folder = SharedFile(directory, disk=disk)
        self._mixed = mixed
        self._known: dict[str, Submission] = {}
        self._last: dict[str, int] = {}
        self._seen: tuple[int, ...] | None = None
        self.people: dict[str, Person] = {}

    def refresh(self, *, now: bool = False) -> None:
        """Read the directory again if it changed; by another machine, in a second or ``now``."""
        stamp = self._stamp(now=now)
        if stamp is None or stamp != self._seen:
            self._look()
            # The stamp from before reading: a change meanwhile is then read the next time.
            self._seen = stamp

    def forget(self) -> None:
        """Make the next :meth:`refresh` read the directory, even if its times are unchanged."""
        self._seen = None

    def trust(self) -> None:
        """Mark memory as equal to the disk after our own change, without reading the directory."""
        if self._records is not None:
            self._read_records()
        self._seen = self._stamp()

    def person(self, user: str) -> Person:
        found = self.people.get(user)
        if found is None:
            found = self.people[user] = Person(last=self._last.get(user, 0))
        return found

    def find(self, filename: str) -> Submission | None:
        """Return a submission by its file name; ``<user>.py`` names the one that counts."""
        stamped = stamped_name(filename)
        user = stamped.user if stamped else filename.removesuffix(".py")
        person = self.people.get(user)
        if person is None:
            return None
        if filename == f"{user}.py":
            return person.counting
        found = (each for each in person.submissions if each.filename == filename)
        return next(found, None)

    def leads_elsewhere(self, user: str) -> bool:
        """Return whether the target of the user's link differs from the one in memory."""
        person = self.people.get(user)
        counting = person.counting.filename if person and person.counting else None
        return self._link(user) != counting

    def _stamp(self, *, now: bool = False) -> tuple[int, ...] | None:
        try:
            status = self._folder.status(now=now)
        except FileNotFoundError:
            return None
        records = self._records.stamp(now=now) if self._records else ()
        return (status.st_ino, status.st_mtime_ns, *records)

    def _look(self) -> None:
        self._read_records()
        try:
            with os.scandir(self.directory) as entries:
                names = [entry.name for entry in entries if entry.name.endswith(".py")]
        except FileNotFoundError:
            names = []
        self.people = {}
        stamped = ((name, found) for name in names if (found := stamped_name(name)))
        for user, received, _, filename in sorted(
            (found.user, found.received, found.number, name)
            for name, found in stamped
            if _is_username(found.user)
        ):
            person = self.person(user)
            above = person.submissions[-1].sequence if person.submissions else 0
            record = self._known.get(filename)
            person.add(record or Submission(user, filename, received, above + 1), counts=False)
        fetched = {nfc(user): at for user, at in read_numbers(self.directory).items()}
        for user in (name.removesuffix(".py") for name in names):
            own = self._mixed and user == self.directory.name and user not in self.people
            if not own and not reads_as_a_submission(user):
                self.count(user, from_unix_or_none(fetched.get(nfc(user))))
        for person in self.people.values():
            if person.counting is None and person.submissions:
                # Without its link the newest one counts, so that no submission is ignored.
                person.counting = person.submissions[-1]

    def count(self, user: str, fetched: datetime | None = None) -> None:
        """Set the one that counts; ``fetched`` is when a plain file was, if known."""
        target = self._link(user)
        person = self.people.get(user)
        if person is not None:
            found = [each for each in person.submissions if each.filename == target]
            person.counting = found[0] if found else None
        if target != f"{user}.py" or not _is_username(user):
            return
        status = (self.directory / target).lstat()
        received = fetched or from_unix(status.st_mtime)
        person = self.person(user)
        person.counting = Submission(user, target, received, person.next_sequence)

    def _link(self, user: str) -> str | None:
        """Return the target of a user's link; its own name if it is a regular file."""
        path = self.directory / f"{user}.py"
        try:
            return os.readlink(path)  # noqa: PTH115 - a Path would hide a slash
        except FileNotFoundError:
            return None
        except OSError:
            return path.name if stat.S_ISREG(path.lstat().st_mode) else None

    def _read_records(self) -> None:
        for line in self._records.fresh() if self._records else ():
            try:
                record = RECORD.validate_json(line)
            except ValidationError:
                continue  # An incomplete line, left by a crash.
            self._known[record.filename] = record
            self._last[record.user] = max(self._last.get(record.user, 0), record.sequence)


@lru_cache(maxsize=4096)
def _is_username(text: str) -> bool:
    return text == INSTRUCTOR or Username.valid(text) == text
