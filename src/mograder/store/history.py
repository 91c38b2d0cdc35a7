"""What a directory of submissions holds, in memory: whose, which, and the one that counts.

The files are the truth: ``<user>_<UTC time>.py`` each, and ``<user>.py``, a link to the one that
counts (B157, B158). The records beside them know more of each (its digest, the thousandth of a
second, its number), but a directory that 0.3.16 left, or records that a power cut took, do as well.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from mograder.core.errors import InvalidInput
from mograder.core.names import Username
from mograder.store.records import Records

_STAMPED = re.compile(r"(?P<user>.+)_(?P<time>\d{8}T\d{6})(?:-(?P<number>\d{1,4}))?\.py")
_SAME_SECOND = 1000


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission; ``size`` and ``sha256`` are None where nobody has looked yet.

    ``sequence`` counts this person's submissions to this item, from 1; ``late`` is what was true
    when it came.
    """

    user: str
    filename: str
    received: datetime
    sequence: int
    late: bool = False
    size: int | None = None
    sha256: str | None = None


class Record(BaseModel):
    """A submission as its line in the records has it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    user: str
    filename: str
    received: AwareDatetime
    sequence: int
    late: bool = False
    size: int
    sha256: str

    @classmethod
    def of(cls, submission: Submission) -> Record:
        """The line of a submission that was just kept."""
        return cls(
            user=submission.user,
            filename=submission.filename,
            received=submission.received,
            sequence=submission.sequence,
            late=submission.late,
            size=submission.size or 0,
            sha256=submission.sha256 or "",
        )

    def submission(self) -> Submission:
        """The same for the rest of the program."""
        return Submission(**dict(self))


@dataclass(slots=True)
class Person:
    """All submissions of one person, in the order in which they came, and the one that counts.

    ``last`` is the highest number that was ever given, of files that are gone too.
    """

    submissions: list[Submission] = field(default_factory=list)
    counting: Submission | None = None
    last: int = 0

    def add(self, submission: Submission, *, counts: bool) -> None:
        """Note one more."""
        self.submissions.append(submission)
        self.last = max(self.last, submission.sequence)
        if counts:
            self.counting = submission

    def put(self, known: Submission) -> None:
        """Put what is known now in the place of what was known of the same file."""
        names = [each.filename for each in self.submissions]
        if known.filename in names:
            self.submissions[names.index(known.filename)] = known
        if self.counting and self.counting.filename == known.filename:
            self.counting = known

    @property
    def next_sequence(self) -> int:
        """The number of the next one."""
        return max(self.last, len(self.submissions)) + 1


class History:
    """The submissions in one directory; its owner calls from one thread at a time.

    ``strict``: a plain ``<user>.py`` counts only beside a submission with a time, since other
    files lie here too. Mutable state: all of it, replaced when the directory changed.
    """

    def __init__(self, directory: Path, records: Records | None, *, strict: bool = False) -> None:
        self.directory = directory
        self._records = records
        self._strict = strict
        self._known: dict[str, Record] = {}
        self._last: dict[str, int] = {}
        self._seen: tuple[int, ...] | None = None
        self.people: dict[str, Person] = {}

    def refresh(self) -> None:
        """Look again if anything changed."""
        stamp = self._stamp()
        if stamp is None or stamp != self._seen:
            self._look()
            # The stamp of before the look: what changed meanwhile is looked at the next time.
            self._seen = stamp

    def forget(self) -> None:
        """Look again at the next opportunity, whatever the times say."""
        self._seen = None

    def trust(self) -> None:
        """Believe that what is in memory is what is on the disk, after a change of our own."""
        if self._records is not None:
            self._read_records()
        self._seen = self._stamp()

    def person(self, user: str) -> Person:
        """Return the person's entry, a new one if there is none."""
        found = self.people.get(user)
        if found is None:
            found = self.people[user] = Person(last=self._last.get(user, 0))
        return found

    def find(self, filename: str) -> Submission | None:
        """Return a submission by its own name, or by ``<user>.py`` the one that counts."""
        stamped = _STAMPED.fullmatch(filename)
        user = stamped["user"] if stamped else filename.removesuffix(".py")
        person = self.people.get(user)
        if person is None:
            return None
        if filename == f"{user}.py":
            return person.counting
        found = (each for each in person.submissions if each.filename == filename)
        return next(found, None)

    def leads_elsewhere(self, user: str) -> bool:
        """Tell whether the person's link disagrees with what is in memory."""
        person = self.people.get(user)
        counting = person.counting.filename if person and person.counting else None
        return self._link(user) != counting

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            status = os.stat(self.directory)  # noqa: PTH116 - asked for every submission
        except FileNotFoundError:
            return None
        records = self._records.stamp() if self._records else ()
        return (status.st_ino, status.st_mtime_ns, *records)

    def _look(self) -> None:
        self._read_records()
        try:
            with os.scandir(self.directory) as entries:
                names = [entry.name for entry in entries if entry.name.endswith(".py")]
        except FileNotFoundError:
            names = []
        self.people = {}
        for user, received, filename in sorted(_stamped(names)):
            self._add(user, filename, received)
        plain = (name.removesuffix(".py") for name in names if not _STAMPED.fullmatch(name))
        for user in plain:
            self._count(user)
        for person in self.people.values():
            if person.counting is None and person.submissions:
                # Without its link the newest one counts: nothing that came may be lost.
                person.counting = person.submissions[-1]

    def _add(self, user: str, filename: str, received: tuple[datetime, int]) -> None:
        person = self.person(user)
        record = self._known.get(filename)
        if record is not None:
            person.add(record.submission(), counts=False)
            return
        above = person.submissions[-1].sequence if person.submissions else 0
        person.add(Submission(user, filename, received[0], above + 1), counts=False)

    def _count(self, user: str) -> None:
        """Let count where ``<user>.py`` leads, or the file itself where somebody put one."""
        target = self._link(user)
        person = self.people.get(user)
        if person is not None:
            found = [each for each in person.submissions if each.filename == target]
            person.counting = found[0] if found else None
        if target != f"{user}.py" or not _is_username(user) or (self._strict and person is None):
            return
        status = (self.directory / target).lstat()
        received = datetime.fromtimestamp(status.st_mtime, UTC)
        person = self.person(user)
        person.counting = Submission(user, target, received, person.next_sequence)

    def _link(self, user: str) -> str | None:
        """Where a person's link leads; its own name where a file is in its place."""
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
                record = Record.model_validate_json(line)
            except ValidationError:
                continue  # Torn by a crash.
            self._known[record.filename] = record
            self._last[record.user] = max(self._last.get(record.user, 0), record.sequence)


def reads_as_a_submission(user: str) -> bool:
    """Tell whether this name's own file would be taken for somebody's submission."""
    return _STAMPED.fullmatch(f"{user}.py") is not None


def names_for(user: str, when: datetime) -> Iterator[str]:
    """The names that a submission of this second may have, the plainest first."""
    stem = f"{user}_{when.astimezone(UTC):%Y%m%dT%H%M%S}"
    yield f"{stem}.py"
    for number in range(1, _SAME_SECOND):
        yield f"{stem}-{number}.py"


def _stamped(names: Iterable[str]) -> Iterator[tuple[str, tuple[datetime, int], str]]:
    """Those of the names that are submissions, as what sorts into their order."""
    for name in names:
        if (found := _STAMPED.fullmatch(name)) is None:
            continue
        try:
            when = datetime.strptime(found["time"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            continue
        if _is_username(found["user"]):
            yield found["user"], (when, int(found["number"] or 0)), name


@lru_cache(maxsize=4096)
def _is_username(text: str) -> bool:
    try:
        return Username.parse(text) == text
    except InvalidInput:
        return False
