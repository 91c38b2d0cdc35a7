"""One item's directory of submissions: gives new ones their file name, link and number.

The bytes of a submission are synced before. A batch of submissions is named and linked under a
lock against other processes, and the directory is synced once for all; then the calls return.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from mograder.core.errors import Conflict, MograderError
from mograder.core.files.disk import Disk, Place
from mograder.core.log import get_logger
from mograder.core.names import Username
from mograder.store.filesystem.group_commit import GroupCommit
from mograder.store.filesystem.records import Records, locked_directory
from mograder.store.filesystem.tmpfile import Unnamed
from mograder.store.submissions.history import RECORD, History, Person, Submission
from mograder.store.submissions.submitted_files import names_for

_MOST = 5000
"""Most submissions of one user to one item."""

_MOST_BYTES = 1024 * 1024 * 1024
"""Most bytes of one user's submissions to one item, so that one user cannot fill the disk."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """The conditions under which a submission is accepted.

    ``due``: a submission after it is late, and does not replace one that was on time as the one
    that counts, unless ``replace``. ``once``: the same bytes again are not a new submission.
    """

    due: datetime | None = None
    replace: bool = False
    once: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A submission that is synced to disk.

    ``repeated``: it was there before. ``counts``: the user's link points to it.
    """

    submission: Submission
    path: Path
    repeated: bool = False
    counts: bool = True


@dataclass(slots=True)
class Work:
    """One submission in progress: its bytes are synced, but the file has no name yet.

    :meth:`ItemSubmissions.keep` sets ``kept`` or ``error``.
    """

    user: Username
    data: bytes
    sha256: str
    unnamed: Unnamed
    received: datetime
    terms: Terms
    kept: Kept | None = None
    error: Exception | None = None

    @property
    def late(self) -> bool:
        """Whether it was received after the due date."""
        return self.terms.due is not None and self.received > self.terms.due


