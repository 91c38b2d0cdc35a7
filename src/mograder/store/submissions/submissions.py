"""Submissions: ``submitted/<item>/<user>_<time>.py``.

See compatibility-0.3.16.md 2.3, 3, 4; B156-B158.

Every submission is kept; ``<user>.py`` is a link to the one that counts, normally the latest. The
file, its name and the link are synced before a submission is acknowledged. Several processes may
write at once (a hub and an assignment server): a submission's file is never replaced, and the
directory is locked while links change. Submissions that arrive together are named and linked in one
batch, for which the directory is locked and synced once. Students have no access to these
directories.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

from mograder.core.clock import is_after
from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound
from mograder.core.files.disk import (
    DISK,
    Disk,
    Place,
    explained_when_full,
    explained_when_unusable,
)
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.store.filesystem.files import Naming, written
from mograder.store.filesystem.group_commit import GroupCommit
from mograder.store.filesystem.records import Records, locked_directory, make_directories
from mograder.store.submissions.history import RECORD, History, Person, Submission
from mograder.store.submissions.submitted_files import names_for, reads_as_a_submission

_LEFT_BEHIND = re.compile(r"\.[0-9a-f]{16}\.tmp")
_LEFT_FOR_SECONDS = 3600
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


_PLAIN = Terms()


@dataclass(frozen=True, slots=True)
class Kept:
    """A synced submission; ``repeated``: it was before. ``counts``: the user's link is to it."""

    submission: Submission
    path: Path
    repeated: bool = False
    counts: bool = True


