"""A directory of collected submissions, the same for every kind of server.

``<user>.py`` is the latest notebook of each person, named as 0.3.16 names it. The one that it
replaces goes to ``.replaced/<time of the run>/``. ``.fetch_metadata.json`` has the time of each
submission, from which penalties are computed (compatibility-0.3.16.md 4, 9).

Files arrive in ``.fetching/`` below the directory. A run that is interrupted, by a signal or by the
network, leaves the files that had arrived there, and the next run continues from them; a run in
which everything arrived removes the directory.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import count
from pathlib import Path

from mograder.clients.course_server import RemoteFile
from mograder.core.errors import Busy, InvalidInput, NotFound
from mograder.core.files.file_lock import LockFile
from mograder.store.filesystem.files import remove_tree
from mograder.store.filesystem.own_dir import folder_of_files
from mograder.store.filesystem.untrusted_dir import NewFile
from mograder.store.submissions.submitted_files import read_numbers

REPLACED = ".replaced"
"""Directory for what later submissions have replaced, one directory for each run."""
_TRIES = 10
_LARGEST = 4 << 30
_MODE = 0o600

_OF_HISTORY = re.compile(r"(?P<stem>.+)_\d{8}T\d{6}(-\d+)?\.py")
"""The name of a submission in the history of a hub or assignment server: ``<user>_<time>.py``."""
_FETCHING = ".fetching"
_GROWING = "new"
"""Where files are written before they are renamed into their places."""
_LOCK = ".fetching.lock"


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The directory for files being downloaded, locked by one run."""

    path: Path

    def place(self, owner: str, file: RemoteFile, modified: datetime | None) -> Path:
        """Return the path where a file arrives: the same in the next run if it is unchanged."""
        told = (owner, file.address, file.name, file.size, file.digest, modified)
        return self.path / hashlib.sha256(repr(told).encode()).hexdigest()[:40]

    def keep_only(self, places: Sequence[Path]) -> None:
        """Remove leftovers of an interrupted run that this run does not need.

        If nothing is missing, remove all; ``places`` are those of files that are still missing.
        """
        parts = {f".{place.name}.part{end}" for place in places for end in ("", ".json")}
        kept = {place.name for place in places} | parts
        for entry in self.path.iterdir():
            if entry.name not in kept:
                _remove(entry)


@contextmanager
def arrivals(directory: Path) -> Iterator[Arrivals]:
    """Lock the directory for arriving files below a target directory; remove it if it is empty.

    Raises:
        Busy: Another run fetches into the same directory.
        InvalidInput: The directory cannot be written to.
    """
    path, lock = directory / _FETCHING, LockFile(directory / _LOCK)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not lock.take():
            raise Busy(
                f"Another command is fetching into {directory}.",
                hint="Wait for it to end, or give another directory.",
            )
        if path.is_symlink() or path.is_file():
            path.unlink()
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        lock.drop()
        raise InvalidInput(f"{directory} cannot be written: {error.strerror}.") from error
    try:
        yield Arrivals(path)
    finally:
        _remove(path / _GROWING)
        with suppress(OSError):  # not empty: the next run continues from it
            path.rmdir()
        lock.drop()


def clean(directory: Path) -> None:
    """Remove leftovers of interrupted runs below a target directory, unless a run is active."""
    if (directory / _FETCHING).is_dir():
        with suppress(Busy), arrivals(directory) as held:
            held.keep_only(())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


class CollectOutcome(StrEnum):
    NEW = "new"
    UPDATED = "updated"
    FETCHED = "fetched"
    """New or updated."""
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


class CollectedFolder:
    """The files of one directory of submissions; no name may lead out of it.

    A change raises :class:`~mograder.core.errors.MograderError` if it cannot be made.
    """

    def __init__(self, directory: Path, held: Arrivals, now: datetime) -> None:
        """``now`` is when the run began, and names the directory for replaced files."""
        self._directory = directory
        self._beneath = folder_of_files(directory, held.path / _GROWING)
        stamp = f"{now.astimezone():%Y%m%dT%H%M%S}"
        names = (f"{stamp}-{number}" if number else stamp for number in count())
        self._stamp = next(each for each in names if not (directory / REPLACED / each).exists())

    def put(
        self, name: str, content: bytes, modified: datetime | None = None
    ) -> tuple[CollectOutcome, Path | None]:
        """Write a file with ``modified`` as its time; a different file in its place is kept.

        Returns whether it is new, updated or unchanged, and the path of the one that was kept.

        A link to a submission of a hub's or server's history is replaced, since its target has a
        name of its own. Any other link, or a directory, is kept beside the file.
        """
        modified_ns = None if modified is None else int(modified.timestamp() * 1e9)
        how = NewFile(mode=_MODE, modified_ns=modified_ns)
        self._make_parent(name)
        linked = self._linked(name)
        try:
            before = self._beneath.read(linked or name, _LARGEST)
        except NotFound:
            self._beneath.write(name, content, how)
            return CollectOutcome.NEW, None
        except InvalidInput:
            parent, _, last = name.rpartition("/")
            base = f"{last}.replaced-{self._stamp}"
            names = (base, *(f"{base}-{number}" for number in range(1, _TRIES)))
            beside = self._beneath.replace_keeping(name, names, io.BytesIO(content), how)
            return CollectOutcome.UPDATED, self._directory / parent / beside if beside else None
        if before == content:
            return CollectOutcome.UNCHANGED, None
        kept = None
        if not linked:
            place = self._place_of(name)
            was = NewFile(mode=_MODE, modified_ns=self._beneath.stat(name).modified_ns)
            self._beneath.write(place, before, was)
            kept = self._directory / place
        self._beneath.write(name, content, how)
        return CollectOutcome.UPDATED, kept

    def write_numbers(self, name: str, numbers: Mapping[str, float]) -> None:
        """Write a JSON file of numbers by username; an earlier file is overwritten."""
        plain = {each: int(at) if at == int(at) else at for each, at in sorted(numbers.items())}
        text = json.dumps(plain, ensure_ascii=False, indent=2)
        self._beneath.write(name, f"{text}\n".encode(), NewFile(mode=_MODE))

    def drop_numbers(self, name: str, users: Collection[str]) -> None:
        """Remove users from a JSON file of numbers, before files that these are about change."""
        known = read_numbers(self._directory, name)
        kept = {user: number for user, number in known.items() if user not in users}
        if kept != known:
            self.write_numbers(name, kept)

    def rename(self, old: str, new: str) -> None:
        """Give an earlier fetched file or directory another name.

        If the new name is taken, the old one goes to ``.replaced/``.
        """
        if self._is_here(old) and not self._beneath.move(old, new):
            self._beneath.move(old, self._place_of(old))

    def set_aside(self, name: str) -> None:
        if self._is_here(name):
            self._beneath.move(name, self._place_of(name))

    def _is_here(self, name: str) -> bool:
        path = self._directory / name
        return path.exists() and not path.is_symlink()

    def _linked(self, name: str) -> str:
        """Return the history's submission that a link points to, empty if it is no such link."""
        path = self._directory / name
        target = str(path.readlink()) if path.is_symlink() else ""
        found = _OF_HISTORY.fullmatch(target)
        return target if found and f"{found['stem']}.py" == name else ""

    def _place_of(self, name: str) -> str:
        kept = f"{REPLACED}/{self._stamp}/{name}"
        self._make_parent(kept)
        return kept

    def _make_parent(self, name: str) -> None:
        parent = name.rpartition("/")[0]
        if parent:
            self._beneath.make_directory(parent)