class ItemSubmissions:
    """One item's submissions; thread-safe.

    Mutable state, guarded by ``_lock``: the history, and ``_busy``, whether a batch is being
    written.
    """

    def __init__(self, history: History, records: Records | None, disk: Disk) -> None:
        self.directory = history.directory
        self._history = history
        self._records = records
        self._disk = disk
        self._lock = threading.Lock()
        self._busy = False
        self._together: GroupCommit[Work] = GroupCommit(self._commit)

    def keep(self, work: Work) -> Kept:
        """Name and link one submission, in a batch with those of other threads.

        Raises: :class:`Conflict` when there are too many submissions, ``OSError`` from the disk.
        """
        self._together.add(work)
        if work.error is not None:
            raise work.error
        if work.kept is None:
            raise RuntimeError("a batch left out a submission")
        return work.kept

    @contextlib.contextmanager
    def looking(self) -> Iterator[History]:
        """Yield the history, refreshed, under the lock.

        While a batch is being written it is not refreshed: the batch updates it itself.
        """
        with self._lock:
            if not self._busy:
                self._history.refresh()
            yield self._history

    def known(self, person: Person, submission: Submission) -> Submission:
        """Return the submission with size and digest, read from the file if no record has them."""
        if submission.sha256 is not None:
            return submission
        try:
            data = (self.directory / submission.filename).read_bytes()
        except OSError as error:
            _log.error("%s cannot be read: %s", submission.filename, error)
            return submission
        digest = hashlib.sha256(data).hexdigest()
        known = replace(submission, size=len(data), sha256=digest)
        person.put(known)
        return known

    def _commit(self, batch: Sequence[Work]) -> None:
        """Name and link a batch of submissions, and sync the directory once for all of them."""
        failure: Exception | None = RuntimeError("a batch was not finished")
        try:
            with locked_directory(self.directory, disk=self._disk) as directory:
                self._settle_all(batch, directory)
                self._disk.fsync(directory)
                with self._lock:
                    self._history.trust()
            failure = None
        except (OSError, MograderError) as error:
            failure = error
        finally:
            for work in batch:
                work.error = work.error or failure
            with self._lock:
                self._busy = False
                if any(work.error for work in batch):
                    self._history.forget()

    def _settle_all(self, batch: Sequence[Work], directory: int) -> None:
        with self._lock:
            self._busy = True
            self._history.refresh(now=True)
            for work in sorted(batch, key=lambda each: each.received):
                try:
                    work.kept = self._settle(work, directory)
                except (OSError, MograderError) as error:
                    work.error = error
            new = [work.kept.submission for work in batch if work.kept and not work.kept.repeated]
        if self._records is None or not new:
            return
        lines = [RECORD.dump_json(each) for each in new]
        try:
            # Lines that a power cut loses can be reconstructed from the files.
            self._records.add(lines, durable=False)
        except (OSError, MograderError) as error:
            _log.warning("records of submissions cannot be written: %s", error)

    def _settle(self, work: Work, directory: int) -> Kept:
        """Name one submission and link it if it counts, without syncing; or find a repetition."""
        person = self._person(work.user)
        before = person.counting
        if work.terms.once and before and self._same(before, work):
            return self._kept(self.known(person, before), repeated=True)
        due = work.terms.due
        on_time = before is not None and due is not None and before.received <= due
        counts = work.terms.replace or not (work.late and on_time)
        aside = self._aside(person, work)
        if aside is not None:
            late = due is not None and aside.received > due
            aside = replace(self.known(person, aside), late=aside.late or late)
            if counts:
                self._link(self.directory, work.user, aside.filename)
                person.counting = aside
            return self._kept(aside, repeated=True, counts=counts)
        self._check_room(person, work)
        place = partial(work.unnamed.place, directory=directory)
        path = self._name(place, names_for(work.user, work.received))
        kept = Submission(
            work.user,
            path.name,
            work.received,
            person.next_sequence,
            late=work.late,
            size=len(work.data),
            sha256=work.sha256,
        )
        person.add(kept, counts=False)
        if counts:
            self._link(path.parent, work.user, path.name)
            person.counting = kept
        return self._kept(kept, counts=counts)

    def _check_room(self, person: Person, work: Work) -> None:
        """Raise :class:`Conflict` if the user has too many submissions or bytes."""
        hint = "Tell your instructor, who can remove some of them."
        name = self.directory.name
        if len(person.submissions) >= _MOST:
            raise Conflict(f"You have submitted {name} {_MOST} times, and that is all.", hint=hint)
        if sum(each.size or 0 for each in person.submissions) + len(work.data) > _MOST_BYTES:
            bound = f"{_MOST_BYTES // 1024 // 1024} MB"
            raise Conflict(f"Your submissions to {name} have {bound}, and that is all.", hint=hint)

    def _person(self, user: Username) -> Person:
        """Return the user's entry, read again if the link on disk differs from it."""
        history = self._history
        if history.leads_elsewhere(user):
            history.forget()
            history.refresh()
        person = history.person(user)
        if person.counting and person.counting.filename == f"{user}.py":
            self._keep_plain(history.directory, person.counting)
            history.forget()
            history.refresh()
            person = history.person(user)
        if person.counting and history.leads_elsewhere(user):
            self._link(history.directory, user, person.counting.filename)
        return person

    def _aside(self, person: Person, work: Work) -> Submission | None:
        """Return an earlier submission of the same bytes that is newer than the counting one."""
        if not work.terms.once or person.counting is None:
            return None
        above = person.counting.sequence
        newer = (each for each in reversed(person.submissions) if each.sequence > above)
        return next((each for each in newer if self._same(each, work)), None)

    def _same(self, submission: Submission, work: Work) -> bool:
        """Whether the submission's file has the same bytes; a record's digest is not enough."""
        path = self.directory / submission.filename
        try:
            if path.stat().st_size != len(work.data):
                return False
            return path.read_bytes() == work.data
        except OSError:
            return False

    def _kept(self, submission: Submission, *, repeated: bool = False, counts: bool = True) -> Kept:
        return Kept(submission, self.directory / submission.filename, repeated, counts)

    def _name(self, place: Callable[[str], None], names: Iterator[str]) -> Path:
        for name in names:
            with contextlib.suppress(FileExistsError):
                place(name)
                return self.directory / name
        raise Conflict("There were too many submissions in this second.", hint="Try again.")

    def _keep_plain(self, directory: Path, found: Submission) -> None:
        """Rename a regular file ``<user>.py`` (a fetched submission) to a name with its time."""
        latest = directory / found.filename
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISLNK(latest.lstat().st_mode):
                self._name(partial(self._move, latest), names_for(found.user, found.received))

    def _move(self, source: Path, name: str) -> None:
        self._disk.place(Place.of(source), Place.of(source.with_name(name)))

    def _link(self, directory: Path, user: Username, name: str) -> None:
        temporary = directory / f".{secrets.token_hex(8)}.tmp"
        temporary.symlink_to(name)
        try:
            self._disk.rename(Place.of(temporary), Place.of(directory / f"{user}.py"))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