class Submissions:
    """All submissions of one course; thread-safe.

    All methods raise :class:`InvalidInput` for a directory or records that cannot be read.

    ``records`` is a directory for the data that file names cannot hold. ``older`` is the root of a
    server of 0.3.16, which stored an item's submissions in ``<root>/<item>/``: if there are any,
    new ones are stored there too. ``mixed``: the directories have other files too. Mutable state:
    ``_rooms``, of the items with a directory, guarded by ``_gate``.
    """

    def __init__(
        self,
        root: Path,
        *,
        records: Path | None = None,
        older: Path | None = None,
        mixed: bool = False,
        disk: Disk = DISK,
    ) -> None:
        self._root = root
        self._records = records
        self._older = older
        self._mixed = mixed
        self._disk = disk
        self._gate = threading.Lock()
        self._rooms: dict[str, ItemSubmissions] = {}

    def add(
        self, user: Username, item: ItemName, data: bytes, now: datetime, terms: Terms = _PLAIN
    ) -> Kept:
        """Store a submission, synced to disk, and link it if it counts.

        Raises: :class:`InvalidInput` for a username with the form of a submission's file name,
        :class:`~mograder.core.errors.Conflict` when there are too many,
        :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        if reads_as_a_submission(user):
            raise InvalidInput(f"Bad username for a submission: {user}")
        room = self._room(item, adding=True)
        moment = now.astimezone(UTC).replace(microsecond=now.microsecond // 1000 * 1000)
        with explained_when_unusable(room.directory), explained_when_full():
            make_directories(room.directory, disk=self._disk)
            with written(room.directory, data, self._disk) as place:
                digest = hashlib.sha256(data).hexdigest()
                return room.keep(Work(user, data, digest, place, moment, terms))

    def pick(self, user: Username, item: ItemName, sequence: int) -> Submission:
        """Let the submission of this number count, synced to disk. Raises: NotFound, Busy."""
        self.of(user, item).numbered(sequence)
        room = self._room(item)
        with explained_when_unusable(room.directory), explained_when_full():
            return room.pick(user, sequence)

    def counting(self, user: str, item: ItemName) -> Submission | None:
        """Return the user's submission that counts, with size and digest; None without one."""
        room = self._room(item)
        with room.looking() as history:
            person = history.people.get(user)
            found = person.counting if person else None
            return None if person is None or found is None else room.known(person, found)

    def of(self, user: str, item: ItemName) -> Person:
        """Return a user's submissions with digests, also one under the plain name."""
        room = self._room(item)
        with room.looking() as history:
            person = history.people.get(user)
            if person is None:
                return Person()
            for each in (*person.submissions, *([person.counting] if person.counting else [])):
                room.known(person, each)
            found, counting = list(person.submissions), person.counting
            if counting is not None and counting not in found:
                found.append(counting)
            return replace(person, submissions=found)

    def repeated(self, user: Username, item: ItemName, data: bytes) -> Kept | None:
        """Return the user's submission that counts if it has the same bytes; None otherwise."""
        counting = self.counting(user, item)
        if counting is None or counting.sha256 != hashlib.sha256(data).hexdigest():
            return None
        path = self._room(item).directory / counting.filename
        held = self.holds(item, counting.filename, counting.sha256)
        return Kept(counting, path, repeated=True) if held else None

    def people(self, item: ItemName) -> Mapping[str, Person]:
        """Return the users with a submission that counts, which has its digest; sorted."""
        room = self._room(item)
        with room.looking() as history:
            found: dict[str, Person] = {}
            for user, person in sorted(history.people.items()):
                if person.counting is not None:
                    room.known(person, person.counting)
                    found[user] = replace(person, submissions=list(person.submissions))
            return found

    def arrivals(self, item: ItemName) -> Mapping[str, datetime]:
        """Return when the submissions that count were received, by username; reads no file."""
        with self._room(item).looking() as history:
            return {
                user: person.counting.received
                for user, person in history.people.items()
                if person.counting is not None
            }

    def check(self, item: ItemName) -> None:
        with self._room(item).looking():
            pass

    def locate(self, item: ItemName, filename: str) -> Path:
        """Return the path; ``<user>.py`` names the one that counts. Raises: NotFound without it."""
        room = self._room(item)
        with room.looking() as history:
            found = history.find(filename)
        if found is None:
            raise NotFound(f"Not found: {filename}")
        return room.directory / found.filename

    def holds(self, item: ItemName, filename: str, sha256: str) -> bool:
        """Return whether a submission's file exists and has this digest, by reading it."""
        try:
            with self.locate(item, filename).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except (NotFound, OSError):
            return False

    def anything_of(self, user: str) -> bool:
        """Return whether there is a submission to any item under this name, in whatever case."""
        name = f"{user}.py".casefold()
        for place in self._places():
            # It may be no directory, or none that may be read.
            with contextlib.suppress(OSError), os.scandir(place) as entries:
                if any(entry.name.casefold() == name for entry in entries):
                    return True
        return False

    def items(self) -> frozenset[ItemName]:
        """Return the items that may have submissions."""
        named = (ItemName.valid(place.name) for place in self._places() if place.is_dir())
        return frozenset(item for item in named if item is not None)

    def _places(self) -> Iterator[Path]:
        for root in (self._root, self._older):
            if root is not None:
                with explained_when_unusable(root):
                    yield from root.iterdir() if root.is_dir() else ()

    def _room(self, item: ItemName, *, adding: bool = False) -> ItemSubmissions:
        with self._gate, explained_when_unusable(self._root / item):
            room = self._rooms.get(item)
            if room is None:
                room = self._open(item)
                # A request may name any item: one without submissions is not kept in memory.
                if adding or room.directory.is_dir():
                    self._rooms[item] = room
            return room

    def _open(self, item: ItemName) -> ItemSubmissions:
        directory, mixed = self._root / item, self._mixed
        older = older_directory(self._older, item, _holds_history) if self._older else directory
        if older != directory and _holds_history(older):
            if _holds_history(directory):
                _log.warning("Submissions in %s are ignored: %s has some", directory, older)
            directory, mixed = older, True
        disk = self._disk
        records = Records(self._records / f"{item}.jsonl", disk=disk) if self._records else None
        _sweep(directory)
        history = History(directory, records, mixed=mixed, disk=disk)
        return ItemSubmissions(history, records, disk)


