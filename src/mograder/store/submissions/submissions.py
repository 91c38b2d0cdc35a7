"""Submissions: ``submitted/<item>/<user>_<time>.py``.

See compatibility-0.3.16.md 2.3, 3, 4; B156-B158.

Every submission is kept; ``<user>.py`` is a link to the one that counts, normally the latest. The
file, its name and the link are synced before a submission is acknowledged. Several processes may
write at once (a hub and an assignment server): a submission's file is never replaced, and the
directory is locked while links change. Students have no access to these directories.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.files.disk import DISK, Disk, explained_when_full
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.store.filesystem.records import Records, make_directories
from mograder.store.filesystem.tmpfile import written
from mograder.store.submissions.history import History, Person, Submission
from mograder.store.submissions.item_submissions import ItemSubmissions, Work
from mograder.store.submissions.item_submissions import Kept as Kept
from mograder.store.submissions.item_submissions import Terms as Terms
from mograder.store.submissions.submitted_files import reads_as_a_submission

_PLAIN = Terms()
_LEFT_BEHIND = re.compile(r"\.[0-9a-f]{16}\.tmp")
_LEFT_FOR_SECONDS = 3600
_log = get_logger(__name__)


class Submissions:
    """All submissions of one course; thread-safe.

    ``records`` is a directory for the data that file names cannot hold. ``older`` is the root of a
    server of 0.3.16, which stored an item's submissions in ``<root>/<item>/``: if there are any,
    new ones are stored there too. ``mixed``: the directories have other files too. Mutable state:
    ``_rooms``, guarded by ``_gate``.
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
        room = self._room(item)
        moment = now.astimezone(UTC).replace(microsecond=now.microsecond // 1000 * 1000)
        with explained_when_full():
            make_directories(room.directory, disk=self._disk)
            with written(room.directory, data, self._disk) as unnamed:
                digest = hashlib.sha256(data).hexdigest()
                return room.keep(Work(user, data, digest, unnamed, moment, terms))

    def counting(self, user: str, item: ItemName) -> Submission | None:
        """Return the user's submission that counts, with size and digest; None without one."""
        room = self._room(item)
        with room.looking() as history:
            person = history.people.get(user)
            found = person.counting if person else None
            return None if person is None or found is None else room.known(person, found)

    def of(self, user: str, item: ItemName) -> Person:
        """Return all submissions of a user to an item, with sizes and digests.

        One that was collected under the plain name is among them.
        """
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
        """Return the users with a counting submission, by username, sorted.

        The submission that counts has its size and digest.
        """
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

    def locate(self, item: ItemName, filename: str) -> Path:
        """Return the path of a submission; the name ``<user>.py`` is that of the one that counts.

        Raises: :class:`NotFound` if there is no such submission.
        """
        room = self._room(item)
        with room.looking() as history:
            found = history.find(filename)
        if found is None:
            raise NotFound(f"Not found: {filename}")
        return room.directory / found.filename

    def holds(self, item: ItemName, filename: str, sha256: str) -> bool:
        """Return whether a submission's file exists and has this digest, by reading it."""
        try:
            data = self.locate(item, filename).read_bytes()
        except (NotFound, OSError):
            return False
        return hashlib.sha256(data).hexdigest() == sha256

    def anything_of(self, user: str) -> bool:
        """Return whether there is a submission to any item under this name, in whatever case."""
        roots = [root for root in (self._root, self._older) if root is not None and root.is_dir()]
        places = (place for root in roots for place in root.iterdir())
        return any(_holds_name(place, f"{user}.py") for place in places)

    def _room(self, item: ItemName) -> ItemSubmissions:
        with self._gate:
            room = self._rooms.get(item)
            if room is None:
                room = self._rooms[item] = self._open(item)
            return room

    def _open(self, item: ItemName) -> ItemSubmissions:
        directory, strict = self._root / item, self._mixed
        if self._older is not None and _holds_history(self._older / item):
            if _holds_history(directory):
                _log.warning("Submissions in %s are ignored: %s has some", directory, self._older)
            directory, strict = self._older / item, True
        disk = self._disk
        records = Records(self._records / f"{item}.jsonl", disk=disk) if self._records else None
        _sweep(directory)
        history = History(directory, records, strict=strict, disk=disk)
        return ItemSubmissions(history, records, disk)


def _holds_history(directory: Path) -> bool:
    """Whether a directory has a submission with a time in its name."""
    try:
        with os.scandir(directory) as entries:
            return any(reads_as_a_submission(entry.name.removesuffix(".py")) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _holds_name(directory: Path, name: str) -> bool:
    """Whether a directory has an entry of this name, in whatever case."""
    try:
        with os.scandir(directory) as entries:
            return any(entry.name.casefold() == name.casefold() for entry in entries)
    except OSError:  # no directory, or none that may be read
        return False


def _sweep(directory: Path) -> None:
    """Remove temporary files of killed servers: those over an hour old."""
    old = time.time() - _LEFT_FOR_SECONDS
    for path in directory.glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if _LEFT_BEHIND.fullmatch(path.name) and path.lstat().st_mtime < old:
                path.unlink()