@dataclass(slots=True)
class Work:
    """One whose bytes are synced; :meth:`ItemSubmissions.keep` sets ``kept`` or ``error``."""

    user: Username
    data: bytes
    sha256: str
    place: Naming
    received: datetime
    terms: Terms
    kept: Kept | None = None
    error: Exception | None = None

    @property
    def late(self) -> bool:
        return self.terms.due is not None and is_after(self.received, self.terms.due)


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
        """Name and link one submission, in a batch. Raises: Conflict (too many), ``OSError``."""
        self._together.add(work)
        if work.error is not None:
            raise work.error
        if work.kept is None:
            raise RuntimeError("a batch left out a submission")
        return work.kept

    def pick(self, user: Username, sequence: int) -> Submission:
        """Link the user's submission of a number. Raises: NotFound, ``OSError``."""
        with locked_directory(self.directory, disk=self._disk) as directory, self._lock:
            self._history.refresh(now=True)
            person = self._person(user)
            self._history.forget()
            person.counting = person.numbered(sequence)
            self._link(self.directory, user, person.counting.filename)
            self._disk.fsync(directory)
            return person.counting

    @contextlib.contextmanager
    def looking(self) -> Iterator[History]:
        """Yield the history, refreshed unless a batch, which updates it, is being written."""
        with self._lock:
            if not self._busy:
                with explained_when_unusable(self.directory):
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
        self._record(new)

    def _record(self, new: Sequence[Submission]) -> None:
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
        on_time = before is not None and due is not None and not is_after(before.received, due)
        counts = work.terms.replace or not (work.late and on_time)
        aside = None
        if work.terms.once and before is not None:
            # The first of the same bytes, of late work also one before the counting: in time, an
            # earlier version again is a new submission.
            above = 0 if work.late else before.sequence
            found = (each for each in person.submissions if each.sequence > above)
            aside = next((each for each in found if self._same(each, work)), None)
        if aside is not None:
            aside = self.known(person, aside)
            if counts:
                self._link(self.directory, work.user, aside.filename)
                person.counting = aside
            late = due is not None and is_after(aside.received, due)
            told = replace(aside, late=late if aside.late is None else aside.late)
            return self._kept(told, repeated=True, counts=counts)
        self._check_room(person, work)
        names = names_for(work.user, work.received)
        path = self._name(lambda name: work.place(name, directory), names)
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
        if person.counting is None:
            history.count(user)  # so that the item's own file is kept, too
        if person.counting and person.counting.filename == f"{user}.py":
            self._keep_plain(self.known(person, person.counting))
            history.forget()
            history.refresh(now=True)
            person = history.person(user)
        if person.counting and history.leads_elsewhere(user):
            self._link(history.directory, user, person.counting.filename)
        return person

    def _same(self, submission: Submission, work: Work) -> bool:
        """Whether the submission's file has the same bytes; a record's digest is not enough."""
        path = self.directory / submission.filename
        with contextlib.suppress(OSError):
            return path.stat().st_size == len(work.data) and path.read_bytes() == work.data
        return False

    def _kept(self, submission: Submission, *, repeated: bool = False, counts: bool = True) -> Kept:
        return Kept(submission, self.directory / submission.filename, repeated, counts)

    def _name(self, place: Callable[[str], None], names: Iterator[str]) -> Path:
        for name in names:
            with contextlib.suppress(FileExistsError):
                place(name)
                return self.directory / name
        raise Conflict("There were too many submissions in this second.", hint="Try again.")

    def _keep_plain(self, found: Submission) -> None:
        """Rename a fetched ``<user>.py`` to a name with its time; its number stays its own."""
        latest = self.directory / found.filename
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISLNK(latest.lstat().st_mode):
                names = names_for(found.user, found.received)
                kept = self._name(partial(self._move, latest), names)
                self._record([replace(found, filename=kept.name)])

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


def older_directory(root: Path, item: ItemName, holds: Callable[[Path], bool]) -> Path:
    """Return the directory below ``root`` in which 0.3.16 kept what belongs to an item.

    It took the name as the request had it, and two of its clients encode different characters. The
    first directory that ``holds`` something is meant; if none does, an encoded one is.
    """
    spelt = (quote(item, safe="@+(),'&"), quote(item, safe=""))
    encoded = (root / name for name in spelt if name != item)
    found = [root / item, *filter(Path.is_dir, encoded)]
    return next(filter(holds, found), found[-1])


def _holds_history(directory: Path) -> bool:
    """Whether a directory has a submission with a time in its name."""
    try:
        with os.scandir(directory) as entries:
            return any(reads_as_a_submission(entry.name.removesuffix(".py")) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _sweep(directory: Path) -> None:
    """Remove temporary files of killed servers: those over an hour old."""
    old = time.time() - _LEFT_FOR_SECONDS
    for path in directory.glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if _LEFT_BEHIND.fullmatch(path.name) and path.lstat().st_mtime < old:
                path.unlink()
